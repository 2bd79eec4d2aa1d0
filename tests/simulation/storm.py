"""Mutated frames and raw garbage on the port of a real run: `launch/soak.sh storm --frames 1000000`.

The coordinator listens on the loopback without keys, so that every frame gets past the handshake to the codec and the
machine: with keys, none would. Each connection comes from another address of 127.0.0.0/8, finishes a ZMTP handshake and
sends mutated messages until it is cut off; every tenth is raw garbage.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import numpy as np

from dptrain.cluster.codec import encode
from dptrain.cluster.messages import PROTOCOL, AskConfig, Canary, Hello, Leave, NodeDone, Ping, Progress, Stop, Welcome
from dptrain.model import ShardResult

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
FRAMES_EACH = 20  #: of one connection
BOUND = 96  #: MiB the coordinator may grow by: 256 strangers' 256 KiB each, and what a run takes beyond its first steps
SIZES = (19_218, 112)  #: parameters and buffers of the run's network
RECIPE = ["--dataset", "shapes32", "--validation", "500", "--filters", "8", "--batch-size", "128", "--shard-size", "32"]
RECIPE += ["--epochs", "1000", "--hash-every", "10", "--log-format", "plain"]


def sound(chance):
    """The frames of a message that is valid, or nearly."""
    gradient, statistics = (np.zeros(size, np.float32) for size in SIZES)
    name = "".join(chance.choices("0123456789abcdef", k=32))
    step = chance.randrange(100)
    made = (
        Hello(PROTOCOL, name, "storm", 1, chance.choice(["fp32-v1", "x"]), "avx2"),
        Canary(1, name, "a" * 64, "b" * 64),
        NodeDone(1, name, step, 0, 1, 0, "0" * 16, 0.1, ShardResult(gradient, statistics, 1.0, 3, 32)),
        Progress(1, name, step, 0),
        Leave(1, name, "bye"),
        AskConfig(PROTOCOL),
        Ping(1),
        Stop(1, "over"),
        Welcome(1, "i", "{}", "d", "l"),
    )
    return [bytes(frame) for frame in encode(chance.choice(made))]


def mutated(chance, frames):
    """The same with one to three changes: of bits, of lengths, of fields, of the number of frames."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(frames))
        match chance.randrange(7):
            case 0 if frames[at]:
                raw = bytearray(frames[at])
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
                frames[at] = bytes(raw)
            case 1:
                frames[at] = frames[at][: chance.randrange(len(frames[at]) + 1)]
            case 2:
                frames[at] += chance.randbytes(chance.choice([1, 4, 1000, 5000]))
            case 3:
                frames.insert(at, chance.randbytes(chance.randrange(64)))
            case 4 if len(frames) > 1:
                del frames[at]
            case 5:
                frames[0] = _other_field(chance, frames[0])
            case _:
                frames[0] = msgpack.packb(chance.choice([{}, [], None, 7, {"type": "Hello"}, {"type": 1}, "x" * 3000]))
        frames = frames or [b""]
    return frames


def _other_field(chance, header):
    odd = [-1, 2**63, 2**64 - 1, 1.5, float("nan"), None, True, "", "x" * 5000, [1] * 9, {"a": {}}, b"\0"]
    try:
        fields = msgpack.unpackb(header)
        fields[chance.choice([*fields, "extra"])] = chance.choice(odd)
        return msgpack.packb(fields)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException):
        return chance.randbytes(len(header))


def on_the_wire(frames):
    """One ZMTP message."""
    flags = [1] * (len(frames) - 1) + [0]
    return b"".join(bytes([2 | more]) + struct.pack(">Q", len(f)) + f for more, f in zip(flags, frames, strict=True))


