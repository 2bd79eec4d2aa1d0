"""Transition tables: what they allow, how they fail, and that the committed diagrams are those of the tables."""

import importlib.util
from enum import Enum
from pathlib import Path

import pytest

from dptrain.cluster.table import REMEMBERED, InvalidTransition, Table, Tracker

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("diagrams", ROOT / "tools" / "diagrams.py")
diagrams = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(diagrams)


class Door(Enum):
    """States of a door."""

    SHUT = "it blocks the way"
    OPEN = "it lets people pass"
    GONE = "it is no longer there"


class Push(Enum):
    """What happens to it."""

    PULLED = "a person pulls it"
    PUSHED_HARD = "a person pushes it"
    BROKEN = "it falls out of its frame"


DOOR = Table(
    "door",
    Door.SHUT,
    {
        (Door.SHUT, Push.PULLED): Door.OPEN,
        (Door.OPEN, Push.PUSHED_HARD): Door.SHUT,
        (Door.SHUT, Push.BROKEN): Door.GONE,
        (Door.OPEN, Push.BROKEN): Door.GONE,
    },
)


def test_a_tracker_moves_as_the_table_says():
    tracker = Tracker(DOOR)
    assert tracker.state is Door.SHUT
    assert tracker.allows(Push.PULLED)
    assert not tracker.allows(Push.PUSHED_HARD)
    assert [tracker.step(event) for event in (Push.PULLED, Push.PUSHED_HARD)] == [Door.OPEN, Door.SHUT]
    assert tracker.state is Door.SHUT


def test_an_impossible_event_names_the_state_the_event_and_what_led_there_and_moves_nothing():
    tracker = Tracker(DOOR)
    tracker.note("a knock")
    tracker.step(Push.PULLED)
    with pytest.raises(InvalidTransition, match=r"^door: pulled is impossible in the state OPEN; ") as caught:
        tracker.step(Push.PULLED)
    error = caught.value
    assert (error.state, error.event, error.exit_code) == ("OPEN", "pulled", 70)
    assert error.history == ("SHUT: a knock", "SHUT: pulled -> OPEN") == tuple(error.__notes__)
    assert tracker.state is Door.OPEN


def test_the_report_is_bounded():
    tracker = Tracker(DOOR)
    for _ in range(REMEMBERED):
        tracker.step(Push.PULLED)
        tracker.step(Push.PUSHED_HARD)
    assert len(tracker.history()) == REMEMBERED


def test_a_table_is_rendered_as_a_diagram_with_the_meaning_of_its_states_and_events():
    assert DOOR.final == (Door.GONE,)
    assert DOOR.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> SHUT",
        "    SHUT --> OPEN: pulled",
        "    SHUT --> GONE: broken",
        "    OPEN --> SHUT: pushed hard",
        "    OPEN --> GONE: broken",
        "    GONE --> [*]",
    ]
    assert "| OPEN | it lets people pass |" in DOOR.page()
    assert "| pushed hard | a person pushes it |" in DOOR.page()


def test_events_between_the_same_two_states_share_an_arrow():
    table = Table("door", Door.SHUT, {(Door.SHUT, Push.PULLED): Door.OPEN, (Door.SHUT, Push.BROKEN): Door.OPEN})
    assert "    SHUT --> OPEN: pulled, broken" in table.mermaid().splitlines()
    assert table.unreachable() == (Door.GONE,)


@pytest.mark.parametrize("page", diagrams.PAGES)
def test_every_state_of_a_real_table_can_be_reached(page):
    assert diagrams.PAGES[page].unreachable() == ()


@pytest.mark.parametrize("page", diagrams.PAGES)
def test_the_committed_diagram_is_that_of_the_table(page):
    path = ROOT / page
    assert path.read_text() == diagrams.with_table(path.read_text(), diagrams.PAGES[page]), (
        f"{page} differs from its table: run `python tools/diagrams.py` and commit the page"
    )


def test_only_the_part_between_the_markers_is_generated():
    text = f"# Doors\n\nBefore.\n\n{diagrams.BEGIN}\nold\n{diagrams.END}\n\nAfter.\n"
    new = diagrams.with_table(text, DOOR)
    assert new.startswith(f"# Doors\n\nBefore.\n\n{diagrams.BEGIN}\n```mermaid\n")
    assert new.endswith(f"{diagrams.END}\n\nAfter.\n")
    assert "old" not in new
    assert diagrams.with_table(new, DOOR) == new
    with pytest.raises(ValueError, match="markers"):
        diagrams.with_table("# Doors\n", DOOR)
