"""tools/predecessor_bugs.py: each bug it puts back is in the training."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.storm import last_hash

FLAGS = ["--dataset", "shapes32", "--samples", "256", "--validation", "0", "--n", "1", "--augment", "crop:4"]
FLAGS += ["--batch-size", "64", "--max-steps", "4"]
TOOL = Path(__file__).resolve().parents[1] / "tools" / "predecessor_bugs.py"


@pytest.fixture
def digest(tmp_path):
    """digest(words of a command) -> that of the weights after four steps."""

    def of(*words):
        subprocess.run([sys.executable, *words, *FLAGS, "--name", words[1]], cwd=tmp_path, check=True)
        return last_hash(tmp_path / "runs" / words[1], 4)

    return of


@pytest.mark.slow
def test_without_a_bug_the_training_is_unchanged_and_each_bug_changes_it(digest):
    right = digest("-m", "dptrain", "train", "--workers", "0")
    assert right is not None
    assert digest(TOOL, "none") == right
    assert len({right, *(digest(TOOL, bug) for bug in ("b3", "b5", "b6"))}) == 4


@pytest.mark.slow
def test_images_are_mixed_in_the_network_that_runs_layer_by_layer(digest):
    by_layer = ("--block", "relu-before")
    assert digest(TOOL, "b2", *by_layer) != digest(TOOL, "none", *by_layer)


def test_an_unknown_bug_is_refused_with_the_list_of_bugs(tmp_path):
    told = subprocess.run([sys.executable, TOOL, "b99"], cwd=tmp_path, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (
        64,
        "predecessor_bugs: 'b99' is no bug; write one of none, b2, b3, b5, b6\n",
    )
