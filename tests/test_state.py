"""The hash of a state, by which the promise of the same bits is checked."""

import numpy as np
import pytest

from simulation.toy import Toy


@pytest.mark.parametrize("part", ["params", "buffers", "velocity"])
def test_one_other_bit_anywhere_is_another_hash(part):
    state = Toy().state()
    before, array = state.sha256(), (vars(state) | state.optimizer)[part]
    bits = array.view(np.uint32)
    for place in range(bits.size):
        bits[place] ^= np.uint32(1)
        assert state.sha256() != before, place
        bits[place] ^= np.uint32(1)
    assert state.sha256() == before
    state.step += 1
    assert state.sha256() != before
