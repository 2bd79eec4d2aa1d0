"""Shards that are computed twice: late, audited and disputed ones."""

import numpy as np
import pytest

from cluster.actions import altered, assignments, refusals
from dptrain.cluster.doubt import audited
from dptrain.cluster.events import Ended, Notice, SaveCheckpoint, Send, StepDone, TakenBack, Tell, Tick
from dptrain.cluster.messages import Evaluate, NonFinite, Progress, Reject, WhoAreYou
from simulation.toy import oracle

T = 3  #: the term of conftest's Lead


def named(actions):
    return [a.report.text for a in actions if isinstance(a, Tell) and isinstance(a.report, Notice)]


def wrong(lead, name, first, last):
    """The node as a machine with one wrong bit would send it."""
    gradient = lead.node(name, first, last).result.gradient.copy()
    gradient.view(np.uint32)[0] ^= np.uint32(1)
    return {"gradient": gradient}


# --- late


def test_the_last_shard_of_a_late_worker_is_computed_by_an_idle_one_too_and_both_send_it_alone(lead):
    lead = lead(shards=4)
    lead.join("a", "b")
    lead.finish_step("a", "b")
    assert (lead.held("a"), lead.held("b")) == ([(0, 1), (1, 2)], [(2, 3), (3, 4)])
    lead.now += 1.0
    lead.say("a", Progress(T, lead.incarnation("a"), 1, 0, 1))
    lead.say("b", Progress(T, lead.incarnation("b"), 1, 2, 1))
    lead.now += 1.0
    assert assignments(lead.done("a", 0, 2)) == []
    assert lead.machine.wake_at(lead.now) == lead.now + 0.5
    lead.now += 0.5
    assert assignments(lead.feed(Tick())) == [("a", 3, 4, 1), ("b", 3, 4, 1)]
    lead.done("b", 2, 3)
    lead.done("a", 3, 4)
    assert lead.machine.state.step == 2
    assert lead.machine.state.sha256() == oracle(lead.toy).states[2]


def late(lead, *names):
    """In step 2, "a" has sent what it had, and gets the last shard of a worker that was silent."""
    lead.join(*names)
    lead.finish_step(*names)
    lead.now += 1.0
    lead.done("a", *((0, 2) if len(names) == 2 else (0, 1)))
    lead.now += 0.5
    return assignments(lead.feed(Tick()))


def test_a_second_result_with_the_same_bits_is_counted_as_an_audit(lead):
    lead = lead(shards=4)
    assert late(lead, "a", "b") == [("a", 3, 4, 1), ("b", 3, 4, 1)]
    lead.done("a", 3, 4)
    assert lead.done("b", 3, 4) == []
    assert (lead.machine.counters.agreed, lead.machine.counters.duplicate) == (1, 1)


def test_a_second_result_with_other_bits_starts_the_step_over_and_a_third_worker_decides(lead):
    lead = lead(shards=4)
    assert late(lead, "a", "b", "c") == [("a", 1, 2, 1), ("c", 1, 2, 1)]
    lead.done("a", 1, 2, **wrong(lead, "a", 1, 2))
    actions = lead.done("c", 1, 2)
    assert named(actions)[0].startswith(
        "workers a and c found different bits in shard 1 of step 2: it is computed again"
    )
    assert ("b", 1, 2, 1) in assignments(actions)
    assert lead.done("b", 2, 4) == []  # it was asked for this before
    actions = lead.done("b", 1, 2)
    assert named(actions)[0].startswith("worker a is quarantined: it found ")
    assert [a.peer for a in actions if isinstance(a, Send) and isinstance(a.message, Reject)] == [b"a"]
    lead.finish_step("b", "c")
    assert lead.machine.state.sha256() == oracle(lead.toy).states[2]


def test_what_is_doubtful_stays_so_when_the_step_starts_over(lead):
    lead = lead(shards=4)
    late(lead, "a", "b")
    lead.say("b", lead.non_finite("b", 2))
    lead.done("a", 3, 4)
    lead.done("b", 3, 4, **wrong(lead, "b", 3, 4))
    assert lead.machine._training.round.jury.doubtful == (2, 3)


