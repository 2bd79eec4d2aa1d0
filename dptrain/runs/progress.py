"""The progress and throughput of a run, from reports and a clock. How they are shown: `texts.py`, `live.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from dptrain.cluster.events import (
    EpochDone,
    Evaluated,
    Notice,
    Report,
    RunStarted,
    StepDone,
    TakenBack,
    WorkerAdmitted,
    WorkerLost,
    WorkerSilent,
)

_SMOOTHING = 0.05  #: weight of the newest step in the rate: about the last 20 steps count


@dataclass
class WorkerRow:
    """What the last reports say about one worker."""

    name: str
    pid: int
    isa: str
    seconds: float = 0.0  #: compute time in its last step
    busy: float = 0.0  #: compute time divided by the time of the step
    last_step: int = 0  #: the last step to which it contributed; 0: none yet
    silent: bool = False  #: no message since it was last given work


@dataclass
class Progress:
    """Changes with every report that `update` takes. Times are seconds of one monotonic clock."""

    started: float
    step: int = 0
    total_steps: int = 0
    steps_per_epoch: int = 1
    term: int = 0
    epoch: int = 0  #: 0 in the first
    lr: float = 0.0
    step_seconds: float = 0.0  #: of the last step
    epoch_seconds: float = 0.0  #: of the last finished epoch, as far as this process computed it
    workers: dict[str, WorkerRow] = field(default_factory=dict)
    _last_step_at: float = 0.0
    _epoch_at: float = 0.0
    _loss: float = 0.0  #: sums over the current epoch, as far as this process computed it
    _hits: int = 0
    _samples: int = 0
    _steps: int = 0  #: of this process
    _mean_step: float = 0.0  #: smoothed seconds per step
    _mean_samples: float = 0.0
    _sent: int = 0  #: bytes, in the steps of this process
    _received: int = 0

    def update(self, report: Report, now: float) -> None:
        """Takes in one report that arrived at `now`."""
        match report:
            case RunStarted():
                self.step, self.total_steps, self.term = report.step, report.total_steps, report.term
                self.steps_per_epoch = max(1, report.steps_per_epoch)
                self.epoch = report.step // self.steps_per_epoch
                self._last_step_at = self._epoch_at = now
            case WorkerAdmitted():
                self.workers[report.name] = WorkerRow(report.name, report.pid, report.isa)
                if not self._steps:
                    self._last_step_at = self._epoch_at = now  # waiting for workers does not count as time of a step
            case WorkerLost():
                self.workers.pop(report.name, None)
            case WorkerSilent():
                if row := self.workers.get(report.name):
                    row.silent = True
            case StepDone():
                self._step(report, now)
            case TakenBack():
                self.step, self.epoch = report.step, report.step // self.steps_per_epoch
            case EpochDone():
                self.epoch_seconds, self._epoch_at = now - self._epoch_at, now
                self._loss, self._hits, self._samples = 0.0, 0, 0
            case Evaluated():
                self._last_step_at = now  # its time does not count as time of the next step
            case Notice():
                pass

    def _step(self, report: StepDone, now: float) -> None:
        self.step_seconds, self._last_step_at = now - self._last_step_at, now
        self.step, self.epoch, self.lr = report.step, report.epoch, report.lr
        self._loss += report.loss * report.samples
        self._hits += report.hits
        self._samples += report.samples
        self._steps += 1
        self._sent += report.traffic[0]
        self._received += report.traffic[1]
        weight = max(_SMOOTHING, 1 / self._steps)
        self._mean_step += weight * (self.step_seconds - self._mean_step)
        self._mean_samples += weight * (report.samples - self._mean_samples)
        for name, seconds in report.worker_seconds:
            if row := self.workers.get(name):
                row.seconds, row.last_step, row.silent = seconds, report.step, False
                row.busy = min(1.0, seconds / self.step_seconds) if self.step_seconds > 0 else 0.0

    @property
    def step_in_epoch(self) -> int:
        """1 after the first step of an epoch, steps_per_epoch after its last."""
        return self.step - self.epoch * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def loss(self) -> float:
        """Mean over the images of the current epoch so far; NaN before its first step."""
        return self._loss / self._samples if self._samples else float("nan")

    @property
    def accuracy(self) -> float:
        """In the current epoch so far; NaN before its first step."""
        return self._hits / self._samples if self._samples else float("nan")

    @property
    def images_per_second(self) -> float:
        """Images per second over about the last 20 steps."""
        return self._mean_samples / self._mean_step if self._mean_step > 0 else 0.0

    @property
    def epoch_eta(self) -> float:
        """Seconds to the end of the current epoch, without its evaluation."""
        return (self.steps_per_epoch - self.step_in_epoch) * self._mean_step

    @property
    def run_eta(self) -> float:
        """Seconds to the end of the run, without evaluations."""
        return (self.total_steps - self.step) * self._mean_step

    @property
    def traffic(self) -> tuple[float, float]:
        """Bytes sent and received per step, including evaluations: means over the steps of this process."""
        steps = max(1, self._steps)
        return self._sent / steps, self._received / steps
