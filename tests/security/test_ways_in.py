"""`dptrain doctor --connect` at a real coordinator: the stages up to the canary, and where each stranger fails."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from dptrain.api import checks
from dptrain.net import keystore
from dptrain.settings import DeploymentConfig

pytestmark = pytest.mark.system

RECIPE = [
    "--dataset",
    "shapes32",
    "--validation",
    "500",
    "--network",
    "mine:net",
    "--networks",
    "mine.py",
    "--batch-size",
    "128",
    "--log-format",
    "plain",
]
NETWORK = """
from dptrain.nn.containers import Sequential
from dptrain.nn.convolution import Linear
from dptrain.nn.activations import Reshape


def net(config, image, classes):
    return Sequential((Reshape(), Linear("linear", image.height * image.width * image.channels, classes)))
"""


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory):
    """Address, and the directory of keys, of a coordinator that waits for workers."""
    folder = tmp_path_factory.mktemp("coordinator")
    for name in ("coordinator", "worker-1", "worker-2"):
        keystore.new(folder / "keys", name)
    shutil.copytree(folder / "keys" / "worker-2", folder / "revoked")
    keystore.revoke(folder / "keys", "worker-2")
    (folder / "mine.py").write_text(NETWORK)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "dptrain", "coordinator", *RECIPE, "--bind", address, "--keys", "keys/coordinator"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    deadline = time.monotonic() + 100
    while b"listening on" not in (folder / "log").read_bytes():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield address, folder
    process.terminate()
    assert process.wait(120) == 143, (folder / "log").read_text()


def steps(address, keys, *networks):
    here = DeploymentConfig(keys=str(keys), networks=tuple(map(str, networks)))
    return [(step.name, step.ok, step.text) for step in checks.visit(address, here, insecure=False)]


def test_a_worker_with_a_key_gets_as_far_as_the_canary_and_leaves_the_run_as_it_was(coordinator):
    address, folder = coordinator
    found = steps(address, folder / "keys" / "worker-1", folder / "mine.py")
    assert [(name, ok) for name, ok, _ in found] == [
        ("keys", True),
        ("handshake", True),
        ("hello", True),
        ("data", True),
        ("canary", True),
    ]
    deadline = time.monotonic() + 120
    while "0 workers now" not in (folder / "log").read_text():  # the coordinator hears of the goodbye a moment later
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("keys", "name", "text"),
    [
        ("", "handshake", "keys are used there"),
        ("revoked", "handshake", "the key worker-2 is not allowed there"),
        ("keys/coordinator", "keys", "no pair of keys of a worker"),
        ("nowhere", "keys", "no such directory"),
    ],
)
def test_a_process_without_the_right_key_learns_which_stage_failed_and_why(coordinator, keys, name, text):
    address, folder = coordinator
    *_, last = steps(address, folder / keys if keys else "")
    assert last[:2] == (name, False)
    assert text in last[2]


def test_a_network_from_a_file_is_built_only_if_this_host_allows_the_file(coordinator):
    address, folder = coordinator
    *_, last = steps(address, folder / "keys" / "worker-1")
    assert last[:2] == ("data", False)
    assert "give it once with --networks PATH/mine.py" in last[2]


def test_an_address_on_another_machine_is_not_tried_without_keys():
    [step] = steps("tcp://192.0.2.1:5555", "")[-1:]
    assert step[:2] == ("keys", False)
    assert "--insecure" in step[2]
