"""Pictures: the numbers they show, that they need no display, and that they are the same every time."""

import subprocess
import sys

import numpy as np
import pytest

from dptrain.explain.confusion import class_rows, class_table, confusion_matrix, draw_confusion
from dptrain.explain.curves import Curve, draw_curves, moving_average, usual_window
from dptrain.explain.drawing import render
from dptrain.explain.misclassified import Scores, draw_misclassified, images_of, pick, score
from dptrain.explain.saliency import draw_filters, filter_images
from dptrain.explain.table import Table


class Source:
    """A source of 600 tiny images."""

    def size(self, name):
        return 600

    def evaluation(self, name, start, stop):
        ids = np.arange(start, stop)
        return np.full((len(ids), 2, 2, 1), ids[:, None, None, None] % 256, np.uint8), ids % 3


def scores_of(*rows):
    labels, probabilities = zip(*rows, strict=True)
    return Scores(np.array(labels), np.array(probabilities))


def texts(drawn):
    """Every text of a figure: (x, y, text)."""
    return [(*t.get_position(), t.get_text()) for axes in drawn.axes for t in axes.texts]


def test_a_moving_average_depends_on_no_later_value():
    np.testing.assert_allclose(moving_average([4, 2, 0, 2, 8], 3), [4, 2, 2 / 3, 1, 4])
    np.testing.assert_allclose(moving_average([4, 2, 9], 1), [4, 2, 9])


def test_a_moving_average_does_not_bend_where_its_window_is_full():
    steps = np.arange(400)
    slope = np.diff(moving_average((2.3 * np.exp(-steps / 40) + 0.4).tolist(), 100))
    assert np.abs(np.diff(slope))[60:].max() < 0.001  # 0.014 with a window that takes all there is until it is full


def test_the_window_of_a_loss_grows_with_the_longest_training():
    def lasts(steps):
        return Curve("a", [(step, 1.0) for step in range(steps)], [], [])

    assert [usual_window(curves) for curves in ([], [lasts(255)], [lasts(64_000), lasts(9)])] == [10, 10, 1280]


def test_a_single_epoch_has_one_tick_and_its_dot_is_whole():
    errors = draw_curves([Curve("a", [], [(1, 0.5)], [(1, 0.25)])], 1).axes[1]
    assert (errors.get_xticks().tolist(), errors.get_xlim()) == ([1], (0.5, 1.5))
    assert errors.get_ylim()[0] == 0
    assert errors.get_ylim()[1] > 0.77


