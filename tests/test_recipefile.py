"""Sources of settings: one that makes a setting of a weaker one meaningless, and other names of settings."""

import pytest

from dptrain.errors import UsageError
from dptrain.identity import from_identity_json, identity_json
from dptrain.recipefile import COMMAND_LINE, from_flags, from_toml, gather, resolve, to_toml
from dptrain.settings import build, unused, values


@pytest.mark.parametrize(
    ("recipe", "flags", "line"),
    [
        (
            "sfddd",
            {"schedule": "cosine"},
            "milestones of recipe sfddd is dropped: not used with schedule = cosine (the command line)",
        ),
        (
            "cifar10",
            {"network": "lenet"},
            "n, block, shortcut of recipe cifar10 are dropped: not used with network = lenet (the command line)",
        ),
        (
            "cifar10-gcr-20-adadelta",
            {"optimizer": "sgd"},
            "rho of recipe cifar10-gcr-20-adadelta is dropped: not used with optimizer = sgd (the command line)",
        ),
        (
            "cifar10-gcr-110",
            {"warmup": "0"},
            "warmup_factor of recipe cifar10-gcr-110 is dropped: not used with warmup = 0.0 (the command line)",
        ),
    ],
)
def test_a_flag_that_makes_a_key_of_the_recipe_meaningless_wins_and_one_line_names_the_key(recipe, flags, line, caplog):
    config = resolve(recipe, {}, flags)
    assert [record.getMessage() for record in caplog.records] == [line]
    changed = {*line.split(" of recipe")[0].split(", "), *flags}
    assert {n: v for n, v in values(config).items() if n not in changed} == {
        n: v for n, v in values(resolve(recipe)).items() if n not in changed
    }
    assert list(unused(config)) == []


def test_a_variable_wins_over_the_recipe_and_a_flag_over_the_variable(tmp_path, caplog):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[deployment]\nthreads = 2\nworkers = 0\n")
    assert resolve(str(recipe), {"DPTRAIN_WORKERS": "3"}).deployment.threads == 0
    assert resolve(str(recipe), {"DPTRAIN_THREADS": "4"}, {"workers": "1"}).deployment.threads == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"threads of recipe {recipe} is dropped: not used with workers = 3 (the environment)",
        "threads of the environment is dropped: not used with workers = 1 (the command line)",
    ]


def test_a_quiet_run_drops_a_key_without_a_line(caplog):
    assert resolve("sfddd", {}, {"schedule": "cosine", "log_format": "quiet"}).training.milestones == ()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({}, {"schedule": "cosine", "milestones": "3"}, "milestones = [3] is used only with schedule"),
        ({}, {"optimizer": "adam", "momentum": "0.5"}, 'momentum = 0.5 is used only with optimizer = "sgd"'),
        (
            {"DPTRAIN_OPTIMIZER": "sgd", "DPTRAIN_RHO": "0.5"},
            {},
            'rho = 0.5 is used only with optimizer = "rmsprop"',
        ),
        ({"DPTRAIN_SCHEDULE": "cosine"}, {"milestones": "3"}, "milestones = [3] is used only with schedule"),
    ],
)
def test_a_meaningless_key_is_refused_where_no_stronger_source_decided_that(environ, flags, message):
    with pytest.raises(UsageError) as error:
        resolve("", environ, flags)
    assert message in str(error.value)


def test_a_value_that_no_stored_run_may_lose_is_still_accepted_from_a_recipe():
    """Runs of `dptrain experiment solver` were stored with such values; their configuration must stay readable."""
    stored = build({"optimizer": "adam", "momentum": 0.0, "nesterov": False})
    assert from_identity_json(identity_json(stored)) == stored
    assert build(from_toml(to_toml(stored))) == stored


# --- depth and width


def test_depth_and_width_are_other_names_for_n_and_filters():
    assert from_flags({"depth": "20", "width": "8"}) == {"n": 3, "filters": 8}
    assert resolve(flags={"depth": "110", "width": "32"}) == resolve(flags={"n": "18", "filters": "32"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"depth": "18"}, "--depth: depth = 18: a resnet has 6n + 2 layers: choose 14 or 20"),
        ({"depth": "2"}, "--depth: depth = '2': must be 6n + 2, from 8 to 1202"),
        ({"depth": "deep"}, "--depth: depth = 'deep': must be 6n + 2"),
        ({"width": "0"}, "--width: filters = '0': must be a whole number from 1"),
        ({"depth": "20", "n": "3"}, "depth and n set the same thing"),
        ({"n": "3", "depth": "20"}, "depth and n set the same thing"),
        ({"depth": "20", "network": "vgg"}, "depth = 20 is for network resnet, but network = vgg: give n instead"),
    ],
)
def test_a_depth_or_width_that_cannot_be_is_refused_with_the_nearest(flags, message):
    with pytest.raises(UsageError) as error:
        gather("", {}, flags)
    assert message in str(error.value)


def test_each_depth_of_a_resnet_is_a_number_of_blocks():
    assert [from_flags({"depth": str(6 * n + 2)})["n"] for n in (1, 2, 199, 200)] == [1, 2, 199, 200]
    with pytest.raises(UsageError, match="must be 6n"):
        from_flags({"depth": "1208"}, COMMAND_LINE)
