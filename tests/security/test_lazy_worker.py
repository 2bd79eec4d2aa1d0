"""A worker that never reads, over 10,000 steps: the coordinator's memory stays under its stated bound."""

import ctypes
import os
import time

import numpy as np
import pytest

from dptrain.cluster.codec import Limits
from dptrain.cluster.events import Gone
from dptrain.cluster.messages import Params
from dptrain.net.sockets import HIGH_WATER

SIZE = 75_000  #: parameters of a ResNet-8; 300 kB
STEPS = 10_000
KERNEL = 16 << 20  #: bytes that two socket buffers may take


def resident():
    """Bytes this process has, without what its allocator only keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("keyed", [True, False])
def test_ten_thousand_steps_beside_a_worker_that_never_reads_cost_one_queue_and_no_more(port, keyed):
    """Bound: HIGH_WATER messages of the weights' size at each end (both ends are in this process), and the kernel's.

    pyzmq releases sent weights on a thread of its own, which may be late on a busy machine: the bound is waited for.
    """
    bound = 2 * HIGH_WATER * 4 * SIZE + KERNEL
    limits = Limits(SIZE, 10, 0)
    router = port.listen(keyed=keyed, limits=limits)
    _lazy, lazy_peer = port.admitted("worker-1", keyed=keyed)
    keen, keen_peer = port.admitted("worker-2", keyed=keyed)
    before, gone = resident(), None
    for step in range(STEPS):
        weights = Params(1, step, "0" * 16, np.full(SIZE, step, np.float32), np.zeros(10, np.float32))
        if gone is None:
            gone = router.send(lazy_peer, weights)
        assert router.send(keen_peer, weights) is None
        port.until(lambda: keen.poll(0.5))
        if step % 50 == 0:
            port.until(lambda: resident() - before < bound or time.sleep(0.01))
    assert isinstance(gone, Gone)
    assert gone.reason == f"does not read: {HIGH_WATER} messages wait for it"
