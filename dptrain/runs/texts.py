"""The texts that a run shows: banner, durations, figures, lines of epochs and scores, the last lines.

The line of an event is made by `recorder.py`; printing: `reporter.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isnan
from shlex import join

from dptrain.cluster.events import EpochDone, Evaluated
from dptrain.runs.manifest import RunFacts
from dptrain.runs.progress import Progress
from dptrain.settings import DeploymentConfig


def duration(seconds: float) -> str:
    """h:mm:ss."""
    if not isfinite(seconds) or seconds < 0:
        return "-:--:--"
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}"


@dataclass(frozen=True, slots=True)
class Banner:
    """What is about to run, where and how."""

    facts: RunFacts
    path: str
    term: int
    threads: int  #: with workers = 0
    isa: str

    def lines(self) -> list[str]:
        """Five lines."""
        data, training, deployment = self.facts.data, self.facts.config.training, self.facts.config.deployment
        height, width, channels = data.image
        shards = training.shards_per_step
        split = f"{data.train:,} train / {data.validation:,} validation / {data.test:,} test"
        return [
            f"data    {data.name}  {split}  {height}x{width}x{channels}  {len(data.classes)} classes",
            f"model   {self.facts.model}",
            f"batch   {training.batch_size} = {count(shards, 'shard')} x {training.shard_size}  "
            f"{count(-(-data.train // training.batch_size), 'step')} per epoch, {count(training.epochs, 'epoch')}",
            f"run     {self._processes()}  isa {self.isa}  {deployment.bind}",
            f"dir     {self.path}  identity {self.facts.identity[:12]}  term {self.term}",
        ]

    def _processes(self) -> str:
        deployment = self.facts.config.deployment
        if leads_only(deployment):
            return "coordinator only, workers connect from elsewhere"
        if not deployment.workers:
            return f"1 process, {count(self.threads, 'thread')}"
        augmenters = f", {count(deployment.augmenters, 'augmenter')}" if deployment.augmenters else ""
        return f"{count(deployment.workers, 'worker')}{augmenters}, 1 thread each"


def leads_only(deployment: DeploymentConfig) -> bool:
    """Whether this is `dptrain coordinator`: `dptrain train` takes no address if it starts no workers."""
    return deployment.workers == 0 and deployment.bind != "ipc"


def noun(deployment: DeploymentConfig) -> str:
    """What computes: workers, or the threads of one process."""
    return "worker" if deployment.workers or leads_only(deployment) else "thread"


def resuming(path: str, deployment: DeploymentConfig) -> str:
    """The command that resumes a run, with address and keys: the run may have been started with others."""
    if not leads_only(deployment):
        return join(["dptrain", "train", "--resume", path, *networks(deployment)])
    keys = ["--keys", deployment.keys] if deployment.keys else []
    address = ["--bind", deployment.bind, *keys]
    return join(["dptrain", "coordinator", "--resume", path, *address, *networks(deployment)])


def predicting(path: str, deployment: DeploymentConfig) -> str:
    """The command that predicts, without its images."""
    return join(["dptrain", "predict", path, *networks(deployment)])


def networks(deployment: DeploymentConfig) -> list[str]:
    """The flag without which your own network is not run."""
    return ["--networks", ",".join(deployment.networks)] if deployment.networks else []


def count(number: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def where(progress: Progress) -> str:
    """`epoch  3/12  [  47/94]`."""
    width = len(str(progress.steps_per_epoch))
    epoch = f"epoch {progress.epoch + 1:>{len(str(progress.epochs))}}/{progress.epochs}"
    return f"{epoch}  [{progress.step_in_epoch:>{width}}/{progress.steps_per_epoch}]"


def figures(progress: Progress, room: int = 200) -> str:
    """`loss 0.5213  acc 0.812  lr 0.0812  511 images/s`, shortened to `room` characters; "" before the first step."""
    if isnan(progress.loss):
        return ""
    loss, accuracy, lr = f"loss {progress.loss:.4f}", f"acc {progress.accuracy:.3f}", f"lr {progress.lr:.4g}"
    speed = f"{progress.images_per_second:,.0f}"
    wordings = (
        f"{loss}  {accuracy}  {lr}  {speed} images/s",
        f"{loss}  {accuracy}  {speed} images/s",
        f"{loss}  {accuracy}  {speed}/s",
        f"{loss}  {accuracy}",
    )
    return next((wording for wording in wordings if len(wording) <= room), loss)


def epoch_line(report: EpochDone, progress: Progress, elapsed: float) -> str:
    """One line for a finished epoch."""
    return (
        f"epoch {report.epoch:>{len(str(progress.epochs))}}/{progress.epochs}  train loss {report.loss:.4f}  "
        f"acc {report.accuracy:.4f}  lr {report.lr:.4g}  in {duration(progress.epoch_seconds)}  "
        f"elapsed {duration(elapsed)}  eta {duration(progress.run_eta)}"
    )


def evaluation_line(report: Evaluated) -> str:
    """One line for a scored split."""
    best = "  (best so far)" if report.best else ""
    return (
        f"{report.split}  loss {report.loss:.4f}  acc {report.accuracy:.4f}  top5 {report.accuracy5:.4f}  "
        f"{report.samples:,} images, step {report.step}{best}"
    )


@dataclass(slots=True)
class Summary:
    """How a run ended, according to its reports."""

    path: str  #: run directory
    command: str  #: that resumes it
    predict: str  #: that predicts, without its images
    test: Evaluated | None = None  #: scored: the run is complete
    complete_before: bool = False  #: the run was complete before this start
    failed: str = ""  #: the error that ended it: resuming would fail again


def closing_lines(summary: Summary, progress: Progress, elapsed: float) -> list[str]:
    """The result, and the commands that use it."""
    test, path = summary.test, summary.path
    if summary.complete_before:
        return ["the run is complete: nothing was left to do", f"predict: {summary.predict} IMAGE..."]
    if test is None:
        stopped = f"stopped at step {progress.step:,} of {progress.total_steps:,} after {duration(elapsed)}"
        return [stopped, f"run directory {path}" if summary.failed else f"continue: {summary.command}"]
    return [
        f"test accuracy {test.accuracy:.4f}  loss {test.loss:.4f}  error {100 * (1 - test.accuracy):.2f} %  "
        f"({test.samples:,} images)  in {duration(elapsed)}",
        *_traffic_lines(progress),
        f"checkpoints {path}/checkpoints",
        f"predict: {summary.predict} IMAGE...",
    ]


def _traffic_lines(progress: Progress) -> list[str]:
    """Traffic per step; no line if everything was one process."""
    sent, received = progress.traffic
    if not sent + received:
        return []
    return [f"traffic {sent / 1e6:,.2f} MB sent, {received / 1e6:,.2f} MB received per step"]
