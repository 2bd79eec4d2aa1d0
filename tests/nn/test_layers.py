"""Every layer: its gradient against differences, its float32 path against its float64 one, its edges."""

import importlib
import pkgutil

import numpy as np
import pytest

from dptrain import nn
from dptrain.kernels import loss
from dptrain.model import ParamLayout
from dptrain.nn import initial_params
from dptrain.nn.activations import LogSoftMax, MulConstant, ReLU, Sigmoid, Tanh, Threshold
from dptrain.nn.containers import Parallel, Sequential
from dptrain.nn.convolution import Convolution, FullConvolution, Linear
from dptrain.nn.criterion import MEASURES, make_criterion
from dptrain.nn.gradcheck import EXAMPLES, TOLERANCE, check_criterion, check_layer, draws
from dptrain.nn.layer import Chance, Run
from dptrain.nn.norm import BatchNorm, Dropout
from dptrain.nn.pooling import MaxPooling, Padding, ReflectionPadding, ReplicationPadding, UpSampling
from dptrain.nn.resnet import Identity

NO_DRAWS = Chance()


def forward(layer, x, *, training=True, chance=NO_DRAWS):
    layout = ParamLayout(layer.params)
    params = initial_params(layout, 1).astype(x.dtype)
    return layer(Run(layout.views(params), {}, training=training, chance=chance), x)


def layer_classes(part):
    """Names of the classes of a layer and of all layers in its fields."""
    found = {type(part).__name__}
    for name in getattr(part, "__dataclass_fields__", ()):
        value = getattr(part, name)
        for item in value if isinstance(value, tuple) else (value,):
            if hasattr(item, "buffers"):
                found |= layer_classes(item)
    return found


def test_every_layer_of_the_library_has_an_example():
    modules = [importlib.import_module(f"dptrain.nn.{m.name}") for m in pkgutil.iter_modules(nn.__path__)]
    layers = {
        name
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and {"__call__", "buffers"} <= set(dir(kind))
    }
    public = {name for name in layers if not name.startswith("_")} - {"Layer"}
    assert public == set().union(*(layer_classes(layer) for layer, _ in EXAMPLES.values()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_gradient_is_that_of_differences(name):
    layer, shape = EXAMPLES[name]
    assert check_layer(layer, draws(shape)) < TOLERANCE


@pytest.mark.parametrize("name", EXAMPLES)
def test_training_in_float32_gives_the_same_numbers_writes_whole_arrays_and_changes_no_input(name):
    """In a predecessor a gradient that was a view gave the last block no gradient."""
    layer, shape = EXAMPLES[name]
    layout = ParamLayout(layer.params)
    results = {}
    for dtype in (np.float32, np.float64):
        x = draws(shape).astype(np.float32).astype(dtype)
        before = x.copy()
        y, backward = forward(layer, x)
        dy = draws(y.shape, 1).astype(np.float32).astype(dtype)
        flat = np.full(layout.size, np.nan, dtype)
        dx = backward(dy, layout.views(flat))
        np.testing.assert_array_equal(x, before)
        assert y.dtype == dx.dtype == dtype
        assert not np.isnan(flat).any(), "backward must write every gradient"
        assert dx.size == 0 or 0 not in dx.strides
        results[dtype] = (y, dx, flat)
    for ours, exact in zip(results[np.float32], results[np.float64], strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("weights", [(), (0.5, 2.0, 1.0, 3.0)])
def test_a_criterions_gradient_is_that_of_differences_also_with_class_weights(name, weights):
    measure = make_criterion(name, weights, 4)
    assert check_criterion(measure, draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])) < TOLERANCE


def test_the_gradient_of_smoothed_labels_is_that_of_differences():
    measure = make_criterion("cross-entropy", (), 4, 0.1)
    assert check_criterion(measure, draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])) < TOLERANCE


def test_a_weighted_criterion_counts_each_class_with_its_weight():
    scores, labels = draws((3, 2)), np.array([0, 1, 1])
    plain, by_class = loss.cross_entropy(scores, labels)[0], make_criterion("cross-entropy", (2.0, 0.5), 2)
    np.testing.assert_array_equal(by_class(scores, labels)[0], plain * [2.0, 0.5, 0.5])


