"""The command `dptrain`: one file a verb. Turns flags into arguments, errors into one line; decides nothing."""

from dptrain.cli.app import main

__all__ = ["main"]
