"""Which worker computes which shard, and which answers count. Events in, whole lists of actions out."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.actions import altered, assigned, refusals
from dptrain.cluster.events import Ignore, Send, StepDone, Tell, Tick, WorkerLost
from dptrain.cluster.messages import Progress

T = 3  #: the term of conftest's Lead


@pytest.mark.parametrize(
    ("shards", "names", "expected"),
    [
        (4, "ab", {"a": [(0, 1), (1, 2)], "b": [(2, 3), (3, 4)]}),
        (4, "abc", {"a": [(0, 1)], "b": [(2, 3), (3, 4)], "c": [(1, 2)]}),
        (8, "a", {"a": [(0, 4), (4, 8)]}),
        (8, "ab", {"a": [(0, 2), (2, 4)], "b": [(4, 6), (6, 8)]}),
        (5, "ab", {"a": [(0, 1), (1, 2)], "b": [(2, 3), (3, 4)]}),
        (1, "ab", {"a": [(0, 1)]}),
        (7, "a", {"a": [(0, 2), (2, 4)]}),
        (3, "abcd", {"a": [(0, 1)], "b": [(1, 2)], "c": [(2, 3)]}),
    ],
)
def test_workers_start_in_different_subtrees_and_get_siblings(lead, shards, names, expected):
    lead = lead(shards=shards, validation=0)
    lead.join(*names)
    given = {}
    for name, first, last in assigned(lead.finish_step(*names)):
        given.setdefault(name, []).append((first, last))
    assert given == expected


def test_no_worker_gets_a_second_assignment_while_another_has_none(lead):
    lead = lead(shards=8)
    assert assigned(lead.join("a")) == [("a", 0, 4), ("a", 4, 8)]
    assert assigned(lead.join("b")) == []
    assert assigned(lead.killed("a")) == [("b", 0, 4), ("b", 4, 8)]
    lead.join("c", "d")
    actions = lead.killed("b")
    assert assigned(actions) == [("c", 0, 2), ("d", 4, 6), ("c", 2, 4), ("d", 6, 8)]


def test_each_answer_frees_a_slot(lead):
    lead = lead(shards=8)
    lead.hello("a")
    lead.hello("b")
    lead.hello("c")
    lead.canary("a")
    lead.killed("a")
    lead.canary("b")
    lead.canary("c")
    assert lead.done("b", 0, 4) == []
    assert assigned(lead.done("b", 4, 8))[:2] == [("b", 0, 2), ("c", 4, 6)]


def test_one_node_may_answer_several_assignments(lead):
    lead = lead(shards=4)
    lead.join("a", "b")
    lead.finish_step("a", "b")
    assert (lead.held("a"), lead.held("b")) == ([(0, 1), (1, 2)], [(2, 3), (3, 4)])
    assert lead.done("a", 0, 2) == []
    assert lead.held("a") == []
    lead.done("b", 2, 4)
    assert lead.machine.state.step == 2


def test_a_node_that_covers_what_another_worker_was_asked_for_costs_the_connection(lead):
    lead = lead(shards=4)
    lead.join("a", "b")
    lead.finish_step("a", "b")
    assert refusals(lead.done("a", 0, 4)) == ["sent shards 0-3 of step 1, which it was not asked for"]


def test_a_part_of_an_assignment_is_taken_and_the_rest_is_still_held(lead):
    lead = lead(shards=4)
    lead.join("a")
    assert lead.held("a") == [(0, 2), (2, 4)]
    assert lead.done("a", 0, 1) == []
    assert lead.held("a") == [(0, 2), (2, 4)]
    assert lead.done("a", 1, 2) == []
    assert lead.held("a") == [(2, 4)]


def test_a_step_is_applied_when_the_last_node_comes_and_the_next_one_begins_at_once(lead):
    lead = lead(shards=2)
    lead.join("a")
    assert lead.done("a", 0, 1) == []
    applied, *rest = lead.done("a", 1, 2, seconds=0.25)
    report = applied.report
    assert isinstance(report, StepDone)
    assert (report.step, report.samples, report.worker_seconds) == (1, 8, (("a", 0.75),))
    assert rest == [
        Send(b"a", lead.weights),
        Send(b"a", lead.order(1, 0, 1, 0, 2)),
        Send(b"a", lead.order(1, 1, 2, 0, 2)),
    ]
    assert lead.weights.step == 1


def test_weights_that_were_sent_are_never_changed_afterwards(lead):
    lead = lead(shards=1)
    lead.join("a")
    sent = lead.weights
    before = sent.params.tobytes(), sent.buffers.tobytes()
    lead.done("a", 0, 1)
    assert lead.machine.state.params.tobytes() != before[0]
    assert (sent.params.tobytes(), sent.buffers.tobytes()) == before


# --- what is not accepted


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"first": 1, "last": 3}, "sent shards [1, 3): no node of a step of 4 shards"),
        ({"first": 0, "last": 9}, "sent shards [0, 9): no node of a step of 4 shards"),
        ({"digest": "0" * 16}, "computed with parameters 0000000000000000"),
        ({"gradient": np.zeros(7, np.float32)}, "sent gradient of shape (7,); the model has (8,)"),
        ({"statistics": np.zeros(5, np.float32)}, "sent statistics of shape (5,); the model has (4,)"),
        ({"samples": 3}, "counted 3 samples in shards [0, 1); there are 4"),
        ({"hits": 5}, "counted 5 hits among 4 samples"),
        ({"step": 2}, "sent a gradient of step 2, which it was not asked for"),
        ({"first": 2, "last": 3}, "sent shard 2 of step 1, which it was not asked for"),
        ({"incarnation": "e" * 32}, "signed as eeeeeeee, said Hello as another"),
    ],
)
def test_an_impossible_answer_costs_the_connection_and_changes_nothing(lead, change, text):
    lead = lead(shards=4)
    lead.join("a", "b")
    lead.finish_step("a", "b")
    lead.done("b", 2, 3)
    before = lead.machine.state.sha256()
    message = altered(lead.node("a", 0, 1), **change)
    drop, lost = lead.say("a", message)[:2]
    assert drop.peer == b"a"
    assert drop.reason.startswith(text)
    assert lost == Tell(WorkerLost("a", drop.reason, (0, 1), 1))
    assert lead.machine.state.sha256() == before
    assert lead.machine._training.round.tree.nodes() == ((2, 3),)


def test_work_before_admission_costs_the_connection(lead):
    lead = lead()
    lead.feed(Tick())
    lead.hello("a")
    assert lead.done("a", 0, 1) == [Ignore(b"a", "sent NodeDone before it was admitted")]


def test_outdated_and_repeated_results_are_counted_and_change_nothing(lead):
    lead = lead(shards=2)
    lead.join("a")
    first, stale = lead.node("a", 0, 1), lead.non_finite("a", 0)
    lead.say("a", first)
    assert lead.say("a", first) == []
    assert lead.say("a", replace(first, term=T - 1)) == []
    lead.done("a", 1, 2)
    assert lead.machine.state.step == 1
    before = lead.machine.state.sha256()
    assert lead.say("a", first) == []
    assert lead.say("a", Progress(T, first.incarnation, 0, 0)) == []
    assert lead.say("a", replace(stale, step=0)) == []
    assert (lead.machine.counters.duplicate, lead.machine.counters.outdated) == (1, 4)
    assert lead.machine.state.sha256() == before
