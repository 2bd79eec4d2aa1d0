"""Both ends of the connection from an augmenter to a worker, over real sockets."""

import socket
import time
from contextlib import closing

import numpy as np
import pytest
import zmq

from dptrain.net import connections
from dptrain.net.prepared import MOST_AWAITED, ShardClient, ShardServer

IDENTITY = "run"
FULL = (4, 3, 3, 1)  #: shape of a full shard


def images(step, shard, samples=4):
    return np.full((samples, *FULL[1:]), (10 * step + shard) % 256, np.uint8)


@pytest.fixture(params=["ipc", "tcp"])
def ends(request, tmp_path):
    """Two augmenters' servers, and a client of both."""
    binds = [f"ipc://{tmp_path}/a{n}" if request.param == "ipc" else "tcp://127.0.0.1:0" for n in range(2)]
    with closing(ShardServer(binds[0], IDENTITY)) as one, closing(ShardServer(binds[1], IDENTITY)) as two:
        servers = (one, two)
        with closing(ShardClient([server.endpoint for server in servers], IDENTITY, 2, FULL)) as client:
            yield servers, client


def until(what, seconds=30.0):
    """The first answer that is not None or False."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := what()) is not None and found is not False:
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def asked(server, client, step, shard, take=images):
    """Asks until the connection is there and the server has answered."""

    def attempt():
        client.request(step, shard)
        server.wait(0.05)
        return server.answer(take)

    return until(attempt)


def arrived(client, *keys):
    """Waits until the images of these shards have come; taking a shard that has not come gives it up."""

    def look():
        client.take(999, 999, 4)  # reads what has come
        return all(client._awaited.get(key) is not None for key in keys)

    until(look)


def test_a_shard_that_was_asked_for_comes_once_from_the_augmenter_it_belongs_to(ends):
    (zero, one), client = ends
    asked(zero, client, 1, 0)
    asked(one, client, 1, 1)
    arrived(client, (1, 0), (1, 1))
    assert client.take(1, 0, 4).tobytes() == images(1, 0).tobytes()
    assert client.take(1, 1, 4).tobytes() == images(1, 1).tobytes()
    assert client.take(1, 0, 4) is None


def test_what_was_not_asked_for_or_has_not_come_is_simply_not_there(ends):
    _, client = ends
    client.request(0, 0)
    assert client.take(0, 0, 4) is None
    assert client.take(7, 1, 4) is None


def test_images_of_another_number_than_the_shard_has_are_not_used(ends):
    (zero, _), client = ends
    asked(zero, client, 0, 0, lambda step, shard: images(step, shard, samples=3))
    arrived(client, (0, 0))
    assert client.take(0, 0, 4) is None


def test_a_shard_the_augmenter_does_not_prepare_is_not_answered(ends):
    (zero, _), client = ends
    asked(zero, client, 0, 0, lambda step, shard: None)
    asked(zero, client, 1, 0)
    arrived(client, (1, 0))  # messages come in order: an answer to the first request would be here
    assert client.take(0, 0, 4) is None


def test_a_request_of_another_run_is_not_answered(ends):
    (zero, _), _ = ends
    with closing(ShardClient([zero.endpoint], "another run", 2, FULL)) as stranger:
        asked_for = []
        asked(zero, stranger, 0, 0, lambda *key: asked_for.append(key))
        assert asked_for == []


def test_shards_that_are_never_taken_are_forgotten_and_the_newest_stay(ends):
    (zero, _), client = ends
    asked(zero, client, 0, 0)
    for step in range(1, MOST_AWAITED + 1):
        asked(zero, client, step, 0)
        arrived(client, (step, 0))
    assert client.take(0, 0, 4) is None
    assert client.take(1, 0, 4).tobytes() == images(1, 0).tobytes()


def test_after_close_nothing_is_asked_and_nothing_comes(ends):
    _, client = ends
    client.close()
    client.request(0, 0)
    assert client.take(0, 0, 4) is None
    client.close()


def test_a_worker_connects_to_an_augmenter_with_its_first_request():
    """A connection that sends nothing is cut off, and a worker may compile for minutes before it asks for a shard."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with closing(ShardClient([address], IDENTITY, 2, FULL)) as client:
            server.settimeout(0.2)
            with pytest.raises(TimeoutError):
                server.accept()
            client.request(0, 0)
            server.settimeout(30.0)
            server.accept()[0].close()


def test_a_peer_of_an_augmenter_that_sends_nothing_is_cut_off_and_a_worker_gets_its_shards(monkeypatch, caplog):
    monkeypatch.setattr(connections, "HELLO_DEADLINE", 1.0)
    with (
        closing(ShardServer("tcp://127.0.0.1:0", IDENTITY)) as server,
        closing(ShardClient([server.endpoint], IDENTITY, 1, FULL)) as client,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as silent,
    ):
        asked(server, client, 0, 0)
        silent.linger = 0
        monitor = silent.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        silent.connect(server.endpoint)

        def cut_off():
            server.wait(0.05)
            server.answer(images)
            return monitor.poll(10) > 0

        until(cut_off)
        silent.disable_monitor()
        monitor.close(linger=0)
        asked(server, client, 1, 0)
        arrived(client, (0, 0), (1, 0))
        until(lambda: bool(caplog.records))
    assert [record.getMessage().count("silent for 1 s") for record in caplog.records] == [1]
