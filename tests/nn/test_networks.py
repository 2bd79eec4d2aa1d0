"""Networks by name and from files: what is built, what is refused, and what a run's identity says about it."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dptrain import nn
from dptrain.errors import UsageError
from dptrain.model import ParamLayout, ParamSpec
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.criterion import MEASURES, PLAIN, make_criterion
from dptrain.nn.gradcheck import TOLERANCE, check_network, draws
from dptrain.nn.initialise import INITIALISERS
from dptrain.nn.layer import Run
from dptrain.nn.network import leaves
from dptrain.nn.networks import NETWORKS
from dptrain.nn.resnet import BLOCKS, AveragePool, Subsample
from dptrain.optim.optimizer import OPTIMIZERS
from dptrain.settings import SETTINGS, ModelConfig

IMAGE, CLASSES = (8, 8, 3), 5
SOURCE = """
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Linear
from dptrain.nn.activations import Reshape

def net(config, image, classes):
    size = image.height * image.width * image.channels
    return Sequential((Reshape(), Linear("linear", size, classes, init=config.linear_init)))

def wide(config, image, classes):
    return net(config, image, classes + 1)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("dptrain_network_mine", None)


def build(files=(), **options):
    return nn.build(ModelConfig(**options), IMAGE, CLASSES, [120.0] * 3, [60.0] * 3, files=files)


VARIANTS = [
    *({"block": block, "shortcut": shortcut} for block in BLOCKS for shortcut in ("A", "C")),
    {"shortcut": "B"},
    {"shortcut": "A-end", "filters": 5},
    {"shortcut": "avgpool-end"},
    {"block": "preactivation", "residual": False},
    {"dropout": 0.3, "hidden": (6,)},
    {"network": "lenet", "dropout": 0.5},
    {"network": "lenet", "hidden": (8, 7)},
    {"network": "vgg", "n": 2},
    {"network": "wide"},
]
#: With so few channels many ReLUs of these give 0 for all images: the gradient check alone.
DEEP = [{"network": name, "filters": 2} for name in ("resnet18", "resnet9", "vgg11")]


def named(options):
    return " ".join(f"{k}={v}" for k, v in options.items())


@pytest.mark.parametrize("options", [*VARIANTS, *DEEP], ids=named)
def test_the_gradient_of_every_network_is_that_of_differences(options):
    network = build(**{"filters": 4, **options}).network
    x, labels = draws((4, *IMAGE)), np.array([0, 3, 4, 1])
    assert check_network(network.network, x, labels, PLAIN) < TOLERANCE


@pytest.mark.parametrize("options", VARIANTS, ids=named)
def test_every_network_trains_in_float32_and_scores_without_its_batch_mates(options):
    model = build(**{"filters": 4, **options})
    params, buffers = nn.initial_params(model.params, 0), nn.initial_buffers(model.buffers)
    x = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), dtype=np.uint8)
    result = model.gradient(params, x, np.array([0, 1, 2, 3, 4, 0]))
    assert np.isfinite(result.gradient).all()
    assert (result.gradient != 0).mean() > 0.5
    np.testing.assert_array_equal(model.logits(params, buffers, x)[2:3], model.logits(params, buffers, x[2:3]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n": 3}, 269_722),  # the paper's, table 6: 0.27 million
        ({"n": 5}, 464_154),  # 0.46
        ({"n": 7}, 658_586),  # 0.66
        ({"n": 9}, 853_018),  # 0.85
        ({"n": 18}, 1_727_962),  # 1.7
        ({"n": 3, "residual": False}, 269_722),
        ({"n": 3, "shortcut": "avgpool"}, 269_722),
        ({"n": 3, "shortcut": "B"}, 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),
        ({"n": 3, "block": "relu-before"}, 269_722),
        ({"n": 3, "block": "bn-after"}, 269_722),
        ({"n": 3, "block": "preactivation"}, 269_722),
        ({"n": 3, "hidden": (32,)}, 269_722 - 650 + (64 * 32 + 32 + 2 * 32) + 330),
    ],
    ids=str,
)
def test_parameters_are_counted_as_in_the_papers(options, expected):
    model = nn.build(ModelConfig(**options), (32, 32, 3), 10, [120.0] * 3, [60.0] * 3)
    assert model.params.size == expected


def test_option_c_projects_in_every_block_and_b_only_where_the_shape_changes():
    def projections(shortcut):
        return sum(".shortcut.0" in s.name for s in build(n=3, shortcut=shortcut).params.specs)

    assert (projections("A"), projections("B"), projections("C")) == (0, 2, 9)


@pytest.mark.parametrize("shortcut", ["A", "avgpool", "A-end", "avgpool-end"])
def test_the_four_flavours_of_option_a_are_their_formulas(shortcut):
    """Where the shape changes: every second pixel, or means of four; zero channels on either side, or behind."""
    x = draws((2, 4, 6, 4))
    means = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    halved = means if "avgpool" in shortcut else x[:, ::2, ::2]
    zeros = (0, 4) if shortcut.endswith("-end") else (2, 2)
    built = leaves(build(n=1, shortcut=shortcut).network.network)
    first, second = [leaf for leaf in built if isinstance(leaf, Subsample | AveragePool)]
    assert first == second
    y, _ = first(Run({}, {}, training=True), x)
    np.testing.assert_allclose(y, np.pad(halved, ((0, 0), (0, 0), (0, 0), zeros)), rtol=1e-6)


