"""The commands that make pictures, reports, histories, submissions and experiments, on a small real run."""

import csv
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from dptrain.api.experiment import finished
from dptrain.cli import main
from dptrain.data.catalog import open_dataset
from dptrain.runs.checkpoint import load, pack
from dptrain.runs.metrics import read
from dptrain.workers.parts import first_state, open_parts

pytestmark = pytest.mark.system

#: 9 steps an epoch of a tiny network.
FLAGS = ["--dataset", "shapes32", "--validation", "500", "--filters", "4", "--batch-size", "500", "--shard-size", "125"]
FLAGS += ["--workers", "0", "--log-interval", "100"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(["train", *FLAGS, "--epochs", "2", "--runs", str(runs), "--name", "small"]) == 0
    return runs / "small"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_picture(path):
    """A PNG that is not one colour all over, or an SVG."""
    if path.suffix == ".svg":
        return path.read_bytes().rstrip().endswith(b"</svg>")
    with Image.open(path) as image:
        return min(image.size) > 100 and len(image.convert("L").getcolors(256)) > 10


def test_each_picture_is_drawn_from_the_checkpoint(run, here, capsys):
    for arguments in (["filters"], ["misclassified", "--count", "9"], ["saliency", "--count", "2"], ["confusion"]):
        assert main(["explain", arguments[0], str(run), *arguments[1:]]) == 0
        assert is_picture(here / f"{arguments[0]}.png"), arguments
    table = capsys.readouterr().out.splitlines()[-10:]
    assert [line.split()[0] for line in table] == list(open_dataset("shapes32", "").classes)
    assert main(["plot", str(run), "-o", "deep/er/curves.svg"]) == 0
    assert is_picture(here / "deep" / "er" / "curves.svg")


def test_the_table_of_confusion_has_the_accuracy_of_eval(run, here, capsys):
    assert main(["eval", str(run), "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["acc"]
    assert main(["explain", "confusion", str(run), "--table", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()[1:]))
    assert sum(int(row["hits"]) for row in rows) == round(accuracy * 1000)
    assert sum(int(row["images"]) for row in rows) == 1000


def test_fooling_prints_how_often_it_succeeds_from_images_and_from_noise(run, here, capsys):
    flags = ["--count", "4", "--show", "2", "--confidence", "0.3", "--step", "8", "--cap", "30"]
    assert main(["explain", "fool", str(run), *flags]) == 0
    told = capsys.readouterr()
    assert re.search(r"^\d of 4 succeeded \(\d+%\): p\(target\) >= 0.3 within 30 steps of 8", told.out, re.M)
    assert told.err == "changing 4 images, at most 30 steps each, until the network is fooled\n"
    assert main(["explain", "fool", str(run), *flags, "--start", "noise", "-o", "noise.png"]) == 0
    assert is_picture(here / "fooled.png")
    assert is_picture(here / "noise.png")


def test_the_report_is_one_file_with_every_section(run, capsys):
    assert main(["report", str(run)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{run / 'report.html'}\n"
    assert told.err == "scoring the test images, fooling the network, drawing; this takes a moment\n"
    text = (run / "report.html").read_text()
    for section in ("Result", "Training", "Confusion", "Mistakes", "Saliency", "Fooling", "First layer", "Settings"):
        assert re.search(f'<h2 id="s[0-9]+">{section}</h2>', text), section
    assert text.count("data:image/png;base64,") == 6
    tested = next(r["test/acc"] for r in read(run / "metrics.jsonl") if "test/acc" in r)
    assert f"<dd>{tested:.4f}</dd>" in text
    assert "not finished" not in text


def test_the_report_of_a_stopped_run_says_that_it_is_not_finished(here):
    assert main(["train", *FLAGS, "--max-steps", "3", "--name", "stopped"]) == 0
    assert main(["report", "runs/stopped"]) == 0
    assert "<dd>not finished</dd>" in (here / "runs" / "stopped" / "report.html").read_text()


def test_the_report_of_a_network_that_makes_no_mistake_says_so(here):
    for part, count in (("train", 20), ("test", 5)):
        for name, shade in (("dark", 20), ("light", 230)):
            (here / "two" / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (8, 8), shade + number).save(here / "two" / part / name / f"{number}.png")
    flags = [
        "--batch-size",
        "40",
        "--shard-size",
        "20",
        "--filters",
        "4",
        "--n",
        "1",
        "--epochs",
        "8",
        "--name",
        "sure",
    ]
    flags += ["--validation", "0", "--workers", "0"]
    assert main(["train", "--dataset", "folder:./two:8x8", *flags]) == 0
    assert main(["report", "runs/sure"]) == 0
    text = (here / "runs" / "sure" / "report.html").read_text()
    assert "None: all test images are classified right." in text


def test_histories_are_written_in_the_predecessors_columns_and_plotted_beside_the_run(run, here, capsys):
    assert main(["history", str(run), "--out", "out"]) == 0
    losses = (here / "out" / "loss_history.csv").read_text().splitlines()
    assert losses[0] == "# iteration, n_images, loss"
    assert len(losses) == 1 + 18
    assert losses[-1].startswith("18,9000,")
    assert (here / "out" / "val_acc_history.csv").read_text().startswith("# epoch, val_acc\n1,0.")
    assert main(["plot", str(run), "out"]) == 0
    assert is_picture(here / "curves.png")


def test_filters_of_a_pyfunt_model_are_drawn(here):
    np.save("model", {"W1": np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)})
    assert main(["explain", "filters", "model.npy"]) == 0
    assert is_picture(here / "filters.png")


def test_a_submission_has_one_row_per_image_and_the_classes_that_predict_names(run, here, capsys):
    folder = here / "images"
    folder.mkdir()
    for number, pixels in enumerate(open_dataset("shapes32", "").test_images[:3]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    assert main(["predict", str(run), "images", "--json"]) == 0
    named = [json.loads(line)["top"][0]["class"] for line in capsys.readouterr().out.splitlines()]
    assert main(["predict", str(run), "images", "--submission", "out.csv"]) == 0
    assert (here / "out.csv").read_text() == "id,label\n" + "".join(f"{i},{c}\n" for i, c in enumerate(named))
    (folder / "bad.png").write_text("no image")
    capsys.readouterr()
    assert main(["predict", str(run), "images", "--submission", "two.csv"]) == 78
    assert capsys.readouterr().err.count("\n") == 1
    assert not (here / "two.csv").exists()


def test_predict_follows_links_reads_by_content_and_names_what_it_leaves_out(run, here, capsys, caplog):
    for at in range(2):
        Image.new("RGB", (32, 32), (90 * at, 9, 9)).save(here / f"{at}.png")
    (here / "all").mkdir()
    (here / "all" / "linked").symlink_to("..")
    (here / "all" / "notes.txt").write_text("text")
    (here / "real" / "deep").mkdir(parents=True)
    (here / "0.png").rename(here / "real" / "deep" / "picture")
    (here / "all" / "real").symlink_to("../real")
    assert main(["predict", str(run), "all", "--json"]) == 0
    assert [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()] == ["all/real/deep/picture"]
    assert "1 links to a folder above (first: linked); 1 no pictures (first: notes.txt)" in caplog.text


def test_names_that_are_no_text_are_shown_and_refused_where_a_file_must_name_them(run, here, capsys):
    name = os.fsdecode(b"\xff.png")
    Image.new("RGB", (32, 32)).save(here / name)
    assert main(["predict", str(run), name, "--submission", "out.csv"]) == 78
    assert r"'\udcff.png': the submission names images in UTF-8" in capsys.readouterr().err
    assert main(["predict", str(run), name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == name


def test_a_run_that_made_no_step_predicts_and_scores_nothing(run, here, capsys):
    facts = load(run / "checkpoints" / "last.safetensors").facts
    (here / "early" / "checkpoints").mkdir(parents=True)
    content = pack(first_state(open_parts(facts.config, "")), facts, 1)
    (here / "early" / "checkpoints" / "last.safetensors").write_bytes(content)
    for command in (["predict", "early", "x.png"], ["eval", "early"], ["explain", "confusion", "early"]):
        assert main(command) == 78
        assert "early has made no step: its weights are still random" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "second"), [("a/1.png", "b/1.png"), ("a/1.jpg", "a/1.png")])
def test_a_submission_in_which_two_files_would_have_one_id_is_refused(run, here, capsys, first, second):
    for name in ("a/0.png", first, second):
        (here / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(here / name)
    folders = sorted({name.split("/")[0] for name in (first, second)})
    assert main(["predict", str(run), *folders, "--submission", "out.csv"]) == 78
    assert capsys.readouterr().err == (
        f"dptrain: error: {first} and {second} would both have the id '1' in the submission, which must be unique: "
        "rename one of them, or leave it out\n"
    )
    assert not (here / "out.csv").exists()


def test_a_table_of_pixels_gives_kaggles_digit_recognizer_rows(run, here, capsys):
    images = open_dataset("shapes32", "").test_images[:2].reshape(2, -1)
    lines = [",".join(f"pixel{i}" for i in range(images.shape[1])), *(",".join(map(str, row)) for row in images)]
    (here / "test.csv").write_text("\n".join(lines) + "\n")
    assert main(["predict", str(run), "test.csv", "--submission", "out.csv"]) == 0
    head, *rows = csv.reader((here / "out.csv").read_text().splitlines())
    assert head == ["ImageId", "Label"]
    assert [row[0] for row in rows] == ["1", "2"]
    plain = (here / "out.csv").read_bytes()
    backwards = [";".join(line.split(",")[::-1]) for line in lines]
    (here / "test.csv").write_text("\ufeff" + "\n".join([*backwards, ""]) + "\n")
    assert main(["predict", str(run), "test.csv", "--submission", "out.csv"]) == 0
    assert (here / "out.csv").read_bytes() == plain, "columns are found by their names"
    capsys.readouterr()
    for wrong, words in (
        ([lines[0], "1,2"], "test.csv, line 2: 3072 whole numbers from 0 to 255 are needed, not 2"),
        (lines[1:], "it holds numbers: put the names of the columns above them"),
        (["label," + lines[0], *("1," + line for line in lines[1:])], "has a column 'label': a table without labels"),
        (
            [lines[0].replace("pixel7,", "id,"), *lines[1:]],
            "line 1: columns pixel0 ... pixel3071 are needed, each once",
        ),
        (lines[:1], "has a header line, but no image"),
    ):
        (here / "test.csv").write_text("\n".join(wrong) + "\n")
        assert main(["predict", str(run), "test.csv", "--submission", "two.csv"]) == 78
        assert words in capsys.readouterr().err
    assert not (here / "two.csv").exists()


def test_an_experiment_is_run_once_and_read_after_that(here, capsys, monkeypatch):
    command = ["experiment", "residual", *FLAGS, "--samples", "1000", "--epochs", "1", "--seeds", "2"]
    assert main([*command, "--table", "csv"]) == 0
    first = capsys.readouterr()
    rows = list(csv.DictReader(first.out.splitlines()))
    assert [row["variant"] for row in rows] == ["8 layers, residual", "8 layers, plain"]
    assert [row["runs"] for row in rows] == ["2", "2"]
    folder = here / "runs" / "experiment-residual"
    tested = [_tested(folder / f"8-layers-residual-seed{seed}") for seed in (0, 1)]
    assert rows[0]["test error %"].startswith(f"{100 * (1 - sum(tested) / 2):.2f} ± ")
    assert is_picture(folder / "figure.png")
    assert (folder / "table.csv").read_text() == first.out
    monkeypatch.setattr("dptrain.cli.train.run", None)  # nothing may be trained again
    assert main([*command, "--table", "csv"]) == 0
    assert capsys.readouterr().out == first.out
    assert main([*command, "--lr", "0.5"]) == 78
    assert "is of another experiment (lr: 0.1 -> 0.5)" in capsys.readouterr().err


def _tested(path):
    assert finished(path)
    return next(r["test/acc"] for r in read(path / "metrics.jsonl") if "test/acc" in r)


def test_an_experiment_that_was_stopped_goes_on_with_the_run_it_was_stopped_in(here, capsys):
    folder = here / "runs" / "experiment-depth"
    flags = [*FLAGS, "--epochs", "2", "--seed", "4"]
    place = ["--runs", str(folder), "--name", "8-layers-seed4"]
    assert main(["train", *flags, *place, "--max-steps", "3"]) == 0
    assert not finished(folder / "8-layers-seed4")
    capsys.readouterr()
    assert main(["experiment", "depth", *flags, "--values", "1", "--seeds", "1"]) == 0
    assert "continuing after step 3 of 18" in capsys.readouterr().err
    assert (folder / "8-layers-seed4" / "term").read_text() == "2\n"


def test_a_variant_that_diverged_is_reported_as_such_and_not_trained_again(here, capsys, monkeypatch):
    command = [
        "experiment",
        "depth",
        "--values",
        "1",
        "--seeds",
        "1",
        *FLAGS,
        "--lr",
        "100",
        "--weight-decay",
        "1",
        "--epochs",
        "4",
    ]
    assert main([*command, "--table", "csv"]) == 0
    first = capsys.readouterr()
    assert "run 1 of 1: 8-layers-seed0\n" in first.err
    assert "0 (+1 diverged)" in first.out
    monkeypatch.setattr("dptrain.cli.train.run", None)  # nothing may be trained again
    assert main([*command, "--table", "csv"]) == 0
    again = capsys.readouterr()
    assert "run 1 of 1: 8-layers-seed0, diverged before\n" in again.err
    assert again.out == first.out


def test_a_training_that_fails_otherwise_ends_the_experiment_and_is_not_reported_as_diverged(here, capsys, monkeypatch):
    monkeypatch.setattr("dptrain.cli.train.run", lambda *_, **__: 70)  # a failed run
    assert main(["experiment", "depth", "--values", "1,3", "--seeds", "1", *FLAGS]) == 70
    err = capsys.readouterr().err
    assert "diverged" not in err
    assert "run 2" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["filters", "--values", "8,7"], "7 filters: filters 7 is odd; option A pads half"),
        (["depth", "--dataset", "folder:gone"], "folder:gone: there is no folder "),
        (["depth", "--network", "mine:net"], "8 layers: network 'mine:net' comes from a Python file"),
        (["pad", "--values", "0,200"], "pad 200: "),
        (["depth", "--network", "lenet"], 'n = 3 is not used with network = "lenet"'),
        (["depth", "--precision", "bf16"], "precision = 'bf16': must be fp32"),
    ],
)
def test_a_variant_that_cannot_be_built_is_reported_before_the_first_one_is_trained(
    here, capsys, monkeypatch, arguments, message
):
    monkeypatch.setattr("dptrain.cli.train.run", lambda *_, **__: pytest.fail("a variant was trained"))
    assert main(["experiment", *arguments]) == 78
    err = capsys.readouterr().err
    assert err.startswith("dptrain: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "nowhere"], "nowhere is no run directory"),
        (["plot", "nowhere", "-o", "a.gif"], "a.gif: pictures are written as .png or .svg"),
        (["plot", "nowhere", "--smooth", "0"], "smooth = 0"),
        (["explain", "filters", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere is no run directory"),
        (["report", "nowhere", "-o", "a.pdf"], "a.pdf: the report is one .html file"),
        (["history", "nowhere"], "nowhere is no run directory"),
        (["explain", "fool", "nowhere", "--confidence", "2"], "confidence = 2.0: must be above 0 and below 1"),
        (["experiment", "depth", "--seeds", "0"], "seeds = 0"),
        (
            ["experiment", "filters", "--filters", "5"],
            "experiment filters sets filters itself, and never to 5: leave it out",
        ),
        (["experiment", "residual", "--values", "1,3", "--n", "5"], "residual sets n itself, and never to 5"),
        (["experiment", "pad", "--augment", "crop:8,flip"], "pad sets augment itself, and never to crop:8,flip"),
        (["experiment", "pad", "--values", "x"], "--values x"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(here, capsys, arguments, message):
    assert main(arguments) in (64, 78)
    err = capsys.readouterr().err
    assert err.startswith("dptrain: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["augmentation", "--augment", "crop:4,flip"],
        ["pad", "--augment", "tint,crop:4"],
        ["residual", "--n", "5"],
        ["filters", "--filters", "16"],
    ],
)
def test_what_an_experiment_varies_may_be_said_where_it_has_that_value_or_is_built_on_it(here, monkeypatch, arguments):
    monkeypatch.setattr("dptrain.cli.train.run", lambda *_, **__: 3)
    assert main(["experiment", *arguments, "--dataset", "fashion-mini"]) == 3


@pytest.mark.parametrize("picture", ["misclassified", "saliency"])
@pytest.mark.parametrize("count", ["0", "-2"])
def test_a_picture_of_no_image_is_refused_in_one_line(run, here, capsys, picture, count):
    assert main(["explain", picture, str(run), "--count", count]) == 78
    assert capsys.readouterr().err == f"dptrain: error: count = {count}: must be 1 or more\n"
    assert list(here.iterdir()) == []


def test_images_to_explain_come_from_each_class_in_turn():
    from dptrain.api.pictures import classified_right
    from dptrain.explain.misclassified import Scores

    labels = np.array([0, 0, 0, 1, 1, 2, 1])
    probabilities = np.eye(3)[[0, 0, 1, 1, 1, 2, 1]]
    assert classified_right(None, Scores(labels, probabilities), "").tolist() == [0, 3, 5, 1, 4, 6]


def test_an_unknown_class_is_reported_with_the_known_ones(run, here, capsys):
    assert main(["explain", "saliency", str(run), "--of", "bird"]) == 78
    assert "there is no class 'bird': there are disc, ring, " in capsys.readouterr().err
