"""How workers join a run: greetings, refusals, second connections. Events in, whole lists of actions out."""

from dataclasses import replace

import pytest

from cluster.actions import refusals
from dptrain.cluster.events import Ignore, Notice, Received, RunStarted, Send, Tell, Tick, WorkerAdmitted, WorkerLost
from dptrain.cluster.members import Change, Membership
from dptrain.cluster.messages import PROTOCOL, Admitted, AskConfig, Hello, Reject, Welcome, WhoAreYou
from dptrain.cluster.table import InvalidTransition
from dptrain.state import layout_digest
from simulation.toy import BUFFERS, CANARY, DATASET, PARAMS

T = 3  #: the term of conftest's Lead
WELCOME = Welcome(T, "toy", "{}", DATASET, layout_digest(PARAMS, BUFFERS))


def test_a_worker_is_welcomed_checked_admitted_and_given_the_weights_and_work(lead):
    lead = lead(shards=2)
    assert lead.hello("a") == [Tell(RunStarted(0, 9, 3, T)), Send(b"a", WELCOME)]
    assert lead.canary("a") == [
        Send(b"a", Admitted(T)),
        Tell(WorkerAdmitted("a", 7, "toy", 1)),
        Send(b"a", lead.weights),
        Send(b"a", lead.order(0, 0, 1, 0, 2)),
        Send(b"a", lead.order(0, 1, 2, 0, 2)),
    ]


def test_a_message_of_a_stranger_is_answered_with_who_are_you_and_nothing_else(lead):
    lead = lead()
    lead.join("a")
    message = lead.node("a", 0, 1)
    assert lead.say("x", message) == [Send(b"x", WhoAreYou(T))]
    assert lead.machine.counters.outdated == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": 1}, ("protocol 1", f"coordinator {PROTOCOL}")),
        ({"protocol": 4, "numerics": "toy-v1 bf16-v1"}, ("protocol 4", f"coordinator {PROTOCOL}: install the same")),
        ({"numerics": "toy-v2"}, ("'toy-v2'", "'toy-v1'")),
    ],
)
def test_a_worker_of_another_kind_is_refused_with_both_values(lead, change, words):
    lead = lead()
    _, send, drop, tell = lead.hello("a", **change)
    assert send == Send(b"a", Reject(drop.reason))
    assert tell == Tell(Notice("error", f"worker a is refused: {drop.reason}"))
    assert all(word in drop.reason for word in words)
    assert lead.canary("a") == [Send(b"a", WhoAreYou(T))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": "f" * 64}, ("canary", "f" * 12, CANARY[:12])),
        ({"dataset": "e" * 64}, ("data set", "e" * 12, DATASET[:12])),
    ],
)
def test_a_worker_with_other_data_or_other_arithmetic_is_refused_with_both_digests(lead, change, words):
    lead = lead()
    lead.hello("a")
    actions = lead.canary("a", **change)
    reason = actions[1].reason
    notice = Notice("error", f"worker a is refused: {reason}")
    assert actions == [Send(b"a", Reject(reason)), Ignore(b"a", reason), Tell(notice)]
    assert all(word in reason for word in words)


def test_an_augmenter_that_asks_gets_the_run_and_does_not_become_a_member(lead):
    lead = lead()
    lead.feed(Tick())
    assert lead.say("g", AskConfig(PROTOCOL)) == [Send(b"g", WELCOME)]
    assert lead.say("g", AskConfig(PROTOCOL)) == [Send(b"g", WELCOME)]
    assert [type(a) for a in lead.say("g", AskConfig(9))] == [Send, Ignore, Tell]
    lead.now += 1
    assert lead.feed(Tick()) == []


def test_the_same_process_on_a_new_connection_replaces_the_old_one(lead):
    lead = lead(shards=2)
    lead.join("a")
    again = replace(lead.node("a", 0, 1), step=0)
    hello = lead.machine._members.get(b"a").hello
    assert lead.feed(Received(b"a2", hello)) == [
        Ignore(b"a", "it has connected again"),
        Tell(WorkerLost("a", "it has connected again", (0, 1), 0)),
        Send(b"a2", WELCOME),
    ]
    assert lead.say("a", again) == [Send(b"a", WhoAreYou(T))]


def test_repeated_greetings_change_nothing(lead):
    lead = lead()
    lead.hello("a")
    assert lead.hello("a") == []
    lead.canary("a")
    assert lead.hello("a") == lead.canary("a") == []
    assert lead.machine.counters.duplicate == 3


def test_another_process_on_a_known_connection_is_dropped(lead):
    lead = lead()
    lead.join("a")
    actions = lead.hello("a", incarnation="f" * 32)
    assert refusals(actions) == ["said Hello a second time, under another incarnation"]


def test_a_member_that_is_gone_cannot_be_struck_and_the_error_shows_its_last_messages():
    members = Membership()
    member = members.add(b"a", Hello(PROTOCOL, "a" * 32, "a", 7, "toy-v1", "toy"))
    member.hear("Canary", 1.0)
    member.tracker.step(Change.CANARY)
    members.remove(member, Change.LOST, 2.0)
    with pytest.raises(InvalidTransition, match="silent is impossible in the state GONE") as caught:
        member.strike(3.0)
    assert caught.value.history == (
        "PREPARING: Canary",
        "PREPARING: heard -> PREPARING",
        "PREPARING: canary -> READY",
        "READY: lost -> GONE",
    )
