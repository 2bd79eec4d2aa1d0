"""The coordinator's loop over real sockets: it reads messages that have arrived before it ends, and delivers Stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dptrain.cluster import messages
from dptrain.cluster.codec import Limits
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Arrived, Ended, Notice, StopRequested, WorkerAdmitted, WorkerLost
from dptrain.cluster.messages import PROTOCOL, Canary, Hello, Leave
from dptrain.model import ParamLayout, ParamSpec
from dptrain.net import links as links_module
from dptrain.processes.coordinator_loop import run_coordinator
from dptrain.state import TrainingState
from simulation.toy import BUFFERS, CANARY, DATASET, NUMERICS, Toy
from waiting import until

SIZE = 1 << 18  #: parameters: 1 MB, which the kernel takes at our end and has no room for at the other
ME = "ab" * 16

PEER = """
import os, signal, sys, time
from dptrain.cluster.events import Arrived
from simulation.toy import BUFFERS, CANARY, DATASET, NUMERICS
from dptrain.net import sockets
from dptrain.net.links import DealerLink
from dptrain.cluster.codec import Limits
from dptrain.cluster.messages import PROTOCOL, Canary, Hello, Stop

address, size, me = sys.argv[1], int(sys.argv[2]), "ab" * 16
sockets.HIGH_WATER = 1_000
link = DealerLink(address)
link.know(Limits(size, BUFFERS.size, 0))
link.open()
link.send(Hello(PROTOCOL, me, "w0", os.getpid(), NUMERICS, "toy"))
for _ in range(int(sys.argv[3])):
    link.send(Canary(1, me, CANARY, DATASET))
time.sleep(0.3)  # as many go out as the kernel takes
os.kill(os.getpid(), signal.SIGSTOP)
heard = []
while not any(not isinstance(event, Arrived) or isinstance(event.message, Stop) for event in heard):
    heard += link.poll(1.0)
words = [type(event.message).__name__ if isinstance(event, Arrived) else event.reason for event in heard]
print(*[word for word in words[:words.index("Stop") + 1 if "Stop" in words else None] if word != "Ping"])
link.close()
"""


class Recorder:
    """The reports of a run."""

    def __init__(self):
        self.told = []

    def tell(self, report):
        self.told.append(report)

    def checkpoint(self, state, best):
        pass

    def joined(self):
        return any(isinstance(report, WorkerAdmitted) for report in self.told)

    def lost(self):
        return [report.reason for report in self.told if isinstance(report, WorkerLost)]


class Stop:
    """Asks to stop as soon as `when()`, so many times."""

    filenos = ()

    def __init__(self, when, times=1):
        self.when, self.left = when, times

    def take(self):
        if not self.left or not self.when():
            return None
        self.left -= 1
        return StopRequested("the test")


def newcomer(links, router):
    """A worker that has said all that makes it a member, and does not read."""
    dealer = links.dealer(router)
    dealer.send(Hello(PROTOCOL, ME, "w0", 7, NUMERICS, "toy"))
    dealer.send(Canary(1, ME, CANARY, DATASET))
    return dealer


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
def test_a_busy_peer_gets_stop_although_not_all_its_messages_are_read(links, bind, unread, monkeypatch):
    """The weights are on their way to it. Over tcp a close now ends the connection by a reset, because something of the
    peer's is unread, and what the peer's kernel had no room for is lost.
    """
    monkeypatch.setattr("dptrain.cluster.coordinator.PARTING", 20.0)  # the peer may have to wait for a CPU
    limits = Limits(SIZE, BUFFERS.size, 0)
    router = links.router(bind, limits)
    command = [sys.executable, "-c", PEER, router.endpoint, str(SIZE), unread]
    tests = str(Path(__file__).resolve().parents[1])  # the other process imports the toy network too
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": tests})
    try:
        until(lambda: stopped(process))
        recorder = Recorder()
        resume = threading.Timer(0.5, lambda: os.kill(process.pid, signal.SIGCONT))
        resume.start()
        stop = Stop(recorder.joined)
        assert run_coordinator(coordinator(SIZE), router, recorder, stop) == Ended(0, "the test")
        router.close(2.0)
        resume.join()
        heard, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert heard.split() == ["Welcome", "Admitted", "Params", "Assign", "Stop"]


def test_a_worker_that_leaves_is_heard_although_nothing_can_be_sent_to_it_any_more(links, monkeypatch):
    """It closes its connection before its Hello is read, so the answer cannot be delivered."""
    router = links.router()
    dealer = newcomer(links, router)
    dealer.send(Leave(1, ME, "bye"))
    dealer.close(2.0)
    time.sleep(0.2)
    monkeypatch.setattr(links_module, "BATCH", 2)
    recorder = Recorder()
    stop = Stop(recorder.lost)
    run_coordinator(coordinator(6), router, recorder, stop)
    assert recorder.lost() == ["left: bye"]


def test_the_coordinator_waits_for_its_workers_at_most_two_seconds(links):
    router = links.router()
    newcomer(links, router)
    recorder = Recorder()
    start = time.monotonic()
    stop = Stop(recorder.joined)
    assert run_coordinator(coordinator(6), router, recorder, stop).code == 0
    assert 1.9 < time.monotonic() - start < 60
    assert Notice("info", "the test: stopping; a checkpoint of the applied steps is written") in recorder.told


def test_a_second_request_to_stop_ends_the_waiting(links, monkeypatch):
    monkeypatch.setattr("dptrain.cluster.coordinator.PARTING", 1e9)
    router = links.router()
    newcomer(links, router)
    recorder, machine = Recorder(), coordinator(6)
    assert run_coordinator(machine, router, recorder, Stop(recorder.joined, times=2)).code == 0
    assert machine.parting(time.monotonic()), "it has not waited to the end"


def test_a_worker_that_says_hello_as_the_run_ends_gets_stop_even_if_it_is_the_only_one(links, monkeypatch):
    router = links.router()
    dealer = links.dealer(router)
    dealer.send(Hello(PROTOCOL, ME, "w0", 7, NUMERICS, "toy"))
    time.sleep(0.2)
    monkeypatch.setattr(links_module, "BATCH", 0)  # nothing is read before the end
    stop = Stop(lambda: monkeypatch.setattr(links_module, "BATCH", 64) or True)
    run_coordinator(coordinator(6), router, Recorder(), stop)
    router.close(2.0)
    said, *_lost = links.collect(dealer)
    assert said == Arrived(messages.Stop(1, "the test"))
