"""Authentication: a process may connect if it has a listed key of the right role, and only then."""

from hypothesis import assume, given
from hypothesis import strategies as st
from zmq.utils import z85

from dptrain.net.guard import judge
from dptrain.net.keys import WORKER

KEY, OTHER, AUGMENTERS = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
LISTED = {z85.encode(KEY): "worker-1", z85.encode(AUGMENTERS): "augmenter"}


def request(key=KEY, mechanism=b"CURVE", version=b"1.0"):
    return [version, b"7", b"dptrain", b"10.0.0.9", b"", mechanism, key]


def verdict(frames, listed=LISTED):
    return judge(frames, lambda: listed, (WORKER,))


def test_a_listed_worker_is_let_in_under_its_name():
    found = verdict(request())
    assert (found.name, found.reason, found.address) == ("worker-1", "", "10.0.0.9")
    assert found.reply(request()) == [b"1.0", b"7", b"200", b"", b"worker-1", b""]


def test_a_key_that_is_not_listed_is_refused_and_named_and_the_peer_learns_nothing_else():
    found = verdict(request(OTHER))
    assert found.name == ""
    assert found.reason == f"its key {z85.encode(OTHER).decode()} is not listed"
    assert found.reply(request(OTHER)) == [b"1.0", b"7", b"400", b"not allowed", b"", b""]


def test_a_key_of_another_role_is_refused():
    assert "augmenter's" in verdict(request(AUGMENTERS)).reason


def test_a_key_counts_from_the_moment_it_is_listed_until_it_is_not():
    listed = {}
    assert verdict(request(), listed).name == ""
    listed |= LISTED
    assert verdict(request(), listed).name == "worker-1"
    listed.clear()
    assert verdict(request(), listed).name == ""


FRAMES = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([*request(), b"NULL", b"PLAIN"])), max_size=9)


@given(FRAMES)
def test_nothing_but_a_whole_request_with_a_listed_key_is_let_in(frames):
    found = verdict(frames)
    sound = len(frames) == 7 and frames[0] == b"1.0" and frames[5] == b"CURVE" and frames[6] == KEY
    assert bool(found.name) == sound
    assert found.reply(frames)[2] == (b"200" if sound else b"400")


@given(st.sampled_from([0, 5, 6]), st.binary(max_size=64))
def test_a_request_with_another_version_mechanism_or_key_is_refused(at, value):
    frames = request()
    assume(value != frames[at])
    frames[at] = value
    assert verdict(frames).name == ""
