"""The faults of a simulated history: what each kind does to the world, and when."""

from __future__ import annotations

from math import inf

from dptrain.cluster.events import THE_COORDINATOR, Child, Gone, StopRequested
from simulation.actors import WORKER_FAULTS, Life, Link, Process
from simulation.world import World

MOST_WORKERS = 7


class Simulation(World):
    """A world with faults. `run` it once."""

    def run(self) -> None:
        """From the beginning to the end, with the scenario's faults until its time is over."""
        self.begin()
        if self.scenario.faults:
            self.at(self.up_to(2 * self.scenario.every), self._fault)
        self.at(self.scenario.until, self.relief)
        self.play()

    def relief(self) -> None:
        """From here on no fault happens, and a new worker is there (those that still live may be about to leave)."""
        self.disk.full = False
        for process in self.processes:
            process.dark_until = [min(self.now, until) for until in process.dark_until]
            process.lossy_until = process.slow_until = 0.0
            process.corrupt = 0
        for _ in range(3 if self.scenario.wrong else 1):
            self.start_worker()

    def _fault(self) -> None:
        if self.now >= self.scenario.until:
            return
        kind = self.scenario.faults[self.below(len(self.scenario.faults))]
        self.strike(kind)
        self.at(self.now + self.up_to(2 * self.scenario.every), self._fault)

    def strike(self, kind: str) -> None:
        """One fault of a process drawn at random."""
        self.note("fault", kind)
        if kind in WORKER_FAULTS:
            living = [p for p in self.processes if p.alive]
            if living:
                self._hurt(living[self.below(len(living))], kind)
        elif kind == "join":
            if sum(p.alive for p in self.processes) < MOST_WORKERS:
                self.start_worker()
        elif kind == "full":
            self.disk.full = True
            self.at(self.now + self.up_to(20.0), self._room)
        elif kind == "rot":
            if not self.over:  # no later life reads it
                self.disk.rot()
        elif self.life is not None and self.life.alive:
            self._hurt_coordinator(self.life, kind)

    def _room(self) -> None:
        self.disk.full = False

    def _hurt_coordinator(self, life: Life, kind: str) -> None:
        if kind == "crash":
            self.down(life, 137)
        elif kind == "interrupt":
            self.coordinate(life, StopRequested("SIGTERM"))
        elif kind == "leap":
            life.clock.change(self.now, self.up_to(2.0), self.up_to(30.0))
        else:  # "usurp": another one takes over while this one goes on
            self.start_coordinator()

    def _hurt(self, process: Process, kind: str) -> None:
        soon = self.now + self.up_to(20.0)
        match kind:
            case "pause":
                until = self.now + self.up_to(40.0)
                process.paused_until = max(process.paused_until, until)
            case "freeze":  # its connection stays: only a lease can find out
                process.paused_until = inf
            case "leave":
                self.work(process, StopRequested("SIGTERM"))
            case "partition":
                process.dark_until, process.dark_loses = [soon, soon], self.chance(0.5)
            case "oneway":
                process.dark_until[self.below(2)], process.dark_loses = soon, self.chance(0.5)
            case "lossy":
                process.lossy_until = soon
            case "slow":
                process.slow_until = soon
            case "corrupt":
                process.corrupt = 1 + self.below(3)
            case "clock":
                process.clock.change(self.now, self.up_to(2.0), self.up_to(30.0))
            case _:
                self._part(process, kind)

    def _part(self, process: Process, kind: str) -> None:
        """Its connection is cut; by "kill" because it is dead."""
        link = process.link
        if link is not None:
            link.up = False
            if self.chance(0.5):  # else it is noticed at the next send
                self.at(self.now + self.up_to(1.0), lambda: self.coordinate(link.life, Gone(link.peer, "reset")))
            if kind == "cut" and self.chance(0.5):  # else the silence is noticed
                self.at(self.now + self.up_to(1.0), lambda: self._lose(process, link))
            if kind == "kill" and self.chance(0.5):  # one of the coordinator's own children
                child = Child(process.hello.name, process.hello.incarnation)
                exited = Gone(child, "signal 9", shards_suspect=False)
                self.at(self.now + self.up_to(0.2), lambda: self.coordinate(link.life, exited))
        if kind == "kill":
            self.end(process, 137)

    def _lose(self, process: Process, link: Link) -> None:
        if process.link is link:
            self.work(process, Gone(THE_COORDINATOR, "reset"))
