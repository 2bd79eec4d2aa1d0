"""The exit code of a process that the coordinator starts, and what it writes to stderr."""

import pytest

from dptrain.cluster.table import InvalidTransition
from dptrain.errors import RefusedError
from dptrain.workers.entry import run


def failing(error):
    def body():
        raise error

    return body


def test_the_exit_code_of_the_body_is_that_of_the_process(capsys):
    assert run(0, lambda: 7) == 7
    assert capsys.readouterr().err == ""


def test_a_known_error_is_one_line_and_its_own_exit_code(capsys):
    assert run(0, failing(RefusedError("the coordinator refuses this worker: no"))) == 78
    assert capsys.readouterr().err == "dptrain: error: the coordinator refuses this worker: no\n"


def test_an_impossible_event_is_reported_with_the_last_events_and_ends_with_70(capsys):
    bug = InvalidTransition("worker", "WORKING", "connected", ("READY: Params", "READY: weights -> WORKING"))
    assert run(0, failing(bug)) == 70
    assert capsys.readouterr().err.splitlines() == [
        "dptrain: error: worker: connected is impossible in the state WORKING; this is a bug in dptrain",
        "dptrain: READY: Params",
        "dptrain: READY: weights -> WORKING",
    ]


def test_another_exception_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(0, lambda: 1 // 0)
