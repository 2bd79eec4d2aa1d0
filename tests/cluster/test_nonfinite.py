"""NaN and infinity: which process finds them, and what happens then. Events in, whole lists of actions out."""

import numpy as np

from cluster.actions import assigned, refusals
from dptrain.cluster.events import Ended, Notice, SaveCheckpoint, Send, Tell
from dptrain.cluster.messages import Reject, Stop
from simulation.toy import PARAMS, oracle

T = 3  #: the term of conftest's Lead
NAMED = "step 1, shard 1: bn.weight is not finite"


def test_a_nan_is_computed_again_and_ends_the_run_without_a_checkpoint_and_names_the_place(lead):
    lead = lead(shards=2)
    lead.join("a")
    before = lead.machine.state.sha256()
    assert lead.say("a", lead.non_finite("a", 1)) == [Send(b"a", lead.order(0, 1, 2, 1, 2, alone=1))]
    tell, stop, finish = lead.say("a", lead.non_finite("a", 1, attempt=1))
    assert (tell.report.level, stop, finish) == ("error", Send(b"a", Stop(T, NAMED)), Ended(70, NAMED))
    assert tell.report.text.startswith(f"{NAMED}: the training has diverged")
    assert tell.report.final
    assert lead.machine.state.sha256() == before


def test_a_nan_that_a_second_worker_finds_too_ends_the_run(lead):
    lead = lead(shards=2)
    lead.join("a", "b")
    assert assigned(lead.say("a", lead.non_finite("a", 1))) == [("b", 1, 2)]
    actions = lead.say("b", lead.non_finite("b", 1))
    named = "step 1, shard 1: bn.weight is not finite (a and b computed the same)"
    assert actions[-1] == Ended(70, named)
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)


def test_a_nan_that_only_one_worker_finds_quarantines_it_by_name_and_the_run_goes_on(lead):
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
    gradient = lead.node("a", 1, 2).result.gradient.copy()
    gradient[6] = np.inf
    lead.done("a", 1, 2, gradient=gradient)
    actions = lead.done("a", 1, 2, gradient=gradient, attempt=1)
    assert actions[1:] == [Send(b"a", Stop(T, NAMED)), Ended(70, NAMED)]
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)


def test_an_infinite_sum_blames_no_worker_its_shards_are_asked_for_one_by_one(lead):
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
    assert refusals(actions) == ["sent shard 1 of step 0, which it was not asked for"]
    assert not lead.machine.ended


def test_finite_shards_with_an_infinite_sum_end_the_run(lead):
    lead = lead(shards=2)
    lead.join("a")
    huge = np.full(PARAMS.size, 3e38, np.float32)
    lead.done("a", 0, 1, gradient=huge)
    actions = lead.done("a", 1, 2, gradient=huge)
    assert actions[-1] == Ended(70, "step 1: the sum over all shards is not finite in conv.weight")
    assert lead.machine.state.step == 0


def test_an_update_that_overflows_ends_the_run_without_a_checkpoint(lead):
    lead = lead(shards=1)
    lead.join("a")
    lead.machine.state.optimizer["velocity"][:] = 3e38
    actions = lead.done("a", 0, 1, gradient=np.full(PARAMS.size, 3e38, np.float32))
    assert actions[-1] == Ended(70, "step 1: conv.weight is not finite after the update")
    assert not any(isinstance(a, SaveCheckpoint) for a in actions)
