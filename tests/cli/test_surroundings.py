"""What surrounds a process: variables of Python and Numba, limits of the system, encodings. No traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dptrain.api import session
from dptrain.errors import UsageError
from dptrain.recipefile import read_recipe

CONFIGURATION = 78


@pytest.mark.parametrize("command", [["train", "--workers", "0"], ["doctor"]])
def test_switched_off_compilation_is_refused_at_once(dptrain, command):
    ran = dptrain(*command, environ={"NUMBA_DISABLE_JIT": "1"})
    assert ran.code == CONFIGURATION
    assert ran.err == "dptrain: error: NUMBA_DISABLE_JIT is set, but the kernels must be compiled: unset it\n"


def test_too_few_open_files_are_refused_before_the_run_directory_is_made(tmp_path):
    command = f"ulimit -n 24; exec {sys.executable} -m dptrain train --workers 2"
    ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == CONFIGURATION
    assert ran.stderr == (
        "dptrain: error: this process may open 24 files, but this training needs 64: raise `ulimit -n`\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "needed", "raised"),
    [((24, 1024), 64, (64, 1024)), ((24, -1), 64, (64, -1)), ((64, 64), 64, None), ((-1, -1), 64, None)],
)
def test_the_number_of_open_files_is_raised_where_the_system_allows_it(monkeypatch, limits, needed, raised):
    found = []
    monkeypatch.setattr(session, "getrlimit", lambda _: limits)
    monkeypatch.setattr(session, "setrlimit", lambda _, to: found.append(to))
    session._allow_files(needed)
    assert found == ([raised] if raised else [])


def test_a_limit_of_the_system_that_is_too_low_is_said(monkeypatch):
    monkeypatch.setattr(session, "getrlimit", lambda _: (24, 40))
    with pytest.raises(UsageError, match="may open 40 files, but this training needs 64"):
        session._allow_files(64)


@pytest.mark.parametrize(("name", "shown"), [("猫", r"in \u732b:"), (os.fsdecode(b"caf\xe9"), r"in caf\udce9:")])
def test_names_outside_of_the_encoding_of_the_output_are_shown_with_backslashes(dptrain, name, shown):
    ran = dptrain("data", "list", "--data-dir", name, environ={"PYTHONIOENCODING": "ascii"})
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == shown


@pytest.mark.parametrize("command", [["--help"], ["eval", "--help"]])
def test_stripped_help_is_said_and_every_verb_keeps_its_line(dptrain, command):
    ran = dptrain(*command, environ={"PYTHONOPTIMIZE": "2"})
    assert ran.code == 0
    assert ran.err == "dptrain: note: PYTHONOPTIMIZE=2 strips help texts; unset it to see them\n"
    assert "score a checkpoint on a split of its data set" in ran.out.lower()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path, ending):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + ending.join(["[training]", "epochs = 3", ""]).encode())
    assert read_recipe(str(path)) == {"epochs": 3}
