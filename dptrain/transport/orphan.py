"""For a launched process: dies with the process that launched it. Linux only, as all of dptrain's process handling."""

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
