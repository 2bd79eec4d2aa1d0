"""The shell scripts that a new user starts: how they treat arguments, and what they print if something is missing."""

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest


@pytest.fixture
def run(root, tmp_path):
    """run(script, arguments, **environment) from another directory; HOME is empty."""

    def start(script, *arguments, **environment):
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DPTRAIN_VENV": str(tmp_path / "venv"),
            **environment,
        }
        command = ["bash", str(root / "launch" / script), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)

    return start


@pytest.fixture
def installed(root, tmp_path):
    """A virtual environment in which dptrain, a script that shows its arguments, counts as installed."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for program, body in {"dptrain": 'printf "%s\\n" "$PWD" "$@"', "python": "exit 0"}.items():
        (programs / program).write_text(f"#!/bin/sh\n{body}\n")
        (programs / program).chmod(0o755)
    script = "source launch/venv.sh; fingerprint"
    stamp = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True).stdout
    (tmp_path / "venv" / ".installed-plot").write_text(stamp)
    return tmp_path


def arguments(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()[1:]


def test_without_arguments_it_trains_the_quick_recipe_with_two_workers_and_one_augmenter(run, installed):
    wanted = ["train", "--recipe", "fashion-quick", "--workers", "2", "--augmenters", "1"]
    assert arguments(run("local.sh")) == wanted


def test_a_number_is_the_workers_and_the_rest_are_flags_of_train(run, installed):
    got = arguments(run("local.sh", "4", "--epochs", "1", "--name", "a b"))
    assert got == [
        *["train", "--recipe", "fashion-quick", "--workers", "4", "--augmenters", "1"],
        *["--epochs", "1", "--name", "a b"],
    ]


@pytest.mark.parametrize(
    ("flags", "gone"),
    [
        (["--recipe", "x"], "fashion-quick"),
        (["-c", "x"], "fashion-quick"),
        (["--recipe=x"], "fashion-quick"),
        (["--workers", "7"], "2"),
        (["--augmenters=3"], "1"),
    ],
)
def test_a_flag_that_is_given_replaces_the_default(run, installed, flags, gone):
    got = arguments(run("local.sh", *flags))
    assert gone not in got
    assert got[-len(flags) :] == flags


def test_a_variable_that_says_otherwise_replaces_a_default_and_a_number_replaces_the_variable(run, installed):
    said = {"DPTRAIN_RECIPE": "x", "DPTRAIN_WORKERS": "7", "DPTRAIN_AUGMENTERS": "0"}
    assert arguments(run("local.sh", **said)) == ["train"]
    assert arguments(run("local.sh", "4", **said)) == ["train", "--workers", "4"]


@pytest.mark.parametrize("flags", [["--resume", "runs/first"], ["--resume=/data/runs/first"], ["--resume", "first"]])
def test_a_run_directory_to_go_on_with_has_its_own_recipe(run, installed, flags):
    assert "--recipe" not in arguments(run("local.sh", *flags))
    assert "--recipe" not in arguments(run("local.sh", DPTRAIN_RESUME=flags[-1].removeprefix("--resume=")))
    assert "--recipe" in arguments(run("local.sh", "--name", "first", "--resume", "auto"))


def test_it_runs_where_it_was_started_so_that_paths_in_flags_mean_what_they_say(run, installed):
    assert run("local.sh").stdout.splitlines()[0] == str(installed)


def test_help_installs_nothing(run, tmp_path):
    ended = run("local.sh", "--help")
    assert ended.returncode == 0
    assert "launch/local.sh [N]" in ended.stdout
    assert "#" not in ended.stdout
    assert not (tmp_path / "venv").exists()


def test_without_a_new_enough_python_it_says_so_in_one_line(run, tmp_path):
    old = tmp_path / "python-of-old"
    old.write_text('#!/bin/sh\ncase "$2" in "") ;; *version_info*) exit 1 ;; *) echo 3.9.1 ;; esac\n')
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    ended = run("local.sh", DPTRAIN_PYTHON=str(old))
    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert "Python 3.11, 3.12, 3.13 or 3.14 is needed" in ended.stderr
    assert f"{old} is 3.9.1" in ended.stderr
    assert run("check.sh", DPTRAIN_PYTHON=str(tmp_path / "no-such-python")).returncode == 78


def test_when_pip_cannot_fetch_the_libraries_it_says_how_to_do_without_a_network(run, tmp_path):
    """A real environment, and a pip that finds nothing."""
    ended = run("local.sh", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS=str(tmp_path))
    assert ended.returncode == 78
    assert "pip could not fetch the libraries" in ended.stderr
    assert "PIP_FIND_LINKS=" in ended.stderr
    assert not (tmp_path / "venv" / ".installed").exists()
    assert (tmp_path / "venv" / "install.log").exists()


@pytest.mark.parametrize("script", ["launch/local.sh", "launch/check.sh", "launch/venv.sh", ".ci/run"])
def test_every_script_parses(root, script):
    subprocess.run(["bash", "-n", script], cwd=root, check=True)


def test_continuous_integration_runs_the_checks_a_developer_runs(root):
    assert "bash launch/check.sh" in (root / ".ci" / "run").read_text()


def test_the_checks_run_the_tests_of_a_file_in_one_process_and_use_all_processes(root, tmp_path):
    """What a file makes for all its tests is made once. Three files, and the words of check.sh for two processes."""
    (tmp_path / "tests").mkdir()
    shutil.copy(root / "tests" / "conftest.py", tmp_path / "tests")
    body = "import os\n\n" + "".join(
        f"def test_{n}(worker_id):\n    open('ran', 'a').write(f'{{__name__}} {{worker_id}}\\n')\n\n" for n in range(4)
    )
    for name in ("a", "b", "c"):
        (tmp_path / "tests" / f"test_{name}.py").write_text(body)
    words = re.search(r"^check python (-m pytest .*) \"\$@\"$", (root / "launch" / "check.sh").read_text(), re.M)[1]
    command = [sys.executable, *re.sub(r'-n ".*?"', "-n 2", words).split(), "-p", "xdist"]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pairs = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    assert len(pairs) == 12
    assert len({name for name, _ in pairs}) == len({tuple(pair) for pair in pairs}) == 3
    assert len({worker for _, worker in pairs}) == 2