def test_log_softmax_and_nll_are_cross_entropy():
    scores, labels = draws((6, 4)), np.array([0, 3, 1, 2, 2, 0])
    y, backward = LogSoftMax()(Run({}, {}, training=True), scores)
    losses, dy = MEASURES["nll"](y, labels)
    expected, gradient = loss.cross_entropy(scores, labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(backward(dy, {}), gradient, atol=1e-12)


# --- errors of the predecessors


def test_relu_keeps_what_is_positive():
    """A predecessor zeroed what was above 0."""
    x = np.array([[-2.0, -1, 0, 1, 2]], np.float32)
    assert forward(ReLU(), x)[0].tolist() == [[0, 0, 0, 1, 2]]


def test_an_input_gradient_is_right_for_more_than_one_image_and_for_strides_that_do_not_tile():
    """B2, B2b: wrong for batches, and wrong forward where the stride does not tile the padded image."""
    layer, x = Convolution("a", 2, 3, stride=2), draws((3, 6, 6, 2))
    y, _ = forward(layer, x)
    weights = initial_params(ParamLayout(layer.params), 1).astype(np.float64).reshape(3, 2, 3, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for n, p, q, k in np.ndindex(y.shape):
        seen = padded[n, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3].transpose(2, 0, 1)
        assert y[n, p, q, k] == pytest.approx((seen * weights[k]).sum())
    assert check_layer(layer, x) < TOLERANCE


def test_threshold_replaces_by_its_value():
    """A predecessor gave max(threshold, x)."""
    assert forward(Threshold(1.0, -7.0), np.array([[0.5, 1.0, 1.5]], np.float32))[0].tolist() == [[-7, -7, 1.5]]


def test_dropout_keeps_the_mean_and_drops_the_asked_for_share():
    """The first version of a predecessor did not scale, the second one raised."""
    y, _ = forward(Dropout("a", 0.25), np.ones((100, 1000), np.float32))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.005)
    assert y.mean() == pytest.approx(1, abs=0.01)


def test_dropout_does_nothing_in_evaluation():
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(forward(Dropout("a"), x, training=False)[0], x)


def test_dropout_depends_on_seed_step_shard_and_name_and_on_nothing_else():
    x = np.ones((4, 50), np.float32)
    first = forward(Dropout("a"), x, chance=Chance(1, 2, 3))[0]
    np.testing.assert_array_equal(first, forward(Dropout("a"), x, chance=Chance(1, 2, 3))[0])
    for name, chance in (("a", (2, 2, 3)), ("a", (1, 3, 3)), ("a", (1, 2, 4)), ("b", (1, 2, 3))):
        assert (first != forward(Dropout(name), x, chance=Chance(*chance))[0]).any(), (name, chance)


# --- shapes


def test_a_full_convolution_is_the_transpose_of_the_convolution():
    """<conv(x), y> = <x, full(y)> for the same weights."""
    down, up = Convolution("a", 3, 5, stride=2), FullConvolution("a", 5, 3, stride=2, pad=1, extra=1, bias=False)
    weights = {"a.weight": draws((5, 3, 3, 3), 1)}
    x, y = draws((2, 8, 6, 3)), draws((2, 4, 3, 5), 2)
    run = Run(weights, {}, training=True)
    assert (down(run, x)[0] * y).sum() == pytest.approx((x * up(run, y)[0]).sum())


def test_a_convolution_with_unequal_taps_strides_and_pads_is_its_definition():
    """5 x 3 taps, every second row and third column, two rows of zeros and one column on either side."""
    layer, x = Convolution("a", 2, 3, (5, 3), (2, 3), (2, 1), bias=True), draws((2, 7, 8, 2))
    weights, shift = draws((3, 2, 5, 3), 1), draws((3,), 2)
    y, _ = layer(Run({"a.weight": weights, "a.bias": shift}, {}, training=True), x)
    assert y.shape == (2, 4, 3, 3)
    padded = np.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)))
    for n, p, q, k in np.ndindex(y.shape):
        seen = padded[n, 2 * p : 2 * p + 5, 3 * q : 3 * q + 3].transpose(2, 0, 1)
        assert y[n, p, q, k] == pytest.approx((seen * weights[k]).sum() + shift[k])


def test_a_constant_frame_goes_along_its_axis():
    x = np.arange(1.0, 5).reshape(1, 2, 2, 1)
    assert forward(Padding(2, 1, 2, -7.0), x)[0][0, :, :, 0].tolist() == [[-7, 1, 2, -7, -7], [-7, 3, 4, -7, -7]]
    assert forward(Padding(-1, after=1), x)[0][0, 1].tolist() == [[3, 0], [4, 0]]


def test_up_sampling_makes_a_square_of_every_pixel():
    x = np.arange(1.0, 5).reshape(1, 2, 2, 1)
    square = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert forward(UpSampling(2), x)[0][0, :, :, 0].tolist() == square


def test_reflection_does_not_repeat_the_edge_and_replication_does():
    x = np.arange(4.0).reshape(1, 1, 4, 1)
    assert forward(ReplicationPadding(2, 1, 0, 0), x)[0].ravel().tolist() == [0, 0, 0, 1, 2, 3, 3]
    x = np.arange(8.0).reshape(1, 2, 4, 1)
    assert forward(ReflectionPadding(2, 1, 0, 0), x)[0][0, 0].ravel().tolist() == [2, 1, 0, 1, 2, 3, 2]


def test_batchnorm_without_scale_and_shift_has_no_parameters_and_normalises():
    layer, x = BatchNorm("a", 4, affine=False), 3 + 2 * draws((5, 4, 4, 4))
    y, _ = forward(layer, x)
    assert layer.params == ()
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-4)


def test_sequential_inserts_and_removes_and_leaves_the_old_one_alone():
    old = Sequential((Tanh(), MulConstant(2.0)))
    new = old.insert(1, Sigmoid())
    assert [type(layer) for layer in new] == [Tanh, Sigmoid, MulConstant]
    assert [type(layer) for layer in new.remove(0)] == [Sigmoid, MulConstant]
    assert new.remove(-1).insert(2, Identity()).layers[2] == Identity()
    assert [type(layer) for layer in old] == [Tanh, MulConstant]
    for wrong in (lambda: old.insert(3, Tanh()), lambda: old.remove(2)):
        with pytest.raises(IndexError):
            wrong()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (MaxPooling(3, pad=2), (1, 5, 5, 1), "more than half"),
        (MaxPooling(6), (1, 5, 5, 1), "does not fit"),
        (ReflectionPadding(5, 0, 0, 0), (1, 5, 5, 1), "needs an image of more rows and columns"),
        (FullConvolution("a", 1, 1, extra=1), (1, 5, 5, 1), "must be less than stride"),
        (Parallel((Linear("a", 2, 2),), split=1), (1, 3, 2), "no slice for each"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_numbers(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        forward(layer, np.zeros(shape, np.float32))


def test_a_dropout_of_everything_is_refused():
    with pytest.raises(ValueError, match="must be at least 0 and less than 1"):
        Dropout("a", 1.0)
