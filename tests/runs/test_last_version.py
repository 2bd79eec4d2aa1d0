"""Runs that the last version (commit a2327c5) stopped after 14 of 40 steps: this version continues them, bit for bit.

The fixtures hold what that version wrote: the run directory with its last checkpoint, and the hashes of an
undisturbed run of all 40 steps, of the whole state and of every tensor.
"""

import json
import shutil

import pytest

from dptrain.runs import shelf
from dptrain.runs.checkpoint import load
from dptrain.runs.directory import read_manifest, stored_config
from simulation.processes import Group

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

STOPPED, TOTAL = 14, 40
TESTED = {"resnet8": (0.4130, 1.4500), "lenet": (0.7110, 0.7595)}  #: accuracy and loss on the test split, at a2327c5
SECONDS = 300.0  #: kernels may have to be compiled


@pytest.fixture
def fixtures(root):
    return root / "tests" / "fixtures" / "a2327c5"


@pytest.fixture
def group(tmp_path):
    group = Group(tmp_path)
    yield group
    assert group.end() == [], "processes outlived the test"


def records(path):
    """Step -> the whole record: SHA-256 of the state, and the digest of every tensor."""
    return {record["step"]: record for record in map(json.loads, path.read_text().splitlines())}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", list(TESTED))
def test_a_run_of_the_last_version_continues_with_the_bits_and_the_accuracy_of_that_version(
    fixtures, group, name, workers
):
    run = group.folder / "runs" / name
    shutil.copytree(fixtures / name, run)
    process = group.start("train", "--resume", run, "--workers", workers, "--max-steps", TOTAL, name="train")
    assert process.wait(SECONDS) == 0, group.output("train")
    found, wanted = records(run / "hashes.jsonl"), records(fixtures / f"{name}-hashes.jsonl")
    assert sorted(found) == sorted(wanted) == list(range(1, TOTAL + 1))
    assert next((step for step in wanted if found[step] != wanted[step]), None) is None
    assert json.loads((run / "run.json").read_text())["starts"][-1]["term"] == 2

    process = group.start("eval", run, name="eval")
    assert process.wait(SECONDS) == 0, group.output("eval")
    accuracy, loss = TESTED[name]
    assert f"acc {accuracy:.4f}" in group.output("eval")
    assert f"loss {loss:.4f}" in group.output("eval")


@pytest.mark.parametrize("name", list(TESTED))
def test_a_checkpoint_of_the_last_version_opens_and_has_the_identity_it_was_given(fixtures, name):
    run = fixtures / name
    checkpoint = load(shelf.find(run))
    assert (checkpoint.step, checkpoint.term) == (STOPPED, 1)
    assert checkpoint.facts.identity == read_manifest(run)["identity"]
    assert checkpoint.facts.config == stored_config(run)
