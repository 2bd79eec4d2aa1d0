"""Output that cannot be written: stdout is closed, the device is full, or the reader has ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

TINY = ["--recipe", "fashion-quick", "--workers", "0", "--filters", "8", "--log-format", "plain"]
TINY += ["--log-interval", "0.01"]


def dptrain(*words, **streams):
    return subprocess.Popen([sys.executable, "-m", "dptrain", *map(str, words)], text=True, **streams)


def test_a_full_output_is_one_line_and_a_temporary_failure():
    with open("/dev/full", "w") as full:
        process = dptrain("train", "--print-config", stdout=full, stderr=subprocess.PIPE)
        errors = process.communicate(timeout=60)[1]
    assert errors == "dptrain: error: the output cannot be written: No space left on device\n"
    assert process.returncode == 75


def test_a_closed_output_is_no_error(tmp_path):
    command = [sys.executable, "-m", "dptrain", "train", "--print-config"]
    shell = ["sh", "-c", '"$@" >&-', "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(240)
def test_when_the_reader_of_the_output_ends_the_run_ends_with_a_checkpoint(tmp_path):
    process = dptrain("train", *TINY, "--runs", tmp_path, "--name", "a", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while "step" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.stdout.close()
    assert process.wait(200) == 128 + signal.SIGPIPE
    assert "error" not in process.stderr.read()
    process.stderr.close()
    assert (tmp_path / "a" / "checkpoints" / "last.safetensors").is_file()


@pytest.mark.parametrize("after", [0.1, 0.2, 0.4])
def test_ctrl_c_while_python_still_imports_prints_no_traceback(tmp_path, after):
    process = dptrain("train", *TINY, "--runs", tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(after)  # a moment in the imports on most machines; wherever it hits, the outcome is the same
    os.kill(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode in (130, 1, -signal.SIGINT)  # the others: Python itself was not up yet
    assert "dptrain/cli" not in errors
    assert process.returncode != 130 or "Traceback" not in errors
