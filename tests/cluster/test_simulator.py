"""Hundreds of histories of real machines: whatever goes wrong, the bits are those of one plain loop, and it ends."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.cluster.assignment import Book
from dptrain.cluster.reports import Evaluated, StepDone, WorkerLost
from dptrain.cluster.simulator import FAULTS, Scenario, Simulation
from dptrain.cluster.toy import Toy, oracle

cached_oracle = cache(oracle)


def simulate(scenario, seed):
    simulation = Simulation(scenario, cached_oracle(scenario.toy), seed)
    simulation.run()
    return simulation


def mixed(seed):
    """A different scenario for each seed: 1-6 workers, 1-9 shards, all kinds of runs and faults."""
    toy = Toy(
        shards=1 + seed % 9,
        steps_per_epoch=2 + seed % 2,
        epochs=2 + seed % 3,
        validation=0 if seed % 5 == 0 else 20,
        test=0 if seed % 7 == 0 else 17,
    )
    return Scenario(
        toy=toy,
        workers=1 + seed % 6,
        duplicates=0.05 * (seed % 2),
        faults=FAULTS if seed % 3 else ("kill", "cut", "pause", "freeze"),
        every=(0.7, 2.0)[seed % 2],
        until=15.0,
        checkpoint_every=seed % 4,
    )


@pytest.mark.parametrize("block", range(10))
def test_chaos_changes_no_bit_and_every_run_ends(block):
    for seed in range(25 * block, 25 * block + 25):
        simulate(mixed(seed), seed)


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_alone_changes_no_bit(kind):
    for seed in range(4):
        simulate(Scenario(faults=(kind,), every=1.0, until=15.0), seed)


@pytest.mark.parametrize("workers", range(1, 7))
def test_without_faults_the_story_does_not_depend_on_the_number_of_workers(workers):
    simulation = simulate(Scenario(workers=workers), seed=workers)
    steps = [r for r in simulation.reports if isinstance(r, StepDone)]
    scores = [(r.step, r.split, r.loss, r.accuracy, r.best) for r in simulation.reports if isinstance(r, Evaluated)]
    expected = cached_oracle(Toy())
    assert [r.state_sha256 for r in steps] == list(expected.states[1:])
    assert scores == list(expected.scores)
    assert not any(isinstance(r, WorkerLost) for r in simulation.reports)
    assert {p.exit_code for p in simulation.processes} == {0}


def test_duplicated_messages_are_noticed_and_counted():
    simulation = simulate(Scenario(duplicates=0.3), seed=1)
    assert simulation.late + simulation.duplicate > 5


def test_one_seed_replays_everything():
    scenario = mixed(4)
    assert simulate(scenario, 4).trace == simulate(scenario, 4).trace
    assert simulate(scenario, 4).trace != simulate(scenario, 5).trace


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shards=st.integers(1, 12),
    workers=st.integers(0, 6),
    delay=st.sampled_from([0.001, 0.05, 3.0]),
    shard_seconds=st.sampled_from([0.01, 0.4, 4.0]),
    duplicates=st.sampled_from([0.0, 0.1, 0.5]),
    faults=st.lists(st.sampled_from(FAULTS), unique=True),
)
def test_any_schedule_ends_with_the_same_bits(seed, shards, workers, delay, shard_seconds, duplicates, faults):
    scenario = Scenario(
        toy=Toy(shards=shards, steps_per_epoch=2, epochs=2),
        workers=workers,
        delay=delay,
        shard_seconds=shard_seconds,
        duplicates=duplicates,
        faults=tuple(faults),
        every=1.0,
        until=8.0,
    )
    simulate(scenario, seed)


class OneUlp(Toy):
    """A toy whose workers are wrong by one unit in the last place of one element, in one shard of the run."""

    def compute(self, task):
        result = super().compute(task)
        if getattr(task, "shard", None) == 2 and task.step == 4:
            result.gradient[3] = np.nextafter(result.gradient[3], np.float32(9))
        return result


def test_the_simulator_notices_a_worker_that_is_wrong_by_one_ulp():
    scenario = replace(Scenario(), toy=OneUlp())
    with pytest.raises(AssertionError, match=r"seed 3 at .*I2: other bits after step 5"):
        Simulation(scenario, cached_oracle(Toy()), 3).run()


def test_the_simulator_notices_a_coordinator_whose_leases_never_end(monkeypatch):
    monkeypatch.setattr(Book, "expired", lambda self, now: [])
    scenario = Scenario(faults=("freeze",), every=3.0, workers=4)
    with pytest.raises(AssertionError, match="the run does not come to its end"):
        Simulation(scenario, cached_oracle(Toy()), 0).run()
