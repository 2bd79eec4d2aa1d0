"""What is declared about one setting: section, type, default, rule, help, and which other setting uses it.

`dptrain.settings` is the table of all declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from dptrain.errors import UsageError, nearest
from dptrain.rules import Choice, Rule, Value

_T = TypeVar("_T")

IDENTITY_SECTIONS = ("data", "model", "training")  #: their settings decide the bits of a run


@dataclass(frozen=True, slots=True)
class Use:
    """Which values of another setting use this one."""

    other: str
    values: tuple[Value, ...]
    exclude: bool = False  #: all values but those listed
    #: A configuration in which the setting has a value that is not used: refuse it (True), or accept it, because runs
    #: exist that were started with it (False).
    strict: bool = True

    def by(self, value: Value) -> bool:
        """Is the setting used where the other setting has this value?"""
        return (value in self.values) != self.exclude


def setting(  # noqa: PLR0913  # all that is declared about a setting
    default: _T,
    rule: Rule,
    about: str,
    *,
    later: bool = False,
    before: _T | None = None,
    use: Use | None = None,
    short: str = "",
) -> _T:
    """Declares a setting as a dataclass field.

    `about` is its help. `later`: the setting came after the first runs. Those runs have the value `before` (None: the
    default). The JSON of the identity leaves the setting out while it has that value, so that a new setting changes the
    identity of no run that was made before it. `short`: another spelling of the flag.
    """
    old = default if before is None else before
    made: _T = field(
        default=default,
        metadata={"rule": rule, "about": about, "later": later, "before": old, "use": use, "short": short},
    )
    return made


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared about one setting."""

    name: str
    section: str
    default: Value
    rule: Rule
    about: str  #: help
    later: bool  #: it came after the first runs
    before: Value  #: the value of runs from before it came: the JSON of the identity leaves that out
    use: Use | None  #: None: always used
    short: str  #: another spelling of the flag; "": none

    @property
    def identity(self) -> bool:
        """Does it decide the bits of a run?"""
        return self.section in IDENTITY_SECTIONS

    @property
    def flag(self) -> str:
        """`batch_size` -> `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`batch_size` -> DPTRAIN_BATCH_SIZE."""
        return f"DPTRAIN_{self.name.upper()}"

    def convert(self, value: object) -> Value:
        """A value from TOML or JSON, checked. Raises UsageError with the key, the value and what is allowed."""
        try:
            return self.rule.convert(value)
        except ValueError:
            raise UsageError(self._refusal(value)) from None

    def parse(self, text: str) -> Value:
        """A value from a flag or the environment, checked. Raises UsageError as `convert` does."""
        try:
            return self.rule.parse(text)
        except ValueError:
            raise UsageError(self._refusal(text)) from None

    def _refusal(self, value: object) -> str:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        hint = nearest(value, self.rule.words) if isinstance(self.rule, Choice) and isinstance(value, str) else ""
        return f"{self.name} = {shown}: must be {self.rule.allowed}{hint}"
