"""`dptrain doctor`: will it run here? Prints what it finds; what is looked at stands in checks.py."""

from __future__ import annotations

import os
from itertools import chain
from typing import Annotated

from cyclopts import Parameter

from dptrain.cli import checks
from dptrain.cli.flags import takes_config, texts
from dptrain.configfile import resolve

SICK = 1


@takes_config("data_dir", "isa")
def doctor(
    *,
    connect: Annotated[str, Parameter(help="also try a coordinator, tcp://HOST:PORT, step by step")] = "",
    **flags: str | bool,
) -> int:
    """Check this machine: CPUs, memory, kernels, sockets, versions, data. Exit 0: all fine."""
    address = checks.parse_address(connect) if connect else None
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    findings = chain(
        checks.software(),
        checks.cores(),
        checks.memory(),
        checks.kernels(),
        checks.sockets(),
        checks.datasets(deployment.data_dir),
        checks.connection(*address) if address else (),
    )
    bad = 0
    for finding in findings:
        bad += not finding.ok
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<13} {finding.text}")
    print("all fine" if not bad else f"{bad} thing{'s' if bad > 1 else ''} to mend")
    return SICK if bad else 0
