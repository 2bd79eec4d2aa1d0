"""Evaluation with five crops: the mean of the probabilities, and only if training crops."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dptrain.api.trained import combined, load_trained, open_trained_data
from dptrain.cli import main


def test_the_scores_of_one_view_are_kept_and_those_of_several_are_averaged():
    a, b = np.array([[0.0, 1.0, -2.0]], np.float32), np.array([[3.0, -1.0, 0.0]], np.float32)

    def probabilities(logits):
        odds = np.exp(logits.astype(float))
        return odds / odds.sum()

    np.testing.assert_allclose(np.exp(combined([a])), probabilities(a), rtol=1e-6)
    np.testing.assert_allclose(np.exp(combined([a, b])), (probabilities(a) + probabilities(b)) / 2, rtol=1e-6)


def test_certain_views_that_disagree_are_finite():
    sure = np.array([[2000.0, 0.0, 0.0]], np.float32)
    together = combined([sure, sure[:, ::-1]])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(np.exp(together[0, [0, 2]]), 0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function: augmentation -> a run of two steps over shapes32."""
    runs = tmp_path_factory.mktemp("runs")

    def train(name, augment, *options):
        flags = ["--dataset", "shapes32", "--samples", "64", "--filters", "4", "--batch-size", "32", "--max-steps", "2"]
        more = [
            "--augment",
            augment,
            "--runs",
            str(runs),
            "--name",
            name,
            "--epochs",
            "3",
            "--workers",
            "0",
            "--threads",
            "1",
        ]
        assert main(["train", *flags, *more, *options, "--log-format", "plain"]) in (0, 130)
        return runs / name

    return train


def mean_log_probability(logits):
    odds = np.exp(logits - logits.max(2, keepdims=True))
    return np.log((odds / odds.sum(2, keepdims=True)).mean(0))


def mean_score(logits):
    return logits.mean(0)


def surprise(scores, labels):
    return -scores[np.arange(len(labels)), labels]


def margins(scores, labels):
    right = scores[np.arange(len(labels)), labels][:, None]
    return np.maximum(0, 1 + scores - right).sum(1) - 1  # the right class is no mistake of its own


CROPS = {
    "centre": np.s_[:, 4:28, 4:28],
    "upper left": np.s_[:, :24, :24],
    "upper right": np.s_[:, :24, 8:],
    "lower left": np.s_[:, 8:, :24],
    "lower right": np.s_[:, 8:, 8:],
}


@pytest.mark.parametrize(
    ("criterion", "mean", "loss"),
    [("cross-entropy", mean_log_probability, surprise), ("hinge", mean_score, margins)],
    ids=["probabilities", "scores"],
)
def test_eval_averages_five_crops_on_demand(trained, capsys, criterion, mean, loss):
    run = trained(criterion, "window:24:24:2,flip", "--criterion", criterion)
    network = load_trained(run)
    data = open_trained_data(network, "").dataset
    logits = np.stack(
        [
            network.model.logits(network.params, network.buffers, np.ascontiguousarray(data.test_images[crop]))
            for crop in CROPS.values()
        ]
    ).astype(float)
    for flags, seen in ([], logits[:1]), (["--five"], logits):
        capsys.readouterr()
        assert main(["eval", str(run), "--split", "test", "--json", *flags]) == 0
        found, scores = json.loads(capsys.readouterr().out), mean(seen)
        assert found["samples"] == 1000
        assert found["loss"] == pytest.approx(loss(scores, data.test_labels).mean(), rel=1e-6)
        assert found["acc"] == (scores.argmax(1) == data.test_labels).mean()


def test_eval_refuses_five_crops_if_training_never_crops(trained, capsys):
    run = trained("whole", "flip")
    capsys.readouterr()
    assert main(["eval", str(run), "--five"]) == 78
    assert "five crops need a crop or window in the run's augmentation, which is flip" in capsys.readouterr().err
