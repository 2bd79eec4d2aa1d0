"""Exit codes: one table, which the documentation shows and the errors use."""

import inspect
import re
import signal

import pytest

from dptrain import errors
from dptrain.errors import EXIT_CODES, ExitCode, as_asked, exit_code_of


def test_the_page_of_exit_codes_is_the_table(root):
    page = (root / "docs/reference/exit-codes.md").read_text()
    assert re.findall(r"^\| \d.*", page, re.MULTILINE) == [
        f"| {code:d} | {meaning} | {cause} |" for code, meaning, cause in EXIT_CODES
    ]


def test_every_exit_code_has_a_row_and_every_error_a_code():
    assert [*dict.fromkeys(code for code, _, _ in EXIT_CODES)] == list(ExitCode)
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.DptrainError)]
    assert len(kinds) > 8
    assert {kind.exit_code for kind in kinds} <= {64, 70, 75, 78}


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGPIPE", "SIGTERM"])
def test_a_signal_has_the_code_that_a_shell_gives_it_and_is_no_failure(name):
    assert exit_code_of(name) == 128 + signal.Signals[name]
    assert as_asked(exit_code_of(name))


@pytest.mark.parametrize("code", [1, 64, 70, 75, 78, 134, 137, -9])
def test_an_error_a_crash_and_a_kill_are_failures(code):
    assert not as_asked(code)


def test_another_reason_to_stop_has_the_code_it_was_given():
    assert (exit_code_of("the launcher has gone"), exit_code_of("no worker is left", 75)) == (0, 75)
