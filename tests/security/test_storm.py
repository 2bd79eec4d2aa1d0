"""A short storm of mutated frames and garbage on a real run's port; a long one is `python tests/security/storm.py`."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("storm", Path(__file__).with_name("storm.py"))
storm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(storm)

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

BOUND = 64 << 20  #: bytes the coordinator may grow by, whatever comes


def test_training_goes_on_under_mutated_frames_and_garbage_with_the_same_bits_and_bounded_memory(tmp_path):
    same, figures, growth = storm.storm(tmp_path, 20_000)
    assert same, figures
    assert growth < BOUND, figures
