"""`dptrain check`: can this configuration learn at all? Looks at the untrained network, then 250 images by heart."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import ExitCode
from dptrain.recipefile import resolve
from dptrain.settings import SETTINGS

if TYPE_CHECKING:
    from dptrain.api.soundness import Finding

SIGNALLED = 128  #: exit codes above it say by which signal
_FIELDS = ("data_dir", "isa", "networks", "threads")
_IDENTITY = tuple(name for name, each in SETTINGS.items() if each.identity)


@takes_settings(*_IDENTITY, *_FIELDS)
def check(
    *,
    recipe: Recipe = "",
    images: Annotated[int, Parameter(help="training images learned by heart; 0: leave that out")] = 250,
    passes: Annotated[int, Parameter(help="over these images")] = 50,
    **flags: str | bool,
) -> int:
    """Test a configuration before training it: first loss, gradients, evaluation, 250 images by heart. Exit 0: fine."""
    config = resolve(recipe, os.environ, texts(flags))
    config = replace(config, deployment=replace(config.deployment, workers=0))
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.api.soundness import findings  # imports Numba: only now is the ISA known

    bad = sum(_say(finding) for finding in findings(config))
    if images:
        from dptrain.api.soundness import overfit

        result = overfit(config, images, passes)
        if result.code > SIGNALLED:
            return result.code
        bad += _say(result.finding())
    print("all fine" if not bad else f"{bad} thing{'s' if bad > 1 else ''} to look at")
    return ExitCode.FAULT_FOUND if bad else ExitCode.DONE


def _say(finding: Finding) -> bool:
    print(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<13} {finding.text}")
    return not finding.ok