def test_depths_far_beyond_the_papers_can_be_built():
    network = build(n=25, filters=2).network
    assert sum(isinstance(leaf, Convolution | Linear) for leaf in leaves(network.network)) == 152 == network.depth


def test_initialisers_are_the_ones_asked_for():
    layout = build(filters=32, n=2, conv_init="orthogonal", gamma="pyfunt", linear_init="fan-in").params
    views = layout.views(nn.initial_params(layout, 0))
    weights = views["layer2.1.conv1.weight"].reshape(64, -1).astype(np.float64)
    np.testing.assert_allclose(weights @ weights.T, 2 * np.eye(64), atol=1e-5)
    assert views["bn1.weight"].mean() == pytest.approx(0.6, abs=0.004)
    assert views["linear.weight"].std() == pytest.approx(1 / np.sqrt(128), rel=0.05)
    assert not views["linear.bias"].any()


def uniform(low, high):
    return (low + high) / 2, (high - low) / np.sqrt(12), low, high


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kaiming", (0, np.sqrt(2 / 50), -np.inf, np.inf)),
        ("fan-in", (0, np.sqrt(1 / 50), -np.inf, np.inf)),
        ("torch", uniform(-np.sqrt(1 / 50), np.sqrt(1 / 50))),
        ("xavier", uniform(-np.sqrt(6 / 250), np.sqrt(6 / 250))),
        ("ones", (1, 0, 1, 1)),
        ("uniform", uniform(0, 1)),
        ("gcr", (1, 0.002, -np.inf, np.inf)),
        ("pyfunt", (0.6, 0.005, -np.inf, np.inf)),
        ("pyfunt-wide", (0.7, 0.04, -np.inf, np.inf)),
    ],
)
def test_an_initialiser_has_the_mean_the_spread_and_the_bounds_of_its_source(name, expected):
    """Of ten thousand weights of 50 inputs and 200 outputs; the bounds of a uniform one are reached, too."""
    drawn = nn.initial_params(ParamLayout((ParamSpec("a", (200, 50), init=name, fan=(50, 200)),)), 0)
    mean, spread, low, high = expected
    assert abs(drawn.mean() - mean) <= 4 * spread / 100
    assert drawn.std() == pytest.approx(spread, rel=0.03)
    assert low - 1e-6 <= drawn.min()
    assert drawn.max() <= high + 1e-6
    assert np.isinf(low) or (drawn.min() - low <= 0.002 * (high - low) and high - drawn.max() <= 0.002 * (high - low))


def test_l2_is_half_its_factor_times_the_squared_weights_in_the_loss_and_its_gradient():
    plain, heavy = build(filters=4), build(filters=4, l2=0.01)
    params = nn.initial_params(plain.params, 0)
    x, y = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), dtype=np.uint8), np.arange(6) % 5
    without, with_it = plain.gradient(params, x, y), heavy.gradient(params, x, y)
    squares = (params.astype(np.float64) ** 2).sum()
    assert with_it.loss - without.loss == pytest.approx(6 * 0.005 * squares, rel=1e-6)
    np.testing.assert_allclose(with_it.gradient - without.gradient, 6 * 0.01 * params, atol=2e-5)


@pytest.mark.parametrize("criterion", MEASURES)
def test_every_criterion_can_be_trained_with(criterion):
    model = build(filters=4, criterion=criterion)
    params = nn.initial_params(model.params, 0)
    x, y = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), dtype=np.uint8), np.arange(6) % 5
    first = model.gradient(params, x, y)
    for _ in range(5):
        params -= np.float32(0.01) * model.gradient(params, x, y).gradient
    assert model.gradient(params, x, y).loss < first.loss


