"""What happens in a simulated history, in distribution; the seed decides what exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

from dptrain.cluster.toy import Toy

#: of one worker
WORKER_FAULTS = ("kill", "cut", "pause", "freeze", "leave", "partition", "oneway", "lossy", "corrupt", "clock", "slow")
#: of the coordinator, its disk, the whole
OTHER_FAULTS = ("join", "crash", "interrupt", "usurp", "full", "rot", "leap")
FAULTS = WORKER_FAULTS + OTHER_FAULTS


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of history."""

    toy: Toy = field(default_factory=Toy)
    workers: int = 3
    delay: float = 0.05  #: seconds a message takes at most
    shard_seconds: float = 0.4  #: a shard takes at most, on the fastest worker
    slowest: float = 10.0  #: times as long it takes at most, on the slowest one
    slowness: tuple[float, ...] = ()  #: of the first workers, exactly; then every shard takes exactly as long
    duplicates: float = 0.0  #: probability that a message is delivered twice
    faults: tuple[str, ...] = ()  #: of FAULTS
    every: float = 2.0  #: mean seconds between faults
    until: float = 30.0  #: no faults after this time
    checkpoint_every: int = 0
    audit: float = 0.0
    wrong: int = 0  #: workers, of those at the start, that one day begin to compute wrong bits


def mixed(seed: int) -> Scenario:
    """A different scenario for each seed: 1-6 workers, 1-9 shards, all kinds of runs and faults."""
    toy = Toy(
        shards=1 + seed % 9,
        steps_per_epoch=2,
        epochs=1 + seed % 3,
        validation=0 if seed % 5 == 0 else 20,
        test=0 if seed % 7 == 0 else 17,
    )
    return Scenario(
        toy=toy,
        workers=1 + seed % 6,
        duplicates=0.05 * (seed % 2),
        faults=FAULTS if seed % 3 else (FAULTS[seed % len(FAULTS)], FAULTS[seed // 3 % len(FAULTS)]),
        every=(0.7, 2.0)[seed % 2],
        until=(4.0, 8.0, 16.0)[seed // 2 % 3],
        checkpoint_every=seed % 4,
        audit=(0.0, 0.0, 0.3, 1.0)[seed // 5 % 4],
    )
