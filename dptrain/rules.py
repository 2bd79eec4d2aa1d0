"""What the value of a setting may be: one class per kind of rule.

`convert` takes a value from TOML or JSON, `parse` takes the text of a flag or an environment variable; both raise
ValueError. `allowed` completes the sentence "must be ..." of the error message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = int | float | bool | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, low <= value <= high."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """For the error message."""
        return f"a whole number from {self.low} to {self.high}"

    def convert(self, value: object) -> int:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        return value

    def parse(self, text: str) -> int:
        """The number."""
        if not text.isascii():  # int() accepts the digits of every script
            raise ValueError(self.allowed)
        return self.convert(int(text))


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number, low <= value <= high; `above`: low itself is not allowed."""

    low: float
    high: float
    above: bool = False

    @property
    def allowed(self) -> str:
        """For the error message."""
        span = f"above {self.low:g} and at most {self.high:g}" if self.above else f"from {self.low:g} to {self.high:g}"
        return f"a number {span}"

    def convert(self, value: object) -> float:
        """The number; NaN is refused."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        if self.above and value == self.low:
            raise ValueError(self.allowed)
        return float(value)

    def parse(self, text: str) -> float:
        """The number."""
        return self.convert(float(text))


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    allowed = "true or false"

    def convert(self, value: object) -> bool:
        """The bool."""
        if not isinstance(value, bool):
            raise ValueError(self.allowed)  # noqa: TRY004  # all rules raise one kind of error
        return value

    def parse(self, text: str) -> bool:
        """The bool."""
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return self.convert(words.get(text.lower()))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. `note` is added to the error message."""

    words: tuple[str, ...]
    note: str = ""

    @property
    def allowed(self) -> str:
        """For the error message."""
        return ("one of " if len(self.words) > 1 else "") + ", ".join(self.words) + self.note

    def convert(self, value: object) -> str:
        """The word."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.allowed)
        return value

    parse = convert


@dataclass(frozen=True, slots=True)
class Text:
    """A string that matches the whole of `pattern`."""

    allowed: str
    pattern: str = r"[^\x00-\x1f]*"

    def convert(self, value: object) -> str:
        """The string."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(self.allowed)
        return value

    parse = convert


@dataclass(frozen=True, slots=True)
class Several:
    """A list; in a flag its items are separated by commas, and "" is the empty list."""

    item: Whole | Real | Text
    most: int

    @property
    def allowed(self) -> str:
        """For the error message."""
        return f"at most {self.most} values, separated by commas in a flag, each {self.item.allowed}"

    def convert(self, value: object) -> tuple[int, ...] | tuple[float, ...] | tuple[str, ...]:
        """The items, each checked."""
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise ValueError(self.allowed)
        return tuple(self.item.convert(v) for v in value)  # type: ignore[return-value]  # one kind of item

    def parse(self, text: str) -> tuple[int, ...] | tuple[float, ...] | tuple[str, ...]:
        """The items, each checked."""
        items = [part.strip() for part in text.split(",")] if text.strip() else []
        return self.convert([self.item.parse(item) for item in items])


Rule: TypeAlias = Whole | Real | Switch | Choice | Text | Several
