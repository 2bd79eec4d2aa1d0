"""Arrays and data set objects of a user's program: what is recognised, and one clear line for what is not."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from dptrain.data.arrays import PLAIN, Reading, labelled, pixels
from dptrain.data.parts import Given, join, named
from dptrain.errors import DataError, UsageError


@pytest.fixture
def x(noise):
    """(6, 5, 4, 3) uint8."""
    return noise((6, 5, 4, 3))


Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: x.astype(np.int64),
        lambda x: x.tolist(),
        lambda x: [Image.fromarray(image) for image in x],
        lambda x: x[:, ::-1][:, ::-1],
    ],
    ids=["nhwc", "nchw", "int64", "lists", "pictures of Pillow", "a view"],
)
def test_the_same_images_are_the_same_bytes_however_they_are_given(x, given):
    found = pixels(given(x), "x", PLAIN)
    np.testing.assert_array_equal(found, x)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("change", "span"),
    [
        (lambda x: (x / 255).astype(np.float32), (0, 1)),
        (lambda x: x.astype(np.float16), (0, 255)),
        (lambda x: x / 127.5 - 1, (-1, 1)),
        (lambda x: x.astype(">f8") / 255, [0.0, 1.0]),
    ],
)
def test_floats_of_256_levels_come_back_exactly_without_a_warning(x, change, span, caplog):
    np.testing.assert_array_equal(pixels(change(x), "x", Reading(span)), x)
    assert caplog.text == ""


def test_floats_between_the_levels_are_rounded_and_the_largest_change_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        found = pixels(np.full((2, 3, 3), 100.4 / 255), "x", Reading((0, 1)))
    assert (found == 100).all()
    assert "x: its values are rounded to 256 levels; the largest change is 0.40 of 255" in caplog.text


def test_grey_images_get_one_channel_and_other_numbers_of_channels_need_their_layout(noise):
    assert pixels(noise((6, 5, 4)), "x", PLAIN).shape == (6, 5, 4, 1)
    assert pixels(noise((6, 1, 5, 4)), "x", PLAIN).shape == (6, 5, 4, 1)
    assert pixels(noise((6, 5, 4, 2)), "x", Reading(layout="nhwc")).shape == (6, 5, 4, 2)
    assert pixels(noise((6, 3, 4, 3)), "x", Reading(layout="nchw")).shape == (6, 4, 3, 3)


class Pairs:
    """As torchvision's and PyTorch's data sets: (image, label) by number."""

    classes = ("cat", "dog", "owl")

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        if at >= len(self):
            raise IndexError(at)
        return self.images[at], self.labels[at]


class Rows(Pairs):
    """As Hugging Face's data sets: a dictionary by number."""

    classes = None

    def __init__(self, images, labels, keys=("img", "label")):
        super().__init__(images, labels)
        self.keys = keys
        self.features = {keys[1]: type("ClassLabel", (), {"names": ["cat", "dog", "owl"]})()}

    def __getitem__(self, at):
        return dict(zip((*self.keys, "id"), (*super().__getitem__(at), at), strict=True))


@pytest.mark.parametrize(
    "given",
    [
        lambda x: Pairs([Image.fromarray(image) for image in x], Y.tolist()),
        lambda x: Pairs(x, Y),
        lambda x: Pairs(x.transpose(0, 3, 1, 2), Y),
        lambda x: Rows([Image.fromarray(image) for image in x], Y.tolist()),
        lambda x: Rows(x, Y, ("image", "labels")),
    ],
    ids=["pictures", "arrays", "nchw", "Hugging Face, pictures", "Hugging Face, arrays"],
)
def test_objects_that_give_an_image_and_a_label_by_number_are_read_with_their_class_names(x, given):
    found = labelled(given(x), None, "data", PLAIN)
    np.testing.assert_array_equal(found.images, x)
    assert found.labels.tolist() == Y.tolist()
    assert named([found], ()) == ("cat", "dog", "owl")


