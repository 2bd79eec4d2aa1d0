"""Settings of all tests: repeatable examples, no variables of the developer's shell, where optional files are."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: the first example of a kernel compiles it. Derandomised: a test that failed fails again.
settings.register_profile("dptrain", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("dptrain")

# After nohup or in the background of a shell, pytest and its child processes would ignore these signals.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]

#: $DPTRAIN_SHARED_DATA, or shared/data beside the clone: files that are too large or whose licence forbids a copy.
SHARED_DATA = Path(os.environ.get("DPTRAIN_SHARED_DATA", ROOT.parent / "shared" / "data"))

#: The kernel cache (with an empty one, every process would compile) and the optional files.
KEPT = {"DPTRAIN_CACHE", "DPTRAIN_SHARED_DATA"}

#: Tests that start processes and wait for them run one after the other, in two rows if pytest has two cores or more
#: (check.sh): tests that make networks, and the others. They take half of the time, so they begin first.
ROWS = {
    "system": "processes",
    "net": "processes",
    "processes": "processes",
    "security": "networks",
    "launch": "networks",
}

#: These begin next: at the end of a run, a long group would leave all processes but one without work.
LONG = ("test_guards.py", "simulation")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the tests marked slow: more networks and sizes")


@pytest.hookimpl(tryfirst=True)  # xdist's own reads the marks
def pytest_collection_modifyitems(config, items):
    """For pytest-xdist: the tests of a file share one process, and so do the tests of a row. A history of the simulator
    shares nothing with another.
    """
    left_out = pytest.mark.skip(reason="slow: runs with ./launch/check.sh --slow")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("slow"):
            item.add_marker(left_out)
        alone = item.nodeid if _folder(item) == "simulation" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(ROWS.get(_folder(item), alone)))
    order = [*ROWS, *LONG]
    items.sort(key=lambda item: order.index(_folder(item)) if _folder(item) in order else len(order))


def _folder(item):
    return item.path.relative_to(ROOT / "tests").parts[0]


def pytest_make_parametrize_id(config, val, argname):
    """Bytes are named by their length, not by what they hold: gzip writes the second into its header, and xdist wants
    the same names from every process."""
    return f"{argname} of {len(val)} bytes" if isinstance(val, bytes | bytearray) else None


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in set(os.environ) - KEPT:
        if name.startswith("DPTRAIN_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture
def shared_data():
    """shared_data("akamaster/resnet20-12fca82f.th") -> its path, or the test is skipped with the reason."""

    def find(name):
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"{path} is not on this machine (another place: DPTRAIN_SHARED_DATA)")
        return path

    return find
