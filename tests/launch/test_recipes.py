"""Every shipped recipe: accepted, complete when printed, its augmentation fits its images, its figures are right."""

from __future__ import annotations

import re

import pytest

from dptrain.cli import main
from dptrain.config import Config
from dptrain.configfile import recipes, resolve
from dptrain.data.augment import Pipeline

SHAPES = {
    "fashion-mini": (28, 28, 1),
    "shapes32": (32, 32, 3),
    "cifar10": (32, 32, 3),
    "mnist": (28, 28, 1),
    "sfddd": (48, 64, 3),
}
PRESETS = {  # the seeds' train.py: n, filters, epochs, milestones, batch
    "cifar10": (3, 16, 160, (80, 120), 64),
    "mnist": (3, 8, 60, (20, 40), 64),
    "sfddd": (3, 16, 200, (80, 160), 64),
}


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_is_accepted_and_printing_it_gives_it_back(name, tmp_path, capsys):
    assert main(["train", "--recipe", name, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.toml").write_text(printed)
    assert main(["train", "--recipe", str(tmp_path / "printed.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("name", sorted(recipes()))
def test_the_augmentation_of_a_recipe_fits_its_images(name):
    data = resolve(name).data
    shape = Pipeline.parse(data.augment, SHAPES[data.dataset]).output(SHAPES[data.dataset])
    assert shape[0] % 4 == shape[1] % 4 == 0, "three stages halve twice"


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_says_in_its_first_lines_what_it_is(name):
    assert re.match(r"# \w", recipes()[name].read_text())


@pytest.mark.parametrize("name", sorted(name for name in recipes() if re.match(r"cifar10-(paper|gcr)-\d", name)))
def test_the_depth_in_a_name_is_the_depth_of_the_network(name):
    config = resolve(name)
    depth = re.search(r"\d+", name.removeprefix("cifar10-"))[0]
    assert 6 * config.model.n + 2 == int(depth)
    said = " ".join(recipes()[name].read_text().replace("#", "").split())
    assert f"{depth} layers" in said or f"ResNet-{depth}" in said


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_presets_have_the_figures_of_the_seeds(name):
    config: Config = resolve(name)
    t, m = config.training, config.model
    assert (m.n, m.filters, t.epochs, t.milestones, t.batch_size) == PRESETS[name]
    assert (t.lr, t.factor, t.weight_decay, t.decay, t.nesterov) == (0.1, 0.1, 1e-4, "all", True)
    assert (config.data.dataset, config.data.replacement) == (name, True)
    assert (m.block, m.shortcut, m.gamma, t.batch_size // t.shard_size) == ("relu-before", "avgpool", "pyfunt", 4)


def test_the_table_of_gcr_is_complete():
    shipped = set(recipes())
    assert {f"cifar10-gcr-{depth}" for depth in (20, 32, 44, 56, 110)} <= shipped
    for depth in (20, 110):
        kinds = ("no-relu", "bn-after", "bn-after-no-relu", "rmsprop", "adagrad", "adadelta")
        assert {f"cifar10-gcr-{depth}-{kind}" for kind in kinds} <= shipped
    warm, cold = resolve("cifar10-gcr-110").training, resolve("cifar10-gcr-110-cold").training
    assert (round(warm.warmup * 50_000 / 128), warm.lr * warm.warmup_factor) == (400, 0.001)
    assert cold.warmup == 0
