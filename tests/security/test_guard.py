"""A guarded port with real sockets: peers with keys get in, others learn why not, and strangers harm no worker."""

import os
import re
import socket
import struct
import threading
from contextlib import suppress

import numpy as np
import pytest
import zmq

from dptrain.cluster.codec import Limits, encode
from dptrain.cluster.events import Gone
from dptrain.cluster.messages import PROTOCOL, AskConfig, Leave, NodeDone, Params, Ping, Welcome
from dptrain.model import ShardResult
from dptrain.net import connections, keystore
from simulation.toy import BUFFERS, PARAMS

#: The greeting of ZMTP 3.1: signature, version, mechanism (20 bytes), as-server, filler.
SIGNATURE = b"\xff" + bytes(8) + b"\x7f\x03\x01"
GREETINGS = {
    name: SIGNATURE + name.encode().ljust(20, b"\0") + bytes(32) for name in ("NULL", "PLAIN", "CURVE", "GSSAPI")
}
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + os.urandom(500),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "old zmtp": b"\x01\x00" + bytes(200),
    "curve, then noise": GREETINGS["CURVE"] + os.urandom(4096),
    "curve, then a frame of 2**62 bytes": GREETINGS["CURVE"] + b"\x06" + struct.pack(">Q", 2**62) + bytes(1000),
    "curve, then a hello that is none": GREETINGS["CURVE"] + b"\x04\xc8\x05HELLO" + bytes(194),
    **{f"{name} greeting": greeting for name, greeting in GREETINGS.items()},
}


def node_done():
    gradient, statistics = np.ones(PARAMS.size, np.float32), np.ones(BUFFERS.size, np.float32)
    return NodeDone(1, "a" * 32, 0, 0, 1, 0, "0" * 16, 0.1, ShardResult(gradient, statistics, 1.5, 2, 4))


# --- peers that are allowed


def test_a_worker_whose_key_is_listed_takes_part(port):
    port.listen()
    assert port.talks(*port.admitted("worker-1"))
    assert port.talks(*port.admitted("worker-2"))


def test_children_of_the_coordinator_need_no_key_but_only_on_their_own_socket(port):
    router = port.listen()
    assert router.near.startswith("ipc://@dptrain-near-")
    assert port.talks(*port.admitted(keyed=False, address=router.near))
    assert "keys are used there" in port.lost(port.worker(keyed=False))


@pytest.mark.parametrize("keyed", [True, False])
def test_the_largest_message_of_a_run_passes(port, keyed):
    """Encryption adds 33 bytes to a frame: a limit of the plain size once cut every worker off that sent a gradient."""
    limits = Limits(100_003, 17, 0)
    router = port.listen(keyed=keyed, limits=limits)
    worker, peer = port.admitted(keyed=keyed)
    gradient, statistics = np.ones(limits.params, np.float32), np.ones(limits.buffers, np.float32)
    result = ShardResult(gradient, statistics, 1.5, 2, 4)
    worker.send(NodeDone(1, "a" * 32, 0, 0, 1, 0, "0" * 16, 0.1, result))
    [done] = port.until(lambda: router.poll(0.1))
    assert done.message.result.gradient.size == limits.params
    router.send(peer, Params(1, 0, "0" * 16, gradient, statistics))
    [weights] = port.until(lambda: worker.poll(0.1))
    assert weights.message.params.size == limits.params


def test_without_keys_there_is_one_socket_for_all(port):
    router = port.listen(keyed=False)
    assert router.near == router.endpoint
    assert port.talks(*port.admitted(keyed=False))


# --- peers that are refused: one line on both sides


def test_a_key_that_is_not_listed_is_refused(port, said):
    port.listen()
    (port.store / "coordinator" / "worker-1.key").unlink()
    assert "the key worker-1 is not allowed there" in port.lost(port.worker())
    [line] = port.until(said)
    assert "from 127.0.0.1 was refused: its key " in line
    assert "is not listed" in line


