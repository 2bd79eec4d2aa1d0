"""What deaths cost: the seconds from each one to the next step applied, less what a step takes."""

from __future__ import annotations

import statistics


class Losses:
    """Sees steps and blows in the order in which they happen.

    A blow without a name, or a second one before the next step, leaves nobody to say which of them cost the time: such
    losses are not reckoned.
    """

    def __init__(self) -> None:
        self._step = 0  #: the last one seen
        self._since = 0.0  #: when it was seen first, or when this life began
        self._gaps: list[float] = []  #: seconds of the steps nothing happened in
        self._waiting: list[tuple[float, str]] = []  #: blows since that step
        self._found: dict[str, list[float]] = {}
        self.moving = False  #: this life of the coordinator has applied a step

    def begin(self, now: float, step: int) -> None:
        """Another life of the coordinator, after `step`. What it repeats of the last one's is part of the loss."""
        self._step, self._since, self.moving = max(step, self._step), now, False

    def see(self, now: float, step: int) -> None:
        """`step` is the last one applied."""
        if step <= self._step:
            return
        usual = statistics.median(self._gaps) if self._gaps else 0.0
        if len(self._waiting) == 1 and self._waiting[0][1]:
            when, name = self._waiting[0]
            self._found.setdefault(name, []).append(round(max(0.0, now - when - usual), 3))
        elif not self._waiting and self.moving:
            self._gaps.append((now - self._since) / (step - self._step))
        self._step, self._since, self._waiting, self.moving = step, now, [], True

    def blow(self, now: float, name: str) -> None:
        """Somebody was hit; `name`: whose death this is, "" where it is nobody's."""
        self._waiting.append((now, name))

    def reckoned(self) -> dict[str, list[float]]:
        """Name -> seconds, one figure a death that nothing else fell into."""
        return self._found
