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

#: These files share a process: the run they compare with (`reference`) is trained once, and kernels for other levels of
#: instructions are compiled once.
TOGETHER = [f"tests/system/test_{name}.py" for name in ("isa", "loop", "processes", "same_bits", "stopping")]

#: The order of the groups of tests: long ones first, so that no process is left alone with one at the end.
ORDER = [
    *TOGETHER,
    "tests/launch/test_documents.py",
    "tests/security/test_hosts.py",
    "tests/system/",
    "tests/engine/",
    "tests/cli/",
    "tests/launch/",
    "tests/security/",
    "tests/test_guards",
    "tests/simulation/",
]


def group_of(nodeid):
    """The tests of one group run in one process, one after the other: a file, or several that share what they make.
    A history of the simulator shares nothing with another.
    """
    file = nodeid.split("::")[0]
    if file.startswith("tests/simulation/"):
        return nodeid
    return "together" if file in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadscope` with the groups above. The marks of `--dist loadgroup` have no effect with pytest 9.2 and
    pytest-xdist 3.8: xdist renames tests by an attribute that pytest no longer reads.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    config.option.loadscopereorder = False  # else the groups with the most tests come first
    return Groups(config, log)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the tests marked slow: more networks and sizes")


def pytest_collection_modifyitems(config, items):
    left_out = pytest.mark.skip(reason="slow: runs with ./launch/check.sh --slow")
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("slow"):
            item.add_marker(left_out)
    items.sort(
        key=lambda item: next((at for at, start in enumerate(ORDER) if item.nodeid.startswith(start)), len(ORDER))
    )


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
