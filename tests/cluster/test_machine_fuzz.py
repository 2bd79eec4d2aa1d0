"""Mutated frames against codec and machines: no crash, no growth. Longer: run this file with a number of seconds."""

import resource
import sys
import time

import msgpack
import numpy as np

from dptrain.cluster.codec import SUM_BYTES, Limits, checksum, decode, encode
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import (
    THE_COORDINATOR,
    Arrived,
    Compute,
    Computed,
    Connected,
    Gone,
    Received,
    Reply,
    Send,
    Tick,
)
from dptrain.cluster.messages import PROTOCOL, FromCoordinator, FromWorker, Hello
from dptrain.cluster.worker import Worker
from dptrain.errors import RemoteProtocolError
from simulation.toy import BUFFERS, NUMERICS, PARAMS, Toy

LIMITS = Limits(PARAMS.size, BUFFERS.size, 0)
NUMBERS = [0, 1, 2, 3, 4, 7, 8, 255, 2**31, 2**63 - 1, 2**63, -1, 1.5, float("nan"), float("inf"), True, None]
TEXTS = ["", "a", "0" * 16, "f" * 32, "validation", "test", "x" * 256, "x" * 257, "\x00", b"a", [], {}, 7]
GROWTH = 64 * 1024 * 1024  #: bytes of memory that any number of frames may cost


def in_one_line(error):
    assert "\n" not in str(error)


class Session:
    """A coordinator with two workers in the middle of a step, and what they have said to each other."""

    def __init__(self, seed):
        self.toy = Toy(shards=4, epochs=2)
        self.coordinator = Coordinator(self.toy.job(1, audit=0.3), self.toy.state(), *self.toy.rules())
        self.workers = {
            f"{i}".encode(): Worker(Hello(PROTOCOL, f"{i}" * 32, f"w{i}", i, NUMERICS, "toy")) for i in (1, 2)
        }
        self.now, self.said = 0.0, {"up": [], "down": []}
        self.rng = np.random.default_rng(seed)
        self.todo = [(peer, Connected()) for peer in self.workers]
        self.run(40)

    def run(self, steps):
        """So many sound events."""
        for _ in range(steps):
            if not self.todo:
                self.tell(Tick())
            if not self.todo or self.over:
                return
            peer, event = self.todo.pop(0)
            self.work(peer, event)

    def work(self, peer, event):
        self.now += 0.01
        for action in self.workers[peer].handle(event, self.now):
            if isinstance(action, Reply):
                self.said["up"].append(action.message)
                self.tell(Received(peer, action.message))
            elif isinstance(action, Compute):
                self.todo.append((peer, Computed(action.task, self.toy.compute(action.task), 0.1)))
        self.workers[peer].validate()
        del self.said["up"][:-30]

    def tell(self, event):
        self.now += 0.01
        for action in self.coordinator.handle(event, self.now):
            if isinstance(action, Send) and action.peer in self.workers:
                self.said["down"].append(action.message)
                self.todo.append((action.peer, Arrived(action.message)))
        self.coordinator.validate(self.now)
        del self.said["down"][:-30]

    @property
    def over(self):
        return self.coordinator.ended or any(w.exited for w in self.workers.values())

    # --- what a broken or hostile peer sends

    def mutated(self, message):
        frames = [bytes(frame) for frame in encode(message)]
        header = msgpack.unpackb(frames[0][SUM_BYTES:])
        for _ in range(int(self.rng.integers(1, 4))):
            key = list(header)[int(self.rng.integers(len(header)))]
            choice = int(self.rng.integers(6))
            if choice < 4:
                pool = TEXTS if isinstance(header.get(key), str) else NUMBERS
                header[key] = pool[int(self.rng.integers(len(pool)))]
            elif choice == 4:
                header.pop(key, None)
                if not header:
                    header = {"type": "Ping"}
            elif len(frames) > 1:
                at = int(self.rng.integers(1, len(frames)))
                frames[at] = self.rng.bytes(
                    len(frames[at]) + int(self.rng.integers(-1, 2)) * int(self.rng.random() < 0.2)
                )
        packed = msgpack.packb(header)
        if self.rng.random() < 0.2:  # below the structure
            raw = bytearray(packed)
            raw[int(self.rng.integers(len(raw)))] ^= 1 << int(self.rng.integers(8))
            packed = bytes(raw)
        total = checksum((packed, *frames[1:]))
        if self.rng.random() < 0.05:
            total = bytes((total[0] ^ 1, *total[1:]))
        return [total + packed, *frames[1:]]

    def attack(self):
        """One mutated message, to one of the machines; whether it was a valid one."""
        peer = list(self.workers)[int(self.rng.integers(2))]
        up = bool(self.rng.random() < 0.6)
        said = self.said["up" if up else "down"]
        frames = self.mutated(said[int(self.rng.integers(len(said)))])
        try:
            message = decode(frames, LIMITS)
        except RemoteProtocolError as error:
            in_one_line(error)
            if self.rng.random() < 0.05:  # the edge drops such a peer
                (self.tell if up else lambda e: self.work(peer, e))(Gone(peer if up else THE_COORDINATOR, "x"))
            return False
        if isinstance(message, FromWorker) and up:
            self.tell(Received(peer if self.rng.random() < 0.9 else self.rng.bytes(3), message))
        elif isinstance(message, FromCoordinator) and not up:
            self.work(peer, Arrived(message))
        return True


def hammer(seed, executions=10**12, seconds=1e9):
    """(executions, valid ones, sessions), until one of the limits is reached."""
    end, done, valid, sessions = time.monotonic() + seconds, 0, 0, 0
    while done < executions and time.monotonic() < end:
        session = Session(seed + sessions)
        sessions += 1
        for _ in range(200):
            valid += session.attack()
            done += 1
            if session.over:
                break
            session.run(int(session.rng.integers(3)))
    return done, valid, sessions


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_mutated_frames_crash_no_machine_and_cost_no_memory():
    hammer(0, executions=500)
    before = peak()
    done, valid, _ = hammer(1, executions=6_000)
    assert done >= 6_000
    assert 0.02 * done < valid < 0.9 * done
    assert peak() - before < GROWTH


if __name__ == "__main__":
    hammer(0, executions=2_000)
    start = peak()
    result = hammer(int(time.time()), seconds=float(sys.argv[1]))
    sys.stdout.write(f"executions, valid, sessions: {result}; memory grew by {(peak() - start) / 2**20:.1f} MiB\n")
