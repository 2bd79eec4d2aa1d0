"""Thousands of histories of real machines: whatever goes wrong, the bits are those of one plain loop, and it ends."""

from collections import Counter
from dataclasses import replace
from functools import cache
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dptrain.cluster.book import Book
from dptrain.cluster.events import Evaluated, Notice, StepDone, WorkerLost
from simulation import histories as soak
from simulation.actors import FAULTS, Disk, Scenario, mixed
from simulation.faults import Simulation
from simulation.toy import Toy, oracle

cached_oracle = cache(oracle)


def simulate(scenario, seed):
    simulation = Simulation(scenario, cached_oracle(scenario.toy), seed)
    simulation.run()
    return simulation


def notices(simulation):
    return [r.text for r in simulation.reports if isinstance(r, Notice)]


@pytest.mark.parametrize("block", [*range(6), *(pytest.param(block, marks=pytest.mark.slow) for block in range(6, 10))])
def test_chaos_changes_no_bit_and_every_run_ends(block):
    totals = Counter()
    for seed in range(120 * block, 120 * block + 120):
        soak.play(seed, totals)
    assert totals["schedules"] == 120
    assert all(totals[f"fault {kind}"] > 5 for kind in FAULTS)


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_alone_changes_no_bit(kind):
    for seed in range(6):
        scenario = Scenario(toy=Toy(epochs=2), faults=(kind,), every=1.0, until=10.0, audit=0.2 * (seed % 2))
        simulation = simulate(scenario, seed)  # raises AssertionError where the bits are others
        assert sum((what, fault) == ("fault", kind) for _, what, fault in simulation.history) >= 5


@pytest.mark.parametrize("workers", range(1, 7))
def test_without_faults_the_history_does_not_depend_on_the_number_of_workers(workers):
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
    assert simulation.outdated + simulation.duplicate > 5


def test_one_seed_replays_everything():
    scenario = mixed(4)
    assert simulate(scenario, 4).trace == simulate(scenario, 4).trace
    assert simulate(scenario, 4).trace != simulate(scenario, 5).trace


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shards=st.integers(1, 12),
    workers=st.integers(0, 6),
    delay=st.sampled_from([0.001, 0.05, 3.0]),
    shard_seconds=st.sampled_from([0.01, 0.4, 4.0]),
    duplicates=st.sampled_from([0.0, 0.1, 0.5]),
    faults=st.lists(st.sampled_from(FAULTS), unique=True),
    audit=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_any_schedule_ends_with_the_same_bits(seed, shards, workers, delay, shard_seconds, duplicates, faults, audit):
    scenario = Scenario(
        toy=Toy(shards=shards, steps_per_epoch=2, epochs=1),
        workers=workers,
        delay=delay,
        shard_seconds=shard_seconds,
        duplicates=duplicates,
        faults=tuple(faults),
        every=1.0,
        until=8.0,
        audit=audit,
    )
    simulate(scenario, seed)


class History(RuleBasedStateMachine):
    """Hypothesis chooses which fault strikes when, and shrinks what fails."""

    @initialize(seed=st.integers(0, 2**16), workers=st.integers(0, 4), audit=st.sampled_from([0.0, 0.5]))
    def begin(self, seed, workers, audit):
        scenario = Scenario(toy=Toy(epochs=1), workers=workers, until=10_000.0, audit=audit)
        self.world = Simulation(scenario, cached_oracle(scenario.toy), seed)
        self.world.begin()

    @rule(kind=st.sampled_from(FAULTS))
    def strike(self, kind):
        self.world.strike(kind)

    @precondition(lambda self: not self.world.settled)
    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 30.0]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    def teardown(self):
        if hasattr(self, "world"):
            self.world.relief()
            self.world.play()


History.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestHistory = History.TestCase


# --- how fast


