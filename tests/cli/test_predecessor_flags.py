"""The predecessors' options have their old meaning, and a note gives their names in dptrain."""

from __future__ import annotations

import tomllib

import pytest

from dptrain.cli import main
from dptrain.cli.app import build_app
from dptrain.cli.help import PREDECESSORS, translated


def test_the_predecessors_command_line_is_understood_with_a_note(capsys):
    old = "--n_size 5 --n_starting_filters 8 -np 3 -lr=0.05 -mom 0.8 -wd 0 -reg 1e-4 -nep 30 -bs 96 --n_train 1000"
    assert main(["train", *old.split(), "--print-config"]) == 0
    out, err = capsys.readouterr()
    given = tomllib.loads(out)
    assert (given["model"]["n"], given["model"]["filters"], given["model"]["l2"]) == (5, 8, 1e-4)
    t = given["training"]
    assert (t["lr"], t["momentum"], t["weight_decay"], t["epochs"], t["batch_size"]) == (0.05, 0.8, 0.0, 30, 96)
    assert (given["deployment"]["workers"], given["data"]["samples"]) == (3, 1000)
    lines = err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "dptrain: note: --n_size is called --n here"


def test_the_presets_of_the_predecessors_take_their_options(capsys):
    assert main(["train", "--recipe", "mnist", "--n_size", "5", "--n_starting_filters", "16", "--print-config"]) == 0
    given = tomllib.loads(capsys.readouterr().out)
    assert (given["model"]["n"], given["model"]["filters"], given["training"]["epochs"]) == (5, 16, 60)


@pytest.mark.parametrize("ours", sorted(set(PREDECESSORS.values())))
def test_every_translation_is_an_option_that_exists(ours):
    build_app().parse_args(["train", ours, "1"], exit_on_error=False, print_error=False)


def test_other_verbs_and_values_are_left_alone():
    assert translated(["eval", "-np", "x"]) == (["eval", "-np", "x"], [])
    assert translated([]) == ([], [])
    assert translated(["train", "--name", "n_size"]) == (["train", "--name", "n_size"], [])


def test_an_option_whose_unit_has_changed_is_not_guessed(capsys):
    for option in ("-cp", "--checkpoint_every"):
        assert main(["train", option, "20", "--print-config"]) == 78
        assert f"{option}: --checkpoint-every counts steps, not epochs" in capsys.readouterr().err
