"""What `dptrain doctor` finds, and how it ends."""

import socket
import threading
from contextlib import contextmanager

import pytest

from dptrain.api import checks
from dptrain.cli import main
from dptrain.kernels import isa


@contextmanager
def peer(greeting):
    """A server on the loopback that sends `greeting` to the first client; yields its port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_on_a_sound_machine_all_is_fine_and_a_missing_data_set_is_no_fault(tmp_path, capsys):
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all fine"
    assert all(line.startswith("ok ") for line in lines[:-1])
    for name in ("numba", "cpu", "quota", "memory", "isa", "cache", "ipc", "tcp", "fashion-mini", "shapes32"):
        assert any(line[5:].startswith(name) for line in lines), name
    assert f"data          searched in {tmp_path}" in "\n".join(lines)
    assert "cifar10       not here" in "\n".join(lines)


def test_a_file_of_networks_that_is_not_there_is_a_fault(tmp_path, capsys):
    (tmp_path / "mine.py").touch()
    assert main(["doctor", "--data-dir", str(tmp_path), "--networks", f"{tmp_path}/mine.py,{tmp_path}/gone.py"]) == 1
    out = capsys.readouterr().out
    assert f"ok   network       {tmp_path}/mine.py: exists" in out
    assert f"BAD  network       {tmp_path}/gone.py: no such file" in out


def test_a_damaged_data_set_is_a_fault(tmp_path, capsys):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"x")
    findings = {finding.name: finding for finding in checks.datasets(str(tmp_path))}
    assert not findings["mnist"].ok
    assert "missing in" in findings["mnist"].text
    assert findings["cifar10"].ok


def test_a_data_set_is_reported_with_its_folder_and_is_not_decoded(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(b"x")
    findings = {finding.name: finding for finding in checks.datasets(str(tmp_path))}
    assert findings["mnist"] == ("mnist", True, f"in {folder}, not opened yet")
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]


@pytest.mark.parametrize(
    ("flags", "variable", "words"),
    [
        ([], "", "in use: {best}, the best of them"),
        (["--isa", "portable"], "", "in use: portable, set by the command line"),
        ([], "portable", "in use: portable, set by the environment"),
    ],
)
def test_the_instruction_set_in_use_is_reported_with_what_chose_it(
    flags, variable, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DPTRAIN_ISA", variable or "auto")
    monkeypatch.setattr(isa, "level", lambda: flags[1] if flags else variable or isa.available()[0])
    assert main(["doctor", "--data-dir", str(tmp_path), *flags]) == 0
    assert f"{words.format(best=isa.available()[0])}\n" in capsys.readouterr().out


def test_an_address_without_a_listener_is_reported_as_such():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # bound, but not listening: refused, and no other process gets the port
        resolve, connect = checks.connection("127.0.0.1", server.getsockname()[1])
    assert resolve.ok
    assert not connect.ok
    assert "Connection refused; is the coordinator running" in connect.text


@pytest.mark.parametrize(("greeting", "ok"), [(b"\xff\x00\x00", True), (b"SSH-2.0\r\n", False), (b"", False)])
def test_only_a_zeromq_peer_is_taken_for_a_coordinator(greeting, ok):
    with peer(greeting) as port:
        findings = list(checks.connection("localhost", port))
    assert [finding.name for finding in findings] == ["resolve", "connect", "greeting"]
    assert [finding.ok for finding in findings] == [True, True, ok]


def test_a_name_that_does_not_resolve_is_reported():
    (finding,) = checks.connection("no-such-host.invalid", 5555)
    assert not finding.ok
    assert finding.text.startswith("no-such-host.invalid: ")


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_is_read(files, cpus, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(checks, "_CGROUP", tmp_path)
    assert checks.cgroup_cpus() == cpus
    quota = next(finding for finding in checks.cores() if finding.name == "quota")
    assert quota.ok == (cpus != 0.5)
