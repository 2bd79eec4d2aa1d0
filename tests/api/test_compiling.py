"""A message says that kernels are being compiled, and that it continues."""

import io
import re
import time

import pytest

from dptrain.api import compiling
from waiting import until


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty one, looked at often."""
    for name, value in (("_PATIENCE", 0.0), ("_GLANCE", 0.01), ("_EVERY", 0.05)):
        monkeypatch.setattr(compiling, name, value)
    monkeypatch.setattr(compiling, "cache_directory", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def said(capsys):
    """What has gone to stderr so far."""
    read = []
    return lambda: read.append(capsys.readouterr().err) or "".join(read)


def compiled(cache, number, seen):
    """One more kernel, and that it is seen."""
    (cache / f"{number}.nbc").touch()
    until(lambda: time.sleep(0.01) or seen())


def test_a_log_gets_one_line_and_another_one_every_few_seconds(cache, said):
    with compiling.word_about_compiling():
        compiled(cache, 0, lambda: "s, 1 so far" in said())
        begin = time.monotonic()
        compiled(cache, 1, lambda: said().count("s, 2 so far") > 2)
        seconds = time.monotonic() - begin
    first, *others = said().splitlines()
    assert first == f"compiling kernels for this network and CPU, once: about half a minute (kept in {cache})"
    assert all(line.startswith("compiling kernels: ") for line in others)
    assert said().count("s, 2 so far") <= 2 + seconds / 0.05, "a line each look"


def test_a_note_shown_in_place_moves_and_is_removed_at_the_end(cache, said):
    shown = []
    with compiling.word_about_compiling(shown.append):
        compiled(cache, 0, lambda: shown)
        compiled(cache, 1, lambda: "s, 2 so far" in shown[-1])
    assert re.fullmatch(r"compiling kernels: \d+ s, 1 so far", shown[0])  # a busy machine may look late
    assert shown[-1] == ""
    assert said().count("\n") == 1


def test_if_no_kernel_is_compiled_nothing_is_printed(cache, said):
    looks = []
    (cache / "0.nbc").touch()
    with compiling.word_about_compiling(over=lambda: looks.append(1)):
        until(lambda: time.sleep(0.01) or len(looks) > 3)
    with compiling.word_about_compiling(over=lambda: looks.append(1) or len(looks) > 3):
        (cache / "1.nbc").touch()
        until(lambda: time.sleep(0.01) or len(looks) > 4)
    assert said() == ""


def test_only_a_terminal_has_a_line_that_changes(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    assert compiling.terminal_line() is None
    terminal.isatty = lambda: True
    monkeypatch.setenv("TERM", "dumb")
    assert compiling.terminal_line() is None
    monkeypatch.setenv("TERM", "xterm")
    compiling.terminal_line()("compiling")
    assert terminal.getvalue() == "\r\x1b[Kcompiling"
