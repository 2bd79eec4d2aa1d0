"""`launch/soak.sh simulate --schedules N --seed S`: any number of simulated histories, one per seed.

Every history is compared with `dptrain.loop` after every event. The first one that fails is reported with its seed and
its last events, and `--seed S --schedules 1` replays it. Exit code 1 if one failed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache

from simulation.actors import mixed
from simulation.faults import Simulation
from simulation.toy import oracle

TELL_EVERY = 1_000  #: schedules
_oracle = cache(oracle)


def play(seed: int, totals: Counter[str]) -> None:
    """One history; what happened in it is added to `totals`. Raises AssertionError."""
    scenario = mixed(seed)
    simulation = Simulation(scenario, _oracle(scenario.toy), seed)
    simulation.run()
    totals["schedules"] += 1
    totals["events"] += simulation.events
    totals["worker processes"] += len(simulation.processes)
    totals["coordinator lives"] += len(simulation.lives)
    totals["outdated or duplicate messages"] += simulation.outdated + simulation.duplicate
    totals["compared results"] += simulation.agreed
    totals["refused writes"] += simulation.disk.refused
    for _, what, kind in simulation.history:
        if what == "fault":
            totals[f"fault {kind}"] += 1


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="simulation.histories", description=__doc__, allow_abbrev=False)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the others follow")
    given = parser.parse_args(argv)
    totals: Counter[str] = Counter()
    for seed in range(given.seed, given.seed + given.schedules):
        try:
            play(seed, totals)
        except AssertionError as error:
            sys.stdout.write(f"FAILED: {error}\n")
            return 1
        if totals["schedules"] % TELL_EVERY == 0:
            sys.stdout.write(f"{totals['schedules']:,} schedules, {totals['events']:,} events, none failed\n")
            sys.stdout.flush()
    text = ", ".join(f"{name} {count:,}" for name, count in sorted(totals.items()))
    sys.stdout.write(f"all ended with the bits of the plain loop: {text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
