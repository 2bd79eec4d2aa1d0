"""Shards on which workers die: who gets them next, when they end the run; and a run that no worker is left for."""

import pytest

from cluster.actions import assignments
from dptrain.cluster.events import Ended, Gone, SaveCheckpoint, Tick
from dptrain.cluster.messages import Leave

T = 3  #: the term of conftest's Lead


def die(lead, name):
    """The worker dies while it holds shards; the cause is unknown."""
    return lead.feed(Gone(name.encode(), "reset"))


def test_a_shard_that_kills_three_workers_stops_the_run_with_its_samples_and_a_checkpoint(lead):
    lead = lead(shards=2)
    lead.join("a")
    lead.join("b")
    lead.join("c")
    assert assignments(die(lead, "a")) == [("b", 0, 1, 1), ("c", 1, 2, 1)]
    lead.done("c", 1, 2)
    assert assignments(die(lead, "b")) == [("c", 0, 1, 1)]
    lead.join("d")
    assert assignments(die(lead, "c")) == []
    lead.now += 9.9
    assert not any(isinstance(a, Ended) for a in lead.feed(Tick()))
    lead.now += 0.1
    tell, save, *_, finish = lead.feed(Tick())
    assert finish == Ended(70, "step 1, shard 0: workers a, b, c died computing it")
    assert tell.report.text == f"{finish.reason}: look at training samples 0, 1, 2, 3, and at the workers' logs"
    assert save == SaveCheckpoint(best=False)


def test_after_a_death_each_shard_is_computed_by_a_worker_that_holds_nothing_else(lead):
    lead = lead(shards=4)
    lead.join("a")
    lead.join("b")
    assert assignments(die(lead, "a")) == [("b", 0, 1, 1)]
    assert assignments(lead.done("b", 0, 1)) == [("b", 1, 2, 1)]


@pytest.mark.parametrize("how", ["killed", "back", "left"])
def test_a_worker_that_was_killed_from_outside_or_comes_back_or_leaves_did_not_die_of_a_shard(lead, how):
    lead = lead(shards=1)
    for name in "abcd":
        lead.join(name)
        if how == "killed":
            lead.feed(Gone(name.encode(), "reset"))
            lead.killed(name)
        elif how == "back":
            lead.feed(Gone(name.encode(), "reset"))
            lead.hello(name)
            lead.feed(Gone(name.encode(), "reset"))
        else:
            lead.say(name, Leave(T, lead.incarnation(name), "SIGTERM"))
        lead.now += 15
        lead.feed(Tick())
    assert not lead.machine.ended


def test_a_worker_whose_connection_ends_before_its_leave_is_read_did_not_die_of_a_shard(lead):
    lead = lead(shards=1)
    for name in "abcd":
        lead.join(name)
        die(lead, name)
        assert lead.say(name, Leave(T, lead.incarnation(name), "it was only the doctor")) == []
        lead.now += 15
        lead.feed(Tick())
    assert not lead.machine.ended


def test_without_a_worker_for_as_long_as_was_asked_for_the_run_stops_with_a_checkpoint_to_be_started_again(lead):
    lead = lead(job={"max_wait": 30.0})
    lead.feed(Tick())
    lead.now += 29.9
    assert not any(isinstance(a, Ended) for a in lead.feed(Tick()))
    lead.now += 0.1
    tell, save, finish = lead.feed(Tick())
    assert (save, finish) == (SaveCheckpoint(best=False), Ended(75, "no worker for 30 s (--max-wait)"))
    assert tell.report.level == "error"
