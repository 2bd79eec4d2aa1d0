"""The thread a worker computes in, with a computer that takes as long as the test wants."""

from __future__ import annotations

from math import inf
from threading import Event, Timer

import numpy as np
import pytest

from dptrain.cluster.events import Failure, GradientTask
from dptrain.processes.worker_loop import ComputeThread

TASK = GradientTask(0, 0, np.zeros(1, np.float32))


class Slow:
    """Fails, as a computer may, once it is let."""

    def __init__(self) -> None:
        self.began, self.let = Event(), Event()

    def run(self, task):
        self.began.set()
        self.let.wait(120)
        return Failure("slow")

    def prefetch(self, task):
        """Does nothing: no shard is prepared ahead."""


@pytest.mark.parametrize("patience", [60.0, inf])
def test_closing_waits_for_the_task_that_runs_however_long_it_may_take(patience):
    computer = Slow()
    thread = ComputeThread(computer)
    thread.submit(TASK)
    Timer(0.1, computer.let.set).start()
    assert thread.close(patience)


def test_closing_without_patience_says_that_the_task_still_runs():
    computer = Slow()
    thread = ComputeThread(computer)
    thread.submit(TASK)
    computer.began.wait(120)
    assert not thread.close(0.0)
    computer.let.set()
