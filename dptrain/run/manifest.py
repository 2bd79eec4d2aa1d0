"""run.json: what somebody who finds the run in a year wants to know. Collected once a start; kept by `directory`."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dptrain
from dptrain.run.facts import RunFacts

PACKAGES = ("numpy", "numba", "llvmlite", "pyzmq", "msgpack", "safetensors")


def manifest(facts: RunFacts) -> dict[str, Any]:
    """The part that is the same for every start of the run."""
    return {
        "identity": facts.identity,
        "numerics": facts.numerics,
        "layout": facts.layout,
        "model": facts.model,
        "data": asdict(facts.data),
    }


def start(term: int, argv: list[str]) -> dict[str, Any]:
    """The part that belongs to one start: who, where, when, with what."""
    return {
        "term": term,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git": git_revision(),
        "versions": versions(),
        "cpu": cpu(),
    }


def versions() -> dict[str, str]:
    """Of us, Python and the libraries; without importing them (numba alone takes half a second)."""
    found = {"dptrain": dptrain.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_revision() -> str:
    """`git describe --always --dirty` of the checkout this package runs from; "" where it is none."""
    root = Path(dptrain.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def cpu() -> dict[str, Any]:
    """Model name, feature flags and number of logical CPUs, as Linux tells them."""
    wanted = {"model name": "", "flags": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in wanted and not wanted[key.strip()]:
            wanted[key.strip()] = value.strip()
    return {
        "model": wanted["model name"] or platform.machine(),
        "flags": wanted["flags"],
        "count": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
    }
