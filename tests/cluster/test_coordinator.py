"""The coordinator: events in, whole lists of actions out. What the run does to the weights is in test_course.py."""

from dataclasses import replace

import numpy as np
import pytest

from dptrain.cluster.events import Drop, Finish, PeerGone, Received, SaveCheckpoint, Send, StopRequested, Tell, Tick
from dptrain.cluster.reports import Notice, RunStarted, StepDone, WorkerJoined, WorkerLost, WorkerSilent
from dptrain.cluster.state import layout_digest
from dptrain.cluster.toy import BUFFERS, CANARY, DATASET, PARAMS, oracle
from dptrain.wire.messages import (
    PROTOCOL,
    Admitted,
    AskConfig,
    Assign,
    Leave,
    Ping,
    Progress,
    Reject,
    Stop,
    Welcome,
    WhoAreYou,
)

T = 3  #: the term of conftest's Lead
WELCOME = Welcome(T, "toy", "{}", DATASET, layout_digest(PARAMS, BUFFERS))


def assigned(actions):
    """(peer, first, last) of every Assign, in order."""
    return [
        (a.peer.decode(), a.message.first, a.message.last)
        for a in actions
        if isinstance(a, Send) and isinstance(a.message, Assign)
    ]


def refusals(actions):
    return [a.reason for a in actions if isinstance(a, Drop)]


# --- who takes part


def test_a_worker_is_welcomed_checked_admitted_and_given_the_weights_and_work(lead):
    lead = lead(shards=2)
    assert lead.hello("a") == [Tell(RunStarted(0, 9, 3, T)), Send(b"a", WELCOME)]
    assert lead.canary("a") == [
        Send(b"a", Admitted(T)),
        Tell(WorkerJoined("a", 7, "toy", 1)),
        Send(b"a", lead.weights),
        Send(b"a", lead.order(0, 0, 1, 0, 2)),
        Send(b"a", lead.order(0, 1, 2, 0, 2)),
    ]


def test_a_message_of_a_stranger_is_answered_with_who_are_you_and_nothing_else(lead):
    lead = lead()
    lead.join("a")
    message = lead.node("a", 0, 1)
    assert lead.say("x", message) == [Send(b"x", WhoAreYou(T))]
    assert lead.machine.counters.late == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [({"protocol": 1}, ("protocol 1", f"coordinator {PROTOCOL}")), ({"numerics": "bf16"}, ("'bf16'", "'toy-v1'"))],
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
    assert actions == [Send(b"a", Reject(reason)), Drop(b"a", reason), Tell(notice)]
    assert all(word in reason for word in words)


def test_an_augmenter_that_asks_is_told_the_run_and_does_not_become_a_member(lead):
    lead = lead()
    lead.feed(Tick())
    assert lead.say("g", AskConfig(PROTOCOL)) == [Send(b"g", WELCOME)]
    assert lead.say("g", AskConfig(PROTOCOL)) == [Send(b"g", WELCOME)]
    assert [type(a) for a in lead.say("g", AskConfig(9))] == [Send, Drop, Tell]
    lead.now += 1
    assert lead.feed(Tick()) == []


