"""One checkpoint is one safetensors file: how it is made, checked and read. Which files there are: `shelf.py`.

Tensors are those of `TrainingState.tensors()` ("model.NAME", "optim.KIND.NAME") and `best_tensors()` ("best.NAME").
The metadata holds two texts. "dptrain" is a JSON object with the numbers of the state and the facts of the run; floats
that must come back exactly are hexadecimal. "sha256" is the hash of the whole file with these 64 digits as zeros, so
every changed byte is noticed, and any safetensors reader can still read the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from dptrain.errors import CheckpointError, UsageError
from dptrain.identity import extends, identity_differences
from dptrain.model import ParamLayout
from dptrain.recipefile import from_toml, to_toml
from dptrain.runs.manifest import DataFacts, RunFacts
from dptrain.settings import check, stored
from dptrain.state import TrainingState
from dptrain.types import F32

FORMAT = 1
_ZEROS = "0" * 64
_MARK = b'"sha256":"'


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint file that was read and is intact."""

    path: Path
    facts: RunFacts
    step: int
    term: int  #: the start of the coordinator that wrote it
    numbers: dict[str, Any]  #: the fields of TrainingState that are neither arrays nor `step`
    tensors: dict[str, F32]  #: read-only

    def vector(self, layout: ParamLayout, prefix: str = "model.") -> F32:
        """The tensors of a layout as one new flat vector. Raises CheckpointError if they do not fit."""
        flat = np.empty(layout.size, np.float32)
        for spec, at in layout.items():
            tensor = self.tensors.get(prefix + spec.name)
            if tensor is None:
                raise CheckpointError(f"{self.path}: tensor {prefix + spec.name} is missing: made by another network")
            if tensor.shape != spec.shape:
                raise CheckpointError(
                    f"{self.path}: tensor {prefix + spec.name} has shape {tensor.shape}, the network wants {spec.shape}"
                )
            flat[at : at + spec.size] = tensor.reshape(-1)
        return flat

    def state(self, params: ParamLayout, buffers: ParamLayout) -> TrainingState:
        """The state to continue from. Raises CheckpointError if its tensors are not those of these layouts."""
        best = self.numbers["best_accuracy"] >= 0.0
        nothing = np.zeros(0, np.float32)
        kinds = sorted({name.split(".")[1] for name in self.tensors if name.startswith("optim.")})
        return TrainingState(
            params,
            buffers,
            self.vector(params),
            self.vector(buffers),
            {kind: self.vector(params, f"optim.{kind}.") for kind in kinds},
            step=self.step,
            best_params=self.vector(params, "best.") if best else nothing,
            best_buffers=self.vector(buffers, "best.") if best else nothing,
            **self.numbers,
        )

    def refuse_other_run(self, facts: RunFacts) -> None:
        """Raises CheckpointError, with what differs, unless this checkpoint belongs to the run `facts`, or to the same
        run before it was given more epochs.
        """
        mine = self.facts
        as_now = replace(mine, config=facts.config) if extends(facts.config, mine.config) else mine
        if as_now.identity == facts.identity:
            return
        differences = identity_differences(mine.config, facts.config)
        for what, theirs, ours in (
            ("data set", mine.data.sha256[:12], facts.data.sha256[:12]),
            ("layout", mine.layout[:12], facts.layout[:12]),
            ("numerics", mine.numerics, facts.numerics),
        ):
            if theirs != ours:
                differences.append(f"{what}: {theirs} -> {ours}")
        raise CheckpointError(f"{self.path} belongs to another run ({'; '.join(differences)}): start a new run instead")


def pack(state: TrainingState, facts: RunFacts, term: int) -> bytes:
    """The bytes of the checkpoint file."""
    numbers = {
        "epoch_loss": state.epoch_loss.hex(),
        "epoch_hits": state.epoch_hits,
        "epoch_samples": state.epoch_samples,
        "best_accuracy": state.best_accuracy.hex(),
        "best_step": state.best_step,
        "evaluated_step": state.evaluated_step,
        "tested": state.tested,
        "history": {key: float(value).hex() for key, value in state.history.items()},
    }
    meta = {"format": FORMAT, "term": term, "step": state.step, "numbers": numbers} | _facts_to_json(facts)
    tensors = {name: np.ascontiguousarray(a) for name, a in (state.tensors() | state.best_tensors()).items()}
    content = save_tensors(tensors, metadata={"dptrain": json.dumps(meta, sort_keys=True), "sha256": _ZEROS})
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(_MARK + _ZEROS.encode(), _MARK + digest.encode(), 1)


def load(path: Path) -> Checkpoint:
    """Reads and checks a checkpoint. Raises CheckpointError for one that is missing, damaged or of another version."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    meta = _verified_meta(path, content)
    try:
        numbers = meta["numbers"]
        for key in ("epoch_loss", "best_accuracy"):
            numbers[key] = float.fromhex(numbers[key])
        numbers["history"] = {key: float.fromhex(value) for key, value in numbers["history"].items()}
        facts = _facts_from_json(meta)
        return Checkpoint(path, facts, meta["step"], meta["term"], numbers, load_tensors(content))
    except (KeyError, TypeError, ValueError, AttributeError, UsageError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the checkpoint is intact, but this version cannot read it: {error}") from error


def _verified_meta(path: Path, content: bytes) -> dict[str, Any]:
    """The metadata, after the hash over every byte was checked."""
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    header = content[8 : 8 + length]
    at = header.find(_MARK) + 8 + len(_MARK)
    if length == 0 or len(header) < length or _MARK not in header:
        raise CheckpointError(f"{path} is no checkpoint of dptrain, or it is damaged (no readable header)")
    stored = content[at : at + 64]
    if hashlib.sha256(content[:at] + _ZEROS.encode() + content[at + 64 :]).hexdigest().encode() != stored:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one it was written with")
    try:
        meta = json.loads(json.loads(header)["__metadata__"]["dptrain"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of dptrain: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise CheckpointError(f"{path} has checkpoint format {found}; this version reads format {FORMAT}")
    return meta


def _facts_to_json(facts: RunFacts) -> dict[str, Any]:
    data = {name: getattr(facts.data, name) for name in DataFacts.__dataclass_fields__}
    return {
        "identity": facts.identity,
        "config": to_toml(facts.config),
        "data": data,
        "layout": facts.layout,
        "numerics": facts.numerics,
        "model": facts.model,
    }


def _facts_from_json(meta: dict[str, Any]) -> RunFacts:
    config = stored(from_toml(meta["config"]))
    check(config)
    data: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["data"].items()}
    facts = RunFacts(config, DataFacts(**data), meta["layout"], meta["numerics"], meta["model"])
    if facts.identity != meta["identity"]:
        raise UsageError(f"its identity is {meta['identity'][:12]}, but its parts give {facts.identity[:12]}")
    return facts
