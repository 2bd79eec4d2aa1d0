"""A small run: facts and a state whose every number is different."""

import numpy as np
import pytest

from dptrain.cluster.state import TrainingState, layout_digest
from dptrain.config import Config
from dptrain.model import ParamLayout, ParamSpec
from dptrain.run.facts import DataFacts, RunFacts

PARAMS = ParamLayout((ParamSpec("conv1.weight", (4, 3, 3, 3)), ParamSpec("bn1.weight", (4,), decay=False)))
BUFFERS = ParamLayout((ParamSpec("bn1.running_mean", (4,)), ParamSpec("bn1.running_var", (4,))))
DATA = DataFacts("fashion-mini", "ab" * 32, (28, 28, 1), ("shirt", "shoe"), (72.9,), (90.1 / 3,), 5400, 600, 1000)


@pytest.fixture
def facts():
    return RunFacts(Config(), DATA, layout_digest(PARAMS, BUFFERS), "fp32-v1", "ResNet-8, 112 parameters")


@pytest.fixture
def make_state():
    def make(step=7, *, best=True):
        chance = np.random.default_rng(step)

        def draw(size):
            return chance.standard_normal(size).astype(np.float32)

        state = TrainingState(
            PARAMS, BUFFERS, draw(PARAMS.size), draw(BUFFERS.size), {"velocity": draw(PARAMS.size)}, step=step
        )
        state.epoch_loss, state.epoch_hits, state.epoch_samples = 1 / 3, 5, 96
        state.evaluated_step, state.history = step - 1, {"validation_loss": 0.1 + 0.2}
        if best:
            state.best_accuracy, state.best_step = 2 / 3, step - 1
            state.best_params, state.best_buffers = draw(PARAMS.size), draw(BUFFERS.size)
        return state

    return make
