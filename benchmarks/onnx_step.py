"""ONNX Runtime and OpenVINO in `python benchmarks/beside.py onnxruntime | openvino`: runs in a Python that has them.

It never imports dptrain. It reads one JSON line with the path of the ONNX file, the shape of its input and the engine,
and answers as torch_step.py does. A step computes the probabilities of one batch, in one thread.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.torch_step import serve


def onnxruntime(shape: dict[str, Any], x: Any) -> tuple[Callable[[], object], str]:  # noqa: ANN401  # an array
    """(one step, version) of ONNX Runtime on its CPU provider, float32."""
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(shape["file"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x}), runtime.__version__


def openvino(shape: dict[str, Any], x: Any) -> tuple[Callable[[], object], str]:  # noqa: ANN401  # an array
    """(one step, version) of OpenVINO on its CPU plugin, float32 or bfloat16."""
    vino: Any = import_module("openvino")
    core = vino.Core()
    model = core.read_model(shape["file"])
    model.reshape(x.shape)  # a fixed batch is its fastest case
    hint = "bf16" if shape["bf16"] else "f32"
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True, share_outputs=True), vino.__version__


def main() -> None:
    """Serves one comparison, until stdin ends."""
    shape = json.loads(sys.stdin.readline())
    numpy: Any = import_module("numpy")
    image = shape["image"]
    size = (shape["batch"], shape["channels"], image, image)
    x = numpy.sin(numpy.arange(math.prod(size)), dtype="float32").reshape(size)  # the values do not change the time
    engine = shape["engine"]
    step, version = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](shape, x)
    serve(step, {engine: version, "python": sys.version.split()[0]})


if __name__ == "__main__":
    main()
