"""The plain loop is the definition of a run: real processes give its hash after every step, and its scores."""

import os
import random
import signal
import tomllib

import pytest

from dptrain.loop import train
from dptrain.runs.metrics import read
from dptrain.settings import build, from_sections
from dptrain.workers.parts import first_state, open_parts
from simulation import traces

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

WHOLE = ["--dataset", "shapes32", "--validation", 500, "--epochs", 2, "--batch-size", 500, "--shard-size", 125]
LENET = [*WHOLE, "--network", "lenet", "--replacement", "--eval-first"]
OWN = [*WHOLE, "--network", "mine:net", "--networks", "mine.py", "--filters", 8, "--augment", "crop:4,flip"]
OWN += ["--bn-momentum", 0, "--criterion", "nll", "--class-weights", "0.5,1,2,1,1,3,1,1,0.25,1", "--optimizer", "adam"]
OWN += ["--lr", 0.02, "--l2", "1e-4", "--wd", 0, "--normalise", "mean-image"]
NETWORK = """
from dptrain.nn.activations import LogSoftMax, Reshape, Tanh
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.norm import BatchNorm, Dropout


def net(config, image, classes):
    f = config.filters
    return Sequential((
        Convolution("conv1", image.channels, f, taps=5, stride=2, pad=2, first=True),
        BatchNorm("bn1", f),
        Tanh(),
        Convolution("conv2", f, 2 * f, taps=5, stride=4, pad=2),
        Tanh(),
        Reshape(),
        Dropout("drop", 0.3),
        Linear("linear", (image.height // 8) * (image.width // 8) * 2 * f, classes),
        LogSoftMax(),
    ))
"""


def loop(run, monkeypatch):
    """Hashes by step, and (step, split, loss, accuracy) of every score, of the run its config describes."""
    monkeypatch.chdir(run.parents[1])
    config = build(from_sections(tomllib.loads((run / "config.toml").read_text())))
    parts = open_parts(config, "")
    state, hashes, scores = first_state(parts), {}, []
    for done in train(*parts, state):
        if done.phase == "train":
            hashes[state.step] = state.sha256()
        else:
            step = state.best_step if done.phase == "test" else state.step
            scores.append((step, done.phase, done.loss, done.hits / done.samples))
        if 0 < config.deployment.max_steps == state.step:
            break
    return hashes, scores


def scores(run):
    """The same of a run, as it has written them down."""
    found = []
    for record in read(run / "metrics.jsonl"):
        for short, split in (("val", "validation"), ("test", "test")):
            if f"{short}/loss" in record:
                found.append((record["step"], split, record[f"{short}/loss"], record[f"{short}/acc"]))
    return found


def start(runs, name, flags, workers):
    flags = [*flags, "--hash-every", 1, "--log-format", "plain", "--workers", workers]
    return runs.start("train", "--name", name, *flags, name=name)


def test_zero_one_and_three_workers_of_which_one_is_killed_give_the_loops_hash_after_every_step(
    runs, reference, monkeypatch
):
    """ResNet-8 with crop and flip, 60 steps, a validation after step 36 (conftest.py). reference: no workers."""
    step, killed = random.Random(os.getpid()).randint(10, 45), runs.path("killed")
    runs.finished(runs.train("one", "--workers", 1, "--max-steps", 60), "one")
    process = runs.train("killed", "--workers", 3, "--max-steps", 60)
    runs.until_step("killed", step)
    os.kill(runs.members("worker")[1], signal.SIGKILL)
    runs.finished(process, "killed")
    assert "exited with signal 9" in (killed / "logs" / "coordinator.log").read_text()
    hashes, scored = loop(reference, monkeypatch)
    assert (list(hashes), [step for step, *_ in scored]) == (list(range(1, 61)), [36])
    for run in (reference, runs.path("one"), killed):
        assert traces.hashes(run) == hashes, f"{run.name}; a worker was killed at step {step}"
        assert scores(run) == scored


@pytest.mark.parametrize("flags", [pytest.param(LENET, id="lenet"), pytest.param(OWN, id="a-users-own")])
def test_zero_and_two_workers_give_it_for_any_network_and_its_scores_to_the_end(runs, monkeypatch, flags):
    (runs.folder / "mine.py").write_text(NETWORK)
    for workers in (0, 2):
        runs.finished(start(runs, f"by-{workers}", flags, workers), f"by-{workers}")
    hashes, scored = loop(runs.path("by-0"), monkeypatch)
    assert len(hashes) == 18
    assert [split for _, split, _, _ in scored][-3:] == ["validation", "validation", "test"]
    for workers in (0, 2):
        assert traces.hashes(runs.path(f"by-{workers}")) == hashes
        assert scores(runs.path(f"by-{workers}")) == scored
