"""ROUTER and DEALER over ipc and tcp: which messages arrive, which do not, and which connection is closed for it."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import zmq

from dptrain.cluster.codec import Limits, encode
from dptrain.cluster.events import THE_COORDINATOR, Arrived, Gone, Received
from dptrain.cluster.messages import Admitted, Leave, NodeDone, Ping, Stop, WantShard, Welcome
from dptrain.errors import UsageError
from dptrain.model import ShardResult
from dptrain.net.links import RouterLink
from dptrain.net.sockets import HIGH_WATER
from simulation.toy import BUFFERS, PARAMS

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)
BOTH = pytest.mark.parametrize("bind", ["ipc", "tcp://127.0.0.1:0"])


def node_done(step, size=LIMITS.params):
    gradient = np.linspace(0, 1, size, dtype=np.float32)
    statistics = np.ones(LIMITS.buffers, np.float32)
    return NodeDone(1, "a" * 32, step, 0, 1, 0, "0" * 16, 0.1, ShardResult(gradient, statistics, 1.5, 2, 4))


@BOTH
def test_messages_arrive_in_order_and_a_workers_arrays_are_aligned_and_writable(links, bind):
    router = links.router(bind)
    dealer, peer = links.acquainted(router)
    dealer.send(node_done(1))
    dealer.send(node_done(2))
    events = links.collect(router, 2)
    assert [(type(e), e.peer, e.message.step) for e in events] == [(Received, peer, 1), (Received, peer, 2)]
    np.testing.assert_array_equal(events[0].message.result.gradient, node_done(1).result.gradient)

    router.send(peer, links.params(7))
    [arrived] = links.collect(dealer)
    np.testing.assert_array_equal(arrived.message.params, links.params(7).params)
    assert arrived.message.params.ctypes.data % 64 == 0
    assert arrived.message.params.flags.writeable


@BOTH
def test_the_same_weights_reach_every_worker_and_the_next_ones_are_other_ones(links, bind):
    size = 100_000  # above pyzmq's 64 KiB: sent without a copy
    limits = Limits(size, LIMITS.buffers, 0)
    router = links.router(bind, limits)
    workers = [links.acquainted(router, f"w{n}", limits) for n in range(3)]
    for message in (links.params(1, size), links.params(2, size)):
        for _, peer in workers:
            assert router.send(peer, message) is None
    for dealer, _ in workers:
        first, second = (event.message for event in links.collect(dealer, 2))
        np.testing.assert_array_equal(first.params, links.params(1, size).params)
        np.testing.assert_array_equal(second.params, links.params(2, size).params)


@BOTH
def test_garbage_costs_only_the_peer_that_sent_it(links, bind):
    router = links.router(bind)
    good, peer = links.acquainted(router)
    bad = links.stranger(router)
    bad.send_multipart([b"not msgpack", b"x" * 100])
    [gone] = links.collect(router)
    assert isinstance(gone, Gone)
    assert gone.who != peer
    assert "dropped" in gone.reason

    bad.send_multipart(encode(links.hello("late")))  # once dropped, it is not listened to, valid or not
    good.send(links.hello("again"))
    [event] = links.collect(router)
    assert (event.peer, event.message.name) == (peer, "again")


def test_the_router_counts_the_bytes_of_all_it_sends_and_receives(links):
    router = links.router()
    _, peer = links.acquainted(router)
    _, other = links.acquainted(router, "w1")
    greeting = sum(len(frame) for frame in encode(links.hello()))
    assert router.traffic == (0, 2 * greeting)
    weights = links.params()
    for name in (peer, other, b"nobody"):
        router.send(name, weights)
    assert router.traffic == (2 * sum(len(frame) for frame in encode(weights)), 2 * greeting)


@pytest.mark.parametrize("frames", [[b""], [b"\x80"], encode(Admitted(1)), encode(WantShard("x", 1, 1)), [b"x"] * 500])
def test_a_message_that_is_not_for_a_coordinator_drops_the_peer(links, frames):
    router = links.router()
    bad = links.stranger(router)
    bad.send_multipart(frames)
    [gone] = links.collect(router)
    assert isinstance(gone, Gone)
    assert "\n" not in gone.reason


@BOTH
def test_a_peer_that_sends_a_too_large_frame_is_disconnected_before_the_frame_is_read(links, bind):
    router = links.router(bind)
    bad = links.stranger(router)
    bad.send_multipart(encode(links.hello("bad")))
    [event] = links.collect(router)
    monitor = bad.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    bad.send(b"x" * (1 << 20))
    assert monitor.poll(60_000), "still connected"
    links.until(lambda: router.poll(0.01) or router.send(event.peer, Ping(1)))
    assert router.poll(0.1) == []
    bad.disable_monitor()
    monitor.close(linger=0)


@BOTH
def test_a_send_to_a_peer_that_has_gone_says_so(links, bind):
    router = links.router(bind)
    dealer, peer = links.acquainted(router)
    dealer.shut()
    assert links.until(lambda: router.poll(0.01) or router.send(peer, Ping(1))) == Gone(
        peer, "the connection is closed"
    )
    assert router.send(b"nobody", Ping(1)) == Gone(b"nobody", "the connection is closed")


def test_a_peer_that_does_not_read_is_given_up_and_the_others_do_not_wait(links):
    size = 1 << 20
    limits = Limits(size, LIMITS.buffers, 0)
    router = links.router("ipc", limits)
    _lazy, lazy_peer = links.acquainted(router, "lazy", limits)
    keen, keen_peer = links.acquainted(router, "keen", limits)
    message, start = links.params(1, size), time.monotonic()
    answers = [router.send(lazy_peer, message) for _ in range(3 * HIGH_WATER)]
    gone = [answer for answer in answers if answer]
    assert gone
    assert gone[0] == Gone(lazy_peer, f"does not read: {HIGH_WATER} messages wait for it")
    assert router.send(keen_peer, Ping(1)) is None
    assert links.collect(keen) == [Arrived(Ping(1))]
    assert time.monotonic() - start < 60


def test_a_second_coordinator_on_the_same_ipc_name_is_refused_and_the_first_keeps_its_workers(links, names):
    name = f"ipc://@{names()}"
    router = links.router(name)
    with pytest.raises(UsageError, match="in use") as caught:
        links.router(name)
    assert "\n" not in str(caught.value)
    links.acquainted(router)


def test_a_tcp_port_in_use_is_refused_in_one_line(links):
    router = links.router("tcp://127.0.0.1:0")
    port = router.endpoint.rpartition(":")[2]
    assert int(port) > 0
    with pytest.raises(UsageError, match=f"tcp://127.0.0.1:{port}: the address is in use by another process"):
        links.router(router.endpoint)


def test_an_address_of_another_machine_cannot_be_bound():
    with pytest.raises(UsageError, match="not an address of this machine"):
        RouterLink("tcp://192.0.2.1:0", LIMITS)


@BOTH
def test_the_last_messages_before_the_coordinator_closes_arrive_before_the_loss(links, bind):
    router = links.router(bind)
    dealer, peer = links.acquainted(router)
    for step in range(20):
        router.send(peer, links.params(step))
    router.send(peer, Stop(1, "done"))
    router.close(2.0)
    *messages, lost = links.collect(dealer, 22)
    assert [event.message.step for event in messages[:-1]] == list(range(20))
    assert messages[-1] == Arrived(Stop(1, "done"))
    assert lost == Gone(THE_COORDINATOR, "the connection is closed")


@BOTH
def test_the_last_messages_of_a_worker_arrive(links, bind):
    router = links.router(bind)
    dealer, _peer = links.acquainted(router)
    dealer.send(node_done(1))
    dealer.send(Leave(1, "a" * 32, "bye"))
    dealer.close(2.0)
    assert [event.message.__class__ for event in links.collect(router, 2)] == [NodeDone, Leave]


@BOTH
def test_a_worker_may_come_before_its_coordinator_and_come_again_as_a_new_peer(links, bind, names):
    if bind == "ipc":
        address = f"ipc://@{names()}"
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dealer = links.dealer(address)
    dealer.send(links.hello("early"))
    router = links.router(address)
    [first] = links.collect(router)
    assert first.message == links.hello("early")
    dealer.shut()
    dealer.open()
    dealer.send(links.hello("early"))
    [second] = links.collect(router)
    assert second.peer != first.peer


def test_a_peer_that_does_not_speak_zeromq_is_disconnected(links):
    with socket.create_server(("127.0.0.1", 0)) as server:
        dealer = links.dealer(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        client, _ = server.accept()
        with client:
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100)
            [lost] = links.collect(dealer)
    assert isinstance(lost, Gone)  # libzmq takes it for ZMTP 1.0, so the codec is what refuses it
    assert "an invalid message" in lost.reason
    assert dealer.poll(0) == []


def test_arrays_before_the_network_is_known_and_messages_to_a_coordinator_cost_the_connection(links):
    router = links.router()
    dealer, peer = links.acquainted(router, limits=Limits(0, 0, 0))
    router.send(peer, Welcome(1, "toy", "{}", "d", "l"))
    assert isinstance(links.collect(dealer)[0], Arrived)
    router.send(peer, links.params())
    [lost] = links.collect(dealer)
    assert "an invalid message" in lost.reason
    dealer.open()
    dealer.send(links.hello())
    [event] = links.collect(router)
    router.send(event.peer, links.hello())
    [lost] = links.collect(dealer)
    assert "Hello, which is not a message to a worker" in lost.reason


def test_a_poll_returns_at_once_when_a_watched_descriptor_is_readable(links):
    router = links.router()
    dealer = links.dealer(router)
    reader, writer = os.pipe()
    os.write(writer, b"x")
    start = time.monotonic()
    assert router.poll(300.0, [reader]) == []
    assert dealer.poll(300.0, [reader]) == []
    assert time.monotonic() - start < 60
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_another_user_of_this_machine_cannot_connect_to_an_abstract_socket(links):
    router = links.router()
    links.acquainted(router)
    code = (
        "import os, sys, zmq; os.setuid(65534); d = zmq.Context().socket(zmq.DEALER); d.linger = 500;"
        "d.connect(sys.argv[1]); d.send(b'let me in'); d.poll(500); d.close(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, router.endpoint], check=True, timeout=120)
    assert router.poll(0.1) == []


def test_no_descriptor_is_left_after_close(links):
    def once():
        router = links.router()
        dealer, peer = links.acquainted(router)
        router.send(peer, links.params(1, LIMITS.params))
        links.collect(dealer)
        dealer.close()
        router.close()

    once()  # pyzmq keeps a few for its own thread
    before = links.descriptors()
    for _ in range(5):
        once()
    assert links.descriptors() == before