def test_grey_and_transparent_pictures_keep_what_they_show():
    grey = labelled(Pairs([Image.new("L", (4, 4), 9)] * 2, [0, 1]), None, "data", PLAIN)
    clear = labelled(Pairs([Image.new("RGBA", (4, 4), (0, 0, 0, 0))] * 2, [0, 1]), None, "data", PLAIN)
    assert grey.images.shape == (2, 4, 4, 1)
    assert (grey.images == 9).all()
    assert (clear.images == 255).all()


def test_labels_may_have_a_second_side_of_one_and_be_of_any_whole_type(x):
    for labels in (Y[:, None], Y.astype(np.uint8), Y.tolist(), Y > 0, Y.astype(object)):
        assert labelled(x, labels, "x", PLAIN).labels.tolist() == np.array(labels).reshape(-1).astype(int).tolist()


def _images(x):
    yield from x


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            lambda x: (_images(x), Y),
            "x is a generator: it gives its images once and in one order, but workers need each",
        ),
        (lambda x: (_images(x), None), "x is a generator: it gives its images once and in one order"),
        (lambda x: (iter(x), Y), "x is an iterator: it gives its images once"),
        (lambda x: (x, iter(Y)), "the labels of x are an iterator: an array or a list with one whole number per image"),
        (lambda x: (x, Y[:5]), "x: 6 images, but 5 labels"),
        (lambda x: (x / 255, Y), "x holds float64 from 0.0078"),
        (lambda x: (x[:0], Y[:0]), "x: there are no images"),
        (
            lambda x: (x.reshape(6, -1), Y),
            "x has shape (6, 60); (n, h, w), (n, h, w, c) or (n, c, h, w) is needed: give x.re",
        ),
        (lambda x: (x[:1], Y), "x: 1 image, but 6 labels"),
        (lambda x: ((x, Y), (x, Y)), "x: the labels are a pair with images: write fit(*train, test=test)"),
        (lambda x: (((x, Y), (x, Y)), None), "x: the labels are a pair with images: write fit(*train, test=test)"),
        (lambda x: (Pairs(x, Y), Y), "x is a Pairs, which gives the labels itself: leave the others out"),
        (lambda x: (x, np.full(6, 2**63, np.uint64)), "label 0 is 9223372036854775808; labels are whole"),
        (lambda x: (x, np.array([0, 1.5] * 3, object)), "the labels of x hold float: numbers are needed"),
        (lambda x: (x[0], Y), "x: 5 images, but 6 labels"),
        (lambda x: (x[:, :3, :3], Y), "both its second and its last side could be channels: say layout="),
        (lambda x: (x[..., :2], Y), "no side of 1 or 3 for channels: say layout="),
        (lambda x: ([x[0], x[1, :4]], Y[:2]), "x: the images or labels have different shapes"),
        (lambda x: (x.astype(str), Y), "x holds <U3; uint8 is needed"),
        (
            lambda x: (x > 9, Y),
            "x holds bool; uint8 is needed, or floats with their pixel_range: give pixel_r",
        ),
        (lambda x: (x.astype(int) * 2, Y), "x holds int64 from"),
        (lambda x: (x.astype(int) - 9, Y), "whole numbers must be from 0 to 255"),
        (lambda x: (np.ma.masked_equal(x, 0), Y), "x is a masked array"),
        (lambda x: (x.astype(object), Y), "x holds int: numbers are needed"),
        (lambda x: ("pictures", Y), "x is a str: an array of images"),
        (lambda x: ({"train": x}, None), "x is a dict: give its parts, such as data['train']"),
        (lambda x: (x, None), "x has no labels: give both"),
        (lambda x: (x, ["cat"] * 6), "the labels of x are texts ('cat'): give numbers from 0, and class_names"),
        (lambda x: (x, Y + 0.5), "the labels of x are float64: whole numbers are needed"),
        (lambda x: (x, Y - 1), "the labels of x: label 0 is -1; labels are whole numbers from 0"),
        (
            lambda x: (x, np.eye(3)[Y]),
            "the labels of x have shape (6, 3): one number per image is needed, such as y.arg",
        ),
        (lambda x: (x, np.full(6, np.nan)), "the labels of x are float64"),
        (lambda x: (Pairs([x[0], x[1, :4]], [0, 1]), None), "x: image 1 has shape (4, 4, 3), image 0 (5, 4, 3)"),
        (lambda x: (Pairs([], []), None), "x holds no images"),
        (lambda x: (Rows(x, Y, ("img", "fine_label")), None), "x[0] has the keys img, fine_label, id; one of image,"),
        (lambda x: ([x[0]] * 3, None), "x[0] is an ndarray: (image, label) is needed"),
        (lambda x: (7, None), "x is an int: an array of images"),
        (lambda x: (Pairs([Image.fromarray(np.full((4, 4), 400, np.uint16))] * 2, [0, 1]), None), "more than 8 bits"),
    ],
)
def test_what_is_no_array_of_images_with_labels_is_refused_in_one_line(x, given, words):
    images, labels = given(x)
    with pytest.raises(DataError) as e:
        labelled(images, labels, "x", PLAIN)
    assert words in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("value", "span", "words"),
    [
        (np.nan, (0, 1), "x: image 1 has the value nan; pixel_range is 0 to 1"),
        (np.inf, (0, 1), "x: image 1 has the value inf"),
        (1.01, (0, 1), "x: image 1 has the value 1.01; pixel_range is 0 to 1"),
        (-0.01, (0, 255), "has the value -0.01; pixel_range is 0 to 255"),
        (0.5, (1, 0), "pixel_range = (1, 0): must be the values of black and white"),
        (0.5, (0, np.inf), "must be the values of black and white"),
        (0.5, "01", "must be the values of black and white"),
        (0.5, (False, True), "must be the values of black and white"),
        (0.5, (0, 1, 2), "must be the values of black and white"),
    ],
)
def test_floats_outside_of_their_range_are_refused(value, span, words):
    x = np.full((3, 4, 4), 0.5)
    x[1, 2, 3] = value
    with pytest.raises(DataError) as e:
        pixels(x, "x", Reading(span))
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([1, 2, 3], (), "the smallest label is 1; labels are numbered from 0: subtract 1"),
        ([0, 1, 3], (), "labels go up to 3, but no training image has label 2"),
        ([0, 1, 10**12], (), "no training image has label 2"),
        ([0, 0, 0], (), "two classes or more are needed"),
        ([0, 0, 0], ("one",), "two classes or more are needed"),
        ([0, 1, 2], ("a", "b"), "a label is 2, but there are 2 class names, 0 ... 1"),
        ([0, 1, 2], ("a", "b", "a"), "must be different texts"),
        ([0, 1, 2], ("a", "b", 3), "must be different texts"),
        ([0, 1, 2], 3, "class_names is an int: a list of texts is needed, one per class"),
        ([0, 1, 2], {"a", "b", "c"}, "class_names is a set: a list of texts is needed"),
        ([0, 1, 2], "abc", "class_names is a str: a list of texts is needed"),
        ([0, 1, 2], {0: "a", 1: "b", 2: "c"}, "class_names is a dict: a list of texts is needed"),
        ([0, 1, 2], ("a", "b", "c\n"), r"class_names: 'c\n': the name of a class must be UTF-8 text in one line"),
        ([0, 1, 2], ("a", "b", "\0"), "must be UTF-8 text in one line"),
        ([0, 1, 2], ("a", "b", "\ud800"), "must be UTF-8 text in one line"),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_refused(noise, labels, names, words):
    part = labelled(noise((3, 4, 4)), labels, "x", PLAIN)
    with pytest.raises(DataError) as e:
        named([part], names)
    assert words in str(e.value)