def test_dropout_differs_between_steps_and_shards_and_comes_back():
    model = build(filters=4, dropout=0.5)
    params = nn.initial_params(model.params, 0)
    x, y = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), dtype=np.uint8), np.arange(6) % 5
    digests = [model.gradient(params, x, y, step, shard).digest() for step, shard in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


# --- from files


def test_a_network_from_an_allowed_file_is_built_and_its_text_is_part_of_the_layout(file):
    model = build((str(file),), network="mine:net")
    assert [s.name for s in model.params.specs] == ["linear.weight", "linear.bias"]
    file.write_text(SOURCE + "# another version\n")
    other = build((str(file),), network="mine:net")
    assert model.params.specs == other.params.specs
    assert model.params.digest() != other.params.digest()
    assert replace(model.params, origin="").digest() == replace(other.params, origin="").digest()


@pytest.mark.parametrize(
    ("network", "text", "message"),
    [
        ("other:net", SOURCE, "this host was not told to run it: if you trust other.py, give it once with --networks"),
        ("mine:nothing", SOURCE, "AttributeError: .*has no attribute 'nothing'"),
        ("mine:wide", SOURCE, r"gave scores of shape \(2, 6\); it must be \(2, 5\)"),
        ("mine:net", "def net(:", "SyntaxError"),
        ("mine:net", "net = 3", "TypeError"),
        ("mine:net", "import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("mine:net", "def net(*_): return 1 / 0", "mine.py, net: ZeroDivisionError: division by zero"),
        ("mine:net", "def net(*_): raise RuntimeError('two\\nlines')", "mine.py, net: RuntimeError: two lines"),
        ("mine:net", "def net(*_): return net()", "mine.py, net: RecursionError: maximum recursion depth"),
        ("mine:net", "def net(*_): assert 1 > 2, 'one'", "mine.py, net: AssertionError: one"),
        ("mine:net", "def net(*_): open('/nowhere')", "mine.py, net: FileNotFoundError: .*No such file"),
        ("mine:net", "def net(*_): next(iter(()))", "mine.py, net: StopIteration"),
        ("mine:net", "import warnings\ndef net(*_): warnings.warn('old')", "mine.py, net: UserWarning: old"),
        ("mine:net", "import sys\ndef net(*_): sys.exit(3)", "mine.py, net: SystemExit: 3"),
        ("mine:net", "raise SystemExit('not here')", "mine.py, net: SystemExit: not here"),
        ("lennet", SOURCE, "network 'lennet' is unknown: there are resnet, lenet, vgg.*did you mean lenet"),
    ],
)
def test_a_network_that_cannot_be_had_is_refused_in_one_line(file, network, text, message):
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        build((str(file),), network=network)
    assert "\n" not in str(error.value)


def test_two_files_of_one_name_and_a_missing_file_are_refused(file):
    with pytest.raises(UsageError, match="2 files of that name were allowed"):
        build((str(file), "elsewhere/mine.py"), network="mine:net")
    with pytest.raises(UsageError, match=r"gone/mine.py: cannot be read: No such file"):
        build(("gone/mine.py",), network="mine:net")


def test_there_must_be_one_weight_per_class():
    with pytest.raises(UsageError, match="2 weights, but the data set has 5 classes"):
        make_criterion("nll", (1.0, 2.0), 5)
    with pytest.raises(UsageError, match="criterion 'mse' is unknown; there are cross-entropy, nll, hinge, bce"):
        make_criterion("mse", (), 5)
    with pytest.raises(UsageError, match="every weight is 0"):
        make_criterion("nll", (0.0,) * 5, 5)


def test_l2_is_the_same_share_of_the_loss_whatever_the_classes_count():
    """The sums are divided by the weights of the labels, so l2 / 2 |w|^2 must not be multiplied by images / weights."""
    plain, weighted = (build(filters=4, class_weights=weights) for weights in ((), (2.0, 0.5, 1.0, 3.0, 0.25)))
    x = np.random.default_rng(0).integers(0, 256, (6, *IMAGE), dtype=np.uint8)
    labels = np.array([0, 1, 1, 4, 3, 2])
    for model in (plain, weighted):
        params = nn.initial_params(model.params, 0)
        without = model.gradient(params, x, labels)
        config = replace(
            ModelConfig(filters=4, l2=0.01), class_weights=() if model is plain else (2.0, 0.5, 1.0, 3.0, 0.25)
        )
        with_l2 = nn.build(config, IMAGE, CLASSES, [120.0] * 3, [60.0] * 3).gradient(params, x, labels)
        counted = 6 if model is plain else 2.0 + 2 * 0.5 + 1.0 + 3.0 + 0.25
        decayed = (with_l2.gradient - without.gradient) / counted
        np.testing.assert_allclose(decayed, 0.01 * params, atol=2e-5)


def test_the_network_in_the_documentation_can_be_built_and_its_gradient_is_right(tmp_path):
    text = (Path(__file__).parents[2] / "docs/howto/own-network.md").read_text()
    (tmp_path / "doc.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    network = build((str(tmp_path / "doc.py"),), network="doc:net", filters=4).network
    sys.modules.pop("dptrain_network_doc")
    x, labels = draws((3, *IMAGE)), np.array([0, 3, 1])
    assert check_network(network.network, x, labels, PLAIN) < TOLERANCE


def test_the_documentation_names_every_choice_there_is():
    text = (Path(__file__).parents[2] / "docs/reference/networks.md").read_text()
    for field in ("shortcut", "block", "conv_init", "linear_init", "gamma", "criterion", "schedule", "optimizer"):
        assert [word for word in SETTINGS[field].rule.words if f"`{word}`" not in text] == [], field
    assert [name for name in NETWORKS if f"`{name}`" not in text] == []


def test_the_configuration_offers_what_the_library_has():
    """Two lists of the same words: the configuration is read without importing the networks."""
    assert set(SETTINGS["block"].rule.words) == set(BLOCKS)
    assert set(SETTINGS["criterion"].rule.words) == set(MEASURES)
    assert set(SETTINGS["optimizer"].rule.words) == set(OPTIMIZERS)
    offered = {*SETTINGS["conv_init"].rule.words, *SETTINGS["linear_init"].rule.words, *SETTINGS["gamma"].rule.words}
    assert offered == set(INITIALISERS) - {"zeros"}
