"""`dptrain doctor` and `dptrain check`: will it run here, and can this configuration learn? One line per finding."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Annotated

from cyclopts import Parameter

from dptrain.api import checks
from dptrain.cli.flags import INSECURE, Recipe, takes_settings, texts
from dptrain.errors import ExitCode
from dptrain.recipefile import gather, resolve
from dptrain.settings import SETTINGS, build
from dptrain.settings import check as check_settings

SIGNALLED = 128  #: exit codes above it say by which signal a process ended
_IDENTITY = tuple(name for name, each in SETTINGS.items() if each.identity)


@takes_settings("data_dir", "isa", "keys", "networks")
def doctor(
    *,
    connect: Annotated[str, Parameter(help="also try to reach a coordinator, tcp://HOST:PORT, step by step")] = "",
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    **flags: str | bool,
) -> int:
    """Check this machine: CPUs, memory, kernels, sockets, versions, data. Exit code 0: everything is fine."""
    if connect:
        checks.parse_address(connect)
    insecure = insecure or os.environ.get("DPTRAIN_INSECURE") == "1"
    given = gather("", os.environ, texts(flags))
    config = build(given.values)
    check_settings(config)
    deployment, origin = config.deployment, given.origin.get("isa", "")
    os.environ["DPTRAIN_ISA"] = deployment.isa
    bad = _print(
        chain(
            checks.software(),
            checks.cores(),
            checks.memory(),
            checks.kernels(f"set by {origin}" if deployment.isa != "auto" else ""),
            checks.sockets(),
            checks.datasets(deployment.data_dir),
            checks.networks(deployment.networks),
            checks.way_in(connect, deployment, insecure=insecure) if connect else (),
        )
    )
    print("all fine" if not bad else f"{bad} thing{'s' if bad > 1 else ''} to fix")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


@takes_settings(*_IDENTITY, "data_dir", "isa", "networks", "threads")
def check(
    *,
    recipe: Recipe = "",
    images: Annotated[int, Parameter(help="training images to overfit; 0: skip this test")] = 250,
    passes: Annotated[int, Parameter(help="passes over these images")] = 50,
    **flags: str | bool,
) -> int:
    """Test a configuration before training: first loss, gradients, evaluation, overfitting. Exit code 0: all fine."""
    config = resolve(recipe, os.environ, texts(flags))
    config = replace(config, deployment=replace(config.deployment, workers=0))
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.api.soundness import findings, overfit  # imports Numba: only now is the ISA known

    bad = _print(findings(config))
    if images:
        result = overfit(config, images, passes)
        if result.code > SIGNALLED:
            return result.code
        bad += _print([result.finding()])
    print("all fine" if not bad else f"{bad} thing{'s' if bad > 1 else ''} to look at")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


def _print(findings: Iterable[checks.Finding]) -> int:
    """One line each; returns how many are bad."""
    bad = 0
    for finding in findings:
        bad += not finding.ok
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<13} {finding.text}")
    return bad
