"""Experiments: what they vary, that every configuration is allowed, and how results are summarised."""

from typing import get_args

import pytest

from dptrain.cli.experiment import Name
from dptrain.errors import UsageError
from dptrain.explain.experiments import (
    EXPERIMENTS,
    Outcome,
    Result,
    draw_outcome,
    mean_and_spread,
    outcome_table,
    published,
    variants,
)
from dptrain.settings import Config, build, check

BASE = build({"augment": ("crop:2", "flip", "cutout:4"), "n": 3, "batch_size": 64})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_is_an_allowed_configuration_of_its_own(name):
    rows = variants(name, BASE, [])
    assert len(rows) >= 2
    built = [build(row.changes, BASE) for row in rows]
    for config in built:
        check(config)
    assert len(set(map(str, built))) == len(rows)
    assert len({row.slug for row in rows}) == len(rows)
    assert all(set(row.slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") for row in rows)


def changes(name, values=(), base=BASE):
    return [row.changes for row in variants(name, base, list(values))]


def test_what_each_experiment_varies():
    assert changes("depth") == [{"n": 1}, {"n": 3}, {"n": 5}]
    assert changes("depth", ["1", "18"]) == [{"n": 1}, {"n": 18}]
    assert changes("residual") == [{"n": 3, "residual": True}, {"n": 3, "residual": False}]
    assert [c["n"] for c in changes("residual", ["3", "9"])] == [3, 3, 9, 9]
    assert changes("augmentation") == [{"augment": ()}, {"augment": ("crop:2", "flip", "cutout:4")}]
    assert changes("augmentation", base=Config())[1] == {"augment": ("crop:4", "flip")}
    assert changes("pad")[0] == {"augment": ("flip", "cutout:4")}
    assert changes("pad")[2] == {"augment": ("crop:4", "flip", "cutout:4")}
    assert changes("filters") == [{"filters": 8}, {"filters": 16}]
    assert changes("shards") == [{"shard_size": n} for n in (8, 16, 32, 64)]
    assert [c["bn_momentum"] for c in changes("bn-momentum")] == [1.0, 0.1, 0.01, 0.0]
    assert [row.label for row in variants("solver", BASE, ["adam", "sgd"])] == ["sgd", "adam"]


def test_a_solver_is_what_it_is_called_whatever_the_recipe_has():
    rows = {row.label: row.changes["optimizer"] for row in variants("solver", BASE, [])}
    assert rows == {name: "sgd" for name in ("nesterov", "momentum", "sgd")} | {
        name: name for name in ("adam", "rmsprop", "adagrad", "adadelta")
    }


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("depth", ["0"], "--values 0: n must be a whole number, 1 or more"),
        ("depth", ["2", "2"], "given twice"),
        ("pad", ["-1"], "--values -1"),
        ("augmentation", ["1"], "takes no --values"),
        ("solver", ["lamb"], "there is no solver 'lamb': there are nesterov, "),
        ("bn-momentum", ["x"], "--values x: momentum is a number from 0 to 1"),
        ("block", ["odd"], "there is no block 'odd'"),
    ],
)
def test_values_that_make_no_sense_are_refused(name, values, message):
    with pytest.raises(UsageError, match=message):
        variants(name, BASE, values)


def test_the_command_offers_the_experiments_there_are():
    assert get_args(Name) == tuple(EXPERIMENTS)


def result(seed, test):
    return Result(seed, test, 0.5, [(1, 0.5 + test), (2, test)], 2.0 + seed)


def test_mean_and_spread_are_those_of_a_sample():
    assert mean_and_spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(2.6457513))
    assert mean_and_spread([4.0]) == (4.0, 0.0)


def test_the_table_shows_runs_standard_deviation_failures_and_published_errors():
    outcomes = [
        Outcome("20 layers", 269722, [result(0, 0.09), result(1, 0.11)], [2], "paper 8.75"),
        Outcome("plain", 0, [result(0, 0.1)]),
        Outcome("none", 0, []),
    ]
    table = outcome_table(outcomes)
    assert table.heads == ["variant", "parameters", "runs", "test error %", "train error %", "s/epoch", "published %"]
    assert table.rows[0] == [
        "20 layers",
        "269,722",
        "2 (+1 diverged)",
        "10.00 ± 1.41",
        "50.00 ± 0.00",
        "2.5",
        "paper 8.75",
    ]
    assert table.rows[1] == ["plain", "", "1", "10.00", "50.00", "2.0", ""]
    assert table.rows[2] == ["none", "", "0", "", "", "", ""]


def test_the_figure_has_one_curve_per_variant_and_one_dot_per_seed():
    outcomes = [Outcome("a", 1, [result(0, 0.1), result(1, 0.3)]), Outcome("b", 1, [result(0, 0.2)])]
    left, right = draw_outcome(outcomes, "t", "validation").axes
    assert [line.get_label() for line in left.lines] == ["a", "b"]
    assert list(left.lines[0].get_ydata()) == pytest.approx([70, 20])
    dots = [line for line in right.lines if line.get_marker() == "o"]
    assert list(dots[0].get_xdata()) == pytest.approx([10, 30])
    assert [t.get_text() for t in right.get_yticklabels()] == ["a", "b"]


def test_published_errors_are_shown_only_for_the_networks_they_belong_to():
    theirs = {"dataset": "cifar10", "n": 3}
    assert published(build(theirs)) == "paper 8.75, gcr 8.29, PyFunt 9.59"
    for other in ({"n": 1}, {"dataset": "mnist"}, {"samples": 5000}, {"filters": 8}, {"residual": False}):
        assert published(build(theirs | other)) == "", other
