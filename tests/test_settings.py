"""Configuration: what is allowed, which layer wins, what a run's identity is."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.errors import UsageError
from dptrain.identity import from_identity_json, identity, identity_differences, identity_json
from dptrain.recipefile import (
    OTHER_ENV,
    from_environment,
    from_toml,
    gather,
    resolve,
    to_toml,
)
from dptrain.recipes import shipped
from dptrain.rules import Choice, Real, Switch, Text, Whole
from dptrain.settings import (
    SETTINGS,
    Config,
    TrainingConfig,
    build,
    check,
    stored,
    unused,
    values,
)

LAYERS = ["layer1", "linear.bias"]
ITEMS = {"networks": ["a.py", "b/c.py"], "augment": ["flip", "crop:4"], "lr_scale": ["linear:10", "a.b:.5e-2"]}
ITEMS |= {"anew": LAYERS, "freeze": LAYERS}


def any_value(name: str) -> st.SearchStrategy:
    rule = SETTINGS[name].rule
    if isinstance(rule, Whole):
        return st.integers(rule.low, rule.high)
    if isinstance(rule, Real):
        return st.floats(rule.low, rule.high, exclude_min=rule.above)
    if isinstance(rule, Switch):
        return st.booleans()
    if isinstance(rule, Choice):
        return st.sampled_from(rule.words)
    if isinstance(rule, Text):
        return st.from_regex(rule.pattern, fullmatch=True).filter(lambda text: "\n" not in text)
    if isinstance(rule.item, Text):
        item = st.sampled_from(ITEMS[name])
    else:
        item = st.integers(1, 9) if isinstance(rule.item, Whole) else st.floats(0.5, rule.item.high)
    return st.lists(item, max_size=4).map(tuple)


some_values = st.sets(st.sampled_from(sorted(SETTINGS)), max_size=8).flatmap(
    lambda names: st.fixed_dictionaries({name: any_value(name) for name in names})
)


def test_every_default_keeps_its_rule_and_all_of_them_together_are_a_run():
    for name, value in values(Config()).items():
        assert SETTINGS[name].convert(value) == value
        assert SETTINGS[name].default == value
    check(Config())
    assert list(unused(Config())) == []


def test_every_setting_says_in_one_line_what_it_is():
    for setting in SETTINGS.values():
        assert 10 <= len(setting.about) <= 95, setting.name
        assert not setting.about.endswith("."), setting.name


@given(some_values)
def test_a_printed_configuration_can_be_read_as_a_recipe(given_values):
    config = build(given_values)
    assert build(from_toml(to_toml(config))) == config


@given(some_values)
def test_the_identity_part_comes_back_from_json_and_deployment_does_not_change_it(given_values):
    config = build(given_values)
    try:
        check(config)
    except UsageError:
        return
    back = from_identity_json(identity_json(config))
    assert (back.data, back.model, back.training) == (config.data, config.model, config.training)
    assert identity_json(back) == identity_json(config)
    assert identity(back, "d", "l", "fp32-v1") == identity(config, "d", "l", "fp32-v1")


def test_every_part_of_the_identity_changes_it():
    base = identity(Config(), "data", "layout", "fp32-v1")
    others = {
        identity(replace(Config(), training=TrainingConfig(seed=1)), "data", "layout", "fp32-v1"),
        identity(Config(), "data2", "layout", "fp32-v1"),
        identity(Config(), "data", "layout2", "fp32-v1"),
        identity(Config(), "data", "layout", "fp32-v2"),
    }
    assert len(others | {base}) == 5


def test_a_setting_that_came_later_changes_no_name_until_it_is_used():
    """The name the first version of dptrain gave its default run."""
    first = stored({})
    assert identity(first, "d", "l", "n") == "1154c8ee185e89c907bd059f7fbd8fbc577b924175ad05fbaa7c744d1761e046"
    assert identity(stored({"optimizer": "adam"}), "d", "l", "n") != identity(first, "d", "l", "n")
    assert "optimizer" not in identity_json(first)


def test_a_run_from_before_the_larger_tiles_keeps_the_smaller_ones_and_a_new_run_gets_the_larger_ones():
    assert stored({}).model.convolution == from_identity_json(identity_json(stored({}))).model.convolution == "f2"
    assert Config().model.convolution == from_identity_json(identity_json(Config())).model.convolution == "f4"


def test_identity_json_is_canonical():
    text = identity_json(Config())
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert "workers" not in text


def test_identity_differences_name_each_field_with_both_values():
    other = build({"lr": 0.2, "n": 3, "workers": 7})
    assert identity_differences(Config(), other) == ["n: 1 -> 3", "lr: 0.1 -> 0.2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must be a JSON object"),
        ("{", "not JSON"),
        ("{}", "lacks dataset"),
        ('{"deployment": {}}', "unknown section or key 'deployment'"),
        ('{"data": {"datasett": "x"}}', "unknown key 'datasett' in [data]; did you mean dataset?"),
        ('{"training": {"lr": NaN}}', "lr = nan: must be a number above 0"),
        ('{"training": {"batch_size": true}}', "batch_size = True: must be a whole number from 1"),
    ],
)
def test_a_wrong_identity_json_is_refused(text, message):
    with pytest.raises(UsageError) as error:
        from_identity_json(text)
    assert message in str(error.value)


def test_a_flag_beats_the_environment_beats_the_recipe_beats_the_default(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[training]\nlr = 0.2\nepochs = 7\nseed = 3\n")
    environ = {"DPTRAIN_LR": "0.3", "DPTRAIN_EPOCHS": "8", "HOME": "/", "DPTRAIN_DATA": "/data"}
    training = resolve(str(recipe), environ, {"lr": "0.4"}).training
    assert (training.lr, training.epochs, training.seed, training.momentum) == (0.4, 8, 3, 0.9)
    assert gather(str(recipe), environ, {"lr": "0.4"}).origin == {
        "lr": "the command line",
        "epochs": "the environment",
        "seed": f"recipe {recipe}",
    }


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_recipe_is_a_valid_run(name):
    config = resolve(name)
    check(config)
    assert config != Config()


def test_the_cifar_recipe_is_that_of_the_torch_script():
    config = resolve("cifar10-resnet20-10epochs")
    t = config.training
    assert (config.data.validation, config.data.augment, config.model.n, config.model.filters) == (
        0,
        ("crop:4", "flip"),
        3,
        16,
    )
    assert (t.epochs, t.batch_size, t.shard_size, t.lr, t.momentum, t.nesterov) == (10, 128, 32, 0.1, 0.9, True)
    assert (t.weight_decay, t.decay, t.schedule, t.warmup) == (5e-4, "all", "cosine", 1.0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lr": "-1"}, "--lr: lr = '-1': must be a number above 0 and at most 100"),
        ({"lr": "fast"}, "--lr: lr = 'fast': must be a number above 0"),
        ({"lr": "nan"}, "--lr: lr = 'nan': must be a number above 0"),
        ({"epochs": "6.5"}, "--epochs: epochs = '6.5': must be a whole number from 1"),
        ({"workers": "-1"}, "--workers: workers = '-1': must be a whole number from 0 to 1024"),
        (
            {"schedule": "cosin"},
            "constant, steps, cosine, table, linear, polynomial, restarts, triangular; did you mean cosine?",
        ),
        ({"milestones": "4,x"}, "--milestones: milestones = '4,x': must be at most 64 values"),
        (
            {"augment": "crop:4;flip"},
            "--augment: augment = 'crop:4;flip': must be at most 16 values, separated by commas in a flag, each an ",
        ),
        ({"bind": "tcp://host"}, "--bind: bind = 'tcp://host': must be \"ipc\""),
        ({"bind": "tcp://host:70000"}, "the port must be from 0 to 65535"),
        ({"name": "latest"}, "must be a directory name"),
        ({"name": "../x"}, "must be a directory name"),
        ({"batch_size": "100"}, "batch_size = 100 is not a multiple of shard_size = 32"),
        ({"batch_size": "50"}, "shards: batch_size 32 or 64, or a shard_size that divides 50: 25"),
        ({"batch_size": "20"}, "shards: batch_size 32, or a shard_size that divides 20: 20"),
        ({"batch_size": "101"}, "shards: batch_size 96 or 128"),
        ({"momentum": "0"}, "nesterov = true needs momentum above 0"),
        (
            {"milestones": "2"},
            'milestones = [2] is used only with schedule = "steps", but schedule = "cosine": leave it out',
        ),
        ({"schedule": "steps"}, 'schedule = "steps" needs milestones'),
        ({"schedule": "steps", "milestones": "3,2"}, "milestones = [3, 2]: each must be larger than the one before"),
        ({"schedule": "steps", "milestones": "6"}, "milestones = [6]: each must lie before the end (epochs = 6)"),
        ({"warmup": "7"}, "warmup = 7 epochs is longer than the run (epochs = 6)"),
        ({"l2": "1e-4"}, "weight_decay = 0.0005 and l2 = 0.0001 do the same thing: set one of them to 0"),
        ({"warmup_factor": "0.01", "warmup": "0"}, "warmup_factor = 0.01 is not used with warmup = 0.0"),
        ({"rates": "1,0.1"}, 'rates = [1.0, 0.1] is used only with schedule = "table"'),
        ({"schedule": "steps", "milestones": "2", "final": "0.1"}, 'final = 0.1 is not used with schedule = "steps"'),
        ({"schedule": "triangular", "warmup": "2"}, 'warmup = 2.0 is not used with schedule = "triangular"'),
        ({"schedule": "triangular", "warmup_factor": "0.1"}, "warmup_factor = 0.1 is not used with schedule"),
        ({"schedule": "table"}, 'schedule = "table" needs rates'),
        (
            {"criterion": "hinge", "class_weights": "1,2"},
            'used only with criterion = "cross-entropy" or "nll"',
        ),
        ({"criterion": "hinge", "label_smoothing": "0.1"}, 'used only with criterion = "cross-entropy"'),
        ({"label_smoothing": "0.1", "class_weights": "1,2"}, "label_smoothing = 0.1 is not defined with class_weights"),
        ({"network": "lenet", "n": "5"}, 'n = 5 is not used with network = "lenet"'),
        ({"network": "vgg", "residual": "false"}, 'residual = false is not used with network = "vgg"'),
        (
            {"network": "vgg", "block": "preactivation"},
            'block = "preactivation" is not used with network = "vgg"',
        ),
        ({"network": "mine.py:net"}, "or FILE:FUNCTION of a file given with networks, without its .py"),
        ({"network": "../evil:f"}, "network = '../evil:f': must be the name of a network, or FILE:FUNCTION"),
        ({"networks": "evil"}, "networks = 'evil': must be at most 64 values, separated by commas in a flag, each a"),
        ({"precision": "fp16"}, "precision = 'fp16': must be fp32"),
        ({"precision": "bf16"}, "precision = 'bf16': must be fp32 (a bf16 that runs on every x86 CPU is planned)"),
        ({"threads": "2"}, "threads = 2 is used only with workers = 0, but workers = 2"),
    ],
)
def test_an_impossible_setting_is_refused_with_key_value_and_what_is_allowed(flags, message):
    with pytest.raises(UsageError) as error:
        resolve(flags=flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[trainin]\nlr = 1\n",
            "unknown section or key 'trainin': sections are data, model, training, deployment; did you mean",
        ),
        (
            "lr = 1\n",
            "unknown section or key 'lr': sections are data, model, training, deployment; it belongs in [training]",
        ),
        ("[training]\nlearning_rat = 1\n", "unknown key 'learning_rat' in [training]"),
        ("[training]\nbatchsize = 1\n", "did you mean batch_size?"),
        ("[model]\nbatch_size = 1\n", "it belongs in [training]"),
        ("[training]\nlr = '1'\n", "lr = '1': must be a number"),
        ("[training]\nprecision = 'bf16'\n", "precision = 'bf16': must be fp32 (a bf16 that runs on every x86 CPU"),
        ("data = 3\n", "data = 3: must be a section"),
        ("[training\n", "not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(tmp_path, text, message):
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    with pytest.raises(UsageError) as error:
        resolve(str(recipe))
    assert str(recipe) in str(error.value)
    assert message in str(error.value)


def test_a_recipe_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean fashion-quick"):
        resolve("fashion-quik")
    with pytest.raises(UsageError, match=r"recipe nowhere/x\.toml: no such file"):
        resolve("nowhere/x.toml")


def test_an_unknown_variable_with_our_prefix_is_refused_and_the_documented_ones_are_not():
    assert from_environment(dict.fromkeys(OTHER_ENV, "x")) == {}
    with pytest.raises(UsageError, match="unknown environment variable DPTRAIN_WORKER; did you mean DPTRAIN_WORKERS"):
        from_environment({"DPTRAIN_WORKER": "2"})
    with pytest.raises(UsageError, match="DPTRAIN_RESIDUAL: residual = 'maybe': must be true or false"):
        from_environment({"DPTRAIN_RESIDUAL": "maybe"})
