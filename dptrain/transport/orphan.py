"""For a launched process: waits for its launcher's word, and dies with it. Linux only, as all process handling here."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

LAUNCHER = "--launcher"  #: flag of every child: the launcher's process id
INCARNATION = "--incarnation"  #: flag of a worker: the 32 hex digits it signs with

_PR_SET_PDEATHSIG = 1


def die_with(launcher: int) -> None:
    """From now on the kernel kills us when the launcher ends, however it ends; exits where it has ended already.

    Its main thread must have started us: the kernel watches that thread. SIGINT is ignored from here on: at a Ctrl-C
    the coordinator ends, and then ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != launcher:
        sys.exit("dptrain: the launcher has gone")


def wait_for(launcher: int) -> None:
    """Until the launcher says that it is ready: a line on standard input. Exits where the launcher has gone instead.

    What takes long and needs nobody, importing above all, is done before.
    """
    if launcher and not sys.stdin.buffer.readline():
        sys.exit("dptrain: the launcher has gone")
