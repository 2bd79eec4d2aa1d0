"""After the first shards an engine allocates no large arrays, and compiles nothing."""

import gc
import tracemalloc
from itertools import cycle

import numpy as np
import pytest
import zmq
from numba.core.dispatcher import Dispatcher

from dptrain import engine
from dptrain.cluster.codec import encode
from dptrain.cluster.messages import NodeDone
from dptrain.engine.arena import Vectors
from dptrain.nn import initial_params
from dptrain.settings import ModelConfig

SMALL = 128 << 10  #: bytes: the linear layer and Python's own objects take 82 KB; the vector of a gradient has 307
SCRATCH = 96 << 10  #: bytes: the transform of weights for F(4x4) uses 36 * 1040 floats while it runs, in every network


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
    assert most - before < SMALL + SCRATCH
    assert now - before < SMALL


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda result: result.gradient, id="the array"),
        pytest.param(lambda result: result.gradient[5:9], id="a view of a part"),
        pytest.param(lambda result: result.gradient[5:9].reshape(2, 2).T, id="a view of a view"),
        pytest.param(lambda result: memoryview(result.gradient).cast("B"), id="its bytes, as a message sends them"),
    ],
)
def test_a_result_that_is_still_held_is_not_written_again(steady, hold):
    held = hold(steady())
    before = bytes(held)
    for _ in range(4):
        steady()
    assert bytes(held) == before


def test_a_result_that_waits_in_a_socket_arrives_as_it_was_sent(steady):
    """ZeroMQ sends without a copy, in its own thread, when the peer reads: long after the worker's next shards."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        sender.connect(f"tcp://127.0.0.1:{receiver.bind_to_random_port('tcp://127.0.0.1')}")
        sent = []
        for _ in range(8):
            result = steady()
            sent.append(result.gradient.tobytes())
            sender.send_multipart(
                encode(NodeDone(1, "a" * 32, 0, 0, 1, 0, "0" * 16, 0.0, result)), zmq.DONTWAIT, copy=False
            )
            del result
        assert [receiver.recv_multipart()[1] for _ in sent] == sent


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
    view = first[1:3]
    del first
    assert vectors.take().ctypes.data not in (place, second.ctypes.data)
    del view
    again = vectors.take()
    assert again.ctypes.data == place
    assert again.tolist() == [0.0] * 5


def test_a_vector_that_is_never_given_back_costs_a_fresh_one_and_outlives_what_made_it():
    vectors = Vectors(3)
    kept = [vectors.take() for _ in range(5)]
    for number, vector in enumerate(kept):
        vector[...] = number
    del vectors
    gc.collect()
    assert [vector.tolist() for vector in kept] == [[number] * 3 for number in range(5)]


def test_a_vector_without_elements_is_a_vector():
    """A network without BatchNorm has no statistics."""
    empty = Vectors(0).take()
    assert (empty.shape, empty.dtype) == ((0,), np.float32)
