"""A network from the user's own file, not a ResNet, trains in the same way and with the same bits."""

import json
import sys

import numpy as np
import pytest
from safetensors import safe_open

import dptrain
from dptrain.api.trained import load_trained, open_trained_data
from dptrain.cli import main
from dptrain.errors import UsageError
from dptrain.identity import identity_json
from dptrain.nn import initial_params
from dptrain.runs.metrics import read
from dptrain.settings import build
from dptrain.workers.compute import RunComputer

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NETWORK = '''
"""LeNet's shape with tanh and dropout, two branches, no BatchNorm anywhere."""
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.norm import Dropout
from dptrain.nn.convolution import Linear
from dptrain.nn.pooling import AveragePooling, MaxPooling
from dptrain.nn.activations import Reshape
from dptrain.nn.activations import LogSoftMax, Tanh
from dptrain.nn.containers import CAddTable, ConcatTable

def net(config, image, classes):
    f = config.filters
    return Sequential((
        Convolution("conv1", image.channels, f, taps=5, stride=2, pad=2, first=True, bias=True, init="xavier"),
        Tanh(),
        ConcatTable((MaxPooling(3, 2, 1), AveragePooling(3, 2, 1))),
        CAddTable(),
        Dropout("drop1", 0.1),
        Convolution("conv2", f, 2 * f, taps=5, stride=2, pad=2, bias=True, init="xavier"),
        Tanh(),
        Reshape(),
        Dropout("drop2", 0.3),
        Linear("linear", (image.height // 8) * (image.width // 8) * 2 * f, classes),
        LogSoftMax(),
    ))
'''
BUGGY = """
from dataclasses import dataclass

from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Linear
from dptrain.nn.activations import Reshape
from dptrain.nn.activations import LogSoftMax

CALLS = []


@dataclass(frozen=True)
class Counter:
    params = ()
    buffers = ()

    def __call__(self, run, x):
        CALLS.append(1)
        if len(CALLS) > 40:
            raise RuntimeError("two\\nlines")  # this is it
        return x, lambda dy, gradients: dy


def net(config, image, classes):
    pixels = image.height * image.width * image.channels
    return Sequential((Counter(), Reshape(), Linear("linear", pixels, classes), LogSoftMax()))
"""
FLAGS = ["--dataset", "shapes32", "--validation", "500", "--augment", "crop:4,flip", "--filters", "8", "--epochs", "2"]
FLAGS += ["--batch-size", "500", "--shard-size", "125", "--hash-every", "1", "--network", "mine:net"]
FLAGS += ["--criterion", "nll", "--optimizer", "adam", "--lr", "0.02", "--l2", "1e-4", "--wd", "0"]
WEIGHTS = (0.5, 1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 0.25, 1.0)
FLAGS += ["--class-weights", ",".join(map(str, WEIGHTS)), "--normalise", "mean-image"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    (folder / "mine.py").write_text(NETWORK)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("dptrain_network_mine", None)


@pytest.fixture(scope="module")
def whole(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", *FLAGS, "--networks", "mine.py", "--name", "whole", "--workers", "0"]) == 0
    return folder / "runs" / "whole"


def test_two_workers_a_stop_and_a_resume_give_the_bits_of_one_process(whole, here, capsys):
    assert (
        main(["train", *FLAGS, "--networks", "mine.py", "--name", "again", "--workers", "1", "--max-steps", "4"]) == 0
    )
    assert main(["train", "--name", "again", "--resume", "auto", "--workers", "2", "--networks", "mine.py"]) == 0
    capsys.readouterr()
    assert main(["verify", str(whole), "runs/again"]) == 0
    assert capsys.readouterr().out == "identical over 18 common steps (1 to 18)\n"


def test_it_learns_and_its_checkpoint_names_every_tensor_of_the_optimizer(whole):
    losses = [record["train/loss"] for record in read(whole / "metrics.jsonl") if "train/loss" in record]
    assert losses[-1] < losses[0] - 0.1
    with safe_open(whole / "checkpoints" / "last.safetensors", "numpy") as checkpoint:
        names = set(checkpoint.keys())
    assert {"model.conv1.weight", "optim.mean.conv1.weight", "optim.square.linear.bias"} <= names
    assert not any("running" in name for name in names)


def test_losses_are_means_by_the_weights_of_the_classes(whole, here):
    """Torch's ClassNLLCriterion divides by the weights of the targets: of a whole batch, not shard by shard."""
    trained = load_trained(whole, ("mine.py",))
    source = open_trained_data(trained, "")
    first = RunComputer("", networks=("mine.py",)).parts_for(identity_json(trained.facts.config))
    params = initial_params(first.model.params, trained.facts.config.training.seed)
    shards = [(first.model.gradient(params, *source.images(0, k), 0, k), source.labels(0, k)) for k in range(4)]
    counted = np.array(WEIGHTS)[np.concatenate([labels for _, labels in shards])].sum()
    record = next(record for record in read(whole / "metrics.jsonl") if record["kind"] == "step")
    assert record["train/loss"] == pytest.approx(sum(result.loss for result, _ in shards) / counted, rel=1e-9)


def test_a_bug_in_it_ends_the_run_with_70_a_checkpoint_and_its_words(here, tmp_path, capsys, caplog):
    """In one process as with workers. Its 41st batch is one of the second epoch: canary, 2 threads, 4 shards a step."""
    buggy = tmp_path / "buggy.py"
    buggy.write_text(BUGGY)
    place = ["--runs", str(tmp_path), "--name", "b", "--networks", str(buggy)]
    flags = ["train", *(flag.replace("mine:net", "buggy:net") for flag in FLAGS), *place]
    assert main([*flags, "--workers", "0"]) == 70
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "dptrain: error: no worker is left: RuntimeError: two lines"
    assert "this is it" in caplog.text
    assert (tmp_path / "b" / "checkpoints" / "last.safetensors").is_file()
    again = f"not running; continue with: dptrain train --resume {tmp_path / 'b'} --networks {buggy}"
    assert main(["status", str(tmp_path / "b")]) == 0
    assert again in capsys.readouterr().out


def test_from_python_a_file_may_be_given_by_its_name_alone(whole, here):
    images = np.zeros((1, 32, 32, 3), np.uint8)
    assert dptrain.Run(whole, networks="mine.py").predict(images) == dptrain.Run(whole, networks=["mine.py"]).predict(
        images
    )


def test_it_is_explained_as_any_other(whole, here, capsys):
    """Saliency and fooling need the gradient by the image, which training leaves out; means are those of each pixel."""
    assert main(["explain", "saliency", str(whole), "--networks", "mine.py", "--count", "2", "-o", "s.png"]) == 0
    assert main(["report", str(whole), "--networks", "mine.py"]) == 0
    assert "mine:net" in (whole / "report.html").read_text()
    capsys.readouterr()
    assert main(["explain", "saliency", str(whole)]) == 78
    assert "this host was not told to run it" in capsys.readouterr().err


def test_it_is_scored_where_the_file_is_allowed_and_refused_where_it_is_not(whole, here, capsys):
    assert main(["eval", str(whole), "--networks", "mine.py", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["acc"] > 0.1
    told = next(record for record in read(whole / "metrics.jsonl") if "test/loss" in record)
    assert found["loss"] == pytest.approx(told["test/loss"], rel=1e-9)  # the run's criterion, divided by the weights
    for verb in (["eval", str(whole)], ["train", "--resume", str(whole)], ["train", *FLAGS, "--name", "b"]):
        assert main(verb) == 78
        assert "this host was not told to run it" in capsys.readouterr().err


def test_a_changed_file_is_another_network_and_does_not_go_on_with_the_run(whole, here, tmp_path, capsys):
    other = tmp_path / "mine.py"
    other.write_text(NETWORK.replace("0.3", "0.4"))
    assert main(["eval", str(whole), "--networks", str(other)]) == 78
    assert "another layout" in capsys.readouterr().err


def test_a_worker_runs_no_network_that_only_the_wire_names(here):
    """The coordinator's configuration names the file's function; the worker's own command line must name the file."""
    config = build({"network": "mine:net", "dataset": "shapes32"})
    computer = RunComputer("")
    with pytest.raises(UsageError, match="this host was not told to run it"):
        computer.parts_for(identity_json(config))
    assert RunComputer("", networks=("mine.py",)).parts_for(identity_json(config)).model.params.origin
