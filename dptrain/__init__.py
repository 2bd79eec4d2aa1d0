"""dptrain: trains convolutional networks on CPUs, in one process or many, always to the same bits.

import dptrain

run = dptrain.fit("fashion-quick", epochs=3, workers=2)
run.test_accuracy, run.evaluate("validation").loss
run.predict("shirt.png")
run.picture("confusion")

data = dptrain.load_data("fashion-mini")            # arrays: train_images, train_labels, test_images, ...
print(dptrain.describe_network(dptrain.build_network(n=3, image=(32, 32, 3), classes=10)))
tuned = dptrain.fit(dataset="folder:flowers", start=run, freeze="conv1,bn1,layer1", patience=3)
run.export("model.onnx")
run = dptrain.Run("runs/latest")                    # a run of the command line, or a .safetensors file
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dptrain.errors import DptrainError

if TYPE_CHECKING:
    from dptrain.api.callbacks import STOP
    from dptrain.api.functions import build_network, describe_network, fit, load_data
    from dptrain.api.run import Run
    from dptrain.api.trained import Score

__version__ = "0.1.0"

__all__ = ["STOP", "DptrainError", "Run", "Score", "build_network", "describe_network", "fit", "load_data"]

#: Imported when first used: the command line must set DPTRAIN_ISA before anything compiled is imported (and Numba
#: takes half a second).
_HOMES = {
    "STOP": ("dptrain.api.callbacks", "STOP"),
    "Run": ("dptrain.api.run", "Run"),
    "Score": ("dptrain.api.trained", "Score"),
    "build_network": ("dptrain.api.functions", "build_network"),
    "describe_network": ("dptrain.api.functions", "describe_network"),
    "fit": ("dptrain.api.functions", "fit"),
    "load_data": ("dptrain.api.functions", "load_data"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # types: see above
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'dptrain' has no attribute {name!r}")
    home, known = _HOMES[name]
    found = globals()[name] = getattr(import_module(home), known)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
