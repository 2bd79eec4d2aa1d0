"""Messages by which a peer can abort a process with libzmq 4.3.5: the coordinator's socket options prevent all of them.

Each attack is on a process of its own, which would die with SIGABRT.
"""

import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from dptrain.cluster.codec import encode
from dptrain.cluster.messages import PROTOCOL, AskConfig

FIRST_NAME = 0x6B8B4567  #: rand() of a process that has not called srand()
VICTIM = """
import sys, time
from dptrain.net.links import RouterLink
from dptrain.cluster.events import Received
from dptrain.cluster.codec import Limits
from dptrain.cluster.messages import Ping
link = RouterLink("tcp://127.0.0.1:0", Limits(1000, 10, 0))
print(link.endpoint, flush=True)
while True:
    for event in link.poll(0.2):
        if isinstance(event, Received):
            link.send(event.peer, Ping(1))
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def victim():
    """victim(seconds) -> (process, address): a coordinator's socket whose owner looks at it so often, and answers."""
    with ExitStack() as stack:

        def start(seconds):
            command = [sys.executable, "-c", VICTIM, str(seconds)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start


@pytest.fixture
def dealer():
    """dealer(address, name) -> a DEALER; all are closed after the test."""
    context, opened = zmq.Context(), []

    def connect(address, name=b""):
        peer = context.socket(zmq.DEALER)
        opened.append(peer)
        if name:
            peer.routing_id = name
        peer.connect(address)
        return peer

    yield connect
    for peer in opened:
        peer.close(0)
    context.term()


def answers(dealer, address):
    """Whether a new peer is heard."""
    peer = dealer(address)
    peer.send_multipart(encode(AskConfig(PROTOCOL)))
    return bool(peer.poll(20_000))


def memory(process):
    """MB resident, the most so far."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def test_peers_that_name_themselves_as_libzmq_would_name_the_next_ones(victim, dealer):
    process, address = victim(0)
    taken = [dealer(address, b"\0" + struct.pack(">I", FIRST_NAME + at)) for at in range(40)]
    for peer in taken:
        peer.send_multipart(encode(AskConfig(PROTOCOL)))
        assert peer.poll(60_000)
    assert answers(dealer, address)
    assert process.poll() is None


def test_peers_that_send_more_than_is_read_and_hang_up(victim, dealer):
    process, address = victim(0.3)
    message = encode(AskConfig(PROTOCOL))
    for _ in range(2):
        crowd = [dealer(address) for _ in range(20)]
        for peer in crowd:
            peer.heartbeat_ivl = 50
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            for peer in crowd:
                if peer.poll(0, zmq.POLLOUT):
                    peer.send_multipart(message)
        for peer in crowd:
            peer.close(0)
        time.sleep(1.5)  # the next heartbeat would have been sent by now
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM


def test_a_message_of_a_million_empty_frames_takes_a_tenth_of_what_a_list_of_them_would(victim, dealer):
    process, address = victim(0)
    assert answers(dealer, address)
    before = memory(process)
    host, port = address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as peer:
        peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31))
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
        peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
        seen = b""
        while b"READY" not in seen:
            seen += peer.recv(4096)
        [header] = encode(AskConfig(PROTOCOL))
        peer.sendall(b"\0" + bytes([len(header)]) + header)  # now it is known
        time.sleep(0.5)
        peer.sendall(b"\x01\x00" * 1_000_000 + b"\x00\x00")
        time.sleep(1.0)
    # Who gets the descriptor of the one that is cut off goes with it, once: a worker comes back, this peer does not.
    assert answers(dealer, address) or answers(dealer, address)
    assert memory(process) - before < 120
