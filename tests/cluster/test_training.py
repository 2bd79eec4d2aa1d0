"""The training of a run: what is reported and saved when, and that a resumed run continues as if never stopped."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.actions import altered
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    Ended,
    EpochDone,
    Evaluated,
    Received,
    RunStarted,
    SaveCheckpoint,
    Send,
    StepDone,
    StopRequested,
    Tell,
    Tick,
    WorkerAdmitted,
)
from dptrain.cluster.messages import PROTOCOL, Assign, Canary, Evaluate, EvaluationDone, Hello, NodeDone, Params, Stop
from simulation.toy import CANARY, DATASET, NUMERICS, Toy, gradient, oracle, score

NAME = "b" * 32
RUN = (StepDone, EpochDone, Evaluated)
LAST = (EpochDone, Evaluated, Evaluated)  #: of a run: an epoch, its validation, the test


class Solo:
    """A coordinator and one worker that answers at once; a checkpoint is a deep copy."""

    def __init__(self, toy, state=None, **changes):
        self.toy = toy
        self.machine = Coordinator(
            replace(toy.job(1), **changes), toy.state() if state is None else state, *toy.rules()
        )
        self.actions, self.checkpoints = [], []
        self._params = None
        self._todo = []

    def feed(self, event):
        actions = self.machine.handle(event, 0.0)
        self.machine.validate(0.0)
        for action in actions:
            if isinstance(action, SaveCheckpoint):
                self.checkpoints.append(deepcopy(self.machine.state))
        self.actions += actions
        self._todo += [a.message for a in actions if isinstance(a, Send)]

    def join(self):
        self.feed(Received(b"p", Hello(PROTOCOL, NAME, "w", 1, NUMERICS, "toy")))
        self.feed(Received(b"p", Canary(1, NAME, CANARY, DATASET)))
        return self

    def run(self, answers=10_000):
        """Up to so many answers of the worker."""
        while self._todo and answers:
            message = self._todo.pop(0)
            if isinstance(message, Params):
                self._params = message
            elif isinstance(message, Assign | Evaluate):
                answers -= 1
                self.feed(Received(b"p", self._answer(message)))
        return self

    def _answer(self, m):
        p = self._params
        if isinstance(m, Evaluate):
            s = score(p.params, p.buffers, f"{m.split} {m.index}", m.stop - m.start)
            return EvaluationDone(1, NAME, m.step, m.split, m.index, m.attempt, m.digest, s)
        leaves = [gradient(p.params, m.step, i, len(self.toy.sampler.shard(m.step, i))) for i in range(m.first, m.last)]
        while len(leaves) > 1:  # assigned nodes have a power of two of shards here
            leaves = [left.combine(right) for left, right in zip(leaves[::2], leaves[1::2], strict=True)]
        [r] = leaves
        return NodeDone(
            term=1,
            incarnation=NAME,
            step=m.step,
            first=m.first,
            last=m.last,
            attempt=m.attempt,
            digest=p.digest,
            seconds=0.5,
            result=r,
        )

    @property
    def story(self):
        """The reports about the run itself."""
        return [a.report for a in self.actions if isinstance(a, Tell) and isinstance(a.report, RUN)]


def outline(actions):
    """Reports by what they are about, saves and the end, in order."""
    out = []
    for action in actions:
        match action:
            case Tell(StepDone(step=step)):
                out.append(step)
            case Tell(EpochDone(epoch=epoch)):
                out.append(f"epoch {epoch}")
            case Tell(Evaluated(step=step, split=split, best=best)):
                out.append(f"{split} {step}{' best' if best else ''}")
            case SaveCheckpoint(best=best):
                out.append("save best" if best else "save")
            case Ended(code=code):
                out.append(f"exit {code}")
    return out


def bests(toy):
    """Steps whose validation is the best so far, by the oracle."""
    return {step for step, split, _, _, best in oracle(toy).scores if best}


def test_a_whole_run_reports_saves_and_ends_in_this_order():
    toy = Toy(steps_per_epoch=2, epochs=3)
    solo = Solo(toy).join().run()
    expected = oracle(toy)
    best = bests(toy)
    marks = {s: (" best", "save best") if s in best else ("", "save") for s in (2, 4, 6)}
    assert outline(solo.actions) == [
        *(1, 2, "epoch 1", f"validation 2{marks[2][0]}", marks[2][1]),
        *(3, 4, "epoch 2", f"validation 4{marks[4][0]}", marks[4][1]),
        *(5, 6, "epoch 3", f"validation 6{marks[6][0]}", marks[6][1]),
        *(f"test {max(best)}", "save", "exit 0"),
    ]
    assert 0 < len(best) < 3  # else the test would show nothing about the best weights
    assert solo.actions[0] == Tell(RunStarted(0, 6, 2, 1))
    assert solo.actions[-2:] == [Send(b"p", Stop(1, "the run is complete")), Ended(0, "the run is complete")]
    steps = [r for r in solo.story if isinstance(r, StepDone)]
    assert [r.state_sha256 for r in steps] == list(expected.states[1:])
    assert [r.loss for r in steps] == list(expected.losses)
    assert [r.epoch for r in steps] == [0, 0, 1, 1, 2, 2]
    scores = [(r.step, r.split, r.loss, r.accuracy, r.best) for r in solo.story if isinstance(r, Evaluated)]
    assert scores == list(expected.scores)
    assert solo.machine.state.tested


def test_an_epoch_reports_the_means_over_exactly_its_samples():
    toy = Toy(shards=3, steps_per_epoch=3, epochs=2, validation=0, test=0)
    solo = Solo(toy).join().run()
    steps = [r for r in solo.story if isinstance(r, StepDone)]
    epochs = [r for r in solo.story if isinstance(r, EpochDone)]
    assert [r.samples for r in steps] == [12, 12, 7] * 2
    for epoch, part in zip(epochs, (steps[:3], steps[3:]), strict=True):
        assert epoch.accuracy == sum(r.hits for r in part) / 31
        assert epoch.loss == pytest.approx(sum(r.loss * r.samples for r in part) / 31, rel=1e-12)
        assert epoch.lr == part[-1].lr


def test_without_a_validation_split_the_last_weights_are_tested():
    solo = Solo(Toy(steps_per_epoch=2, epochs=2, validation=0)).join().run()
    assert outline(solo.actions) == [1, 2, "epoch 1", "save", 3, 4, "epoch 2", "save", "test 4", "save", "exit 0"]


def test_without_any_split_the_run_ends_with_its_last_step():
    solo = Solo(Toy(steps_per_epoch=2, epochs=1, validation=0, test=0)).join().run()
    assert outline(solo.actions) == [1, 2, "epoch 1", "save", "exit 0"]


def test_validation_every_second_epoch_also_follows_the_last_step():
    toy = Toy(steps_per_epoch=1, epochs=5, test=0)
    course = replace(toy.course, every=2)
    solo = Solo(toy, course=course).join().run()
    assert [r.step for r in solo.story if isinstance(r, Evaluated)] == [2, 4, 5]


def test_checkpoints_by_steps_come_after_the_validation_of_their_step():
    toy = Toy(steps_per_epoch=3, epochs=2, test=0)
    solo = Solo(toy, checkpoint_every=2).join().run()
    story = [x for x in outline(solo.actions) if not str(x).startswith("epoch")]
    best = bests(toy)
    middle = [f"validation 3{' best' if 3 in best else ''}", *(["save best"] if 3 in best else [])]
    last = ["validation 6 best", "save best"] if 6 in best else ["validation 6", "save"]
    assert story == [1, 2, "save", 3, *middle, 4, "save", 5, 6, *last, "exit 0"]


def test_hashes_come_with_every_checkpoint_and_every_so_many_steps():
    toy = Toy(steps_per_epoch=4, epochs=2)
    solo = Solo(toy, hash_every=3, checkpoint_every=0).join().run()
    hashed = [r for r in solo.story if isinstance(r, StepDone) and r.state_sha256]
    assert [r.step for r in hashed] == [3, 4, 6, 8]
    names = ["model.conv.weight", "model.bn.weight", "model.bn.running_mean", "model.bn.running_var"]
    assert [name for name, _ in hashed[0].tensor_hashes] == [
        *names,
        "optim.velocity.conv.weight",
        "optim.velocity.bn.weight",
    ]
    assert hashed[-1].tensor_hashes == solo.machine.state.tensor_hashes()


def test_stop_after_saves_and_pauses_and_the_next_start_goes_on():
    toy = Toy(steps_per_epoch=2, epochs=2)
    first = Solo(toy, stop_after=3).join().run()
    assert outline(first.actions)[-3:] == [3, "save", "exit 0"]
    assert first.actions[-1] == Ended(0, "stopped after step 3")
    again = Solo(toy, first.checkpoints[-1], stop_after=3)
    again.feed(Tick())
    assert again.actions == [Tell(RunStarted(3, 4, 2, 1)), Ended(0, "stopped after step 3")]
    rest = Solo(toy, first.checkpoints[-1]).join().run()
    assert first.story + rest.story == Solo(toy).join().run().story


def test_a_run_that_is_complete_ends_at_once_and_writes_nothing():
    toy = Toy(epochs=1)
    done = Solo(toy).join().run()
    again = Solo(toy, done.checkpoints[-1])
    again.feed(Tick())
    assert again.actions == [Tell(RunStarted(3, 3, 3, 1)), Ended(0, "the run is complete")]


@pytest.mark.parametrize("validation", [0, 20])
def test_a_run_resumed_from_any_of_its_checkpoints_reports_the_same_steps(validation):
    toy = Toy(validation=validation)
    whole = Solo(toy, checkpoint_every=1).join().run()
    assert len(whole.checkpoints) > toy.total_steps
    for checkpoint in whole.checkpoints:
        rest = Solo(toy, deepcopy(checkpoint), checkpoint_every=1).join().run()
        assert rest.story == whole.story[len(whole.story) - len(rest.story) :]
        assert rest.machine.state.sha256() == whole.machine.state.sha256()
        assert len(rest.story) < len(whole.story)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_run_interrupted_anywhere_any_number_of_times_reports_the_same_steps(data):
    toy = Toy(shards=data.draw(st.integers(1, 5)), steps_per_epoch=data.draw(st.integers(1, 3)), epochs=2)
    whole = Solo(toy).join().run()
    story, state = [], None
    for _ in range(data.draw(st.integers(1, 4))):
        part = Solo(toy, state).join().run(answers=data.draw(st.integers(0, 12)))
        part.feed(StopRequested("SIGINT"))
        story += part.story
        if not part.checkpoints:
            return  # it was complete before
        state = part.checkpoints[-1]
    assert story + Solo(toy, state).join().run().story == whole.story


def test_the_weights_that_were_tested_are_those_of_the_best_validation():
    toy = Toy(steps_per_epoch=2, epochs=3)
    solo = Solo(toy).join().run()
    state = solo.machine.state
    assert state.best_step == max(bests(toy)) < 6
    tests = [a.message for a in solo.actions if isinstance(a, Send) and isinstance(a.message, Params)]
    assert tests[-1].params.tobytes() == state.best_params.tobytes() != state.params.tobytes()
    assert tests[-1].buffers.tobytes() == state.best_buffers.tobytes()
    assert set(state.best_tensors()) == {
        f"best.{k}" for k in ("conv.weight", "bn.weight", "bn.running_mean", "bn.running_var")
    }


def test_of_validations_that_are_equally_good_the_first_one_stays_the_best():
    class Tied(Solo):
        def _answer(self, m):
            answer = super()._answer(m)
            return altered(answer, hits=1, hits5=1) if isinstance(m, Evaluate) else answer

    solo = Tied(Toy(steps_per_epoch=2, epochs=3)).join().run()
    assert [r.best for r in solo.story if isinstance(r, Evaluated)] == [True, False, False, False]
    assert solo.machine.state.best_step == 2


def test_weights_are_sent_once_for_the_validation_and_the_step_after_it():
    solo = Solo(Toy(steps_per_epoch=2, epochs=2, test=0)).join().run()
    sent = [a.message.step for a in solo.actions if isinstance(a, Send) and isinstance(a.message, Params)]
    assert sent == [0, 1, 2, 3, 4]


def test_the_running_statistics_follow_torchs_rule():
    """running = 0.9 running + 0.1 sum / samples, on numbers that can be done by hand."""
    toy = Toy(shards=1, steps_per_epoch=1, epochs=1, validation=0, test=0)
    solo = Solo(toy)
    solo.machine.state.buffers[:] = 10.0
    solo.join().run()
    sums = gradient(toy.state().params, 0, 0, 3).statistics
    np.testing.assert_allclose(solo.machine.state.buffers, 9 + sums / 30, rtol=1e-6)


def test_a_worker_that_joins_during_an_evaluation_takes_part_in_it():
    toy = Toy(shards=1, steps_per_epoch=1, epochs=1, validation=64)
    solo = Solo(toy).join().run(answers=2)
    before = len(solo.actions)
    solo.feed(Received(b"q", Hello(PROTOCOL, "c" * 32, "v", 2, NUMERICS, "toy")))
    solo.feed(Received(b"q", Canary(1, "c" * 32, CANARY, DATASET)))
    new = solo.actions[before + 1 :]
    assert isinstance(new[1].report, WorkerAdmitted)
    assert [type(a.message).__name__ for a in new if isinstance(a, Send)] == [
        "Admitted",
        "Params",
        "Evaluate",
        "Evaluate",
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"index": 3}, "scored shard 3 of the validation split; it has 3"),
        ({"samples": 7}, "scored 7 samples in shard 0 of the validation split; there are 8"),
        ({"hits": 8, "hits5": 7}, "counted 8 hits and 7 among the first five in 8 samples"),
        ({"hits": 0, "hits5": 9}, "counted 0 hits and 9 among the first five in 8 samples"),
        ({"split": "test"}, "scored test at step 1, which it was not asked for"),
        ({"step": 2}, "scored validation at step 2, which it was not asked for"),
    ],
)
def test_an_impossible_score_costs_the_connection(change, text):
    solo = Solo(Toy(shards=1, steps_per_epoch=1, epochs=1)).join().run(answers=1)
    order = next(a.message for a in solo.actions if isinstance(a, Send) and isinstance(a.message, Evaluate))
    message = altered(solo._answer(order), **change)
    before = len(solo.actions)
    solo.feed(Received(b"p", message))
    assert solo.actions[before].reason == text


def test_a_score_that_comes_twice_or_too_late_changes_nothing():
    solo = Solo(Toy(shards=1, steps_per_epoch=1, epochs=2)).join().run(answers=2)
    order = next(a.message for a in solo.actions if isinstance(a, Send) and isinstance(a.message, Evaluate))
    answer = solo._answer(order)
    solo.feed(Received(b"p", answer))
    assert solo.machine.counters.duplicate == 1
    solo.run(answers=2)
    assert solo.machine.state.evaluated_step == 1
    solo.feed(Received(b"p", answer))
    assert solo.machine.counters.outdated == 1


def test_where_it_is_asked_for_the_untrained_network_is_scored_first_and_is_never_the_best_one():
    toy = Toy(shards=1, steps_per_epoch=2, epochs=1)
    course = replace(toy.course, first=True)
    solo = Solo(toy, course=course).join().run()
    told = [a.report for a in solo.actions if isinstance(a, Tell) and isinstance(a.report, RUN)]
    assert [(type(r), r.step) for r in told] == [(Evaluated, 0), (StepDone, 1), (StepDone, 2), *[(k, 2) for k in LAST]]
    assert (told[0].split, told[0].epoch, told[0].best) == ("validation", 0, False)
    assert (told[4].split, told[4].best) == ("validation", True)
    again = Solo(toy, solo.checkpoints[0], course=course).join().run()
    assert [a.report for a in again.actions if isinstance(a, Tell) and isinstance(a.report, Evaluated)] == told[4:]
    assert again.machine.state.sha256() == solo.machine.state.sha256()
