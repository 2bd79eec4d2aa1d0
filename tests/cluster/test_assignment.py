"""The book of assignments, and the lease: which worker computes which shard, and for how long."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dptrain.cluster.book import Book, Terms
from dptrain.cluster.members import Lease
from dptrain.cluster.tree import Node, is_node


def choose(book: Book, holder: str, chunk: int) -> Node | None:
    """What Dispatch gives next."""
    is_open = book.open()
    if not any(is_open):
        return None
    return book.open_sibling(holder, chunk, is_open) or book.untouched(chunk, is_open)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 20), st.sampled_from([1, 2, 4, 8]), st.data())
def test_whatever_happens_every_shard_is_done_in_the_end_and_never_held_twice(shards, chunk, data):
    book, now = Book(shards), 0.0
    for _ in range(400):
        now += 1.0
        holder = data.draw(st.sampled_from("abc"))
        held = list(book._live[holder])
        if held and data.draw(st.booleans()):
            node = held[0].node
            if data.draw(st.integers(0, 3)) == 0:
                book.give_up(held[0])
            else:
                assert book.was_asked(holder, node)
                book.answered(holder, node)
                if book.free(node):
                    book.fill(node, holder)
        elif len(held) < 2:
            node = choose(book, holder, chunk)
            if node is not None:
                assert node.size <= chunk
                assert is_node(*node, shards)
                assert all(book.open()[slice(*node)])
                book.give(holder, node, now, Terms(5.0))
        book.validate(2)
        if book.complete:
            break
    # Whatever was open or held then can be done now: no shard was lost on the way.
    for holder in "abc":
        for held in list(book._live[holder]):
            book.give_up(held)
    while (node := choose(book, "a", chunk)) is not None:
        book.give("a", node, now, Terms(5.0))
        book.answered("a", node)
        book.fill(node, "a")
    assert book.complete


def test_a_superseded_holder_may_still_answer_and_the_new_one_keeps_its_slot():
    book = Book(2)
    first = book.give("a", Node(0, 1), 0.0, Terms(5.0))
    assert book.expired(4.9) == []
    assert book.expired(5.0) == [first]
    assert book.give_up(first) == (0,)
    again = book.give("b", Node(0, 1), 5.0, Terms(5.0))
    assert again.attempt == 1
    assert book.was_asked("a", Node(0, 1))
    assert book.answered("a", Node(0, 1)) == []
    book.fill(Node(0, 1), "a")
    assert (book.live("a"), book.live("b")) == (0, 1)
    assert book.give_up_all("b") == ()
    assert book.open() == [False, True]


def test_a_late_shard_may_be_held_twice_and_the_first_answer_frees_only_its_sender():
    book = Book(4)
    book.give("a", Node(0, 2), 0.0, Terms(5.0))
    book.give("b", Node(2, 4), 0.0, Terms(5.0))
    assert book.waiting("a") == [0, 1]
    book.give("b", Node(0, 1), 1.0, Terms(5.0))
    assert (book.holding(0), book.holding(1)) == ({"a", "b"}, {"a"})
    assert book.news("a", 1, done=True)
    assert (book.waiting("a"), book.waiting("b")) == ([0], [2, 3, 0])
    book.answered("b", Node(0, 1))
    book.fill(Node(0, 1), "b")
    assert book.contested(Node(0, 1))
    assert not book.contested(Node(1, 2))
    assert (book.live("a"), book.live("b")) == (1, 1)
    book.validate(2)


def test_news_are_about_what_a_worker_holds_and_are_none_the_second_time():
    book = Book(4)
    book.give("a", Node(0, 2), 0.0, Terms(5.0))
    assert book.news("a", 0, done=False)
    assert book.news("a", 1, done=True)
    told_again = [book.news("a", 0, done=False), book.news("a", 1, done=True)]
    never_held = [book.news("a", shard, done=done) for shard in (2, 2**40) for done in (False, True)]
    of_another = [book.news("b", 0, done=True)]
    assert not any([*told_again, *never_held, *of_another])
    assert book.news("a", 0, done=True)


def test_a_shard_set_aside_is_not_open():
    book = Book(2)
    assert book.open({1}) == [True, False]
    assert book.untouched(2, book.open({1})) == Node(0, 1)


def test_renewal_starts_the_lease_again():
    book = Book(1)
    book.give("a", Node(0, 1), 0.0, Terms(5.0))
    book.renew("a", 3.0)
    assert book.expired(7.9) == []
    assert len(book.expired(8.0)) == 1


def test_an_answer_may_be_part_of_what_was_asked_for_or_several_at_once():
    book = Book(4)
    book.give("a", Node(0, 2), 0.0, Terms(5.0))
    assert book.was_asked("a", Node(0, 2))
    assert book.was_asked("a", Node(0, 1))
    assert not book.was_asked("a", Node(0, 4))
    book.give("a", Node(2, 3), 0.0, Terms(5.0))
    book.give("a", Node(3, 4), 0.0, Terms(5.0))
    assert book.was_asked("a", Node(0, 4))
    assert not book.was_asked("b", Node(0, 2))


@pytest.mark.parametrize(
    ("observed", "shards", "attempt", "seconds"),
    [
        ([], 1, 0, 5.0),
        ([], 1, 2, 20.0),
        ([0.1, 0.2, 0.3], 1, 0, 5.0),
        ([1.0, 1.0, 90.0], 1, 0, 10.0),
        ([1.0, 1.0, 90.0], 4, 0, 40.0),
        ([1.0], 1, 3, 80.0),
        ([50.0], 8, 0, 600.0),
        ([], 1, 1000, 320.0),
    ],
)
def test_a_lease_is_ten_medians_at_least_five_seconds_and_doubles_with_each_attempt(observed, shards, attempt, seconds):
    lease = Lease()
    for one in observed:
        lease.observe(one * 2, 2)
    assert lease.length(shards, attempt) == seconds
