"""Mutation testing: breaks one line of the code at a time, in a copy, and runs the tests that must fail then.

`python tools/mutate.py` tries all lines of mutations.toml and prints a table in Markdown; `python tools/mutate.py 3 17`
tries only these two. The exit code is 1 if no test fails for some line, and 2 if a test fails before a line is broken.

The checkout is only read. The copy has its own kernel cache, so that no other process loads a broken kernel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from shutil import copy2
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 900  #: seconds for the tests of one line; an endless loop counts as a failure


class Mutation(NamedTuple):
    """A line, its replacement, what the replacement means, and the tests that must fail."""

    path: str
    old: str  #: occurs exactly once in the file
    new: str
    what: str
    tests: tuple[str, ...]  #: the narrowest ones, by their names in pytest


def _read(path: Path) -> tuple[Mutation, ...]:
    listed = tomllib.loads(path.read_text())["mutation"]
    return tuple(Mutation(**entry | {"tests": tuple(entry["tests"])}) for entry in listed)


MUTATIONS = _read(Path(__file__).with_name("mutations.toml"))


def main(chosen: list[int]) -> int:
    """Prints one row per line; returns the exit code."""
    wanted = [(n, mutation) for n, mutation in enumerate(MUTATIONS, 1) if not chosen or n in chosen]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dptrain-mutate-") as folder:
        copy = _Copy(Path(folder))
        red, seconds = copy.red(tuple(dict.fromkeys(test for _, mutation in wanted for test in mutation.tests)))
        if red:
            print(f"red before anything is broken: {red}")
            return 2
        print(f"All of these tests are green on the tree as it is ({seconds:.0f} s, kernels compiled).\n", flush=True)
        print("| # | line | broken | turns red | s |\n|---|---|---|---|---|", flush=True)
        caught = 0
        for number, mutation in wanted:
            place, red, seconds = copy.broken(mutation)
            caught += bool(red)
            print(f"| {number} | {place} | {mutation.what} | {red or 'NOTHING'} | {seconds:.0f} |", flush=True)
    print(f"\n{caught} of {len(wanted)} caught, in {time.monotonic() - begin:.0f} s")
    return int(caught < len(wanted))


class _Copy:
    """A copy of the files of the repository, committed or not, with its own kernel cache."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._tree = folder, folder / "tree"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in (name for name in names if (ROOT / name).is_file() or (ROOT / name).is_symlink()):
            (self._tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, self._tree / name, follow_symlinks=False)

    def broken(self, mutation: Mutation) -> tuple[str, str, float]:
        """Returns the place, the test that failed ("": none did) and the seconds it took."""
        path = self._tree / mutation.path
        text = path.read_text()
        if text.count(mutation.old) != 1:
            raise SystemExit(
                f"{mutation.path}: {mutation.old!r} stands there {text.count(mutation.old)} times, not once"
            )
        number = text[: text.index(mutation.old)].count("\n") + 1
        path.write_text(text.replace(mutation.old, mutation.new))
        try:
            return f"{mutation.path}:{number}", *self.red(mutation.tests)
        finally:
            path.write_text(text)

    def red(self, tests: tuple[str, ...]) -> tuple[str, float]:
        """Returns the first of these tests that fails ("": none does) and the seconds. Uses no bytecode files."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-rfE", f"--basetemp={self._folder}/tests"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "DPTRAIN_"))} | {
            "PYTHONPATH": str(self._tree),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DPTRAIN_CACHE": str(self._folder / "cache"),
            "COLUMNS": "1000",
        }
        begin = time.monotonic()
        with subprocess.Popen(
            [*command, "-p", "no:xdist", "-p", "no:cacheprovider", *tests],
            cwd=self._tree,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said = process.communicate(timeout=LONGEST)[0]
            except subprocess.TimeoutExpired:
                return f"{tests[0]} (no end in {LONGEST} s)", time.monotonic() - begin
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # and the processes its tests have started
        if process.returncode not in (0, 1):  # a file that cannot be imported, or a crash: no test has run
            raise SystemExit(f"pytest ended with {process.returncode}:\n{said[-2000:]}")
        failed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return (failed[0].split(" - ")[0] if failed else ""), time.monotonic() - begin


def _stop(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # as after Ctrl-C: the copy is removed on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main([int(word) for word in sys.argv[1:]]))
