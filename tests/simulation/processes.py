"""Real `dptrain` processes of one run. All their descendants inherit a mark, by which they are found and ended."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
MARK = "RUN_MARK"  #: environment variable; children inherit it, even when another process adopts them
ROLES = {"dptrain.workers.gradient": "worker", "dptrain.workers.augmenter": "augmenter"}


class Group:
    """The processes of one run, or of one test: whatever was started here and is still there."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.mark = secrets.token_hex(8)
        self.environ = os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1", **(environ or {}), MARK: self.mark}
        self._started: list[subprocess.Popen[bytes]] = []
        self._terminal = -1

    def start(
        self, *arguments: object, name: str = "", shell: str = "", environ: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """`dptrain ARGUMENTS` in a session of its own; output goes to NAME.out and NAME.err in the folder.

        `shell`: a script that bash runs instead, at a terminal of its own, with the command as "$@".
        """
        name = name or str(arguments[0])
        command = [sys.executable, "-m", "dptrain", *map(str, arguments)]
        terminal = subprocess.DEVNULL
        if shell:
            command = ["bash", "-c", shell, "bash", *command]
            self._terminal, terminal = os.openpty()
        with (self.folder / f"{name}.out").open("ab") as out, (self.folder / f"{name}.err").open("ab") as err:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ | (environ or {}),
                stdin=terminal,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_take_terminal if shell else None,
            )
        if shell:
            os.close(terminal)
        self._started.append(process)
        return process

    def output(self, name: str) -> str:
        """What it has said so far, on both."""
        return "".join(
            path.read_text(errors="replace")
            for path in (self.folder / f"{name}.out", self.folder / f"{name}.err")
            if path.exists()
        )

    def members(self, role: str = "") -> list[int]:
        """Process ids of what still runs, zombies not counted: all, or the "worker"s, "augmenter"s, "main" ones."""
        return [pid for pid in _pids() if self._is_ours(pid) and role in ("", _role(pid))]

    def _is_ours(self, pid: int) -> bool:
        try:
            return f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def end(self) -> list[int]:
        """Kills what is left and says which it was; reaps what was started here."""
        left = self.members()
        for pid in left:
            hit(pid, signal.SIGCONT)
            hit(pid, signal.SIGKILL)
        for process in self._started:
            process.wait(30)
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        return left


def _take_terminal() -> None:
    """Standard input becomes the terminal of this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def hit(pid: int, number: int) -> bool:
    """Sends a signal; returns whether the process existed."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """A free port of the loopback; another process may take it meanwhile."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]


def _role(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    return next((role for module, role in ROLES.items() if module in words), "main")


def until(happens: Callable[[], T], seconds: float, what: Callable[[], str]) -> T:
    """The first true value of happens(), asked 50 times a second; AssertionError with what() after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = happens()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what()}\nnot within {seconds} s")
