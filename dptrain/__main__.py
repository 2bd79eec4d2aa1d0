"""The command `dptrain`, also `python -m dptrain`: signals, standard streams and exit code of the process."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from threading import Timer

from dptrain.errors import ExitCode


class Interrupts:
    """The handler of SIGINT until a verb installs its own.

    It remembers that Ctrl-C was pressed, because a module that is being imported may swallow KeyboardInterrupt (seen:
    Ctrl-C during the imports, and the run went on to its end). Python lets no exception out of a callback of the
    garbage collector; a KeyboardInterrupt that came there (seen: one in twelve) is sent again.
    """

    def __init__(self) -> None:
        self.pressed = False  #: read by StopSignals

    def __call__(self, *_: object) -> None:
        """Raises KeyboardInterrupt, as signal.default_int_handler does."""
        self.pressed = True
        raise KeyboardInterrupt

    def install(self) -> None:
        """Handles SIGINT from now on."""
        signal.signal(signal.SIGINT, self)
        sys.unraisablehook = _send_again


def _send_again(swallowed: sys.UnraisableHookArgs) -> None:
    """A sys.unraisablehook: sends a KeyboardInterrupt again, after this callback, in which it would be lost too."""
    if issubclass(swallowed.exc_type, KeyboardInterrupt):
        Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(swallowed)


def _is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is the cause. Python 3.11 raises a RuntimeError from it if it comes while a class is defined."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


class _Bugs:
    """Prints the traceback of an exception that was not caught, and exits with 70: 1 is an answer of `verify`."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not _is_interrupt(error):
            traceback.print_exception(error)
            raise SystemExit(ExitCode.FAILED) from error


def command() -> int:
    """Runs the command line and returns the exit code. Ctrl-C prints no traceback, from the first import to the end."""
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        Interrupts().install()
    try:
        from dptrain.cli import main

        with _Bugs():
            return _flushed(main())
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interrupt(error):
            raise
        return ExitCode.SIGINT
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only exit handlers of libraries still run


def _open_standard_streams() -> None:
    """Opens those that the shell closed (`>&-`): the next file that is opened would take their place."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file or class may be outside of the terminal's encoding
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    """Flushes stdout: Python would do it at its end, and print a traceback where that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            return ExitCode.SIGPIPE
        sys.stderr.write(f"dptrain: error: the output cannot be written: {error.strerror}\n")
        return code or ExitCode.TEMPORARY
    return code


if __name__ == "__main__":
    raise SystemExit(command())
