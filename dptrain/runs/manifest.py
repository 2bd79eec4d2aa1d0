"""The facts of a run, its identity, and run.json: what was asked for, with which data, versions and CPU."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dptrain
from dptrain.identity import identity
from dptrain.model import Model
from dptrain.settings import Config, ModelConfig
from dptrain.state import layout_digest

if TYPE_CHECKING:
    from dptrain.data.shards import ShardSource  # imports Numba, which reading a checkpoint does not need
PACKAGES = ("numpy", "numba", "llvmlite", "pyzmq", "msgpack", "safetensors")


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data set as the network saw it: enough to feed it a new image."""

    name: str
    sha256: str
    image: tuple[int, int, int]  #: height, width, channels
    classes: tuple[str, ...]
    mean: tuple[float, ...]  #: of the training set, in units of 0 ... 255: one per channel, or per pixel (h, w, c)
    std: tuple[float, ...]  #: one per channel
    train: int  #: images
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run: its configuration, its data and network, and the identity that follows from both."""

    config: Config
    data: DataFacts
    layout: str  #: ParamLayout.digest() of params, then of buffers
    numerics: str  #: version of the arithmetic, such as "fp32-v2"
    model: str  #: for display: "ResNet-8, 75,290 parameters"

    @property
    def identity(self) -> str:
        """SHA-256 (hex) that names the run."""
        return identity(self.config, self.data.sha256, self.layout, self.numerics)


def find_facts(config: Config, source: ShardSource, model: Model, numerics: str) -> RunFacts:
    """The facts, from the opened data and the built network."""
    dataset, standard = source.dataset, source.standard
    data = DataFacts(
        name=dataset.name,
        sha256=dataset.sha256,
        image=source.image_shape,
        classes=dataset.classes,
        mean=standard.mean,
        std=standard.std,
        train=source.size("train"),
        validation=source.size("validation"),
        test=source.size("test"),
    )
    text = f"{_title(config.model)}, {model.params.size:,} parameters"
    return RunFacts(config, data, layout_digest(model.params, model.buffers), numerics, text)


def _title(model: ModelConfig) -> str:
    """The name of the network."""
    if model.network != "resnet":
        return model.network
    return f"{'ResNet' if model.residual else 'plain network'}-{6 * model.n + 2 + len(model.hidden)}"


def manifest(facts: RunFacts) -> dict[str, Any]:
    """The part of run.json that is the same for every start."""
    return {
        "identity": facts.identity,
        "numerics": facts.numerics,
        "layout": facts.layout,
        "model": facts.model,
        "data": asdict(facts.data),
    }


def start(term: int, argv: list[str]) -> dict[str, Any]:
    """The part of run.json for one start: when, on which host, with which arguments and versions."""
    return {
        "term": term,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git": git_revision(),
        "versions": versions(),
        "cpu": cpu(),
    }


def versions() -> dict[str, str]:
    """Versions of dptrain, Python and the libraries, without importing them (numba alone takes half a second)."""
    found = {"dptrain": dptrain.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_revision() -> str:
    """`git describe --always --dirty` of the checkout that this package runs from; "" outside of a checkout."""
    root = Path(dptrain.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def cpu() -> dict[str, Any]:
    """Model name, feature flags and number of logical CPUs, as Linux reports them."""
    wanted = {"model name": "", "flags": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in wanted and not wanted[key.strip()]:
            wanted[key.strip()] = value.strip()
    return {
        "model": wanted["model name"] or platform.machine(),
        "flags": wanted["flags"],
        "count": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
    }
