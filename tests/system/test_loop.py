"""The plain loop is the definition of a run: real processes give its hash after every step, and its scores."""

import os
import random
import signal
import tomllib
from pathlib import Path

import pytest

from dptrain.cli import main
from dptrain.cluster.events import StepDone, WorkerAdmitted
from dptrain.loop import train
from dptrain.runs.metrics import read
from dptrain.runs.recorder import Recorder
from dptrain.settings import build, from_sections
from dptrain.workers.parts import first_state, open_parts
from simulation import traces

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STEPS = 60  #: 4 epochs of 15 steps; a step has 4 shards of 2 images, the last one of an epoch 2 shards and 1 image
FLAGS = ["--dataset", "shapes32", "--samples", "117", "--batch-size", "8", "--shard-size", "2", "--epochs", "4"]
FLAGS += ["--validation", "100", "--filters", "8", "--hash-every", "1", "--log-format", "plain"]
RESNET = ["--augment", "crop:4,flip", "--label-smoothing", "0.1"]
LENET = ["--network", "lenet", "--replacement", "--eval-first", "--optimizer", "adamw", "--lr", "0.002"]
LENET += ["--schedule", "triangular", "--clip-norm", "0.5"]
OWN = ["--network", "own:net", "--networks", "own.py", "--augment", "crop:4,flip", "--bn-momentum", "0"]
OWN += ["--criterion", "nll", "--class-weights", "0.5,1,2,1,1,3,1,1,0.25,1", "--normalise", "mean-image"]
OWN += ["--schedule", "restarts", "--period", "1", "--final", "0.1"]
OWN += ["--optimizer", "adam", "--lr", "0.02", "--l2", "1e-4", "--wd", "0"]
RANDOM = ["--network", "random_networks:net", "--augment", "crop:4,flip"]
RANDOM += ["--networks", str(Path(__file__).parents[1] / "engine" / "random_networks.py"), "--n"]
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


def loop(run):
    """Hashes by step, and (step, split, loss, accuracy) of every score, of the run its config describes."""
    config = build(from_sections(tomllib.loads((run / "config.toml").read_text())))
    parts = open_parts(config, "")
    state, hashes, scores = first_state(parts), {}, []
    for done in train(*parts, state):
        if done.phase == "train":
            hashes[state.step] = state.sha256()
        else:
            step = state.best_step if done.phase == "test" else state.step
            scores.append((step, done.phase, done.loss, done.hits / done.samples))
    return hashes, scores


def scores(run):
    """The same of a run, as it has written them down."""
    found = []
    for record in read(run / "metrics.jsonl"):
        for short, split in (("val", "validation"), ("test", "test")):
            if f"{short}/loss" in record:
                found.append((record["step"], split, record[f"{short}/loss"], record[f"{short}/acc"]))
    return found


def kill_the_second_of_three(patch, step):
    """A worker is paused until all three are admitted. After this step the second one is killed: it has just been
    given shards of the next step.
    """
    tell, pids = Recorder.tell, []

    def watched(recorder, report):
        tell(recorder, report)
        if isinstance(report, WorkerAdmitted) and len(pids) < 3:
            pids.append(report.pid)
            for pid in pids:
                os.kill(pid, signal.SIGCONT if len(pids) == 3 else signal.SIGSTOP)
        elif isinstance(report, StepDone) and report.step == step:
            os.kill(pids[1], signal.SIGKILL)

    patch.setattr(Recorder, "tell", watched)


MANY = [pytest.param([*RANDOM, seed], marks=pytest.mark.slow, id=f"random-{seed}") for seed in "123456789"]


@pytest.mark.parametrize(
    "flags",
    [pytest.param(RESNET, id="resnet-8"), pytest.param(LENET, id="lenet"), pytest.param(OWN, id="a-users-own"), *MANY],
)
def test_zero_one_and_three_workers_of_which_one_is_killed_give_the_loops_hash_after_every_step(
    tmp_path, monkeypatch, flags
):
    """The coordinator is this process. Workers are threads (0 workers) or processes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(NETWORK)
    step, runs = random.Random(os.getpid()).randint(10, 45), {n: tmp_path / "runs" / f"by-{n}" for n in (0, 1, 3)}
    for workers, run in runs.items():
        with pytest.MonkeyPatch.context() as patch:
            if workers == 3:
                kill_the_second_of_three(patch, step)
            assert main(["train", *FLAGS, *flags, "--name", run.name, "--workers", str(workers)]) == 0
    assert "exited with signal 9" in (runs[3] / "logs" / "coordinator.log").read_text()
    hashes, scored = loop(runs[0])
    assert list(hashes) == list(range(1, STEPS + 1))
    assert [split for _, split, _, _ in scored][-3:] == ["validation", "validation", "test"]
    for workers, run in runs.items():
        assert traces.hashes(run) == hashes, f"{workers} workers; of three, one was killed at step {step}"
        assert scores(run) == scored
