"""Connections are cut if they are too many, too fast, silent or too large; a worker's is never cut for a stranger."""

import pytest

from dptrain.net.connections import BURST, FIRST_BYTES, HELLO_DEADLINE, MOST, MOST_UNKNOWN, RATE, Connections

MUCH = 1_000_000


@pytest.fixture
def connections():
    return Connections(MUCH)


def spread(connections, count, now=0.0, first=0):
    """`count` connections, each of its own address."""
    return [
        connections.accepted(fd, f"10.{fd >> 16}.{fd >> 8 & 255}.{fd & 255}", now) for fd in range(first, first + count)
    ]


def test_a_stranger_that_says_nothing_is_cut_after_the_deadline_and_a_worker_is_not(connections):
    connections.reading(0.0)
    connections.accepted(5, "a", 0.0)
    connections.accepted(6, "b", 0.0)
    connections.heard(6, 100)
    assert connections.overdue(HELLO_DEADLINE - 0.1) == []
    assert [(cut.fd, cut.address) for cut in connections.overdue(HELLO_DEADLINE)] == [(5, "a")]
    assert connections.overdue(1e9) == []


def test_a_connection_that_sends_rubbish_is_cut_even_if_its_opening_is_not_reported_yet(connections):
    """The guard's thread may be behind the one that reads messages."""
    assert connections.condemn(5, first=True) is None
    assert connections.condemn(6, first=False) is None  # more of what one sent that is gone
    cut = connections.accepted(5, "a", 0.0)
    assert (cut.fd, cut.address) == (5, "a")
    assert connections.accepted(5, "b", 0.1) is None  # another one by the same number
    assert connections.accepted(6, "c", 0.2) is None
    assert connections.condemn(6, first=True) == (6, "c", cut.reason)
    assert len(connections) == 1


def test_what_was_wrong_with_a_connection_that_is_gone_does_not_count_against_the_next_one(connections):
    connections.condemn(5, first=True)
    connections.closed(5)
    assert connections.accepted(5, "b", 0.0) is None


def test_what_is_read_of_a_connection_that_has_gone_says_nothing_about_the_next_one_with_its_descriptor(connections):
    for fd in (7, 8):
        connections.accepted(fd, "10.0.0.1", 0.0)
        connections.closed(fd)
    connections.condemn(7, first=True)
    connections.heard(8, 5_000_000)
    connections.settle(connections.early())
    assert connections.accepted(7, "10.0.0.2", 1.0) is None
    assert connections.accepted(8, "10.0.0.3", 1.0) is None
    connections.reading(1.0)
    assert {cut.fd for cut in connections.overdue(60.0)} == {7, 8}


def test_a_worker_whose_hello_is_read_before_its_opening_is_reported_is_known(connections):
    connections.reading(0.0)
    connections.heard(5, 100)
    assert connections.accepted(5, "a", 0.0) is None
    assert connections.overdue(1e9) == []
    connections.closed(5)
    connections.accepted(5, "b", 0.0)
    assert [cut.fd for cut in connections.overdue(1e9)] == [5]


def test_no_connection_is_overdue_before_the_coordinator_reads(connections):
    connections.accepted(5, "a", 0.0)
    assert connections.overdue(1e6) == []
    connections.reading(1e6)
    assert connections.overdue(1e6 + 1) == []
    assert len(connections.overdue(1e6 + HELLO_DEADLINE)) == 1


def test_an_address_that_fills_the_places_of_strangers_loses_its_own_oldest(connections):
    connections.accepted(1, "worker", 0.0)
    cuts = [connections.accepted(10 + n, "flood", 0.1 + n) for n in range(MOST_UNKNOWN + 50)]
    gone = [cut for cut in cuts if cut]
    assert {cut.address for cut in gone} == {"flood"}
    assert gone[0].fd == 10
    assert len(connections) == MOST_UNKNOWN
    assert connections.address(1) == "worker"


def test_known_connections_take_no_place_of_strangers(connections):
    for fd in range(MOST_UNKNOWN * 2):
        assert connections.accepted(fd, "cluster", fd) is None
        connections.heard(fd, 0)
    assert spread(connections, MOST_UNKNOWN, first=10_000, now=1e6) == [None] * MOST_UNKNOWN


def test_there_is_a_limit_in_all(connections):
    for fd in range(MOST):
        assert connections.accepted(fd, f"h{fd}", 0.0) is None
        connections.heard(fd, 0)
    assert connections.accepted(MOST, "late", 0.0).fd == MOST
    connections.closed(0)
    assert connections.accepted(MOST, "late", 0.0) is None


def test_an_address_may_open_a_burst_and_then_a_few_per_second(connections):
    def open_one(fd, now):
        cut = connections.accepted(fd, "fast", now)
        connections.closed(fd)
        return cut is None

    assert sum(open_one(fd, 0.0) for fd in range(3 * BURST)) == BURST
    assert sum(open_one(fd, 10.0) for fd in range(3 * BURST)) == min(BURST, 10 * RATE)
    assert connections.accepted(1, "other", 0.0) is None


def test_a_connection_that_sends_on_without_a_complete_message_is_cut_and_one_with_messages_is_not(connections):
    for fd, known in ((1, False), (2, True), (3, False), (4, True)):
        connections.accepted(fd, "a", 0.0)
        if known:
            connections.heard(fd, 10 * MUCH)
    received = {1: FIRST_BYTES + 1, 2: 11 * MUCH + 1, 3: FIRST_BYTES, 4: 11 * MUCH}
    assert sorted(cut.fd for cut in connections.swollen(received.get)) == [1, 2]
    connections.heard(4, 11 * MUCH)
    assert connections.swollen(lambda fd: {3: 0, 4: 12 * MUCH}[fd]) == []


def test_a_descriptor_that_is_used_again_is_an_unknown_connection_again(connections):
    connections.reading(0.0)
    connections.accepted(5, "a", 0.0)
    connections.heard(5, MUCH)
    connections.closed(5)
    connections.accepted(5, "b", 1.0)
    assert [cut.address for cut in connections.overdue(1.0 + HELLO_DEADLINE)] == ["b"]
    connections.heard(99, 1)
    connections.closed(99)
    assert connections.address(99) == ""


def test_memory_for_addresses_is_bounded(connections):
    for n in range(10_000):
        connections.accepted(1, f"address {n}", 0.0)
        connections.closed(1)
    assert len(connections._allowance) <= 4096
