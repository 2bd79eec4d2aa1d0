"""After the first shards an engine allocates nothing that counts, and compiles nothing."""

import gc
import tracemalloc
from itertools import cycle

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from dptrain import engine
from dptrain.engine.results import Vectors
from dptrain.nn import initial_params
from dptrain.settings import ModelConfig

SMALL = 128 << 10  #: bytes: the affine layer and Python's own objects take 82 KB; the vector of a gradient has 307


@pytest.fixture
def steady():
    """A function that computes the gradient of a shard, after two of them."""
    config = ModelConfig(n=1, filters=16)
    model = engine.build(config, (32, 32, 3), 10, [120.0, 110.0, 100.0], [60.0, 64.0, 70.0])
    params, chance = initial_params(model.params, 0), np.random.default_rng(0)
    shards = [(chance.integers(0, 256, (32, 32, 32, 3), np.uint8), chance.integers(0, 10, 32)) for _ in range(3)]
    turns = cycle(shards)

    def compute():
        return model.gradient(params, *next(turns))

    for _ in range(2):
        compute()
    return compute


def test_a_shard_allocates_nothing_that_grows_with_it_or_with_the_network(steady):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            steady()
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - before < SMALL
    assert now - before < SMALL


def test_a_result_that_somebody_holds_is_not_written_again(steady):
    first = steady()
    kept = first.gradient.copy()
    view = steady().gradient[5:9]
    held = view.copy()
    for _ in range(4):
        steady()
    assert first.gradient.tobytes() == kept.tobytes()
    assert view.tobytes() == held.tobytes()


def test_later_shards_compile_nothing(steady):
    before = compiled()
    assert sum(before.values()) > 0
    for _ in range(3):
        steady()
    assert compiled() == before


def compiled():
    """Signatures of every kernel there is: other tests may have asked for other kinds of arguments."""
    kernels = [f for f in gc.get_objects() if isinstance(f, Dispatcher) and f.py_func.__module__.startswith("dptrain.")]
    return {id(f): len(f.signatures) for f in kernels}


def test_vectors_are_used_again_and_come_as_zeros():
    vectors = Vectors(5)
    first = vectors.take()
    first[...] = 7.0
    place = first.ctypes.data
    second = vectors.take()
    assert second.ctypes.data != place
    del first
    again = vectors.take()
    assert again.ctypes.data == place
    assert again.tolist() == [0.0] * 5
