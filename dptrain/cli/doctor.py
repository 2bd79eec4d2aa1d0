"""`dptrain doctor`: will it run here? Prints what it finds; what is looked at stands in checks.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli import checks
from dptrain.cli.flags import INSECURE, takes_settings, texts
from dptrain.errors import ExitCode
from dptrain.recipefile import gather
from dptrain.settings import DeploymentConfig, build, check


@takes_settings("data_dir", "isa", "keys", "networks")
def doctor(
    *,
    connect: Annotated[str, Parameter(help="also try a coordinator, tcp://HOST:PORT, step by step")] = "",
    insecure: Annotated[bool, Parameter(negative=(), help=INSECURE)] = False,
    **flags: str | bool,
) -> int:
    """Check this machine: CPUs, memory, kernels, sockets, versions, data. Exit 0: all fine."""
    if connect:
        checks.parse_address(connect)
    insecure = insecure or os.environ.get("DPTRAIN_INSECURE") == "1"
    given = gather("", os.environ, texts(flags))
    check(build(given.values))
    deployment, origin = build(given.values).deployment, given.origin.get("isa", "")
    os.environ["DPTRAIN_ISA"] = deployment.isa
    findings = chain(
        checks.software(),
        checks.cores(),
        checks.memory(),
        checks.kernels(f"said by {origin}" if deployment.isa != "auto" else ""),
        checks.sockets(),
        checks.datasets(deployment.data_dir),
        checks.networks(deployment.networks),
        _way_in(connect, deployment, insecure=insecure) if connect else (),
    )
    bad = 0
    for finding in findings:
        bad += not finding.ok
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<13} {finding.text}")
    print("all fine" if not bad else f"{bad} thing{'s' if bad > 1 else ''} to mend")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


def _way_in(connect: str, deployment: DeploymentConfig, *, insecure: bool) -> Iterator[checks.Finding]:
    """From the name to the canary; the first step that fails is the last one."""
    for finding in checks.connection(*checks.parse_address(connect)):
        yield finding
        if not finding.ok:
            return
    from dptrain.cli import checks as joining

    yield from joining.steps(connect, deployment, insecure=insecure)
