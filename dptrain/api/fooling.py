"""How images are made that fool a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dptrain.errors import UsageError


@dataclass(frozen=True)
class Fooling:
    """How images are made that fool the network. Pixels are on the scale 0 ... 255."""

    target: str = ""  #: class the images are to be taken for, by name or number; "": the class after their own
    start: Literal["image", "noise"] = "image"  #: what to start from
    confidence: float = 0.9  #: probability of the target that is enough
    step: float = 1.0  #: how far the fastest pixel moves per step
    pull: float = 0.0  #: lambda of lambda/2 |x - start|^2, which pulls the image back to its start
    cap: int = 200  #: steps after which an image counts as failed
    count: int = 50  #: images to try, for the success rate
    show: int = 4  #: images to draw
    seed: int = 0  #: random seed of the noise

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