def steady(slowness, shards, workers=0):
    toy = Toy(shards=shards, steps_per_epoch=20, epochs=2, validation=0, test=0)
    scenario = Scenario(toy=toy, workers=len(slowness), slowness=slowness, shard_seconds=0.3, delay=0.002)
    simulation = simulate(scenario, 1)
    times = [when for when, what, report in simulation.history if what == "told" and isinstance(report, StepDone)]
    return (times[-1] - times[0]) / (len(times) - 1)


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("fast", [1, 2, 3, 4])
def test_a_worker_ten_times_slower_costs_at_most_half_a_step_more(fast, shards):
    without = steady((1.0,) * fast, shards)
    assert steady((10.0,) + (1.0,) * fast, shards) <= 1.5 * without
    assert steady((1.0,) * fast + (10.0,), shards) <= 1.5 * without


def test_a_worker_of_the_same_speed_is_a_gain():
    assert steady((1.0, 1.0), 4) < 0.6 * steady((1.0,), 4)
    assert steady((1.0, 2.0), 16) < 0.8 * steady((1.0,), 16)


# --- machines that are wrong


@pytest.mark.parametrize("until", [2.0, 6.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_machine_that_goes_bad_is_found_by_the_audit_and_named_before_it_does_harm(seed, until):
    toy = Toy(shards=6, epochs=4)
    simulation = simulate(Scenario(toy=toy, workers=4, wrong=1, until=until, audit=1.0), seed)
    assert simulation.quarantined >= 1
    assert simulation.processes[0].exit_code == 78
    assert any(text.startswith("worker w0 is quarantined: it found") for text in notices(simulation))
    assert not any(text.startswith(f"worker w{n} is quarantined") for n in range(1, 9) for text in notices(simulation))


def test_a_machine_that_goes_bad_behind_a_slow_link_is_named_by_its_outdated_results_and_changes_no_bit():
    disputed = 0
    for seed in range(12):
        toy = Toy(steps_per_epoch=12, epochs=2)
        scenario = Scenario(toy=toy, workers=4, slowness=(1.0,) * 4, delay=0.02, until=8.0)
        simulation = Simulation(scenario, cached_oracle(toy), seed)
        simulation.begin()
        simulation.pass_time(6.0)
        bad = simulation.processes[0]
        bad.slow_until, bad.wrong_since = inf, simulation.now  # from here on others are always before it
        simulation.play()
        disputed += simulation.disputed
        assert simulation.quarantined >= 1
        assert not any(text.startswith(f"worker w{n} is quarantined") for n in "1234" for text in notices(simulation))
        assert not any("had been applied with wrong bits" in text for text in notices(simulation))
    assert disputed >= 6


# --- the simulator itself can see what is wrong


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


def test_the_simulator_notices_an_audit_that_believes_the_first_result(monkeypatch):
    monkeypatch.setattr("dptrain.cluster.round.audited", lambda *_: False)
    monkeypatch.setattr("dptrain.cluster.dispatch.Dispatch._copy", lambda self: None)
    scenario = Scenario(toy=Toy(shards=6, epochs=4), workers=4, wrong=1, slowest=1.0, until=2.0, audit=1.0)
    found = 0
    for seed in range(6):
        try:
            simulate(scenario, seed)
        except AssertionError as error:
            found += "I2: other bits" in str(error)
    assert found >= 3


def test_the_simulator_notices_a_coordinator_whose_leases_never_end(monkeypatch):
    monkeypatch.setattr(Book, "expired", lambda self, now: [])
    monkeypatch.setattr("dptrain.cluster.dispatch.LATE", 1e9)
    scenario = Scenario(faults=("freeze",), every=3.0, workers=4)
    with pytest.raises(AssertionError, match=r"I4: the run does not come to its end|I5: events pile up"):
        Simulation(scenario, cached_oracle(Toy()), 0).run()


def test_the_simulator_notices_a_successor_with_the_same_term(monkeypatch):
    monkeypatch.setattr(Disk, "next_term", lambda self: 1)
    with pytest.raises(AssertionError, match="I3: two lives of one term"):
        simulate(Scenario(faults=("usurp",), every=1.0), 0)


def test_the_soak_command_says_what_it_has_played_and_fails_where_a_history_does(capsys, monkeypatch):
    assert soak.main(["--schedules", "3", "--seed", "7"]) == 0
    assert "all ended with the bits of the plain loop: " in capsys.readouterr().out
    monkeypatch.setattr(Disk, "next_term", lambda self: 1)
    assert soak.main(["--schedules", "50"]) == 1
    assert "FAILED: seed " in capsys.readouterr().out