def test_names_of_classes_in_an_array_of_numpy_become_plain_texts(noise):
    names = named([labelled(noise((2, 4, 4)), [0, 1], "x", PLAIN)], np.array(["a", "b"]))
    assert names == ("a", "b")
    assert {type(name) for name in names} == {str}


class Renamed(Pairs):
    def __init__(self, images, labels, classes):
        super().__init__(images, labels)
        self.classes = classes


@pytest.mark.parametrize("which", ["test", "validation"])
def test_labels_of_another_object_are_matched_by_the_names_of_its_classes(x, noise, which):
    train, images = labelled(Pairs(x, Y), None, "data", PLAIN), noise((3, 5, 4, 3), 1)
    other = labelled(Renamed(images, [0, 1, 1], np.array(["owl", "cat"])), None, which, PLAIN)
    classes, larger, test = join("data", Given(train, **{which: other}))
    assert classes == ("cat", "dog", "owl")
    assert (test.labels if which == "test" else larger.labels[-3:]).tolist() == [2, 0, 0]
    plain = labelled(x, Y, "x", PLAIN)
    _, larger, test = join("x", Given(plain, **{which: other}), ["dog", "owl", "cat"])
    assert (test.labels if which == "test" else larger.labels[-3:]).tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("classes", "labels", "names", "words"),
    [
        (["cat", "bat", "elk"], [0, 1, 2], (), "test has classes that the training images do not have: 'bat', 'elk'"),
        (["cat", "cat"], [0, 1, 1], (), "test: two classes have the same name: 'cat', 'cat'"),
        (["owl", "cat"], [0, 1, 2], (), "test: a label is 2, but it has 2 names of classes"),
        (["owl", "cat"], [0, 1, 1], ("dog", "cat", "owl"), "the training images have another order: 'cat', 'd"),
    ],
)
def test_names_of_classes_that_do_not_match_those_of_the_training_images_are_refused(x, classes, labels, names, words):
    train = labelled(Pairs(x, Y), None, "data", PLAIN)
    test = labelled(Renamed(x[:3], labels, classes), None, "test", PLAIN)
    with pytest.raises(DataError) as e:
        join("data", Given(train, test), names)
    assert words in str(e.value)