def test_a_wrong_key_of_the_coordinator_is_refused(port, said):
    port.listen()
    other = port.keys("worker-2").public.decode()
    file = port.store / "worker-1" / "coordinator.key"
    file.write_text(f'public-key = "{other}"\n')
    worker = port.worker()
    assert "another one than worker-1 has for it" in port.lost(worker)
    assert "it has an old public key of this process" in port.complaint(worker, said)


def test_no_key_where_one_is_needed_is_refused(port, said):
    port.listen()
    worker = port.worker(keyed=False)
    assert "keys are used there (give this process its own with --keys)" in port.lost(worker)
    assert "it shows no key (--keys), but one is needed here" in port.complaint(worker, said)


def test_a_key_where_none_is_used_is_refused(port, said):
    port.listen(keyed=False)
    worker = port.worker()
    assert re.search("keys are used here .* not there|no keys are used there", port.lost(worker))
    assert "it uses a key, but none are used here" in port.complaint(worker, said)


def test_a_health_check_that_connects_and_hangs_up_is_not_logged(port, said):
    port.listen()
    for _ in range(20):
        port.stranger().close()
    assert port.talks(*port.admitted())
    assert said() == []


def test_the_same_complaint_about_the_same_address_is_made_once(port, said):
    port.listen()
    for _ in range(9):
        with port.stranger() as stranger:
            stranger.sendall(GREETINGS["PLAIN"])
            while stranger.recv(100):
                pass
    port.until(said)
    worker, peer = port.admitted()
    assert port.talks(worker, peer)
    # One that is gone before the guard looks has no address any more.
    assert len([line for line in said() if "127.0.0.1" in line]) <= 1
    assert len(said()) <= 2


def test_an_augmenter_may_ask_for_the_run_but_take_no_part(port):
    router = port.listen()
    asking, peer = port.admitted("augmenter", greeting=AskConfig(PROTOCOL))
    asking.send(port.hello("augmenter"))
    [gone] = port.until(lambda: router.poll(0.1))
    assert gone == Gone(peer, "dropped: Hello from the holder of augmenter's key, who is not a worker")
    assert "closed" in port.lost(asking)


# --- revocation


def test_a_revoked_key_opens_no_new_connection_without_a_restart_and_others_go_on(port):
    port.listen()
    old, old_peer = port.admitted("worker-1")
    other, other_peer = port.admitted("worker-2")
    (port.store / "worker-2").rename(port.store / "elsewhere")
    keystore.revoke(port.store, "worker-2")
    (port.store / "elsewhere").rename(port.store / "worker-2")
    keystore.new(port.store, "worker-3")
    assert port.talks(old, old_peer)
    assert port.talks(other, other_peer), "what is open stays open"
    other.shut()
    other.open()
    other.send(port.hello("worker-2"))
    assert "not allowed" in port.lost(other)
    assert port.talks(*port.admitted("worker-3")), "a key made since the start is listed"


# --- peers that try to stall the coordinator


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("keyed", [True, False])
def test_garbage_on_the_port_costs_its_sender_the_connection_and_other_peers_no_message(port, garbage, keyed):
    router = port.listen(keyed=keyed)
    worker, peer = port.admitted(keyed=keyed)
    before = port.stranger()
    before.sendall(garbage)
    assert port.talks(worker, peer)
    late, late_peer = port.admitted("worker-2", keyed=keyed)
    assert port.talks(late, late_peer)
    assert all(isinstance(event, Gone) for event in router.poll(0.1))


def test_five_hundred_connections_that_say_nothing_do_not_keep_a_worker_out(port):
    port.listen()
    worker, peer = port.admitted("worker-1")
    half_open = [port.stranger("127.0.0.66") for _ in range(500)]
    assert port.talks(worker, peer)
    assert port.talks(*port.admitted("worker-2"))
    # Those beyond the burst of one address are cut at once; the rest when the handshake does not come.
    port.until(lambda: sum(_is_closed(c) for c in half_open) >= 500 - connections.BURST or port.router.poll(0.05))


