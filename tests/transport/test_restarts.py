"""Which ends of a process are followed by another life of it."""

import pytest

from dptrain.transport.restarts import MOST, WITHIN, Restarts, describe, exit_code


@pytest.mark.parametrize("code", [-9, -11, -15, 1, 70, 75])
def test_a_death_a_bug_and_a_temporary_trouble_are_followed_by_another_life(code):
    assert Restarts().delay(code, 100.0) == pytest.approx(0.1)


@pytest.mark.parametrize("code", [0, 129, 130, 143, 78])
def test_an_end_that_was_asked_for_or_would_come_again_is_final(code):
    assert Restarts().delay(code, 100.0) is None


def test_delays_double_until_there_were_too_many_in_a_short_time():
    restarts = Restarts()
    delays = [restarts.delay(-9, 100.0 + n) for n in range(MOST + 1)]
    assert delays[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert all(delays[:MOST])
    assert delays[MOST] is None


def test_deaths_long_ago_do_not_count():
    restarts = Restarts()
    for n in range(5 * MOST):
        assert restarts.delay(-9, n * (WITHIN / MOST + 1)) is not None


def test_an_end_is_named_by_its_signal_or_its_code():
    assert describe(-9) == "exited with signal 9"
    assert describe(75) == "exited with code 75"


@pytest.mark.parametrize(("child", "run"), [(78, 78), (75, 75), (-9, 75), (0, 75), (70, 70), (1, 70)])
def test_a_run_whose_workers_failed_says_whether_to_start_it_again(child, run):
    assert exit_code(child) == run
