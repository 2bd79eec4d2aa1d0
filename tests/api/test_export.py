"""Trained weights leave for ONNX, PyTorch and safetensors: same classes, and a card that says what they are."""

import json
import struct

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import dptrain
from dptrain.cli import main
from dptrain.interop.torchfile import read_torch
from dptrain.interop.weights import read_weights

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As in test_run.py, with a crop that evaluation sees, too."""
    return dptrain.fit(
        dataset="shapes32",
        validation=500,
        filters=4,
        batch_size=500,
        shard_size=125,
        augment=["window:28:28"],
        epochs=1,
        workers=0,
        log_format="quiet",
        runs=tmp_path_factory.mktemp("runs"),
        name="small",
    )


@pytest.fixture(scope="module")
def images():
    return dptrain.load_data("shapes32").test_images


def test_an_onnx_file_gives_the_classes_and_probabilities_of_the_run(run, images, tmp_path):
    """All 1,000 test images."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'dptrain[test]'")
    file = run.export(tmp_path / "new" / "model.onnx")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (odds,) = session.run(None, {"images": images})
    want = run.probabilities(images)
    assert np.abs(odds - want).max() < 1e-5
    assert [run.classes[i] for i in odds.argmax(axis=1)] == run.predict(images)
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["classes"]) == list(run.classes)
    assert json.loads(known["image"]) == [32, 32, 3]
    assert json.loads(known["accuracy"])["test"] == run.test_accuracy
    assert len(known["identity"]) == 64
    normalised = runtime.InferenceSession(
        run.export(tmp_path / "floats.onnx", inputs="normalised"), providers=["CPUExecutionProvider"]
    )
    about = json.loads(normalised.get_modelmeta().custom_metadata_map["dptrain.about"])
    assert about["image"] == [28, 28, 3]
    floats = (images[:, 2:30, 2:30] - np.float32(about["mean"])) / np.float32(about["std"])
    (odds,) = normalised.run(None, {"images": np.ascontiguousarray(floats.transpose(0, 3, 1, 2))})
    assert np.abs(odds - want).max() < 1e-5


def test_pt_and_safetensors_hold_the_same_arrays_under_pytorchs_names_and_what_normalises_the_images(run, tmp_path):
    for name in ("model.pt", "model.safetensors"):
        assert main(["export", str(run.path), str(tmp_path / name)]) == 0
    held = load_file(run.path / "checkpoints" / "best.safetensors")
    want = {name.removeprefix("model."): array for name, array in held.items() if name.startswith("model.")}
    for arrays in (read_torch(tmp_path / "model.pt"), load_file(tmp_path / "model.safetensors")):
        assert arrays.keys() == want.keys()
        assert all(arrays[name].tobytes() == want[name].tobytes() for name in want)
    read = [read_weights(file) for file in (run.path, tmp_path / "model.pt", tmp_path / "model.safetensors")]
    assert len({weights.sha256() for weights in read}) == 1
    assert len({weights.normalisation for weights in read}) == 1
    assert read[0].normalisation is not None


def test_arrays_in_a_pt_file_are_aligned_as_those_of_torch_save(run, tmp_path):
    """Each entry's content begins at a multiple of 64 bytes, so that torch.load(mmap=True) can map it."""
    content = run.export(tmp_path / "model.pt").read_bytes()
    at, names = 0, []
    while content[at : at + 4] == b"PK\x03\x04":
        size, name, extra = struct.unpack("<I4xHH", content[at + 18 : at + 30])
        begin = at + 30 + name + extra
        names.append(content[at + 30 : at + 30 + name].decode())
        assert begin % 64 == 0, names[-1]
        at = begin + size
    assert names[:2] == ["archive/data.pkl", "archive/byteorder"]


def test_a_model_card_has_hugging_faces_front_matter(run, tmp_path):
    run.export(tmp_path / "model.safetensors")
    _, front, body = (tmp_path / "model.safetensors.md").read_text().split("---\n")
    facts = yaml.safe_load(front)
    assert facts["pipeline_tag"] == "image-classification"
    (result, *_) = facts["model-index"][0]["results"]
    assert {one["dataset"]["split"] for one in facts["model-index"][0]["results"]} == {"validation", "test"}
    assert result["metrics"][0]["type"] == "accuracy"
    assert run.test_accuracy in [one["metrics"][0]["value"] for one in facts["model-index"][0]["results"]]
    assert "normalised float32 images (n, 3, 28, 28)" in body
    assert "(pixel / 255 - [" in body


def test_the_card_of_a_network_that_flattens_images_says_in_which_order(run, tmp_path):
    given = {"dataset": "shapes32", "samples": 128, "validation": 0, "network": "lenet", "filters": 2, "shard_size": 32}
    lenet = dptrain.fit(**given, epochs=1, max_steps=1, workers=0, log_format="quiet", runs=tmp_path)
    words = "x.permute(0, 2, 3, 1).flatten(1)"
    for one, name, said in ((lenet, "a.pt", True), (lenet, "a.onnx", False), (run, "b.pt", False)):
        one.export(tmp_path / name)
        assert (words in (tmp_path / f"{name}.md").read_text()) == said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("m.h5",), "m.h5: weights are exported as .onnx, .pt, .pth, .th or .safetensors"),
        (("m.pt", "--inputs", "uint8"), "m.pt holds weights only, and they expect normalised images"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line_and_nothing_is_written(
    run, flags, words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run.path), *flags]) == 78
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
