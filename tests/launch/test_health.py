"""The containers' health check asks a real socket."""

import socket
import subprocess
import sys

import pytest

from dptrain.launch import health


def test_an_address_that_is_listened_to_is_healthy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert health.main([address]) == 0


def test_an_address_without_a_listener_is_unhealthy_and_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert health.main([f"tcp://127.0.0.1:{port}"]) == 1
    assert f"tcp://127.0.0.1:{port} does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", ["", "5555", "tcp://:5555", "tcp://host", "tcp://host:x", "ipc:///tmp/a:1", "tcp://127.0.0.1:99999"]
)
def test_an_address_of_another_form_is_unhealthy_and_reported(wrong, capsys):
    assert health.main([wrong]) == 1
    assert wrong in capsys.readouterr().err


def test_it_is_asked_for_one_address(capsys):
    assert health.main([]) == 1
    assert "usage" in capsys.readouterr().err


def test_it_starts_as_the_compose_file_starts_it_and_without_numpy():
    """-X importtime lists every module that is imported."""
    command = [sys.executable, "-X", "importtime", "-m", "dptrain.launch.health", "x"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "'x' is not of the form" in ended.stderr
    assert "| dptrain" in ended.stderr
    assert "numpy" not in ended.stderr
