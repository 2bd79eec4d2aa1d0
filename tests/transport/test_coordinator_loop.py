"""The coordinator's loop over real sockets: what has come in is heard before an end, and the last word arrives."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Finish, StopRequested
from dptrain.cluster.reports import Notice, WorkerJoined, WorkerLost
from dptrain.cluster.state import TrainingState
from dptrain.cluster.toy import BUFFERS, CANARY, DATASET, NUMERICS, Toy
from dptrain.model import ParamLayout, ParamSpec
from dptrain.transport import router as router_module
from dptrain.transport.coordinator_loop import run_coordinator
from dptrain.wire.codec import Limits
from dptrain.wire.messages import PROTOCOL, Canary, Hello, Leave
from waiting import until

SIZE = 1 << 18  #: parameters: 1 MB, which the kernel takes at our end and has no room for at the other
ME = "ab" * 16

PEER = """
import os, signal, sys, time
from dptrain.cluster.events import Arrived
from dptrain.cluster.toy import BUFFERS, CANARY, DATASET, NUMERICS
from dptrain.transport.dealer import DealerLink
from dptrain.wire.codec import Limits
from dptrain.wire.messages import PROTOCOL, Canary, Hello, Stop

address, size, me = sys.argv[1], int(sys.argv[2]), "ab" * 16
link = DealerLink(address)
link.know(Limits(size, BUFFERS.size, 0))
link.open()
link.send(Hello(PROTOCOL, me, "w0", os.getpid(), NUMERICS, "toy"))
for _ in range(int(sys.argv[3])):
    link.send(Canary(1, me, CANARY, DATASET))
    time.sleep(0.001)  # libzmq holds 64
os.kill(os.getpid(), signal.SIGSTOP)
heard = []
while not any(not isinstance(event, Arrived) or isinstance(event.message, Stop) for event in heard):
    heard += link.poll(1.0)
words = [type(event.message).__name__ if isinstance(event, Arrived) else event.reason for event in heard]
print(*words[:words.index("Stop") + 1] if "Stop" in words else words)
link.close()
"""


class Recorder:
    """What was told."""

    def __init__(self):
        self.told = []

    def tell(self, report):
        self.told.append(report)

    def checkpoint(self, state, best):
        pass

    def lost(self):
        return [report.reason for report in self.told if isinstance(report, WorkerLost)]


class Stop:
    """Asks to stop as soon as `when()`."""

    filenos = ()

    def __init__(self, when):
        self.when = when

    def take(self):
        return StopRequested("the test") if self.when() else None


def coordinator(size):
    """Of a run that is never computed: `size` parameters."""
    toy = Toy(shards=1, validation=0, test=0)
    layout = ParamLayout((ParamSpec("weight", (size,)),))
    flat = [np.zeros(n, np.float32) for n in (size, BUFFERS.size, size)]
    state = TrainingState(layout, BUFFERS, flat[0], flat[1], {"velocity": flat[2]})
    return Coordinator(toy.job(), state, *toy.rules())


def stopped(process):
    """Whether SIGSTOP has taken hold."""
    time.sleep(0.01)
    assert process.poll() is None, "it has ended"
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize(("bind", "unread"), [("ipc", "100"), ("tcp://127.0.0.1:0", "300")])
def test_a_peer_that_was_busy_hears_of_the_end_although_much_of_what_it_said_is_not_read_yet(links, bind, unread):
    """The weights are on their way to it. Over tcp a close now ends the connection by a reset, because something of the
    peer's is unread, and what the peer's kernel had no room for is lost.
    """
    limits = Limits(SIZE, BUFFERS.size, 0)
    router = links.router(bind, limits)
    command = [sys.executable, "-c", PEER, router.endpoint, str(SIZE), unread]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: stopped(process))
        recorder = Recorder()
        resume = threading.Timer(0.5, lambda: os.kill(process.pid, signal.SIGCONT))
        resume.start()
        stop = Stop(lambda: any(isinstance(report, WorkerJoined) for report in recorder.told))
        assert run_coordinator(coordinator(SIZE), router, recorder, stop) == Finish(0, "the test")
        router.close(2.0)
        resume.join()
        heard, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert heard.split() == ["Welcome", "Admitted", "Params", "Assign", "Stop"]


def test_a_worker_that_leaves_is_heard_although_nothing_can_be_sent_to_it_any_more(links, monkeypatch):
    """It has hung up before its first words are read: the answer to them finds nobody."""
    router = links.router()
    dealer = links.dealer(router)
    dealer.send(Hello(PROTOCOL, ME, "w0", 7, NUMERICS, "toy"))
    dealer.send(Canary(1, ME, CANARY, DATASET))
    dealer.send(Leave(1, ME, "bye"))
    dealer.close(2.0)
    time.sleep(0.2)
    monkeypatch.setattr(router_module, "BATCH", 2)
    recorder = Recorder()
    stop = Stop(recorder.lost)
    run_coordinator(coordinator(6), router, recorder, stop)
    assert recorder.lost() == ["left: bye"]


def test_nobody_is_waited_for_longer_than_two_seconds(links):
    router = links.router()
    dealer = links.dealer(router)
    dealer.send(Hello(PROTOCOL, ME, "w0", 7, NUMERICS, "toy"))
    dealer.send(Canary(1, ME, CANARY, DATASET))
    recorder = Recorder()
    start = time.monotonic()
    stop = Stop(lambda: any(isinstance(report, WorkerJoined) for report in recorder.told))
    assert run_coordinator(coordinator(6), router, recorder, stop).code == 0
    assert 1.9 < time.monotonic() - start < 10
    assert Notice("info", "the test: stopping, with a checkpoint of what is applied") in recorder.told
