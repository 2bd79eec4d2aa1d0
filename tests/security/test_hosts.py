"""Three hosts with keys on faulty networks: the run ends, with the bits of a run in one process.

`HOSTS_STEPS=2000 pytest tests/security/test_hosts.py` makes the runs longer.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dptrain.net import keystore

_spec = importlib.util.spec_from_file_location("network", Path(__file__).with_name("network.py"))
network = importlib.util.module_from_spec(_spec)
sys.modules["network"] = network
_spec.loader.exec_module(network)

REASON = network.missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(REASON), reason=REASON or "all is there"),
]

STEPS = int(os.environ.get("HOSTS_STEPS", "60"))
COORDINATOR, AUGMENTER = "tcp://10.77.0.1:5555", "tcp://10.77.0.2:5556"
RECIPE = ["--dataset", "shapes32", "--validation", "500", "--augment", "crop:4,flip", "--filters", "8"]
RECIPE += ["--batch-size", "128", "--shard-size", "32", "--epochs", "100", "--max-steps", str(STEPS)]
RECIPE += ["--log-format", "plain", "--hash-every", "10"]
LONG = 240.0  #: seconds for a run at the most: kernels may have to be compiled


class Cluster:
    """The commands of docker-compose.yml on three hosts: coordinator, worker and augmenter, worker."""

    def __init__(self, net, folder):
        self.net, self.folder, self.processes = net, folder, {}
        for name in ("coordinator", "augmenter", "worker-1", "worker-2"):
            keystore.new(folder / "keys", name)

    def start(self, host, key, *command):
        log = (self.folder / f"{key}.log").open("ab")
        keys = ["--keys", str(self.folder / "keys" / key)]
        line = self.net.on(host, sys.executable, "-m", "dptrain", *command, *keys)
        environ = os.environ | {"PYTHONUNBUFFERED": "1"}
        self.processes[key] = subprocess.Popen(line, cwd=self.folder, stdout=log, stderr=log, env=environ)
        log.close()

    def begin(self):
        self.start(0, "coordinator", "coordinator", *RECIPE, "--bind", "tcp://0.0.0.0:5555", "--name", "run")
        self.start(1, "augmenter", "augmenter", "--connect", COORDINATOR, "--bind", "tcp://0.0.0.0:5556")
        for host, key in ((1, "worker-1"), (2, "worker-2")):
            self.start(host, key, "worker", "--connect", COORDINATOR, "--augmenters", AUGMENTER)

    def step(self):
        try:
            lines = (self.folder / "runs/run/metrics.jsonl").read_text().splitlines()
        except OSError:
            return 0
        return sum('"kind": "step"' in line for line in lines)

    def wait_for(self, happens, what):
        deadline = time.monotonic() + LONG
        while not happens():
            assert time.monotonic() < deadline, f"{what} did not come\n{self.said()}"
            time.sleep(0.02)

    def said(self):
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


def last_hash(run):
    return json.loads((run / "hashes.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The state after STEPS steps in one process."""
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "dptrain", "train", *RECIPE, "--workers", "0", "--name", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    return last_hash(folder / "runs/run")


@pytest.fixture
def cluster(tmp_path):
    with network.Network(3) as net:
        made = Cluster(net, tmp_path)
        yield made
        made.end()


def finished_as(cluster, reference):
    """The run ends, and as it does in one process; workers leave in good order."""
    cluster.wait_for(lambda: cluster.processes["coordinator"].poll() is not None, "the end")
    assert cluster.processes["coordinator"].returncode == 0, cluster.said()
    assert last_hash(cluster.folder / "runs/run") == reference
    return True


BAD = {
    "5 % loss": {"loss": 0.05},
    "20 Mbit": {"rate": 20e6},
    "50 ms": {"delay": 0.05},
    "noise and duplicates": {"twice": 0.05, "noise": 0.02, "delay": 0.002},
}


def cut(*directions):
    """A change of a network: what goes in these (from, to) directions is lost, "*" is every host."""

    def change(net):
        for (a, b), wire in net.wires.items():
            wire.cut = any(x in (a, "*") and y in (b, "*") for x, y in directions)

    return change


def test_a_bad_network_costs_time_and_changes_no_bit(cluster, reference):
    """All faults at once while everybody connects and the first steps are made; then each of them alone, in turn."""
    cluster.net.set(loss=0.05, rate=20e6, delay=0.05, twice=0.05, noise=0.02)
    cluster.begin()
    for number, faults in enumerate(BAD.values()):
        cluster.wait_for(lambda at=4 + number * STEPS // 5: cluster.step() >= at, "a step")
        cluster.net.set(**faults)
    assert finished_as(cluster, reference)
    assert cluster.net.passed > 1000
    assert cluster.net.lost > 10


@pytest.mark.slow
@pytest.mark.parametrize("faults", [{}, *BAD.values()], ids=["sound", *BAD])
def test_a_network_with_one_fault_from_the_beginning_to_the_end_changes_no_bit(cluster, reference, faults):
    cluster.net.set(**faults)
    cluster.begin()
    assert finished_as(cluster, reference)
    assert cluster.net.passed > 1000
    assert (cluster.net.lost > 10) >= ("loss" in faults)


#: What is cut, and for how many seconds. A heartbeat that is not answered ends a connection after 5 seconds.
CUTS = [
    (cut(("*", "*")), 2.0),
    (cut(("*", "*")), 8.0),
    (cut(("*", 0)), 8.0),
    (cut((0, "*")), 8.0),
]


def test_a_partition_in_both_directions_or_in_one_stops_the_run_and_its_end_lets_it_go_on(cluster, reference):
    """Four partitions of one run; then one host is cut off for good, which does not hold up the others."""
    cluster.begin()
    for change, seconds in CUTS:
        begun = cluster.step()
        cluster.wait_for(lambda at=begun + 5: cluster.step() >= at, "the fifth step after the last partition")
        change(cluster.net)
        time.sleep(seconds)  # what is measured is time: nothing can be waited for in a network that is cut
        assert cluster.step() < STEPS - 8, "the run must have stopped"
        cluster.net.set()
    begun = cluster.step()
    cluster.wait_for(lambda: cluster.step() >= begun + 3, "the third step after the last partition")
    cut((2, "*"), ("*", 2))(cluster.net)
    assert finished_as(cluster, reference)
