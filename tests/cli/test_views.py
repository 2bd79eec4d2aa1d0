"""Evaluation from five places: the mean of the probabilities, and only where training crops."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dptrain.api.views import combined
from dptrain.cli import main


def test_one_opinion_is_itself_and_several_are_their_mean():
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

    def train(name, augment):
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
        assert main(["train", *flags, *more, "--log-format", "plain"]) in (0, 130)
        return runs / name

    return train


def test_eval_averages_five_crops_on_demand(trained, capsys):
    run = trained("window", "window:24:24:2,flip")
    found = []
    for five in ([], ["--five"]):
        capsys.readouterr()
        assert main(["eval", str(run), "--split", "test", "--json", *five]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["samples"] == found[1]["samples"] == 1000
    assert found[0]["loss"] != found[1]["loss"]


def test_eval_refuses_five_crops_of_what_is_never_cropped(trained, capsys):
    run = trained("whole", "flip")
    capsys.readouterr()
    assert main(["eval", str(run), "--five"]) == 78
    assert "five crops need a crop or window in the run's augmentation, which is flip" in capsys.readouterr().err
