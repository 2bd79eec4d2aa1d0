"""The compose file's very commands, as processes on four hosts of one network: no Docker, but real TCP between them."""

import os
import subprocess
import sys
import time

import pytest
import yaml

from dptrain.cli import main
from dptrain.cluster.worker import GIVE_UP

pytestmark = pytest.mark.system

#: A short run of a tiny network: 18 steps.
SHORT = ["--dataset", "shapes32", "--validation", "500", "--augment", "crop:4,flip", "--filters", "4", "--epochs", "2"]
SHORT += ["--batch-size", "500", "--shard-size", "125", "--hash-every", "1"]


def python(words):
    """A command of the compose file with this interpreter: the image's `python` and `dptrain` are those of its venv."""
    return [sys.executable, *(words[1:] if words[0] == "python" else ["-m", "dptrain", *words])]


def is_healthy(hosts, host, service):
    """The answer Docker would get from the service's health check on that host."""
    return hosts.start(host, python(service["healthcheck"]["test"][1:])).wait() == 0


def becomes_healthy(hosts, host, service, process):
    """Asks until the answer is yes or the process has ended."""
    while process.poll() is None:
        if is_healthy(hosts, host, service):
            return True
        time.sleep(0.2)
    return False


@pytest.mark.timeout(300)  # six processes, of which the first may have to compile
def test_the_services_on_four_hosts_train_to_the_bits_of_one_process(root, tmp_path, hosts, capsys):
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    # First, because it compiles what the others then find in the cache.
    alone = [
        sys.executable,
        "-m",
        "dptrain",
        "train",
        "--recipe",
        "fashion-quick",
        *SHORT,
        "--workers",
        "0",
        "--name",
        "one",
    ]
    subprocess.run([*alone, "--augmenters", "0"], cwd=tmp_path, check=True, capture_output=True)
    network = hosts(["coordinator", "augmenter", "worker", "worker2"])
    runs, keystore = tmp_path / "runs", tmp_path / "keystore"
    made = [*services["keys"]["entrypoint"][1:], *services["keys"]["command"]]
    assert main([*made, "--store", str(keystore)]) == 0
    capsys.readouterr()

    def start(host, service, *flags):
        words = [{"/runs": str(runs)}.get(word, word) for word in service["command"]]
        # Not the image's volumes: data comes with the package, and a fresh cache would be compiled anew.
        own = {name: value for name, value in service["environment"].items() if not value.startswith("/")}
        own["DPTRAIN_KEYS"] = str(keystore / service["command"][0])  # the volume of its role
        return network.start(host, [*python(words), *flags], cwd=tmp_path, env=os.environ | own)

    coordinator = start("coordinator", services["coordinator"], *SHORT)
    assert becomes_healthy(network, "coordinator", services["coordinator"], coordinator), coordinator.stdout.read()
    augmenter = start("augmenter", services["augmenter"])
    assert becomes_healthy(network, "augmenter", services["augmenter"], augmenter), augmenter.stdout.read()
    assert is_healthy(network, "worker", services["worker"])
    workers = [start(host, services["worker"]) for host in ("worker", "worker2")]
    out = coordinator.communicate(timeout=100)[0]
    assert coordinator.returncode == 0, out
    assert "test accuracy 0." in out
    ends = [(process.communicate(timeout=2 * GIVE_UP)[0], process.returncode) for process in workers]
    codes = {code for _, code in ends}
    assert 0 in codes, ends
    assert codes <= {0, 75}, ends  # 75: it came when the short run was over
    augmenter.terminate()  # as --abort-on-container-exit does; by itself it waits a minute for another coordinator
    said = augmenter.communicate(timeout=100)[0]
    assert augmenter.returncode == 143, said
    assert main(["verify", str(runs / "compose"), str(tmp_path / "runs" / "one")]) == 0
    assert capsys.readouterr().out == "identical over 18 common steps (1 to 18)\n"