def test_several_runs_share_two_panels_and_one_legend():
    curves = [Curve("a", [(1, 2.0), (2, 1.0)], [(1, 0.5)], [(1, 0.25)]), Curve("b", [(1, 3.0)], [], [(1, 0.75)])]
    drawn = draw_curves(curves, 1)
    left, right = drawn.axes
    assert [list(line.get_ydata()) for line in left.lines] == [[2.0, 1.0], [3.0]]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.75], [0.5], [0.25]]
    assert [t.get_text() for t in drawn.legends[0].get_texts()] == ["a", "b"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("step", "epoch")


def test_every_filter_has_a_frame_and_a_place_without_a_filter_has_none():
    drawn = draw_filters(np.ones((9, 1, 3, 3)), "t")
    assert [axes.axison and axes.spines["top"].get_visible() for axes in drawn.axes] == [True] * 9 + [False] * 7


def test_filters_are_stretched_each_by_itself_and_a_constant_one_is_grey():
    weights = np.zeros((3, 3, 2, 2))
    weights[0, 0] = [[-1, 0], [0, 1]]
    weights[1] = 0.25
    images = filter_images(weights)
    assert images.shape == (3, 2, 2, 3)
    assert images[0, :, :, 0].tolist() == [[0, 128], [128, 255]]
    assert np.unique(images[1:]).tolist() == [128]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_filters_of_any_number_of_channels_are_images(channels):
    assert filter_images(np.random.default_rng(0).standard_normal((5, channels, 3, 3))).shape == (5, 3, 3, 3)


def test_all_samples_are_scored_in_order_and_probabilities_add_up():
    def logits(x):
        return np.stack([x[:, 0, 0, 0], np.zeros(len(x)), np.ones(len(x))], axis=1).astype(np.float32)

    found = score(logits, Source(), "test")
    assert len(found.labels) == 600
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert found.guesses[:3].tolist() == [2, 0, 0]


def test_mistakes_come_with_the_most_certain_first_and_ties_go_to_the_lower_class():
    found = scores_of((0, [0.1, 0.6, 0.3]), (1, [0.2, 0.7, 0.1]), (2, [0.9, 0.05, 0.05]), (1, [0.5, 0.5, 0.0]))
    assert found.guesses.tolist() == [1, 1, 0, 0]
    assert found.wrong().tolist() == [2, 0, 3]


def test_the_grid_of_mistakes_has_truth_upper_left_guess_lower_left_and_second_guess_lower_right():
    found = scores_of((0, [0.1, 0.6, 0.3]), (1, [0.2, 0.7, 0.1]))
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    assert images_of(images, found, 5).tolist() == images[:1].tolist()
    drawn = draw_misclassified(images_of(images, found, 5), pick(found, 5), ["0", "1", "2"], "title")
    truth, guess, second = texts(drawn)
    assert [t[2] for t in (truth, guess, second)] == ["0", "1 0.60", "2"]
    assert truth[0] == 0.0
    assert truth[1] > 1
    assert guess[0] == 0.0
    assert guess[1] < 0
    assert second[0] == 1.0
    assert second[1] < 0


def test_the_confusion_matrix_has_one_row_per_true_class_and_one_column_per_guess():
    matrix = confusion_matrix(np.array([0, 0, 0, 2]), np.array([0, 1, 1, 2]), 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]
    a, b, c = class_rows(matrix, ["a", "b", "c"])
    assert (a.samples, a.hits, a.taken, a.recall, a.precision, a.confused) == (3, 1, 1, 1 / 3, 1.0, "b")
    assert (b.samples, b.recall, b.precision, b.confused) == (0, 0.0, 0.0, "")
    assert (c.recall, c.precision) == (1.0, 1.0)
    assert class_table(matrix, ["a", "b", "c"]).rows[0] == ("a", "3", "1", "0.3333", "1.0000", "b (2)")


@pytest.mark.parametrize("count", [2, 10, 43, 200])
def test_confusion_of_few_and_of_many_classes_can_be_drawn(count):
    drawn = draw_confusion(np.eye(count, dtype=np.int64), [f"class {i}" for i in range(count)], "t")
    assert len(drawn.axes[0].texts) == (count if count <= 20 else 0)


def test_a_table_is_text_markdown_and_csv():
    table = Table(("what", "error %"), [("a|b", "9.59 ± 0.21"), ("c, d", "10.00")])
    assert table.text() == "what      error %\na|b   9.59 ± 0.21\nc, d        10.00\n"
    assert table.markdown().splitlines() == [
        "| what |     error % |",
        "| ---- | ----------: |",
        "| a\\|b | 9.59 ± 0.21 |",
        "| c, d |       10.00 |",
    ]
    assert table.csv() == 'what,error %\na|b,9.59 ± 0.21\n"c, d",10.00\n'


@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_picture_drawn_twice_has_the_same_bytes(form):
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    first, second = (render(draw_filters(weights, "t"), form) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG" if form == "png" else b"<?xml")


def test_without_matplotlib_it_is_one_line_that_says_what_to_install(tmp_path):
    (tmp_path / "loss_history.csv").write_text("1,64,2.3\n")
    code = (
        "import sys; sys.modules['matplotlib'] = None; from dptrain.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "plot", str(tmp_path), "-o", str(tmp_path / "x.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert done.stderr == (
        "dptrain: error: pictures need matplotlib, which is not installed: pip install 'dptrain[plot]'\n"
    )