def test_names_of_test_classes_need_names_of_the_training_classes(x):
    with pytest.raises(DataError, match=r"^test has names of classes \('cat', 'dog', 'owl'\), but the training"):
        join("x", Given(labelled(x, Y, "x", PLAIN), labelled(Pairs(x, Y), None, "test", PLAIN)))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_a_pixel_range_holds_for_whole_numbers_and_truth_values_too(kind):
    x = np.arange(2 * 3 * 3).reshape(2, 3, 3) % 2
    for span in ((0, 1), np.array([0, 1]), [np.float32(0), np.int64(1)]):
        np.testing.assert_array_equal(pixels(x.astype(kind), "x", Reading(span))[..., 0], x * 255)
    with pytest.raises(DataError, match=r"^pixel_range = \(1, 0\): must be"):
        pixels(x.astype(kind), "x", Reading((1, 0)))
    if kind is not bool:
        with pytest.raises(DataError, match=r"^x: image 0 has the value 2; pixel_range is 0 to 1"):
            pixels((2 * x).astype(kind), "x", Reading((0, 1)))


def test_two_lists_of_image_and_label_are_two_images(x):
    assert labelled([[x[0], 0], [x[1], 1]], None, "data", PLAIN).labels.tolist() == [0, 1]


def test_an_image_that_an_object_cannot_give_is_named_in_one_line(x):
    with pytest.raises(UsageError, match=r"^data\[4\] cannot be read: IndexError: index 4 is out of bounds"):
        labelled(Pairs(x, Y[:4]), None, "data", PLAIN)
