"""The coordinator's clock and its end. Events in, whole lists of actions out. Other files test the work in between."""

import pytest

from dptrain.cluster.events import Ended, Gone, Notice, SaveCheckpoint, Send, StopRequested, Tell, Tick
from dptrain.cluster.messages import PROTOCOL, AskConfig, Leave, Ping, Stop

T = 3  #: the term of conftest's Lead


def test_every_peer_is_pinged_each_second(lead):
    lead = lead(shards=1)
    lead.join("a")
    lead.hello("b")
    pings = [Send(b"a", Ping(T)), Send(b"b", Ping(T))]
    seen = []
    for _ in range(8):
        lead.now += 0.25
        seen.append(lead.feed(Tick()))
    assert seen == [[], [], [], pings, [], [], [], pings]


def test_without_workers_it_waits_and_says_so_every_ten_seconds(lead):
    lead = lead()
    lead.feed(Tick())
    told = []
    for _ in range(25):
        lead.now += 1
        told += lead.feed(Tick())
    assert told == [Tell(Notice("warning", "waiting for workers: none connected"))] * 2
    lead.hello("a")
    lead.now += 10
    told = lead.feed(Tick())
    assert told == [Send(b"a", Ping(T)), Tell(Notice("warning", "waiting for workers: 1 preparing, none ready"))]


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("the console", 0)])
def test_a_stop_saves_what_is_applied_and_ends_at_once(lead, signal, code):
    lead = lead(shards=2)
    lead.join("a")
    lead.hello("b")
    lead.done("a", 0, 1)
    assert lead.feed(StopRequested(signal)) == [
        SaveCheckpoint(best=False),
        Send(b"a", Stop(T, signal)),
        Send(b"b", Stop(T, signal)),
        Ended(code, signal),
    ]
    assert lead.machine.ended
    assert lead.feed(StopRequested(signal)) == lead.canary("a") == []


def test_after_the_end_it_waits_for_members_to_answer_and_sends_stop_to_new_workers(lead):
    lead = lead(shards=2)
    assert not lead.machine.parting(lead.now)
    lead.join("a")
    lead.hello("b")
    lead.feed(StopRequested("SIGINT"))
    stop = Stop(T, "SIGINT")
    assert lead.feed(Tick()) == [Send(b"a", Ping(T)), Send(b"b", Ping(T))]
    assert lead.hello("c") == [Send(b"c", stop)]
    assert lead.say("c", Leave(T, lead.incarnation("c"), "SIGINT")) == []
    assert lead.canary("d") == [Send(b"d", stop)]  # of a connection the coordinator had given up
    assert lead.say("e", AskConfig(PROTOCOL)) == []
    assert lead.machine.parting(lead.now + 1.9)
    assert not lead.machine.parting(lead.now + 2.0), "who does not answer is not waited for"
    assert lead.say("a", Leave(T, lead.incarnation("a"), "SIGINT")) == []
    assert lead.machine.parting(lead.now)
    assert lead.feed(Gone(b"b", "the connection is closed")) == []
    assert not lead.machine.parting(lead.now)
    assert lead.feed(Tick()) == []
