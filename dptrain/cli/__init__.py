"""The command `dptrain`: turns flags into arguments of `dptrain.api`, results into text, errors into one line."""

from dptrain.cli.app import main

__all__ = ["main"]
