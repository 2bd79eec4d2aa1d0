"""The identity of a run: the settings that decide its bits, as JSON and as a SHA-256 that names the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from dptrain.declaration import IDENTITY_SECTIONS
from dptrain.errors import UsageError
from dptrain.rules import Value
from dptrain.settings import SETTINGS, Config, check, from_sections, stored, values


def identity_json(config: Config) -> str:
    """The identity part as canonical JSON: sorted keys, no spaces. `Welcome.config` carries it."""
    found: dict[str, dict[str, Value]] = {}
    for section in IDENTITY_SECTIONS:
        given = asdict(getattr(config, section))
        found[section] = {n: v for n, v in given.items() if not (SETTINGS[n].later and v == SETTINGS[n].before)}
    return _canonical(found)


def from_identity_json(text: str) -> Config:
    """The configuration from `identity_json`, with default deployment. Raises UsageError.

    Every key of the identity must be there, except later ones, and no other key.
    """
    try:
        sections = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the configuration of the run is not JSON: {error}") from error
    if not isinstance(sections, dict):
        raise UsageError(f"the configuration of the run must be a JSON object, not {type(sections).__name__}")
    given = from_sections(sections, IDENTITY_SECTIONS)
    missing = [name for name, s in SETTINGS.items() if s.identity and not s.later and name not in given]
    if missing:
        raise UsageError(f"the configuration of the run lacks {', '.join(missing)}")
    config = stored(given)
    check(config)
    return config


def identity(config: Config, dataset_sha256: str, layout_digest: str, numerics: str) -> str:
    """SHA-256 (hex) that names a run: its configuration, data, network and arithmetic. Deployment is not in it."""
    facts = {"config": identity_json(config), "dataset": dataset_sha256, "layout": layout_digest, "numerics": numerics}
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()


def identity_differences(a: Config, b: Config) -> list[str]:
    """`name: a's value -> b's value` for every setting of the identity in which the two differ."""
    left, right = values(a), values(b)
    names = (name for name, each in SETTINGS.items() if each.identity)
    return [f"{n}: {left[n]!r} -> {right[n]!r}" for n in names if left[n] != right[n]]


#: Schedules in which the learning rate of a step does not depend on the number of epochs.
_OPEN_END = ("constant", "steps", "table", "restarts")


def extends(new: Config, old: Config) -> bool:
    """Whether a run of `new` begins with the very steps of `old`: it has more epochs, and nothing else differs."""
    more = replace(old, training=replace(old.training, epochs=new.training.epochs), deployment=new.deployment)
    return more == new and new.training.epochs > old.training.epochs and new.training.schedule in _OPEN_END


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
