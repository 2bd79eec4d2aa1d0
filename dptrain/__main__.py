"""`python -m dptrain` is the command `dptrain`."""

from dptrain.cli import main

raise SystemExit(main())
