"""docker-compose.yml and the Dockerfile, without Docker: valid, and made of commands and files that exist."""

import json
import re
import shlex
from importlib.resources import files

import pytest
import yaml
from jsonschema import Draft202012Validator

from dptrain.cli.app import build_app, main
from dptrain.net.keys import open_keyring

ROLES = ["augmenter", "coordinator", "worker"]


@pytest.fixture(scope="module")
def compose(root):
    return yaml.safe_load((root / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def instructions(root):
    """(INSTRUCTION, rest) of every line of the Dockerfile, continuations joined, comments left out."""
    text = re.sub(r"\\\n\s*", "", (root / "launch" / "Dockerfile").read_text())
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def validator():
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    return Draft202012Validator(json.loads(schema))


def test_the_compose_file_follows_the_compose_specification(compose):
    assert [f"{list(e.absolute_path)}: {e.message}" for e in validator().iter_errors(compose)] == []


def test_the_specification_in_use_refuses_a_misspelt_key(compose):
    worker = {**compose["services"]["worker"], "depend_on": []}
    assert list(validator().iter_errors({"services": {"worker": worker}}))


def test_there_is_one_service_per_role(compose):
    assert sorted(compose["services"]) == sorted([*ROLES, "keys"])


@pytest.mark.parametrize("role", ROLES)
def test_every_command_is_one_the_command_line_accepts(compose, role):
    command = compose["services"][role]["command"]
    assert command[0] == role
    build_app().parse_args(command, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("role", ROLES)
def test_a_service_is_watched_stopped_gently_and_has_no_more_rights_than_it_needs(compose, role):
    service = compose["services"][role]
    assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "dptrain.launch.health"]
    assert service["stop_grace_period"] == "60s"
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "ports" not in service, "what is not needed from outside is not published"
    assert "container_name" not in service, "a service with a fixed name cannot be scaled"


def test_services_that_need_the_coordinator_wait_until_it_is_healthy(compose):
    for role in ("worker", "augmenter"):
        assert compose["services"][role]["depends_on"]["coordinator"]["condition"] == "service_healthy"


def test_addresses_name_services_and_the_ports_they_listen_on(compose):
    services = compose["services"]
    bound = {role: services[role]["command"][services[role]["command"].index("--bind") + 1] for role in ROLES[:2]}
    listening = {f"tcp://{role}:{address.rpartition(':')[2]}" for role, address in bound.items()}
    used = {
        word
        for service in services.values()
        for word in [*service["command"], *service.get("healthcheck", {"test": []})["test"]]
        if word.startswith("tcp://") and not word.startswith(("tcp://0.0.0.0", "tcp://127.0.0.1"))
    }
    assert used == listening


def test_every_volume_is_declared_and_a_place_the_image_prepares(compose, instructions):
    runs = " && ".join(rest for kind, rest in instructions if kind == "RUN")
    prepared = {place for made in re.findall(r"install -d [^&]*", runs) for place in made.split() if place[0] == "/"}
    volumes = {place for kind, rest in instructions if kind == "VOLUME" for place in json.loads(rest)}
    assert volumes <= prepared
    mounts = {mount for service in compose["services"].values() for mount in service["volumes"]}
    assert {mount.split(":")[0] for mount in mounts} == set(compose["volumes"])
    assert {mount.split(":")[1] for mount in mounts} == prepared


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_its_own_keys_and_no_others_and_cannot_change_them(compose, role):
    service = compose["services"][role]
    assert service["environment"]["DPTRAIN_KEYS"] == "/keys"
    assert "DPTRAIN_INSECURE" not in service["environment"]
    assert [v for v in service["volumes"] if "key" in v] == [f"{role}-keys:/keys:ro"]


def test_keys_are_made_before_the_coordinator_starts_each_on_its_roles_volume(compose, tmp_path, monkeypatch, capsys):
    keys = compose["services"]["keys"]
    assert compose["services"]["coordinator"]["depends_on"]["keys"]["condition"] == "service_completed_successfully"
    assert set(keys["volumes"]) == {"keystore:/keystore", *(f"{role}-keys:/keystore/{role}" for role in ROLES)}
    for role in ROLES:
        (tmp_path / role).mkdir(mode=0o755)  # as an empty volume is
    monkeypatch.setenv("DPTRAIN_KEYSTORE", str(tmp_path))
    words = [*keys["entrypoint"][1:], *keys["command"]]
    assert main(words) == 0
    found = {role: open_keyring(str(tmp_path / role), role).public for role in ROLES}
    assert main(words) == 0, "the second start of the containers"
    assert {role: open_keyring(str(tmp_path / role), role).public for role in ROLES} == found


def test_the_files_that_the_image_copies_exist_and_are_not_ignored(root, instructions):
    admitted = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        s for kind, rest in instructions if kind == "COPY" and "--from" not in rest for s in shlex.split(rest)[:-1]
    ]
    assert sources
    assert [s for s in sources if not (root / s).exists()] == []
    assert [s for s in sources if s.split("/")[0] not in admitted] == []


def test_the_image_runs_as_an_unprivileged_user_and_starts_dptrain(instructions):
    users = [rest for kind, rest in instructions if kind == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert ("ENTRYPOINT", '["dptrain"]') in instructions
    last = max(at for at, (kind, _) in enumerate(instructions) if kind == "FROM")
    assert any(kind == "USER" for kind, _ in instructions[last:]), (
        "a USER of the build stage does not hold in the image"
    )
