"""`launch/soak.sh chaos|endure ...`: disturbs real runs for as long as one likes, and says what came of it."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from soak.chaos import EPOCHS, Outcome, disturb
from soak.endure import endure
from soak.recipe import undisturbed


def main() -> int:
    """0: nothing was found; 1: something was, and the folder is kept."""
    parser = argparse.ArgumentParser(prog="launch/soak.sh", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where everything is written; default: a temporary one")
    verbs = parser.add_subparsers(dest="verb", required=True)
    chaos = verbs.add_parser("chaos", help="many short runs, each killed again and again")
    chaos.add_argument("--runs", type=int, default=200)
    chaos.add_argument("--minutes", type=float, default=1e9, help="stop earlier, after so long")
    chaos.add_argument("--seed", type=int, default=0, help="of the first schedule; each later one has the next number")
    endurance = verbs.add_parser("endure", help="one long run with workers that come and go")
    endurance.add_argument("--minutes", type=float, default=45)
    endurance.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="dptrain-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.verb == "chaos":
        found = _chaos(folder, given.seed, given.runs, given.minutes)
    else:
        found = bool(endure(folder, given.seed, given.minutes))
    if found:
        print(f"kept: {folder}")
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


def _chaos(folder: Path, seed: int, runs: int, minutes: float) -> bool:
    until = time.monotonic() + 60 * minutes
    reference = undisturbed(folder, "undisturbed", *EPOCHS)
    outcomes: list[Outcome] = []
    for number in range(seed, seed + runs):
        if time.monotonic() >= until:
            break
        place = folder / f"schedule-{number}"
        place.mkdir()
        outcome = disturb(number, place, reference)
        outcomes.append(outcome)
        print(json.dumps(vars(outcome)), flush=True)
        if not outcome.faults:
            shutil.rmtree(place)
    print(json.dumps(_summary(outcomes)))
    return any(outcome.faults for outcome in outcomes) or not outcomes


def _summary(outcomes: list[Outcome]) -> dict[str, object]:
    blows: Counter[str] = Counter()
    for outcome in outcomes:
        blows.update(outcome.blows)
    return {
        "schedules": len(outcomes),
        "failed": [outcome.seed for outcome in outcomes if outcome.faults],
        "blows": dict(blows),
        "seconds": round(sum(outcome.seconds for outcome in outcomes)),
        "lost_a_worker_kill": _spread([x for outcome in outcomes for x in outcome.lost]),
        "lost_the_only_worker": _spread([x for outcome in outcomes for x in outcome.lost_alone]),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"n": 0}
    return {"n": len(seconds), "median": round(statistics.median(seconds), 2), "worst": round(max(seconds), 2)}


if __name__ == "__main__":
    sys.exit(main())
