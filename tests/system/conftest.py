"""Real runs in real processes; each test says where they stop, and nothing of them is left after it."""

import itertools
import os
import signal
import socket

import pytest

from simulation import traces
from simulation.processes import Group, until

#: 60 steps, a validation after the 36th, 4 shards per step and a short last one in the epoch; seconds once compiled.
TOTAL = 60
RECIPE = ["--dataset", "shapes32", "--samples", 2250, "--validation", 500, "--augment", "crop:4,flip", "--filters", 8]
RECIPE += ["--batch-size", 64, "--shard-size", 16, "--epochs", 40]  # epochs: none ends before a test is done with it
FLAGS = [*RECIPE, "--hash-every", 1, "--checkpoint-every", 10, "--log-format", "plain"]
WHOLE = ["--max-steps", TOTAL]
START = 240.0  #: seconds until the first step at the latest: kernels may have to be compiled


class Runs(Group):
    """Runs in one folder, and what the tests ask about them."""

    def train(self, name, *flags, **options):
        """`dptrain train` under this run name."""
        return self.start("train", *FLAGS, "--name", name, *flags, name=name, **options)

    def resume(self, name, *flags):
        """The same run again."""
        return self.start("train", "--name", name, "--resume", "auto", *flags, name=name)

    def path(self, name):
        return self.folder / "runs" / name

    def until_step(self, name, step):
        """Waits until that many steps are applied."""
        until(
            lambda: traces.step(self.path(name)) >= step, START, lambda: f"step {step} of {name}:\n{self.output(name)}"
        )

    def until_said(self, name, text):
        """Waits for these words in what it prints."""
        until(lambda: text in self.output(name), START, lambda: f"{text!r} from {name}:\n{self.output(name)}")

    def until_alone(self):
        """Waits until no process is left."""
        until(lambda: not self.members(), 60.0, lambda: f"{self.members()} are still there")

    def finished(self, process, name, code=0):
        """Waits for the end."""
        assert process.wait(START) == code, self.output(name)

    def verify(self, a, b):
        """`dptrain verify A B`: exit code and words."""
        number = next(self._numbers)
        process = self.start("verify", a, b, name=f"verify{number}")
        code = process.wait(START)
        return code, self.output(f"verify{number}")

    flags = FLAGS
    _numbers = itertools.count()


@pytest.fixture
def runs(tmp_path):
    group = Runs(tmp_path)
    yield group
    left = group.end()
    said = [*tmp_path.glob("*.out"), *tmp_path.glob("*.err"), *tmp_path.glob("runs/*/logs/*")]
    for path in sorted({path.resolve() for path in said}):  # runs/latest is one of the others
        print(f"--- {path}\n{path.read_text(errors='replace')}")  # seen where the test has failed
    assert left == [], "processes outlived the test"


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The run directory of 60 undisturbed steps in one process."""
    group = Runs(tmp_path_factory.mktemp("reference"))
    try:
        group.finished(group.train("reference", "--workers", 0, *WHOLE), "reference")
    finally:
        group.end()
    run = group.path("reference")
    assert sorted(traces.hashes(run)) == list(range(1, TOTAL + 1))
    return run


@pytest.fixture
def port():
    """Of TCP on 127.0.0.1, free a moment ago."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture
def interrupt():
    """interrupt(process, "SIGINT"): to it alone; "terminal": SIGINT to its process group, as Ctrl-C at a terminal."""

    def send(process, how):
        if how == "terminal":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.Signals[how])

    return send
