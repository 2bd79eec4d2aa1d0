"""A trained network for other programs: ONNX, PyTorch's state_dict, safetensors; with a model card beside the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save as save_tensors

import dptrain
from dptrain.api.inputs import Inputs, inputs_of
from dptrain.api.trained import Trained, load_trained
from dptrain.atomic import write_atomically
from dptrain.data.augment import CutWindow, Pad
from dptrain.errors import CheckpointError, RunDirectoryError, UsageError, nearest
from dptrain.interop.onnxfile import Frame, Pixels, write_onnx
from dptrain.interop.torchfile import write_torch
from dptrain.interop.weights import ABOUT, SAFETENSORS, TORCH
from dptrain.nn import ImageShape, build_network, pixel_means
from dptrain.nn.activations import Reshape
from dptrain.nn.network import Network, leaves
from dptrain.runs.checkpoint import load
from dptrain.runs.metrics import read
from dptrain.types import F32

ONNX = ".onnx"
KINDS = (ONNX, *TORCH, SAFETENSORS)
PIXELS, NORMALISED = "uint8", "normalised"


class Exported(NamedTuple):
    """What was written."""

    path: Path
    card: Path
    about: str  #: what is in it, for the user


def export(target: Path, file: Path, networks: tuple[str, ...] = (), *, inputs: str = "") -> Exported:
    """Writes the best (else the last) weights of `target` to `file`, and FILE.md, its model card.

    inputs: what the network in an ONNX file takes: "uint8" (the default): pixels (n, h, w, c); "normalised": float32
    (n, c, h, w). The other files hold no network, only its weights: it takes normalised images. Raises UsageError.
    """
    wanted = _inputs(file, inputs)
    trained = load_trained(target, networks)
    facts = trained.facts
    network = build_network(facts.config.model, ImageShape(*facts.data.image), len(facts.data.classes), networks)
    about = describe(trained, target)
    about["flattens"] = any(isinstance(layer, Reshape) for layer in leaves(network.network))
    if wanted == PIXELS:
        about["image"] = list(inputs_of(trained.facts).shape)
    about["inputs"] = wanted
    content = _content(trained, network, file, about)
    card = file.with_name(f"{file.name}.md")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
        write_atomically(card, model_card(file, about).encode())
    except OSError as error:
        raise UsageError(f"{error.filename or file} cannot be written: {error.strerror}") from error
    return Exported(file, card, f"{trained.facts.model}, weights of step {trained.step:,}, takes {_takes(about)}")


def _inputs(file: Path, inputs: str) -> str:
    """What the network in the file will take. Raises UsageError."""
    if file.suffix not in KINDS or file.is_dir():
        raise UsageError(f"{file}: weights are exported as {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if inputs not in ("", PIXELS, NORMALISED):
        raise UsageError(
            f"inputs = {inputs!r}: must be {PIXELS} or {NORMALISED}{nearest(inputs, (PIXELS, NORMALISED))}"
        )
    if file.suffix != ONNX and inputs == PIXELS:
        raise UsageError(
            f"inputs = {inputs!r}: {file} holds weights only, and they expect normalised images; an ONNX file "
            "(FILE.onnx) has the normalisation inside"
        )
    return inputs or (PIXELS if file.suffix == ONNX else NORMALISED)


def describe(trained: Trained, target: Path) -> dict[str, Any]:
    """What another program must know of the weights, ready for JSON. mean and std: in units of 0..255."""
    facts = trained.facts
    return {
        "network": facts.model,
        "classes": list(facts.data.classes),
        "image": list(facts.data.image),  #: height, width, channels
        "mean": list(facts.data.mean),
        "std": list(facts.data.std),
        "dataset": facts.data.name,
        "dataset_sha256": facts.data.sha256,
        "identity": facts.identity,
        "step": trained.step,
        "accuracy": _accuracies(trained, target),
        "dptrain": dptrain.__version__,
    }


def _accuracies(trained: Trained, target: Path) -> dict[str, float]:
    """Split -> accuracy of these very weights, as far as it was measured in training."""
    numbers, found = load(trained.path).numbers, {}
    if numbers["evaluated_step"] == trained.step and "validation_accuracy" in numbers["history"]:
        found["validation"] = numbers["history"]["validation_accuracy"]
    best = numbers["best_step"] if numbers["best_accuracy"] >= 0 else trained.step
    if numbers["tested"] and best == trained.step and "test_accuracy" in numbers["history"]:
        found["test"] = numbers["history"]["test_accuracy"]
    try:  # the test split is scored after the best checkpoint was written
        records = read(target / "metrics.jsonl") if target.is_dir() else []
    except RunDirectoryError:
        records = []
    for record in records:
        if "test/acc" in record and record["step"] == trained.step:
            found["test"] = float(record["test/acc"])
    return found


def _content(trained: Trained, network: Network, file: Path, about: dict[str, Any]) -> bytes:
    model, facts = trained.model, trained.facts
    arrays: dict[str, F32] = model.params.views(trained.params) | model.buffers.views(trained.buffers)
    text = json.dumps(about, ensure_ascii=False)
    if file.suffix == SAFETENSORS:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return save_tensors(whole, metadata={"format": "pt", ABOUT: text})
    if file.suffix in TORCH:
        return write_torch(arrays, text)
    image = facts.data.image
    mean, std = pixel_means(facts.data.mean, image), np.asarray(facts.data.std, np.float32)
    inputs = inputs_of(facts)
    pixels = Pixels(inputs.shape, _frames(inputs), mean, std) if about["inputs"] == PIXELS else None
    properties = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    return write_onnx(network, arrays, pixels, {**properties, ABOUT: text})


def _frames(inputs: Inputs) -> tuple[Frame, ...]:
    """What evaluation cuts from an image and adds to it, in order."""
    frames, shape = [], inputs.shape
    for operation in inputs.pipeline.operations:
        output = operation.output(shape)
        if isinstance(operation, CutWindow):
            top, left = (shape[0] - output[0]) // 2, (shape[1] - output[1]) // 2
            frames.append(Frame(cut=(top, left, top + output[0], left + output[1])))
        elif isinstance(operation, Pad):
            frames.append(Frame(pad=operation.pad, fill=operation.fill))
        elif output != shape:
            raise CheckpointError(f"augmentation {operation.name} changes the size of images: not known to the export")
        shape = output
    return tuple(frames)


def _takes(about: dict[str, Any]) -> str:
    height, width, channels = about["image"]
    if about["inputs"] == PIXELS:
        return f"uint8 pixels (n, {height}, {width}, {channels})"
    return f"normalised float32 images (n, {channels}, {height}, {width})"


# --- the model card


_USE = {
    ONNX: """```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({file!r})
images = np.zeros({shape}, np.{dtype})  # yours
(probabilities,) = session.run(None, {{"images": images}})
```""",
    SAFETENSORS: """```python
from safetensors.torch import load_file

network.load_state_dict(load_file({file!r}))  # a network of PyTorch with these layers
```""",
}
_USE |= dict.fromkeys(
    TORCH,
    """```python
import torch

network.load_state_dict(torch.load({file!r}, weights_only=True))  # a network of PyTorch with these layers
```""",
)


_FLATTENS = (
    "- The network flattens images in the order height, width, channels. PyTorch's flatten begins with the channels: "
    "write x.permute(0, 2, 3, 1).flatten(1)"
)


def model_card(file: Path, about: dict[str, Any]) -> str:
    """Markdown that begins with the front matter of Hugging Face's model cards. Texts in it are JSON: YAML reads it."""
    accuracy = about["accuracy"]
    results = [
        line
        for split, value in accuracy.items()
        for line in (
            '      - task: {type: "image-classification"}',
            f"        dataset: {{type: {json.dumps(about['dataset'])}, name: {json.dumps(about['dataset'])}, "
            f"split: {json.dumps(split)}}}",
            f'        metrics: [{{type: "accuracy", value: {value!r}}}]',
        )
    ]
    height, width, channels = about["image"]
    shape = (1, height, width, channels) if about["inputs"] == PIXELS else (1, channels, height, width)
    dtype = "uint8" if about["inputs"] == PIXELS else "float32"
    scores = [
        f"- Accuracy on the {split} split of {about['dataset']}: {value:.4f}" for split, value in accuracy.items()
    ]
    lines = [
        "---",
        "library_name: dptrain",
        "pipeline_tag: image-classification",
        'tags: ["image-classification", "dptrain"]',
        f"datasets: [{json.dumps(about['dataset'])}]",
        "metrics: [accuracy]",
        *(["model-index:", f"  - name: {json.dumps(file.name)}", "    results:", *results] if results else []),
        "---",
        "",
        f"# {file.name}",
        "",
        f"{about['network']}, trained with dptrain {about['dptrain']}.",
        "",
        f"- Input: {_takes(about)}",
        *([] if about["inputs"] == PIXELS else [f"- Normalisation: {_normalisation(about)}"]),
        *([_FLATTENS] if about["flattens"] and file.suffix != ONNX else []),
        f"- Classes, by number: {', '.join(f'{at} {name}' for at, name in enumerate(about['classes']))}",
        *(scores or ["- Accuracy: not measured with these weights"]),
        f"- Run: identity {about['identity']}, weights of step {about['step']}",
        "",
        _USE[file.suffix].format(file=file.name, shape=shape, dtype=dtype),
    ]
    return "\n".join(lines) + "\n"


def _normalisation(about: dict[str, Any]) -> str:
    """As torchvision's Normalize takes it."""
    mean, std = ([round(value / 255, 6) for value in about[key]] for key in ("mean", "std"))
    if len(mean) > len(std):
        return f'(pixel / 255 - mean) / {std}; mean is an image, in the file\'s metadata as "mean" (times 255)'
    return f"(pixel / 255 - {mean}) / {std}, per channel"
