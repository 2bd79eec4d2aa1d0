"""Key directories: the files that are made, their modes, what is refused, and what is left after revoking."""

import os
import re

import pytest
import zmq

from dptrain.errors import UsageError
from dptrain.net import keystore
from dptrain.net.keys import AUGMENTER, COORDINATOR, WORKER, open_keyring, public_keys, role_of


def modes(store):
    return {str(p.relative_to(store)): p.stat().st_mode & 0o777 for p in sorted(store.rglob("*"))}


def names(folder):
    return [name for name, _ in public_keys(folder)]


def refused(message):
    """A UsageError of one line."""
    return pytest.raises(UsageError, match=rf"\A[^\n]*{message}[^\n]*\Z")


@pytest.fixture
def store(tmp_path):
    """Keys of a whole cluster."""
    for name in ("coordinator", "augmenter", "worker-1", "worker-2"):
        keystore.new(tmp_path / "keys", name)
    return tmp_path / "keys"


@pytest.mark.parametrize("umask", ["0o000", "0o022"])
def test_directories_are_for_their_owner_alone_and_so_are_files_whatever_the_umask(tmp_path, umask):
    old = os.umask(int(umask, 8))
    try:
        keystore.new(tmp_path / "keys", "coordinator")
        keystore.new(tmp_path / "keys", "worker")
    finally:
        os.umask(old)
    found = modes(tmp_path)
    assert {found[p] for p in found if (tmp_path / p).is_dir()} == {0o700}
    assert {found[p] for p in found if (tmp_path / p).is_file()} == {0o600}


def test_every_host_gets_the_public_keys_of_its_peers_and_one_secret(store):
    assert names(store / "coordinator") == ["augmenter", "coordinator", "worker-1", "worker-2"]
    assert names(store / "augmenter") == ["augmenter", "coordinator", "worker-1", "worker-2"]
    assert names(store / "worker-1") == ["augmenter", "coordinator", "worker-1"]
    for home in store.iterdir():
        assert [f.name for f in home.glob("*secret")] == [f"{home.name}.key_secret"]
        assert not list(home.glob(".*"))


def test_the_order_in_which_keys_are_made_does_not_matter(tmp_path, store):
    for name in ("worker-2", "augmenter", "worker-1", "coordinator"):
        keystore.new(tmp_path / "other", name)
    assert {f.name: names(f) for f in store.iterdir()} == {f.name: names(f) for f in (tmp_path / "other").iterdir()}


def test_a_pair_is_a_curve_pair_and_the_servers_key_is_the_servers(store):
    keys = open_keyring(str(store / "worker-1"), WORKER)
    assert keys.name == "worker-1"
    assert zmq.curve_public(keys.secret) == keys.public
    coordinator = open_keyring(str(store / "coordinator"), COORDINATOR)
    assert keys.server(COORDINATOR) == coordinator.public
    assert coordinator.listed()[keys.public] == "worker-1"
    assert keys.secret.decode() not in repr(keys)


def test_augmenters_may_have_one_key_together_or_one_each(store):
    keys = open_keyring(str(store / "worker-1"), WORKER)
    shared = keys.server(AUGMENTER, 1)
    assert shared == keys.server(AUGMENTER, 0) == keys.server(AUGMENTER)
    keystore.new(store, "augmenter-1")
    assert keys.server(AUGMENTER, 1) != shared
    assert keys.server(AUGMENTER, 0) == shared


def test_no_keys_are_no_keyring():
    assert open_keyring("", WORKER) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_secret_that_others_can_read_is_not_used(store, mode):
    (store / "worker-1" / "worker-1.key_secret").chmod(mode)
    with refused("is open to others .*chmod 600"):
        open_keyring(str(store / "worker-1"), WORKER)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_list_that_others_can_extend_is_not_used(store, mode):
    (store / "coordinator").chmod(mode)
    with refused("can be written by others .*chmod 700"):
        open_keyring(str(store / "coordinator"), COORDINATOR)


def test_a_directory_without_a_secret_of_the_role_or_with_two_is_refused(store, tmp_path):
    with refused("no such directory"):
        open_keyring(str(tmp_path / "nowhere"), WORKER)
    with refused("has no pair of keys of a worker, but must have one worker"):
        open_keyring(str(store / "coordinator"), WORKER)
    (store / "worker-2" / "worker-2.key_secret").rename(store / "worker-1" / "worker-2.key_secret")
    with refused("worker-1.key_secret, worker-2.key_secret, but must have one worker"):
        open_keyring(str(store / "worker-1"), WORKER)


