"""`launch/soak.sh VERB ...`: disturbs real runs for as long as you like, and prints the results."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from simulation.chaos import EPOCHS, Outcome, disturb
from simulation.endure import endure
from simulation.fuzz import fuzz
from simulation.recipe import undisturbed
from simulation.slow import MOST, slow
from simulation.storm import BOUND, storm
from simulation.targets import TARGETS

Run = Callable[[argparse.Namespace, Path], bool]  #: whether anything was found


def main() -> int:
    """0: nothing was found; 1: something was, and the folder is kept."""
    parser = argparse.ArgumentParser(prog="launch/soak.sh", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where everything is written; default: a temporary one")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(run: Run, name: str, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text)
        added.set_defaults(run=run)
        added.add_argument("--seed", type=int, default=0, help="of all that is drawn by lot")
        return added

    chaos = verb(_chaos, "chaos", "many short runs, each killed again and again; each has the next seed")
    chaos.add_argument("--runs", type=int, default=200)
    chaos.add_argument("--minutes", type=float, default=1e9, help="stop earlier, after so long")
    chaos.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="schedules at a time")
    verb(_endure, "endure", "one long run with workers that come and go").add_argument(
        "--minutes", type=float, default=45
    )
    fuzzing = verb(_fuzz, "fuzz", "a reader of files or frames")
    fuzzing.add_argument("target", choices=TARGETS)
    fuzzing.add_argument("--seconds", type=float, default=600)
    slowness = verb(_slow, "slow", "what a worker costs that is slower than the others")
    slowness.add_argument("--fast", type=int, default=1, help="workers at full speed; leave a core for the slow one")
    slowness.add_argument("--times", type=float, default=10.0, help="slower")
    slowness.add_argument("--steps", type=int, default=100, help="of each turn")
    slowness.add_argument("--turns", type=int, default=3)
    verb(_storm, "storm", "mutated frames and garbage on the port of a run").add_argument(
        "--frames", type=int, default=1_000_000
    )
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of a thousand processes compiles dptrain anew: 0.3 s
    folder = given.folder or Path(tempfile.mkdtemp(prefix="dptrain-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.run(given, folder):
        print(f"kept: {folder}")
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


def _chaos(given: argparse.Namespace, folder: Path) -> bool:
    return _Chaos(folder, 60 * given.minutes).play(range(given.seed, given.seed + given.runs), given.jobs)


def _endure(given: argparse.Namespace, folder: Path) -> bool:
    return bool(endure(folder, given.seed, given.minutes))


def _fuzz(given: argparse.Namespace, folder: Path) -> bool:
    begin = time.monotonic()
    found = fuzz(TARGETS[given.target], folder, given.seed, given.seconds)
    figures = {
        "target": given.target,
        "seed": given.seed,
        "seconds": round(time.monotonic() - begin),
        "seconds_computing": round(time.process_time()),
        "executions": found.executions,
        "read": found.read,
        "grown_mb": found.grown >> 20,
        "findings": {kind: str(path) for kind, path in found.kinds.items()},
    }
    print(json.dumps(figures), flush=True)
    return bool(found.kinds)


def _slow(given: argparse.Namespace, folder: Path) -> bool:
    figures = slow(folder, given.fast, given.times, given.steps, given.turns)
    print(json.dumps(figures))
    return bool(figures["differences"]) or figures["ratio"] > MOST


def _storm(given: argparse.Namespace, folder: Path) -> bool:
    figures = storm(folder, given.frames, given.seed)
    print(json.dumps(figures))
    return not figures["same_hash"] or figures["coordinator_mb_most"] - figures["coordinator_mb_before"] >= BOUND


class _Chaos:
    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._begin = time.monotonic()
        self._until = self._begin + seconds
        self._reference = undisturbed(folder, "undisturbed", *EPOCHS)
        self._print = threading.Lock()

    def play(self, seeds: range, jobs: int) -> bool:
        """Some schedules at a time; whether anything was found."""
        with ThreadPoolExecutor(jobs) as pool:
            outcomes = [outcome for outcome in pool.map(self._one, seeds) if outcome is not None]
        print(json.dumps(_summary(outcomes) | {"minutes": round((time.monotonic() - self._begin) / 60, 1)}))
        return any(outcome.faults for outcome in outcomes) or not outcomes

    def _one(self, seed: int) -> Outcome | None:
        if time.monotonic() >= self._until:
            return None
        place = self._folder / f"schedule-{seed}"
        place.mkdir()
        outcome = disturb(seed, place, self._reference)
        with self._print:
            print(json.dumps(vars(outcome)), flush=True)
        if not outcome.faults:
            shutil.rmtree(place)
        return outcome


def _summary(outcomes: list[Outcome]) -> dict[str, object]:
    blows: Counter[str] = Counter()
    lost: dict[str, list[float]] = {}
    for outcome in outcomes:
        blows.update(outcome.blows)
        for name, seconds in outcome.lost.items():
            lost.setdefault(name, []).extend(seconds)
    return {
        "runs": len(outcomes),
        "failed": [outcome.seed for outcome in outcomes if outcome.faults],
        "hashes": sum(outcome.hashes for outcome in outcomes),
        "differing": sum(outcome.differing for outcome in outcomes),
        "lives": sum(outcome.lives for outcome in outcomes),
        "blows": dict(blows),
        "seconds_lost": {name: _spread(seconds) for name, seconds in sorted(lost.items())},
        "seconds_a_run": _spread([outcome.seconds for outcome in outcomes]),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"n": 0}
    return {"n": len(seconds), "median": round(statistics.median(seconds), 2), "worst": round(max(seconds), 2)}


if __name__ == "__main__":
    sys.exit(main())
