"""The verbs and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from dptrain import __version__
from dptrain.errors import DptrainError

USAGE = 64  #: exit code of a command line that cannot be understood

#: Verb -> where its function lives. Imported only when asked for: no verb may pull in Numba (0.5 s) before it computes.
VERBS = {
    "train": "dptrain.cli.train:train",
    "eval": "dptrain.cli.evaluate:evaluate",
    "predict": "dptrain.cli.predict:predict",
    "bench": "dptrain.cli.bench:bench",
    "coordinator": "dptrain.cli.coordinator:coordinator",
    "worker": "dptrain.cli.worker:worker",
    "augmenter": "dptrain.cli.augmenter:augmenter",
    "doctor": "dptrain.cli.doctor:doctor",
    "verify": "dptrain.cli.verify:verify",
    "history": "dptrain.cli.history:history",
}


def build_app() -> App:
    """The command line as cyclopts sees it."""
    app = App(
        name="dptrain",
        help="Trains residual networks on CPUs: one process or many, always the same bits.",
        version=__version__,
        help_format="plaintext",
        help_formatter="plain",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for verb, place in VERBS.items():
        app.command(place, name=verb)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (default: sys.argv) and gives the exit code; see `dptrain.errors` for what it says."""
    logging.basicConfig(format="dptrain: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = build_app()(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return complain(str(error), USAGE)
    except DptrainError as error:
        return complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `dptrain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code if isinstance(code, int) else 0


def complain(text: str, code: int) -> int:
    """One line on stderr, whatever is in the text."""
    sys.stderr.write(f"dptrain: error: {' '.join(text.splitlines())}\n")
    return code