def test_a_sum_that_overflowed_is_no_opinion_on_one_of_its_shards(lead):
    lead = lead(shards=4)
    lead.join("a", "b")
    lead.done("a", 0, 2, gradient=np.full_like(lead.node("a", 0, 2).result.gradient, np.inf))
    for name in "ab":
        for shard in (0, 1):
            lead.done(name, shard, shard + 1, attempt=1)
    lead.done("a", 2, 4)
    assert lead.machine.counters.quarantined == 0
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]


# --- later still: the step is applied


def applied(lead, *names, wrongly=False):
    """Step 2 is applied with a's result of a shard that its holder has computed too: holder, its answer, actions."""
    copied = late(lead, *names)
    (_, shard, _, _), (holder, *_) = copied
    last = shard if len(names) == 2 else 1
    holder = next(name for name, at, _, _ in copied if name != "a" and at == last)
    answer = lead.node(holder, last, last + 1)
    lead.done("a", last, last + 1, **({"gradient": -answer.result.gradient} if wrongly else {}))
    while lead.machine.state.step == 1:
        name, node = next((n, x) for n in names for x in lead.held(n) if x != (last, last + 1))
        actions = lead.done(name, *node)
    return holder, answer, actions


def told_steps(actions):
    return [a.report.step for a in actions if isinstance(a, Tell) and isinstance(a.report, StepDone)]


def again(lead, actions, *names):
    """All are asked who they are, say Hello again, and compute the step that was taken back; all actions after that."""
    assert [a.peer.decode() for a in actions if isinstance(a, Send) and isinstance(a.message, WhoAreYou)] == [*names]
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]
    actions = [*lead.join(*names)]
    while lead.machine.state.step == 1:
        there = [n for n in names if lead.machine._members.by_incarnation(lead.incarnation(n))]
        name, node = next((n, x) for n in there for x in lead.held(n))
        actions += lead.done(name, *node)
    return actions


def test_a_result_of_an_applied_step_with_the_same_bits_is_counted_as_an_audit(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b")
    assert lead.say(holder, answer) == []
    counters = lead.machine.counters
    assert (counters.outdated, counters.agreed, counters.disputed) == (1, 1, 0)


def test_neither_a_repetition_nor_other_weights_is_a_second_opinion_of_an_applied_step(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b")
    mine = altered(answer, incarnation=lead.incarnation("a"))
    other = {"gradient": -answer.result.gradient}
    assert lead.say("a", mine) == lead.say("a", altered(mine, **other)) == []
    assert lead.say(holder, altered(answer, digest="0" * 16, **other)) == []
    counters = lead.machine.counters
    assert (counters.outdated, counters.agreed, counters.disputed) == (3, 0, 0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "b"}, "sent shard 1 of step 1, which it was not asked for"),
        ({"samples": 3}, "counted 3 samples in shards [1, 2); there are 4"),
        ({"hits": 5}, "counted 5 hits among 4 samples"),
    ],
)
def test_an_impossible_result_of_an_applied_step_costs_the_connection_and_takes_nothing_back(lead, change, text):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c")
    before, name = lead.machine.state.sha256(), change.pop("name", holder)
    late = altered(answer, incarnation=lead.incarnation(name), gradient=-answer.result.gradient, **change)
    assert refusals(lead.say(name, late)) == [text]
    assert lead.machine.state.sha256() == before


def test_a_late_nan_of_a_worker_that_was_not_asked_takes_nothing_back(lead):
    lead = lead(shards=4)
    _, answer, _ = applied(lead, "a", "b", "c")
    nan = NonFinite(T, lead.incarnation("b"), 1, 1, answer.attempt, answer.digest, "bn.weight", "nan")
    assert refusals(lead.say("b", nan)) == ["sent shard 1 of step 1, which it was not asked for"]
    assert lead.machine.state.step == 2