def _is_closed(connection):
    connection.setblocking(False)
    try:
        return not connection.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_peer_that_finished_the_handshake_and_says_nothing_is_cut_off(port, said, monkeypatch):
    monkeypatch.setattr(connections, "HELLO_DEADLINE", 2.0)
    port.listen(keyed=False)
    worker, peer = port.admitted(keyed=False)
    silent = port.dealer()
    monitor = silent.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert port.until(lambda: port.router.poll(0.05) or monitor.poll(10))
    assert "silent for" in port.until(said)[0]
    assert port.talks(worker, peer)
    silent.disable_monitor()
    monitor.close(linger=0)


@pytest.mark.parametrize("frames", [[b"junk"], encode(Ping(1)), encode(Welcome(1, "a", "{}", "b", "c"))])
def test_a_peer_that_sends_an_invalid_message_is_disconnected(port, frames):
    port.listen(keyed=False)
    worker, peer = port.admitted(keyed=False)
    bad = port.dealer()
    monitor = bad.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    bad.send_multipart(frames)
    [gone] = port.until(lambda: port.router.poll(0.1))
    assert isinstance(gone, Gone)
    assert monitor.poll(60_000), "still connected"
    assert port.talks(worker, peer)
    bad.disable_monitor()
    monitor.close(linger=0)


def test_a_message_of_endless_frames_ends_with_its_connection_and_not_with_our_memory(port, said):
    """libzmq hands a message out when its last frame is there, and keeps the others until then, however many."""
    port.listen(keyed=False)
    worker, peer = port.admitted(keyed=False)
    bad = port.stranger()
    shake_hands(bad)
    before_it = descriptors()
    before, frame = _resident(), b"\x03" + struct.pack(">Q", 4000) + bytes(4000)  # long, and more to come
    bad.settimeout(2)
    with suppress(OSError):  # the connection is reset, or is not read any more
        for _ in range(1 << 18):  # 1 GB, if it is not stopped
            bad.sendall(frame)
    port.until(lambda: descriptors() < before_it or port.router.poll(0.05))
    assert "without a dptrain message" in port.until(said)[0]
    assert _resident() - before < 700 << 20
    assert port.talks(worker, peer)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def shake_hands(connection):
    """Becomes a ZMTP 3.0 DEALER without security."""
    connection.settimeout(10)
    connection.sendall(GREETINGS["NULL"])
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    seen = b""
    while b"READY" not in seen:
        seen += connection.recv(100)


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- processes that listen on the wire


@pytest.mark.parametrize("keyed", [True, False])
def test_what_goes_over_the_wire_can_be_read_by_the_holders_of_keys_only(port, params, keyed):
    router = port.listen(keyed=keyed)
    with Tap(port.address) as tap:
        worker, peer = port.admitted(keyed=keyed, address=tap.endpoint)
        router.send(peer, params)
        [arrived] = port.until(lambda: worker.poll(0.1))
        np.testing.assert_array_equal(arrived.message.params, params.params)
        worker.send(node_done())
        worker.send(Leave(1, "a" * 32, "bye"))
        port.until(lambda: len(router.poll(0.1)))
    seen = bytes(tap.seen)
    assert len(seen) > params.params.nbytes
    readable = [b"WEIGWEIGWEIG" in seen, b"NodeDone" in seen, b"worker-1" in seen]
    assert readable == [not keyed] * 3


class Tap:
    """A TCP relay that remembers every byte, both ways."""

    def __init__(self, target):
        self.target, self.seen = target, bytearray()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"

    def __enter__(self):
        self.threads = [threading.Thread(target=self.relay)]
        self.threads[0].start()
        return self

    def relay(self):
        near, _ = self.server.accept()
        far = socket.create_connection(self.target)
        self.ends = near, far
        self.threads.append(threading.Thread(target=self.pump, args=(far, near)))
        self.threads[-1].start()
        self.pump(near, far)

    def pump(self, source, sink):
        with suppress(ConnectionError):
            while data := source.recv(1 << 16):
                self.seen += data
                sink.sendall(data)

    def __exit__(self, *_):
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        for end in (*self.ends, self.server):
            end.close()


# --- nothing is left


def test_neither_descriptor_nor_thread_is_left_after_close(port):
    def once():
        port.listen()
        port.talks(*port.admitted())
        while port.open:
            port.open.pop().close()

    once()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        once()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
