"""The start of a run, as far as files go: one call makes or reopens the run directory and reads where to continue."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dptrain.course import Course
from dptrain.errors import RunDirectoryError
from dptrain.identity import extends
from dptrain.model import Model
from dptrain.recipefile import to_toml
from dptrain.runs import directory
from dptrain.runs.condition import diverged
from dptrain.runs.directory import RunDirectory
from dptrain.runs.manifest import RunFacts, manifest, start
from dptrain.runs.shelf import Shelf
from dptrain.state import TrainingState

DIVERGES_AGAIN = (
    "this run has diverged, and the same bits diverge again at the same step: start a new one with a lower --lr"
)


class OpenRun(NamedTuple):
    """A locked run directory, and the state to continue from."""

    directory: RunDirectory
    state: TrainingState | None  #: None: the run starts at step 0
    warnings: list[str]
    new: bool

    def close(self, *, begun: bool) -> None:
        """Gives the lock back, and removes a new directory in which no run has begun."""
        if self.new and not begun:
            self.directory.discard()
        self.directory.close()


def open_run(facts: RunFacts, resumed: Path | None, model: Model, course: Course | None = None) -> OpenRun:
    """Makes the run directory that the configuration names, or reopens `resumed`: locks it, increments its term, adds
    this start to run.json, and reads the newest intact checkpoint.

    With `course`, a run that ended by patience is given no more epochs: it would make no step of them.
    Raises RunDirectoryError and CheckpointError; then the lock is free, and no new directory is left.
    """
    if resumed is None:
        return OpenRun(_create(facts), None, [], new=True)
    place = directory.reopen(resumed, start(0, sys.argv[1:]))
    try:
        state, warnings = _stored_state(place, facts, model)
        if directory.stored_config(place.path).training.epochs != facts.config.training.epochs:  # it was given more
            _refuse_ended(place.path, course, state)
            directory.extend(place.path, facts.config.training.epochs, manifest(facts))
        if diverged(place.path):
            warnings.append(DIVERGES_AGAIN)
        return OpenRun(place, state, warnings, new=False)
    except BaseException:  # an Interrupted too: a notebook lives on and may continue the run later
        place.close()
        raise


def _refuse_ended(path: Path, course: Course | None, state: TrainingState | None) -> None:
    if course is not None and state is not None and course.gives_up(state):
        raise RunDirectoryError(
            f"{path} ended by patience after epoch {state.step // course.sampler.steps_per_epoch}; more epochs make no "
            f"further step: leave out --epochs to resume it, or train on from its weights in a new run, --start {path}"
        )


def _stored_state(place: RunDirectory, facts: RunFacts, model: Model) -> tuple[TrainingState | None, list[str]]:
    checkpoint, damaged = Shelf(place.checkpoints, facts.config.deployment.keep).newest_valid()
    if checkpoint is not None:
        checkpoint.refuse_other_run(facts)
        warnings = [f"{text}; continuing from an older checkpoint" for text in damaged]
        state = checkpoint.state(model.params, model.buffers)
        state.tested = state.tested and checkpoint.facts.identity == facts.identity
        return state, warnings
    if place.identity != facts.identity and not extends(facts.config, directory.stored_config(place.path)):
        raise RunDirectoryError(f"{place.path} is of a run over other data: start a new run with another --name")
    return None, []


def _create(facts: RunFacts) -> RunDirectory:
    deployment = facts.config.deployment
    parent, toml = Path(deployment.runs).expanduser(), to_toml(facts.config)
    content = manifest(facts) | {"starts": [start(1, sys.argv[1:])]}
    if deployment.name:
        return directory.create(parent, deployment.name, toml, content)
    wanted = f"{datetime.now().astimezone():%Y-%m-%d-%H%M}-{facts.data.name}"
    return directory.create_next(parent, wanted, toml, content)