def test_a_result_of_an_applied_step_with_other_bits_takes_it_back_and_the_wrong_worker_is_named(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c")
    gradient = answer.result.gradient.copy()
    gradient.view(np.uint32)[0] ^= np.uint32(1)
    actions = lead.say(holder, altered(answer, gradient=gradient))
    at = actions.index(Tell(TakenBack(1)))  # records and checkpoint of step 2 are removed first
    assert actions[at + 1] == SaveCheckpoint(best=False)
    assert named(actions)[0].startswith(f"workers a and {holder} found different bits in shard 1 of step 2, which is")
    assert lead.machine.counters.disputed == 1
    actions = again(lead, actions, "a", "b", "c")
    assert [text for text in named(actions) if text.startswith(f"worker {holder} is quarantined: it found ")]
    assert "step 2 was computed again: the same bits" in named(actions)
    assert told_steps(actions) == [2]
    assert lead.machine.state.sha256() == oracle(lead.toy).states[2]


def test_a_worker_quarantined_while_it_is_away_is_refused_when_it_comes_back(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c")
    lead.say(holder, altered(answer, gradient=-answer.result.gradient))
    sound = [name for name in "abc" if name != holder]
    lead.join(*sound)
    lead.finish_step(*sound)
    actions = lead.hello(holder)
    assert [type(a.message) for a in actions if isinstance(a, Send)] == [Reject]
    assert "this machine computes wrong bits" in named(actions)[0]


def test_a_worker_that_is_quarantined_while_it_joins_again_is_rejected_at_once(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c")
    lead.say(holder, altered(answer, gradient=-answer.result.gradient))
    sound = [name for name in "abc" if name != holder]
    lead.join(*sound)
    lead.hello(holder)
    actions = []
    while lead.machine.state.step == 1:
        name, node = next((name, node) for name in sound for node in lead.held(name))
        actions += lead.done(name, *node)
    rejected = [a.peer for a in actions if isinstance(a, Send) and isinstance(a.message, Reject)]
    assert rejected == [holder.encode()]
    assert lead.machine._members.get(holder.encode()) is None
    assert lead.machine.counters.quarantined == 1


def test_a_step_that_was_applied_with_wrong_bits_is_put_right_and_reported_again(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c", wrongly=True)
    assert lead.machine.state.sha256() != oracle(lead.toy).states[2]
    actions = again(lead, lead.say(holder, answer), "a", "b", "c")
    assert [text for text in named(actions) if text.startswith("worker a is quarantined: it found ")]
    assert any(text.startswith("step 2 had been applied with wrong bits") for text in named(actions))
    assert told_steps(actions) == [2]
    assert lead.machine.state.sha256() == oracle(lead.toy).states[2]


def test_a_nan_found_late_in_an_applied_step_takes_it_back_too(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b", "c")
    nan = NonFinite(T, lead.incarnation(holder), 1, 1, answer.attempt, answer.digest, "bn.weight", "nan")
    actions = again(lead, lead.say(holder, nan), "a", "b", "c")
    assert [text for text in named(actions) if text.startswith(f"worker {holder} is quarantined: it found ")]
    assert lead.machine.state.sha256() == oracle(lead.toy).states[2]


def test_a_result_is_compared_until_the_next_round_is_complete_and_only_counted_afterwards(lead):
    lead = lead(shards=4)
    holder, answer, _ = applied(lead, "a", "b")
    lead.finish_step("a", "b")
    assert lead.say(holder, altered(answer, gradient=-answer.result.gradient)) == []
    assert (lead.machine.counters.outdated, lead.machine.counters.disputed) == (1, 0)


# --- audited


def test_audited_shards_are_the_same_in_every_life_and_as_many_as_asked_for():
    chosen = [audited("run", step, shard, 0.01) for step in range(1_000) for shard in range(20)]
    assert chosen == [audited("run", step, shard, 0.01) for step in range(1_000) for shard in range(20)]
    assert 150 < sum(chosen) < 250
    assert not any(audited("run", step, 0, 0.0) for step in range(100))
    assert all(audited("run", step, 0, 1.0) for step in range(100))


def test_an_audited_shard_counts_only_when_two_workers_have_found_the_same(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a", "b")
    assert (lead.held("a"), lead.held("b")) == ([(0, 1)], [(0, 1)])
    assert lead.done("a", 0, 1) == []
    assert lead.machine.state.step == 0
    [applied] = [a.report for a in lead.done("b", 0, 1) if isinstance(a, Tell) and isinstance(a.report, StepDone)]
    assert applied.state_sha256 == oracle(lead.toy).states[1]
    assert lead.machine.counters.agreed == 1


def test_a_copy_of_a_message_is_no_second_opinion(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a", "b")
    message = lead.node("a", 0, 1)
    lead.say("a", message)
    lead.say("a", message)
    lead.killed("b")
    assert lead.machine.state.step == 1
    assert (lead.machine.counters.duplicate, lead.machine.counters.unaudited) == (1, 1)


def test_of_one_worker_two_results_of_a_doubtful_shard_are_kept_however_many_it_sends(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a", "b")
    for attempt in range(10):
        lead.done("a", 0, 1, attempt=attempt)
    assert lead.machine._training.round.jury.given(0, lead.incarnation("a")) == 2
    assert lead.machine.counters.duplicate == 8
    lead.done("b", 0, 1)
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]


def test_with_one_worker_the_audit_does_not_hold_the_run_up(lead):
    lead = lead(shards=2, job={"audit": 1.0})
    lead.join("a")
    lead.done("a", 0, 1)
    lead.done("a", 1, 2)
    assert lead.machine.state.step == 1
    assert lead.machine.counters.unaudited == 2


def test_an_audited_shard_with_a_nan_is_computed_again_by_the_only_worker(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a")
    assert assignments(lead.say("a", lead.non_finite("a", 0))) == [("a", 0, 1, 1)]
    assert lead.say("a", lead.non_finite("a", 0, attempt=1))[-1] == Ended(
        70, "step 1, shard 0: bn.weight is not finite"
    )


def test_two_workers_that_disagree_are_asked_again_and_the_one_that_changes_its_result_is_named(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a", "b")
    lead.done("a", 0, 1, **wrong(lead, "a", 0, 1))
    assert assignments(lead.done("b", 0, 1)) == [("a", 0, 1, 1)]
    actions = lead.done("a", 0, 1, attempt=1)
    assert named(actions)[0].startswith("worker a is quarantined")
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]


def test_two_workers_that_repeat_different_results_wait_for_a_third_and_the_coordinator_says_so(lead):
    lead = lead(shards=1, job={"audit": 1.0})
    lead.join("a", "b")
    bad = wrong(lead, "a", 0, 1)
    lead.done("a", 0, 1, **bad)
    lead.done("b", 0, 1)
    lead.done("a", 0, 1, attempt=1, **bad)
    text = "workers a and b disagree about shard 0 of step 1: one more worker must decide"
    assert named(lead.done("b", 0, 1, attempt=1)) == [text]
    assert lead.machine.state.step == 0
    lead.join("c")
    assert lead.held("c") == [(0, 1)]
    actions = lead.done("c", 0, 1)
    assert named(actions)[0].startswith("worker a is quarantined")
    assert lead.machine.state.sha256() == oracle(lead.toy).states[1]


@pytest.mark.parametrize("change", [{"hits": 0}, {"loss": 0.25}])
def test_scores_that_differ_are_counted_again(lead, change):
    lead = lead(shards=1, epochs=1, steps_per_epoch=2, test=0)
    lead.join("a", "b")
    lead.finish_step("a", "b")
    orders = [a for a in lead.finish_step("a", "b") if isinstance(a, Send) and isinstance(a.message, Evaluate)]
    [last] = [a.message for a in orders if a.message.index == 2]
    [slow] = [a.peer.decode() for a in orders if a.message.index == 2]
    quick = "ab".replace(slow, "")
    lead.now += 1.0
    lead.scored(quick, next(a.message for a in orders if a.message.index == 1))
    lead.now += 1.5
    lead.feed(Tick())
    assert (2, 3) in lead.held(quick)
    lead.scored(quick, last, **change)
    actions = lead.scored(slow, last)
    assert "found different bits in shard 2 of the validation split" in named(actions)[0]
    assert lead.machine._training.round.jury.doubtful == (2,)
