"""`import dptrain` trains, scores, predicts and draws what the command line does, and its errors are as clear."""

import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import dptrain
from dptrain.cli import main
from dptrain.errors import DataError, DivergedError
from dptrain.kernels import isa
from dptrain.processes.stopping import SIGNALS

pytestmark = pytest.mark.system

#: As tests/cli/test_pictures.py: 9 steps per epoch of a network whose kernels are already compiled.
SMALL = {"dataset": "shapes32", "validation": 500, "filters": 4, "batch_size": 500, "shard_size": 125}
OTHER = next(level for level in ("portable", "avx2") if level != isa.level())
QUIET = {"log_format": "quiet", "workers": 0}
PLAIN = {"log_format": "plain", "workers": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return dptrain.fit(**SMALL, **QUIET, epochs=1, runs=tmp_path_factory.mktemp("runs"), name="small")


@pytest.fixture(scope="module")
def data():
    return dptrain.load_data("shapes32")


def test_a_run_of_python_has_the_bits_of_one_of_the_command_line_whatever_the_workers(run, tmp_path):
    flags = [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--workers", "2", "--runs", str(tmp_path), "--name", "other", "-q"]
    assert main(["train", *flags, "--epochs", "1"]) == 0
    assert main(["verify", str(run.path), str(tmp_path / "other")]) == 0


def test_a_score_is_that_of_eval_and_its_classes_add_up(run, capsys):
    score = run.evaluate("validation")
    assert main(["eval", str(run.path), "--split", "validation", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (score.loss, score.accuracy, score.accuracy5, score.samples) == tuple(
        told[key] for key in ("loss", "acc", "top5", "samples")
    )
    assert sum(one.hits for one in score.classes) == score.accuracy * score.samples
    assert run.test_accuracy == run.evaluate().accuracy
    assert [record["kind"] for record in run.history][-1] == "eval"


def test_an_array_and_files_of_the_same_images_have_the_same_probabilities(run, data, tmp_path):
    images = data.test_images[:4]
    paths = [tmp_path / f"{at}.png" for at in range(4)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    odds = run.probabilities(images)
    assert np.array_equal(odds, run.probabilities(paths))
    assert np.array_equal(odds, run.probabilities(path for path in paths))
    np.testing.assert_allclose(odds.sum(axis=1), 1, rtol=1e-12)
    assert run.predict([str(path) for path in paths]) == [data.classes[i] for i in odds.argmax(axis=1)]
    assert run.predict(str(paths[1])) == run.predict(paths[1]) == run.predict(images[1:2])
    assert run.probabilities(images[:0]).shape == (0, len(data.classes))
    assert run.predict(images[:0]) == []


@pytest.mark.parametrize("what", ["curves", "confusion", "misclassified", "saliency", "fooled", "filters"])
def test_every_picture_is_a_figure(run, what):
    figure = run.picture(what, split="validation", count=2)
    assert figure.axes


def test_a_network_predicts_where_its_data_set_is_not(run, data, monkeypatch):
    def lost(*_):
        raise DataError("the data set is elsewhere")

    monkeypatch.setattr("dptrain.api.pictures.open_trained_data", lost)
    alone = dptrain.Run(run.path)
    assert alone.predict(data.test_images[:2]) == run.predict(data.test_images[:2])
    assert alone.classes == data.classes
    with pytest.raises(DataError, match="elsewhere"):
        alone.evaluate()


def test_a_checkpoint_file_predicts_too_and_says_that_it_has_no_history(run, data):
    file = dptrain.Run(run.path / "checkpoints" / "last.safetensors")
    assert len(file.predict(data.test_images[:3])) == 3
    with pytest.raises(dptrain.DptrainError, match="is a checkpoint; its run directory has the history"):
        _ = file.history


def test_a_keyword_that_makes_a_key_of_the_recipe_meaningless_drops_it_with_a_warning(caplog, tmp_path):
    with pytest.raises(dptrain.DptrainError, match="no-such-set"):
        dptrain.fit("sfddd", schedule="cosine", dataset="no-such-set", runs=tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "milestones of recipe sfddd is dropped: not used with schedule = cosine (this call)"
    ]


def test_a_network_is_built_by_depth_and_width():
    same = [
        dptrain.build_network(image=(8, 8, 1), classes=3, **settings)
        for settings in ({"depth": 14, "width": 4}, {"n": 2, "filters": 4})
    ]
    assert dptrain.describe_network(same[0]) == dptrain.describe_network(same[1])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda run, data: dptrain.fit(epoch=2), "there is no setting 'epoch'; did you mean epochs"),
        (lambda run, data: dptrain.fit(depth=21), r"^depth = 21: a resnet has 6n \+ 2 layers: choose 20 or 26$"),
        (lambda run, data: dptrain.fit(filters=8, width=16), "^width and filters set the same thing"),
        (lambda run, data: dptrain.fit(optimizer="adam", momentum=0.5), "^momentum = 0.5 is used only with optimizer"),
        (lambda run, data: dptrain.fit(epochs="many"), "^epochs = 'many': must be a whole number"),
        (lambda run, data: dptrain.fit(epochs=1.5), "^epochs = '1.5': must be a whole number"),
        (
            lambda run, data: dptrain.fit(**SMALL, **QUIET, runs=run.path.parent, name="small"),
            'small exists: continue it with resume=".*/small", or choose another name$',
        ),
        (
            lambda run, data: dptrain.fit(**SMALL, **QUIET, runs=run.path.parent, name="small", resume="auto", lr=0.3),
            r"lr = 0.3 \(this call\), but the run .* has lr = 0.1",
        ),
        (lambda run, data: dptrain.load_data("cifar10", "/nowhere"), "or name another folder with data_dir$"),
        (
            lambda run, data: dptrain.build_network(image=(28, 28), classes=10),
            r"^image = \(28, 28\): must be \(height, width, channels\), such as \(28, 28, 1\)$",
        ),
        (lambda run, data: dptrain.build_network(image=28, classes=10), "^image = 28: must be"),
        (
            lambda run, data: dptrain.fit(workers=0, bind="tcp://127.0.0.1:5555"),
            "workers = 0 trains inside this process",
        ),
        (lambda run, data: dptrain.fit(isa=OTHER), "are for .* already: set DPTRAIN_ISA before the first use"),
        (lambda run, data: dptrain.fit("no-such-recipe"), "unknown recipe"),
        (lambda run, data: dptrain.load_data("cifar"), "cifar10"),
        (
            lambda run, data: dptrain.build_network(epochs=1, image=(32, 32, 3), classes=10),
            "epochs = 1 is no setting of a",
        ),
        (lambda run, data: dptrain.build_network(n=-1, image=(32, 32, 3), classes=10), "must be a whole number"),
        (lambda run, data: dptrain.Run("/nowhere"), "no such file or directory"),
        (lambda run, data: run.predict(data.test_images[0]), r"images of shape \(32, 32, 3\)"),
        (lambda run, data: run.predict(data.test_images.astype(float)), "uint8 is needed"),
        (lambda run, data: run.predict([__file__]), "is no image"),
        (lambda run, data: run.predict(5), "int: images are one array"),
        (lambda run, data: run.predict(list(data.test_images[:2])), "ndarray: images are one array"),
        (lambda run, data: run.picture("painting"), "there is no picture 'painting': there are curves, confusion"),
        (lambda run, data: run.evaluate("valid"), "there is no split .valid."),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(run, data, wrong, words):
    with pytest.raises(dptrain.DptrainError, match=words) as raised:
        wrong(run, data)
    assert "\n" not in str(raised.value)


def test_a_training_that_diverges_raises_one_error_and_resuming_it_warns(tmp_path, capsys):
    again = "warning: this run has diverged, and the same bits diverge again at the same step"
    for flags in ({"name": "wild"}, {"resume": tmp_path / "wild"}):
        with pytest.raises(DivergedError, match=r"not finite.* has diverged; a lower lr"):
            dptrain.fit(**SMALL, epochs=4, lr=100.0, weight_decay=1.0, runs=tmp_path, **PLAIN, **flags)
        out = capsys.readouterr().out
        assert (again in out) == ("resume" in flags)
        assert "not finite" not in out  # it is the exception that says so


def test_in_another_thread_it_trains_to_the_same_bits_and_leaves_signals_to_the_caller(run, tmp_path):
    """With worker processes: the thread that starts them must live as long as they do."""
    handlers, found = [signal.getsignal(number) for number in SIGNALS], []

    def body():
        found.append(dptrain.fit(**SMALL, log_format="quiet", workers=1, epochs=1, runs=tmp_path, on_step=look))

    def look(_):
        assert [signal.getsignal(number) for number in SIGNALS] == handlers

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert main(["verify", str(run.path), str(found[0].path)]) == 0


def test_the_import_loads_neither_numba_nor_numpy_and_dir_lists_the_public_names():
    code = "import sys, dptrain; print(*sorted(dir(dptrain))); print('numba' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0].split() == sorted([*dptrain.__all__, "__version__"])
    assert out[1] == "False False"
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = dptrain.train