def test_the_same_process_on_a_new_connection_replaces_the_old_one(lead):
    lead = lead(shards=2)
    lead.join("a")
    again = replace(lead.node("a", 0, 1), step=0)
    hello = lead.machine._members.get(b"a").hello
    assert lead.feed(Received(b"a2", hello)) == [
        Drop(b"a", "it has connected anew"),
        Tell(WorkerLost("a", "it has connected anew", (0, 1), 0)),
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


# --- who computes what


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


def test_nobody_gets_a_second_assignment_while_somebody_has_none(lead):
    lead = lead(shards=8)
    assert assigned(lead.join("a")) == [("a", 0, 4), ("a", 4, 8)]
    assert assigned(lead.join("b")) == []
    assert assigned(lead.feed(PeerGone(b"a", "killed", killed=True))) == [("b", 0, 4), ("b", 4, 8)]
    lead.join("c", "d")
    actions = lead.feed(PeerGone(b"b", "killed", killed=True))
    assert assigned(actions) == [("c", 0, 2), ("d", 4, 6), ("c", 2, 4), ("d", 6, 8)]


def test_each_answer_frees_a_slot(lead):
    lead = lead(shards=8)
    lead.hello("a")
    lead.hello("b")
    lead.hello("c")
    lead.canary("a")
    lead.feed(PeerGone(b"a", "gone", killed=True))
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


def test_a_node_that_covers_what_somebody_else_was_asked_for_costs_the_connection(lead):
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
    message = replace(lead.node("a", 0, 1), **change)
    drop, lost = lead.say("a", message)[:2]
    assert drop.peer == b"a"
    assert drop.reason.startswith(text)
    assert lost == Tell(WorkerLost("a", drop.reason, (0, 1), 1))
    assert lead.machine.state.sha256() == before
    assert lead.machine._course.round.tree.nodes() == ((2, 3),)


def test_work_before_admission_costs_the_connection(lead):
    lead = lead()
    lead.feed(Tick())
    lead.hello("a")
    assert lead.done("a", 0, 1) == [Drop(b"a", "sent NodeDone before it was admitted")]


def test_what_comes_late_or_twice_is_counted_and_changes_nothing(lead):
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
    assert (lead.machine.counters.duplicate, lead.machine.counters.late) == (1, 4)
    assert lead.machine.state.sha256() == before


# --- workers that go, are silent, come back


def test_what_a_lost_worker_held_is_given_to_the_others_and_told(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    assert lead.feed(PeerGone(b"a", "killed by signal 9", killed=True)) == [
        Tell(WorkerLost("a", "killed by signal 9", (0, 1), 1)),
        Send(b"b", lead.order(0, 0, 1, 1, 2)),
        Send(b"b", lead.order(0, 1, 2, 1, 2)),
    ]
    assert lead.feed(PeerGone(b"a", "twice")) == []


def test_a_worker_that_leaves_is_told_with_its_reason(lead):
    lead = lead(shards=2)
    lead.join("a")
    leave = Leave(T, lead.incarnation("a"), "SIGTERM")
    assert lead.say("a", leave) == [Tell(WorkerLost("a", "left: SIGTERM", (0, 1), 0))]


def test_a_silent_worker_loses_its_shards_and_its_late_answer_still_counts(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    late = lead.node("a", 0, 1)
    lead.now += 4.9
    assert assigned(lead.feed(Tick())) == []
    lead.now += 0.1
    actions = lead.feed(Tick())
    silences = [Tell(WorkerSilent("a", 5.0, f"shard {i} of step 1")) for i in (0, 1)]
    assert [a for a in actions if isinstance(a, Tell)] == silences
    assert assigned(actions) == [("b", 0, 1), ("b", 1, 2)]
    assert lead.say("a", late) == []
    assert lead.done("b", 0, 1) == []
    assert lead.machine.counters.duplicate == 1
    assert lead.machine.state.step == 0
    lead.done("b", 1, 2)
    assert lead.machine.state.step == 1


def test_a_suspect_gets_nothing_until_it_is_heard_and_then_the_current_weights(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    late = lead.node("a", 0, 1)
    lead.now += 5
    lead.feed(Tick())
    lead.done("b", 0, 1)
    actions = lead.done("b", 1, 2)
    assert {a.peer for a in actions if isinstance(a, Send)} == {b"b"}
    assert lead.say("a", late) == [Send(b"a", lead.weights)]
    actions = lead.feed(PeerGone(b"b", "gone", killed=True))
    assert assigned(actions) == [("a", 0, 1), ("a", 1, 2)]


def test_the_only_worker_is_asked_again_with_twice_the_patience(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.now += 5
    assert lead.feed(Tick())[-2:] == [Send(b"a", Ping(T)), Send(b"a", lead.order(0, 0, 1, 1, 2))]
    lead.now += 9
    assert assigned(lead.feed(Tick())) == []
    lead.now += 1
    assert lead.feed(Tick())[-1] == Send(b"a", lead.order(0, 0, 1, 2, 2))


def test_progress_renews_all_leases_of_a_worker(lead):
    lead = lead(shards=2)
    lead.join("a")
    me = lead.incarnation("a")
    for first, done in ((0, 0), (0, 1), (1, 0), (1, 1)):
        lead.now += 4
        assert lead.say("a", Progress(T, me, 0, first, done)) == []
        assert all(isinstance(a.message, Ping) for a in lead.feed(Tick()))


def test_a_worker_that_says_again_and_again_what_it_has_done_and_sends_nothing_loses_its_shards(lead):
    lead = lead(shards=2)
    lead.join("liar")
    me = lead.incarnation("liar")
    for shard in (0, 1):
        assert lead.say("liar", Progress(T, me, 0, shard, 1)) == []
    lead.join("honest")
    told = []
    for second in range(6):
        lead.now += 1
        for shard in (0, 1, 2**40 + second):
            told += lead.say("liar", Progress(T, me, 0, shard, 1))
        told += lead.feed(Tick())
    assert Tell(WorkerSilent("liar", 5.0, "shard 0 of step 1")) in told
    assert assigned(told)[-1][0] == "honest"


def test_whoever_lets_three_leases_run_out_leaves_open_shards_to_others_for_a_minute(lead):
    lead = lead(shards=1)
    lead.join("liar", "honest")
    for step in range(2):
        assert lead.held("liar") == [(0, 1)]
        lead.now += 600
        assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
        lead.say("liar", Progress(T, lead.incarnation("liar"), step, 0))
        lead.done("honest", 0, 1)
    lead.now += 600
    assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
    lead.say("liar", Progress(T, lead.incarnation("liar"), 2, 0))
    lead.done("honest", 0, 1)
    assert (lead.held("liar"), lead.held("honest") != []) == ([], True)


def test_nobody_is_measured_by_the_speed_that_a_barred_worker_has_claimed(lead):
    lead = lead(shards=1)
    lead.join("liar")
    me = lead.incarnation("liar")
    for _ in range(3):
        lead.now += 0.001
        lead.say("liar", Progress(T, me, 0, 0, 1))  # done in a millisecond, it says
        lead.now += 600
        lead.feed(Tick())
    lead.join("honest")
    lead.now += 600
    assert assigned(lead.feed(Tick())) == [("honest", 0, 1)]
    lead.now += 1
    lead.say("liar", Progress(T, me, 0, 0))  # no suspect any more
    lead.done("honest", 0, 1)
    assert lead.held("honest") == [(0, 1)]  # the liar may have a copy: whoever is first counts


def test_whoever_is_left_to_himself_gets_shards_however_many_leases_he_has_let_run_out(lead):
    lead = lead(shards=1)
    lead.join("slow")
    for _ in range(6):
        lead.now += 600
        assert assigned(lead.feed(Tick())) == [("slow", 0, 1)]
    lead.done("slow", 0, 1)
    assert lead.machine.state.step == 1
    member = lead.machine._members.by_incarnation(lead.incarnation("slow"))
    assert (member.strikes, member.barred_until < lead.now) == (0, True)


def test_a_result_sent_twice_renews_nothing(lead):
    lead = lead(shards=2)
    lead.join("liar")
    lead.done("liar", 0, 1)
    said = lead.node("liar", 0, 1)
    lead.join("honest")
    told = []
    for _ in range(6):
        lead.now += 1
        told += [*lead.say("liar", said), *lead.feed(Tick())]
    assert ("honest", 1, 2) in assigned(told)


def test_a_part_of_a_node_that_somebody_else_has_done_is_a_duplicate_and_the_rest_is_open_again(lead):
    lead = lead(shards=2)
    lead.join("a")
    both = lead.node("a", 0, 2)
    lead.join("b")
    lead.now += 5
    lead.feed(Tick())
    assert lead.done("b", 0, 1) == []
    assert lead.say("a", both) == []
    assert lead.machine.counters.duplicate == 1
    lead.done("b", 1, 2)
    assert lead.machine.state.step == 1


# --- time, the end


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
        Finish(code, signal),
    ]
    assert lead.machine.finished
    assert lead.feed(StopRequested(signal)) == lead.feed(Tick()) == []


NAMED = "step 1, shard 1: bn.weight is not finite"


def test_a_nan_is_computed_again_and_ends_the_run_without_a_checkpoint_and_names_the_place(lead):
    lead = lead(shards=2)
    lead.join("a")
    before = lead.machine.state.sha256()
    assert lead.say("a", lead.non_finite("a", 1)) == [Send(b"a", lead.order(0, 1, 2, 1, 2, alone=1))]
    tell, stop, finish = lead.say("a", lead.non_finite("a", 1, attempt=1))
    assert (tell.report.level, stop, finish) == ("error", Send(b"a", Stop(T, NAMED)), Finish(70, NAMED))
    assert tell.report.text.startswith(f"{NAMED}: the training has diverged")
    assert tell.report.final
    assert lead.machine.state.sha256() == before


def test_a_nan_that_a_second_worker_finds_too_ends_the_run(lead):
    lead = lead(shards=2)
    lead.join("a", "b")
    assert assigned(lead.say("a", lead.non_finite("a", 1))) == [("b", 1, 2)]
    actions = lead.say("b", lead.non_finite("b", 1))
    named = "step 1, shard 1: bn.weight is not finite (a and b computed the same)"
    assert actions[-1] == Finish(70, named)
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)


def test_a_nan_that_only_one_worker_finds_costs_it_its_place_by_name_and_the_run_goes_on(lead):
    lead = lead(shards=2)
    lead.join("a", "b", "c")
    lead.say("a", lead.non_finite("a", 1))
    assert assigned(lead.done("b", 1, 2)) == [("c", 1, 2)]
    lead.done("a", 0, 1)
    actions = lead.done("c", 1, 2)
    [reason] = [a.message.reason for a in actions if isinstance(a, Send) and isinstance(a.message, Reject)]
    assert "this machine computes wrong bits" in reason
    assert Tell(Notice("error", f"worker a is quarantined: {reason}")) in actions
    assert lead.machine.state.step == 1
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]
    assert lead.machine.counters.quarantined == 1


def test_a_nan_that_a_worker_did_not_notice_is_found_here(lead):
    lead = lead(shards=2)
    lead.join("a")
    gradient = lead.node("a", 1, 2).gradient.copy()
    gradient[6] = np.inf
    lead.done("a", 1, 2, gradient=gradient)
    actions = lead.done("a", 1, 2, gradient=gradient, attempt=1)
    assert actions[1:] == [Send(b"a", Stop(T, NAMED)), Finish(70, NAMED)]
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)


def test_an_infinite_sum_blames_nobody_its_shards_are_asked_for_one_by_one(lead):
    lead = lead(shards=4)
    lead.join("a")
    assert lead.held("a") == [(0, 2), (2, 4)]
    gradient = np.full(PARAMS.size, np.inf, np.float32)
    actions = lead.done("a", 0, 2, gradient=gradient)
    assert assigned(actions) == [("a", 0, 1)]
    assert lead.machine.counters.quarantined == 0


def test_a_nan_of_a_shard_the_worker_was_not_asked_for_costs_the_connection(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    actions = lead.say("b", lead.non_finite("b", 1))
    assert refusals(actions) == ["sent NonFinite of step 0, which it was not asked for"]
    assert not lead.machine.finished


def test_finite_shards_with_an_infinite_sum_end_the_run(lead):
    lead = lead(shards=2)
    lead.join("a")
    huge = np.full(PARAMS.size, 3e38, np.float32)
    lead.done("a", 0, 1, gradient=huge)
    actions = lead.done("a", 1, 2, gradient=huge)
    assert actions[-1] == Finish(70, "step 1: the sum over all shards is not finite in conv.weight")
    assert lead.machine.state.step == 0


def test_an_update_that_overflows_ends_the_run_without_a_checkpoint(lead):
    lead = lead(shards=1)
    lead.join("a")
    lead.machine.state.optimizer["velocity"][:] = 3e38
    actions = lead.done("a", 0, 1, gradient=np.full(PARAMS.size, 3e38, np.float32))
    assert actions[-1] == Finish(70, "step 1: conv.weight is not finite after the update")
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)
