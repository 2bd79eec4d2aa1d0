"""The PyTorch that docs/howto/weights.md shows gives the classes of the run, from the file that `run.export` writes."""

import re
from pathlib import Path

import numpy as np
import pytest

import dptrain

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "weights.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Nine steps of the network that the page builds."""
    return dptrain.fit(
        dataset="shapes32",
        validation=500,
        filters=8,
        batch_size=500,
        shard_size=125,
        epochs=1,
        workers=0,
        log_format="quiet",
        runs=tmp_path_factory.mktemp("runs"),
        name="small",
    )


def test_the_lines_of_the_page_give_the_same_classes(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run.export("model.pt")
    blocks = re.findall(r"<!-- torch -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    images = dptrain.load_data("shapes32").test_images
    names = {"images": images}
    exec("\n".join(blocks), names)
    assert names["classes"] == run.predict(images)
    with torch.inference_mode():
        odds = names["network"](names["x"]).softmax(1).numpy()
    assert np.abs(odds - run.probabilities(images)).max() < 1e-5


def test_a_network_that_flattens_images_does_so_as_its_card_says(tmp_path):
    given = {"dataset": "shapes32", "samples": 128, "validation": 0, "network": "lenet", "filters": 2, "shard_size": 32}
    run = dptrain.fit(**given, epochs=1, max_steps=1, workers=0, log_format="quiet", runs=tmp_path)
    arrays = torch.load(run.export(tmp_path / "lenet.pt"), weights_only=True)
    data, functional = dptrain.load_data("shapes32"), torch.nn.functional
    images = data.test_images[:50]
    mean, std = torch.tensor(data.mean).float(), torch.tensor(data.std).float()
    x = ((torch.tensor(images) - mean) / std).permute(0, 3, 1, 2)
    for layer in ("conv1", "conv2"):
        x = functional.conv2d(x, arrays[f"{layer}.weight"], arrays[f"{layer}.bias"], padding=2)
        x = functional.max_pool2d(functional.relu(x), 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    odds = functional.linear(x, arrays["linear.weight"], arrays["linear.bias"]).softmax(1)
    assert np.abs(odds.numpy() - run.probabilities(images)).max() < 1e-5


def test_torch_maps_the_file_and_reads_the_bits_that_were_written(run, tmp_path):
    file = run.export(tmp_path / "model.pt")
    mapped = torch.load(file, weights_only=True, mmap=True)
    from dptrain.interop.torchfile import read_torch

    ours = read_torch(file)
    assert list(mapped) == list(ours)
    assert all(mapped[name].numpy().tobytes() == array.tobytes() for name, array in ours.items())