@pytest.mark.parametrize(
    "text", ["", "public-key\n", 'public-key = "short"\n', "\0" * 100, "curve\n    secret-key = x\n"]
)
def test_a_damaged_secret_is_refused_and_a_damaged_public_key_lets_no_process_in(store, text):
    (store / "coordinator" / "worker-1.key").write_text(text)
    assert "worker-1" not in open_keyring(str(store / "coordinator"), COORDINATOR).listed().values()
    (store / "worker-1" / "worker-1.key_secret").write_text(text)
    with refused("is damaged"):
        open_keyring(str(store / "worker-1"), WORKER)
    (store / "worker-2" / "coordinator.key").write_text(text)
    with refused("holds no coordinator.key"):
        open_keyring(str(store / "worker-2"), WORKER).server(COORDINATOR)


@pytest.mark.parametrize(
    "name", ["", "bob", "worker-", "worker/../x", "worker-a/b", "worker-" + "x" * 41, "worker1", "worker-\n"]
)
def test_an_invalid_name_makes_no_key(tmp_path, name):
    assert role_of(name) == ""
    with pytest.raises(UsageError, match="must be"):
        keystore.new(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_and_its_key_stays(store):
    before = dict(public_keys(store / "coordinator"))
    with refused("exists; revoke it first"):
        keystore.new(store, "worker-1")
    with refused("called coordinator"):
        keystore.new(store, "coordinator-2")
    assert dict(public_keys(store / "coordinator")) == before


def test_a_name_whose_directory_went_to_another_host_is_still_taken(store):
    for file in (store / "worker-1").iterdir():
        file.unlink()
    (store / "worker-1").rmdir()
    listed = {key.name: key for key in keystore.all_keys(store)}
    assert not listed["worker-1"].has_secret
    with refused("exists"):
        keystore.new(store, "worker-1")


def test_a_volume_is_filled_and_emptied_in_place(tmp_path):
    (tmp_path / "coordinator").mkdir(mode=0o755)
    keystore.new(tmp_path, "coordinator")
    assert modes(tmp_path)["coordinator"] == 0o700
    keystore.new(tmp_path, "worker")
    keystore.revoke(tmp_path, "worker")
    assert names(tmp_path / "coordinator") == ["coordinator"]


def test_revoking_strikes_a_key_off_every_list_and_a_new_one_of_the_name_is_another(store):
    old = open_keyring(str(store / "worker-1"), WORKER).public
    coordinator = open_keyring(str(store / "coordinator"), COORDINATOR)
    assert keystore.revoke(store, "worker-1") == ("augmenter", "coordinator")
    assert old not in coordinator.listed()
    assert not (store / "worker-1").exists()
    assert "worker-1" not in names(store / "augmenter")
    with refused("knows no key 'worker-1'"):
        keystore.revoke(store, "worker-1")
    keystore.new(store, "worker-1")
    assert old not in coordinator.listed()
    assert "worker-1" in coordinator.listed().values()


def test_a_failure_half_way_leaves_no_key(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "keys")

    monkeypatch.setattr(keystore.shutil, "copy", full)
    with refused("cannot be made: No space left"):
        keystore.new(store, "worker-9")
    assert not (store / "worker-9").exists()
    assert "worker-9" not in {key.name for key in keystore.all_keys(store)}


def test_the_verb_makes_lists_and_revokes(tmp_path, capsys, monkeypatch):
    from dptrain.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["keys", "list"]) == 0
    assert "dptrain keys new coordinator worker" in capsys.readouterr().out
    assert main(["keys", "new", "coordinator", "worker"]) == 0
    assert "dptrain worker --keys keys/worker" in capsys.readouterr().out
    assert main(["keys", "new", "coordinator", "worker", "augmenter", "--missing"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["keys/augmenter"]
    assert main(["keys", "list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["augmenter", "coordinator", "worker"]
    secret = re.search(r'secret-key = "(.{40})"', (tmp_path / "keys/worker/worker.key_secret").read_text())
    assert secret[1] not in out
    assert main(["keys", "revoke", "worker"]) == 0
    assert capsys.readouterr().out.startswith("worker is off the list of augmenter, coordinator")
    assert main(["keys", "revoke", "worker"]) == 78
    assert main(["keys", "new"]) == 64
    assert main(["keys", "new", "bob"]) == 78
