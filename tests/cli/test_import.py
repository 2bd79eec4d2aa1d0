"""Weights from elsewhere become a checkpoint; BatchNorm's statistics are measured again: `import` and `reestimate`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from dptrain.api.trained import load_trained, open_trained_data
from dptrain.cli import main
from dptrain.runs.metrics import read

DATA = ["--dataset", "shapes32", "--validation", "500", "--samples", "256", "--batch-size", "128", "--shard-size", "32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps of a tiny network."""
    runs = tmp_path_factory.mktemp("runs")
    flags = [
        *DATA,
        "--filters",
        "4",
        "--epochs",
        "1",
        "--workers",
        "0",
        "--threads",
        "1",
        "--quiet",
        "--runs",
        str(runs),
    ]
    assert main(["train", *flags, "--name", "two"]) == 0
    return runs / "two"


def pyfunt(classes=10, filters=4):
    """The arrays of a ResNet-8 as PyFunt names them."""
    rng = np.random.default_rng(0)
    widths = [3, *[filters] * 3, *[2 * filters] * 2, *[4 * filters] * 2]
    found = {}
    for i in range(1, 8):
        found[f"W{i}"] = rng.standard_normal((widths[i], widths[i - 1], 3, 3)).astype(np.float32) / 5
        found |= {f"{name}{i}": rng.uniform(0.3, 1, widths[i]).astype(np.float32) for name in ("b", "gamma", "beta")}
    shapes = {"W9": (4 * filters, classes), "b9": (classes,)}
    return found | {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_statistics_measured_again_are_the_means_over_the_training_shards(run, capsys):
    assert main(["reestimate", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/reestimated.safetensors: statistics of 256 images, weights of step 2\n"
    trained = load_trained(run)
    source = open_trained_data(trained, "")
    shards = [trained.model.gradient(trained.params, *source.images(s, k), s, k) for s in range(2) for k in range(4)]
    expected = np.sum([shard.statistics.astype(np.float64) for shard in shards], axis=0) / 256
    anew = load_trained(run / "reestimated.safetensors")
    np.testing.assert_array_equal(anew.params, trained.params)
    np.testing.assert_allclose(anew.buffers, expected, rtol=1e-6)
    assert not np.allclose(anew.buffers, trained.buffers, rtol=0.1)  # two steps of 0.1 each leave most of the zeros
    assert not any(name.startswith("best.") for name in load_file(run / "reestimated.safetensors"))


def test_with_them_a_short_training_scores_better_and_the_run_is_as_it_was(run, tmp_path, capsys):
    assert main(["reestimate", str(run), "--over", "100", "-o", str(tmp_path / "a.safetensors")]) == 0
    assert "statistics of 128 images" in capsys.readouterr().out
    losses = []
    for target in (run, tmp_path / "a.safetensors"):
        assert main(["eval", str(target), "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    told = next(record["test/loss"] for record in read(run / "metrics.jsonl") if "test/loss" in record)
    assert losses[0] == pytest.approx(told)
    assert losses[1] < losses[0]


def test_a_model_of_pyfunt_is_scored_as_its_network_with_statistics_of_the_training_set(tmp_path, capsys):
    np.save(tmp_path / "model.npy", pyfunt())
    made = tmp_path / "model.safetensors"
    assert main(["import", str(tmp_path / "model.npy"), *DATA, "--normalise", "mean-image"]) == 0
    said = f"{made}: ResNet-8, 5,006 parameters, BatchNorm statistics of 256 training images\n"
    assert capsys.readouterr().out == said
    facts = load_trained(made).facts
    model = facts.config.model
    assert (model.n, model.filters, model.block, model.shortcut) == (1, 4, "relu-before", "avgpool")
    assert len(facts.data.mean) == 3072
    assert main(["eval", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 1000


def test_weights_that_do_not_fit_are_refused_in_one_line_and_nothing_is_written(tmp_path, capsys):
    np.save(tmp_path / "model.npy", pyfunt(classes=7))
    for flags, text in (
        ((), "linear.weight has shape (7, 16), the network needs (10, 16)"),
        (("--n", "3"), "--n: "),
        (("-o", "a.npy"), "a.npy: a checkpoint is a file named *.safetensors"),
    ):
        assert main(["import", str(tmp_path / "model.npy"), *DATA, *flags]) == 78
        err = capsys.readouterr().err
        assert text in err
        assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.npy"]


def test_an_exported_file_comes_back_with_its_normalisation_and_is_not_overwritten(run, tmp_path, capsys):
    file, back = tmp_path / "model.safetensors", tmp_path / "back.safetensors"
    assert main(["export", str(run), str(file)]) == 0
    flags = [*DATA, "--filters", "4", "--augment", "flip"]
    assert main(["import", str(file), *flags]) == 78
    assert "the checkpoint would replace the file it is made of" in capsys.readouterr().err
    assert main(["import", str(file), *flags, "-o", str(back)]) == 0
    old, new = load_trained(run), load_trained(back)
    assert new.params.tobytes() == old.params.tobytes()
    assert new.buffers.tobytes() == old.buffers.tobytes()
    np.testing.assert_allclose(new.facts.data.mean, old.facts.data.mean, rtol=1e-12)
    mean, std = "0.485,0.456,0.406", "0.229,0.224,0.225"
    assert main(["import", str(file), *flags, "--mean", mean, "--std", std, "-o", str(back)]) == 0
    np.testing.assert_allclose(load_trained(back).facts.data.mean, [123.675, 116.28, 103.53])


def test_a_state_dict_of_pytorch_keeps_its_statistics(shared_data, tmp_path, capsys):
    """akamaster's ResNet-20: names and shapes are ours, so its weights need no translation."""
    weights = shared_data("akamaster/resnet20-12fca82f.th")
    flags = ["--dataset", "shapes32", "--n", "3", "--shortcut", "A", "-o", str(tmp_path / "aka.safetensors")]
    assert main(["import", str(weights), *flags]) == 0
    assert "with the BatchNorm statistics of the file" in capsys.readouterr().out
    assert main(["import", str(weights), *flags[:2], "--n", "5", "-o", str(tmp_path / "b.safetensors")]) == 78
    assert "has no layer1.3.conv1.weight, which the network needs" in capsys.readouterr().err
