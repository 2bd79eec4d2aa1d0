"""A training as a process: its end, or what came before its beginning, as an exit code. Imports the kernels."""

from __future__ import annotations

import sys
from pathlib import Path

from dptrain.api.plan import Plan
from dptrain.api.session import train
from dptrain.cli.app import complain
from dptrain.processes.stopping import Interrupted, Preparation


def run(plan: Plan, *, launch: bool) -> int:
    """The exit code; a line on stderr where it failed, and where the run that is to go on does not exist yet."""
    deployment = plan.config.deployment
    if deployment.resume == "auto" and deployment.name and not plan.resumed and deployment.log_format != "quiet":
        path = Path(deployment.runs) / deployment.name
        sys.stderr.write(f"dptrain: note: no run {path} yet: starting it\n")
    preparation = Preparation()
    try:
        finished = train(plan, preparation, launch=launch)
    except Interrupted as interrupted:
        sys.stderr.write(f"{interrupted}: stopped before the training began\n")
        return preparation.leave(interrupted.exit_code)
    return complain(finished.failure, finished.code) if finished.failure else finished.code
