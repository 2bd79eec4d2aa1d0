"""The command `dptrain`, also `python -m dptrain`: what belongs to the process, not to a verb."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from threading import Timer

from dptrain.errors import ExitCode


class Interrupts:
    """SIGINT's handler until a verb has its own. It remembers: what is being imported may swallow KeyboardInterrupt
    (seen: a Ctrl-C during the imports, and the run went on to its end). One that came where Python lets nothing out,
    in a callback of the garbage collector (seen: once in twelve), is sent again.
    """

    def __init__(self) -> None:
        self.pressed = False  #: read by StopSignals

    def __call__(self, *_: object) -> None:
        """As signal.default_int_handler."""
        self.pressed = True
        raise KeyboardInterrupt

    def install(self) -> None:
        """From now on."""
        signal.signal(signal.SIGINT, self)
        sys.unraisablehook = _send_again


def _send_again(swallowed: sys.UnraisableHookArgs) -> None:
    """As sys.unraisablehook, but a KeyboardInterrupt comes again once this, where it would be lost too, is left."""
    if issubclass(swallowed.exc_type, KeyboardInterrupt):
        Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(swallowed)


class _Bugs:
    """An exception nobody has caught: its traceback, and exit code 70. Python's own, 1, is an answer of `verify`."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception):
            traceback.print_exception(error)
            raise SystemExit(ExitCode.FAILED) from error


def command() -> int:
    """Runs the command line and gives the exit code. Ctrl-C prints no traceback, from the first import to the end."""
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        Interrupts().install()
    try:
        from dptrain.cli import main

        with _Bugs():
            return _flushed(main())
    except KeyboardInterrupt:
        return ExitCode.SIGINT
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left are exit handlers of libraries


def _open_standard_streams() -> None:
    """Where the shell closed one (`>&-`), the next file that is opened would take its place."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _flushed(code: int) -> int:
    """Python would flush at its end too, and print a traceback where that fails."""
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
