"""Transition tables: the states of a machine, and which event leads from which state to which, in one dict.

A machine defines its states as an Enum whose values say what each state means, its events as a second one, and one
`Table`. It moves only through `Tracker.step`, so a transition that the table does not have raises `InvalidTransition`
with the machine's last events. `page` renders the table as Markdown; `python tools/diagrams.py` writes these pages to
docs/explanation/, and a test fails when a committed page differs from its table.

What a peer may send at a wrong time is not an invalid transition: the machine asks `Tracker.allows` first, and ignores
or refuses such a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from dptrain.errors import DptrainError

REMEMBERED = 20  #: events that an InvalidTransition reports

S = TypeVar("S", bound=Enum)  #: states
E = TypeVar("E", bound=Enum)  #: events


class InvalidTransition(DptrainError):
    """A machine was given an event that is impossible in its state: a bug in dptrain, so the exit code is 70.

    Its notes hold the machine's last events, one per line, the oldest first.
    """

    def __init__(self, machine: str, state: str, event: str, history: tuple[str, ...]) -> None:
        super().__init__(f"{machine}: {event} is impossible in the state {state}; this is a bug in dptrain")
        self.state = state
        self.event = event
        self.history = history
        for line in history:
            self.add_note(line)


@dataclass(frozen=True, slots=True)
class Table(Generic[S, E]):
    """The transitions of one kind of machine. A machine begins in `start`."""

    machine: str  #: what the machine is, for errors and headings: "worker"
    start: S
    transitions: Mapping[tuple[S, E], S]

    @property
    def final(self) -> tuple[S, ...]:
        """The states that nothing leads out of."""
        leaving = {state for state, _ in self.transitions}
        return tuple(state for state in type(self.start) if state not in leaving)

    def unreachable(self) -> tuple[S, ...]:
        """The states that no sequence of events leads to; a sound table has none."""
        reached = {self.start}
        while new := {to for (state, _), to in self.transitions.items() if state in reached} - reached:
            reached |= new
        return tuple(state for state in type(self.start) if state not in reached)

    def mermaid(self) -> str:
        """The table as a mermaid state diagram. Events with the same two ends share an arrow."""
        arrows: dict[tuple[S, S], list[str]] = {}
        for (state, event), to in self.transitions.items():
            arrows.setdefault((state, to), []).append(label(event))
        order = list(type(self.start))
        lines = ["stateDiagram-v2", f"    [*] --> {self.start.name}"]
        for state, to in sorted(arrows, key=lambda ends: (order.index(ends[0]), order.index(ends[1]))):
            lines.append(f"    {state.name} --> {to.name}: {', '.join(arrows[state, to])}")
        lines += [f"    {state.name} --> [*]" for state in self.final]
        return "\n".join(lines)

    def page(self) -> str:
        """The diagram, what each state means and what each event means, as Markdown."""
        event_type = type(next(iter(self.transitions))[1])
        return (
            f"```mermaid\n{self.mermaid()}\n```\n\n"
            f"{_meanings('state', type(self.start))}\n\n{_meanings('event', event_type)}\n"
        )


def label(member: Enum) -> str:
    """A state or an event as errors and diagrams name it: "new weights" for NEW_WEIGHTS."""
    return member.name.lower().replace("_", " ")


def _meanings(kind: str, members: type[Enum]) -> str:
    rows = [f"| {member.name if kind == 'state' else label(member)} | {member.value} |" for member in members]
    return "\n".join((f"| {kind} | meaning |", "|---|---|", *rows))


class Tracker(Generic[S, E]):
    """Where one machine stands in its table, and the events that led there."""

    def __init__(self, table: Table[S, E]) -> None:
        self._table = table
        self._state = table.start
        self._history: deque[tuple[S, str]] = deque(maxlen=REMEMBERED)

    @property
    def state(self) -> S:
        """The current state."""
        return self._state

    def note(self, what: str) -> None:
        """Remembers an input that may change nothing (a message type, say), for the report of an InvalidTransition."""
        self._history.append((self._state, what))

    def allows(self, event: E) -> bool:
        """Whether the table has a transition for the event in the current state."""
        return (self._state, event) in self._table.transitions

    def step(self, event: E) -> S:
        """Takes the transition and returns the new state. Raises InvalidTransition where the table has none."""
        to = self._table.transitions.get((self._state, event))
        if to is None:
            raise InvalidTransition(self._table.machine, self._state.name, label(event), self.history())
        self._history.append((self._state, f"{label(event)} -> {to.name}"))
        self._state = to
        return to

    def history(self) -> tuple[str, ...]:
        """The last events, one line each, the oldest first: "GREETING: welcomed -> PREPARING"."""
        return tuple(f"{state.name}: {what}" for state, what in self._history)
