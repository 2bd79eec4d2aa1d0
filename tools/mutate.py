"""Breaks one line of the heart at a time, in a copy, and asks the tests that ought to notice: each must turn one red.

`python tools/mutate.py` tries all lines of mutations.toml and prints a table in Markdown, `python tools/mutate.py 3 17`
only these. Exit code 1 if one goes unnoticed, 2 where a test is red before anything is broken.

The checkout is only read. The copy has a cache of kernels of its own, keyed by their sources as everywhere: what is
broken is compiled anew, and nobody else finds it.
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
LONGEST = 900  #: seconds for the tests of one line; a loop without an end is noticed too


class Mutation(NamedTuple):
    """A line, what it is made to say instead, what that means, and who must notice."""

    path: str
    old: str  #: stands exactly once in the file
    new: str
    what: str
    tests: tuple[str, ...]  #: the narrowest ones, as pytest names them


def _read(path: Path) -> tuple[Mutation, ...]:
    listed = tomllib.loads(path.read_text())["mutation"]
    return tuple(Mutation(**entry | {"tests": tuple(entry["tests"])}) for entry in listed)


MUTATIONS = _read(Path(__file__).with_name("mutations.toml"))


def main(chosen: list[int]) -> int:
    """Prints a row a line; returns the exit code."""
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
    """The files of the repository, committed or not yet, in a folder of ours; and a cache for their kernels."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._tree = folder, folder / "tree"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in (name for name in names if (ROOT / name).is_file() or (ROOT / name).is_symlink()):
            (self._tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, self._tree / name, follow_symlinks=False)

    def broken(self, mutation: Mutation) -> tuple[str, str, float]:
        """Place, the test that turned red ("": none did), seconds."""
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
        """The first of these that fails, "" where none does; seconds. Not one file of bytecode is written or read."""
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
                    os.killpg(process.pid, signal.SIGKILL)  # with what its tests have started
        if process.returncode not in (0, 1):  # a file that cannot be imported, a crash: nobody has looked at anything
            raise SystemExit(f"pytest ended with {process.returncode}:\n{said[-2000:]}")
        failed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return (failed[0].split(" - ")[0] if failed else ""), time.monotonic() - begin


def _stop(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # as Ctrl-C: what is ours is removed on the way


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main([int(word) for word in sys.argv[1:]]))
