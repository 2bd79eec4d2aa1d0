"""Hosts on one machine: network namespaces on a bridge, inside one user namespace that ends with the test."""

import subprocess
from contextlib import contextmanager

import pytest

#: Runs inside the namespaces. What it makes is not visible outside and ends with them. /run: names of `ip netns`.
SETUP = """
set -e
mount -t tmpfs none /run
mount --bind "$1" /etc/hosts
shift
ip link set lo up
ip link add bridge type bridge
ip link set bridge up
at=1
for host in "$@"; do
    ip netns add "$host"
    ip link add "port$at" type veth peer name eth0 netns "$host"
    ip link set "port$at" master bridge up
    ip -n "$host" address add "10.77.0.$at/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$host" link set lo up
    at=$((at + 1))
done
echo ready
exec cat
"""


class Hosts:
    """Processes on hosts that know each other by name."""

    def __init__(self, holder):
        self._enter = ["nsenter", f"--target={holder}", "--user", "--mount", "--preserve-credentials"]
        self._started = []

    def start(self, host, command, **how):
        """A process on `host`, with its output piped."""
        # It dies with this process, which ends without a word where a test takes too long.
        bound = ["setpriv", "--pdeathsig", "KILL", *command]
        whole = [*self._enter, "nsenter", f"--net=/run/netns/{host}", *bound]
        process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
        self._started.append(process)
        return process

    def end(self):
        for process in self._started:
            process.kill()
            process.communicate()


@contextmanager
def _network(folder, names):
    table = folder / "hosts"
    lines = ["127.0.0.1 localhost", *(f"10.77.0.{at} {name}" for at, name in enumerate(names, 1))]
    table.write_text("\n".join(lines) + "\n")
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", SETUP, "sh", table, *names]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    try:
        holder = subprocess.Popen(command, text=True, **pipes)
    except FileNotFoundError:
        pytest.skip("no unshare here (util-linux)")
    with holder:
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no network namespaces here: {holder.communicate()[1].strip()}")
        hosts = Hosts(holder.pid)
        try:
            yield hosts
        finally:
            hosts.end()
            holder.communicate("")


@pytest.fixture
def hosts(tmp_path):
    """hosts(["a", "b"]) -> Hosts, or the test is skipped with the reason."""
    networks = []

    def make(names):
        network = _network(tmp_path, names)
        made = network.__enter__()
        networks.append(network)
        return made

    yield make
    for network in networks:
        network.__exit__(None, None, None)
