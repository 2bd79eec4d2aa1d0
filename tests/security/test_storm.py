"""A short storm of mutated frames and garbage on a real run's port; a long one is `launch/soak.sh storm`."""

import pytest

from simulation.storm import BOUND, storm

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def test_training_goes_on_under_mutated_frames_and_garbage_with_the_same_bits_and_bounded_memory(tmp_path):
    figures = storm(tmp_path, 20_000)
    assert figures["same_hash"], figures
    assert figures["coordinator_mb_most"] - figures["coordinator_mb_before"] < BOUND, figures
