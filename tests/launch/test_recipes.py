"""Every shipped recipe: unchanged settings, complete when printed, an augmentation that fits its images."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import pytest

from dptrain.cli import main
from dptrain.data.datasets import DATASETS
from dptrain.data.shards import Pipeline
from dptrain.identity import identity_json
from dptrain.recipefile import read_recipe, resolve
from dptrain.recipes import FIRST, shipped
from dptrain.settings import Config

PRESETS = {  # train.py of the predecessors: n, filters, epochs, milestones, batch
    "cifar10": (3, 16, 160, (80, 120), 64),
    "mnist": (3, 8, 60, (20, 40), 64),
    "sfddd": (3, 16, 200, (80, 160), 64),
}


#: First 16 hexadecimal digits of SHA-256: of the identity part of the resolved configuration, and of the settings in
#: the recipe. Computed at commit a2327c5, where each recipe was a file and F(2x2, 3x3) the only arithmetic of
#: convolutions. A changed recipe changes the identity of runs.
DIGESTS = {
    "cifar10": ("6a31ec912a336a9f", "db60c17becf019e6"),
    "cifar10-gcr-110": ("3b9d311b42533c7c", "8f3f09e4bc3ebf8c"),
    "cifar10-gcr-110-adadelta": ("b6358972d2702c7a", "d60200912cfba684"),
    "cifar10-gcr-110-adagrad": ("47347a2551b800f3", "38fc5b98f6a4afaf"),
    "cifar10-gcr-110-bn-after": ("0897f112feb24f12", "4fbe56faf9b356a6"),
    "cifar10-gcr-110-bn-after-no-relu": ("14409fccd9da5f64", "59b031748b664d4d"),
    "cifar10-gcr-110-cold": ("50a8572f213d5d1b", "494acf8c3157b6a3"),
    "cifar10-gcr-110-no-relu": ("8598ce53ab831279", "d1bd20ca1eec08e0"),
    "cifar10-gcr-110-rmsprop": ("e7472540453d6feb", "d3546397da5da87b"),
    "cifar10-gcr-20": ("38558c761f51c1f7", "d61ac1404f8fdf33"),
    "cifar10-gcr-20-adadelta": ("88f0c68fb1884101", "e2a63dec5b252989"),
    "cifar10-gcr-20-adagrad": ("21938fc9aea94759", "788d5c498aea9a7c"),
    "cifar10-gcr-20-bn-after": ("1f99b055c1a29462", "7d9dbfdea6524687"),
    "cifar10-gcr-20-bn-after-no-relu": ("4f8be8e1c7fe9b5b", "ad53f4926994e50e"),
    "cifar10-gcr-20-no-relu": ("a702a00897bfd32d", "0defa5ba338de303"),
    "cifar10-gcr-20-rmsprop": ("bc93d070b17eca69", "c1b5253c11fbcebe"),
    "cifar10-gcr-32": ("2eb05b1dddb9cd73", "472daa6335b306c2"),
    "cifar10-gcr-44": ("c98a0500a71d9008", "bfaca2d9992b7266"),
    "cifar10-gcr-56": ("020f25977b536951", "d37c8a3c6d2c2ac0"),
    "cifar10-paper-110": ("0169bdfcfe9cf7cd", "8a49c779b73c56ba"),
    "cifar10-paper-20": ("1d3de39824d3f456", "6fe996a97b9dc6a4"),
    "cifar10-paper-32": ("39e21bb1ec3487cd", "c31d26b31f76ec2d"),
    "cifar10-paper-44": ("3063de857742949c", "9a9469f8c08d488c"),
    "cifar10-paper-56": ("271680f5373820e5", "dadc59c2cfdebbfd"),
    "cifar10-resnet20-10epochs": ("52c446249dafaa79", "97e150eae1429916"),
    "fashion-quick": ("10195b7cc3781b0e", "31bfdc20b8905041"),
    "mnist": ("c105a572c97c0cf3", "f43eccc74561e994"),
    "mnist-resnet32": ("a618d98b621f28e5", "ddf07e0487979471"),
    "sfddd": ("34c1b7dd6e6faf9b", "0afaded80df3a46a"),
    "shapes-smoke": ("fd43b8e13b9f2280", "81e33b8be5b04f9d"),
}


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_f2(config):
    return replace(config, model=replace(config.model, convolution="f2"))


def test_every_recipe_has_the_settings_and_the_identity_it_had_as_a_file():
    found = {
        name: (digest(identity_json(with_f2(resolve(name)))), digest(json.dumps(read_recipe(name), sort_keys=True)))
        for name in shipped()
    }
    assert found == DIGESTS


def test_every_file_in_the_folder_is_a_recipe_and_recipes_are_nowhere_else(root):
    inside = {path.stem for path in (root / "dptrain" / "recipes").glob("*.toml")}
    assert inside == {name for name in shipped() if not re.match(r"cifar10-(paper|gcr)-", name)}
    assert list((root / "launch").rglob("*.toml")) == []


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_recipe_is_accepted_and_printing_it_gives_it_back(name, tmp_path, capsys):
    assert main(["train", "--recipe", name, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "printed.toml").write_text(printed)
    assert main(["train", "--recipe", str(tmp_path / "printed.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_augmentation_of_a_recipe_fits_its_images(name):
    data = resolve(name).data
    images = DATASETS[data.dataset].form.shape
    shape = Pipeline.parse(data.augment, images).output(images)
    assert shape[0] % 4 == shape[1] % 4 == 0, "three stages halve twice"


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_recipe_is_described_by_one_sentence(name):
    about = shipped()[name].about
    assert re.match(r"[A-Z].*\.$", about), about
    assert 20 < len(about) < 140


def test_recipes_to_start_with_are_shipped():
    assert set(FIRST) < set(shipped())


@pytest.mark.parametrize("name", sorted(name for name in shipped() if re.match(r"cifar10-(paper|gcr)-\d", name)))
def test_the_depth_in_a_name_is_the_depth_of_the_network(name):
    depth = re.search(r"\d+", name.removeprefix("cifar10-"))[0]
    assert 6 * resolve(name).model.n + 2 == int(depth)
    assert f"ResNet-{depth} " in shipped()[name].about


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_presets_have_the_figures_of_the_predecessors(name):
    config: Config = resolve(name)
    t, m = config.training, config.model
    assert (m.n, m.filters, t.epochs, t.milestones, t.batch_size) == PRESETS[name]
    assert (t.lr, t.factor, t.weight_decay, t.decay, t.nesterov) == (0.1, 0.1, 1e-4, "all", True)
    assert (config.data.dataset, config.data.replacement) == (name, True)
    assert (m.block, m.shortcut, m.gamma, t.batch_size // t.shard_size) == ("relu-before", "avgpool", "pyfunt", 4)


def test_the_table_of_gcr_is_complete():
    names = set(shipped())
    assert {f"cifar10-gcr-{depth}" for depth in (20, 32, 44, 56, 110)} <= names
    for depth in (20, 110):
        kinds = ("no-relu", "bn-after", "bn-after-no-relu", "rmsprop", "adagrad", "adadelta")
        assert {f"cifar10-gcr-{depth}-{kind}" for kind in kinds} <= names
    warm, cold = resolve("cifar10-gcr-110").training, resolve("cifar10-gcr-110-cold").training
    assert (round(warm.warmup * 50_000 / 128), warm.lr * warm.warmup_factor) == (400, 0.001)
    assert cold.warmup == 0