class Storm:
    """Connections to one port, one after the other."""

    def __init__(self, port, seed):
        self.port, self.chance = port, random.Random(seed)
        self.connections = self.frames = self.garbage = 0

    def connect(self):
        """One connection's worth; whatever the other side does with it is right."""
        c = self.chance
        source = f"127.{c.randrange(1, 255)}.{c.randrange(256)}.{c.randrange(1, 255)}"
        with socket.socket() as link:
            link.settimeout(5)
            link.bind((source, 0))
            self.connections += 1
            try:
                link.connect(("127.0.0.1", self.port))
                if c.randrange(10) == 0:
                    self.garbage += 1
                    link.sendall(
                        c.choice([b"", GREETING, GREETING[: c.randrange(64)]]) + c.randbytes(c.randrange(4000))
                    )
                    return
                link.sendall(GREETING + bytes([4, len(READY)]) + READY)
                for _ in range(FRAMES_EACH):
                    link.sendall(on_the_wire(mutated(c, sound(c))))
                    self.frames += 1
                link.shutdown(socket.SHUT_WR)
                while link.recv(1 << 16):
                    pass
            except OSError:
                return


def last_hash(run, step):
    """Of the state after so many steps."""
    for line in (run / "hashes.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["step"] == step:
            return record["sha256"]
    return None


def memory(pid):
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def storm(folder, frames, seed=0, tell=print):
    """A run under the storm, stopped when it is over, and its hash compared with that of one process: the figures."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    run = folder / "runs" / "stormy"

    def start(name, *words):
        with (folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", "dptrain", *words], cwd=folder, stdout=log, stderr=log)

    coordinator = start("coordinator", "coordinator", *RECIPE, "--bind", address, "--name", "stormy")
    worker = start("worker", "worker", "--connect", address)
    try:
        begun = time.monotonic()
        while not (run / "hashes.jsonl").exists() or not (run / "hashes.jsonl").stat().st_size:
            assert coordinator.poll() is None
            assert time.monotonic() < begun + 900, "the run does not begin"
            time.sleep(0.1)
        weather, first, most, told = Storm(port, seed), memory(coordinator.pid), 0, time.monotonic()
        began, first_step = time.monotonic(), steps_of(run)
        while weather.frames < frames:
            weather.connect()
            assert coordinator.poll() is None, (folder / "coordinator.log").read_text()[-2000:]
            if weather.connections % 100 == 0:
                most = max(most, memory(coordinator.pid))
            if time.monotonic() - told > 15:
                told = time.monotonic()
                now = f"step {steps_of(run)}, coordinator {memory(coordinator.pid) >> 20} MiB"
                tell(f"{weather.frames} frames, {weather.connections} connections, {now}", flush=True)
        seconds, steps = time.monotonic() - began, steps_of(run) - first_step
        wanted = steps_of(run) + 20
        while steps_of(run) < wanted:
            assert coordinator.poll() is None
            assert time.monotonic() < began + seconds + 100, "training does not go on after the storm"
            time.sleep(0.1)
        after = memory(coordinator.pid)
        most = max(most, after)
    finally:
        for process in (coordinator, worker):
            process.terminate()
            process.wait()
    step = steps_of(run)
    same = last_hash(run, step) is not None and last_hash(run, step) == last_hash(in_calm(folder, step), step)
    figures = {
        "messages": weather.frames,
        "garbage": weather.garbage,
        "connections": weather.connections,
        "seconds": round(seconds),
        "steps_meanwhile": steps,
        "coordinator_mb_before": first >> 20,
        "coordinator_mb_after": after >> 20,
        "coordinator_mb_most": most >> 20,
        "step": step,
        "same_hash": same,
    }
    return figures


def in_calm(folder, step):
    """The run directory of the same training up to `step`, in one process that listens on no port."""
    words = ["--workers", "0", "--name", "calm", "--max-steps", str(step)]
    train = [sys.executable, "-m", "dptrain", "train", *RECIPE, *words]
    subprocess.run(train, cwd=folder, check=True, capture_output=True)
    return folder / "runs" / "calm"


def steps_of(run):
    """The last step whose hash is written."""
    return json.loads((run / "hashes.jsonl").read_text().splitlines()[-1])["step"]
