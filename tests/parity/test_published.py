"""akamaster's 20 layers score their published error on CIFAR-10: by dptrain, PyTorch and, exported, onnxruntime."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dptrain
from dptrain.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.parity]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "weights.md"
PUBLISHED = 8.27  #: % of the 10,000 test images; 21 of ours come from a JPEG copy
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def by_torch(weights, images):
    """Class numbers, with the network of the page and the file as it was published."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")
    names = {}
    exec(re.search(r"<!-- torch -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1], names)
    network = names["ResNet"](n=3, filters=16, channels=3, classes=10).eval()
    stored = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("module."): array for name, array in stored.items()})
    found = []
    with torch.inference_mode():
        for at in range(0, len(images), 500):
            x = torch.tensor(images[at : at + 500]) / 255
            found.append(network(((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)).argmax(1).numpy())
    return np.concatenate(found)


def by_onnxruntime(file, images):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'dptrain[test]'")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"images": images[at : at + 500]})[0] for at in range(0, len(images), 500)]
    return np.concatenate(parts).argmax(axis=1)


def test_the_published_error_is_counted_by_three_programs(shared_data, tmp_path, monkeypatch):
    weights, unpack = shared_data("akamaster/resnet20-12fca82f.th"), shared_data("unpack_cifar10.py")
    subprocess.run([sys.executable, str(unpack), str(tmp_path)], check=True, capture_output=True)
    monkeypatch.setenv("DPTRAIN_DATA", str(tmp_path))
    file = tmp_path / "akamaster.safetensors"
    mean, std = (",".join(map(str, values)) for values in (MEAN, STD))
    flags = ["--dataset", "cifar10", "--depth", "20", "--mean", mean, "--std", std, "-o", str(file)]
    assert main(["import", str(weights), *flags]) == 0
    run, data = dptrain.Run(file), dptrain.load_data("cifar10")
    images, labels = data.test_images, data.test_labels
    score = run.evaluate()
    wrong = [
        round((1 - score.accuracy) * score.samples),
        int((by_torch(weights, images) != labels).sum()),
        int((by_onnxruntime(run.export(tmp_path / "akamaster.onnx"), images) != labels).sum()),
    ]
    print(f"wrong of {score.samples}: dptrain {wrong[0]}, PyTorch {wrong[1]}, onnxruntime {wrong[2]}")
    assert len(set(wrong)) == 1
    assert abs(100 * wrong[0] / score.samples - PUBLISHED) <= 0.02
