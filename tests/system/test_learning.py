"""A training that must reach an accuracy: the embedded photographs of clothes, in a short training."""

from __future__ import annotations

import pytest

from dptrain.cli import main
from dptrain.runs.metrics import read

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_after_six_epochs_of_the_embedded_set_five_of_six_images_are_right(tmp_path):
    """Seed 0 ends at the same figure on every CPU; a bug that only slows learning down would be seen here."""
    flags = [
        "--recipe",
        "fashion-quick",
        "--filters",
        "8",
        "--epochs",
        "6",
        "--augment",
        "",
        "--quiet",
        "--workers",
        "0",
        "--augmenters",
        "0",
    ]
    assert main(["train", *flags, "--eval-first", "--runs", str(tmp_path), "--name", "short"]) == 0
    records = read(tmp_path / "short" / "metrics.jsonl")
    untrained, tested = records[0]["val/acc"], records[-1]["test/acc"]
    assert untrained < 0.25
    assert tested > 0.83
