"""A small run: facts, and a state in which every number is different. And a disk whose power can be cut."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from dptrain.model import ParamLayout, ParamSpec
from dptrain.runs.manifest import DataFacts, RunFacts
from dptrain.settings import Config
from dptrain.state import TrainingState, layout_digest

PARAMS = ParamLayout((ParamSpec("conv1.weight", (4, 3, 3, 3)), ParamSpec("bn1.weight", (4,), decay=False)))
BUFFERS = ParamLayout((ParamSpec("bn1.running_mean", (4,)), ParamSpec("bn1.running_var", (4,))))
DATA = DataFacts("fashion-mini", "ab" * 32, (28, 28, 1), ("shirt", "shoe"), (72.9,), (90.1 / 3,), 5400, 600, 1000)


@pytest.fixture
def facts():
    return RunFacts(Config(), DATA, layout_digest(PARAMS, BUFFERS), "fp32-v1", "ResNet-8, 112 parameters")


@pytest.fixture
def make_state():
    def make(step=7, *, best=True):
        chance = np.random.default_rng(step)

        def draw(size):
            return chance.standard_normal(size).astype(np.float32)

        state = TrainingState(
            PARAMS, BUFFERS, draw(PARAMS.size), draw(BUFFERS.size), {"velocity": draw(PARAMS.size)}, step=step
        )
        state.epoch_loss, state.epoch_hits, state.epoch_samples = 1 / 3, 5, 96
        state.evaluated_step, state.history = step - 1, {"validation_loss": 0.1 + 0.2}
        if best:
            state.best_accuracy, state.best_step = 2 / 3, step - 1
            state.best_params, state.best_buffers = draw(PARAMS.size), draw(BUFFERS.size)
        return state

    return make


class Power:
    """A disk whose power can be cut: a folder then loses everything that was not fsynced. The bytes of a file are safe
    after an fsync of the file; a name, or its removal, after an fsync of the folder. What was there at first is safe.
    """

    def __init__(self, patch, folder):
        self._folder, self._fsync = folder, os.fsync
        self._bytes, self._kept = {}, []  #: by inode; files held open, so that no inode comes a second time
        for path in folder.iterdir():
            if path.is_file():
                self._keep(os.open(path, os.O_RDONLY), path)
        self._names = self._there()
        patch.setattr(os, "fsync", self.fsync)

    def fsync(self, fd):
        """os.fsync."""
        self._fsync(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            self._keep(os.dup(fd), path)
        elif path == self._folder:
            self._names = self._there()

    def cut(self, *, removed=False):
        """What is left. removed: names that are gone are gone for good, although the folder was not fsynced since."""
        now = self._there()
        for path in self._folder.iterdir():
            if path.is_file():
                path.unlink()
        for name, inode in self._names.items():
            if name in now or not removed:
                (self._folder / name).write_bytes(self._bytes.get(inode, b""))
        while self._kept:
            os.close(self._kept.pop())

    def _keep(self, fd, path):
        self._kept.append(fd)
        self._bytes[os.fstat(fd).st_ino] = path.read_bytes()

    def _there(self):
        return {path.name: path.stat().st_ino for path in self._folder.iterdir() if path.is_file()}


@pytest.fixture
def power(monkeypatch):
    """power(folder) -> a Power over it, which looks on from now on."""
    return lambda folder: Power(monkeypatch, folder.resolve())
