"""How images are made that fool a network. What is said of each field is also the help of `dptrain explain fool`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from dptrain.errors import UsageError


@dataclass(frozen=True)
class Fooling:
    """How images are made that fool the network."""

    target: Annotated[str, Parameter(help="class they are to be taken for, by name or number [the next class]")] = ""
    start: Annotated[Literal["image", "noise"], Parameter(help="what the descent begins with")] = "image"
    confidence: Annotated[float, Parameter(help="probability of the target that is enough")] = 0.9
    step: Annotated[float, Parameter(help="how far the fastest pixel moves in a step, of 255")] = 1.0
    pull: Annotated[float, Parameter(help="lambda of lambda/2 |x - start|^2, which holds the image back")] = 0.0
    cap: Annotated[int, Parameter(help="steps after which an image has failed")] = 200
    count: Annotated[int, Parameter(help="images tried, for the success rate")] = 50
    show: Annotated[int, Parameter(help="images drawn")] = 4
    seed: Annotated[int, Parameter(help="of the noise")] = 0

    def __post_init__(self) -> None:
        for name, value, good, allowed in (
            ("confidence", self.confidence, 0 < self.confidence < 1, "above 0 and below 1"),
            ("step", self.step, 0 < self.step <= 255, "above 0 and at most 255"),
            ("pull", self.pull, self.pull >= 0, "0 or more"),
            ("cap", self.cap, self.cap >= 1, "1 or more"),
            ("count", self.count, self.count >= 1, "1 or more"),
            ("show", self.show, self.show >= 1, "1 or more"),
        ):
            if not good:
                raise UsageError(f"{name} = {value}: must be {allowed}")
