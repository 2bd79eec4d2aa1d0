"""The coordinator process: opens its sockets, starts the workers and augmenters of this host, and leads the run."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dptrain.cluster.codec import Limits
from dptrain.cluster.coordinator import Coordinator
from dptrain.cluster.events import Notice
from dptrain.cluster.job import Job
from dptrain.cluster.messages import PROTOCOL, Hello
from dptrain.cluster.worker import Worker
from dptrain.course import make_course
from dptrain.identity import identity, identity_json
from dptrain.kernels import isa
from dptrain.net.address import abstract_name, bind_address, warning_about
from dptrain.net.keys import COORDINATOR, open_keyring
from dptrain.net.links import RouterLink
from dptrain.net.sockets import FLUSH
from dptrain.optim.optimizer import make_optimizer
from dptrain.optim.schedule import make_schedule
from dptrain.processes.children import Children, ChildSpec
from dptrain.processes.coordinator_loop import Recorder, run_coordinator
from dptrain.processes.inprocess import InProcessHub, WorkerThread, WorkerThreads
from dptrain.processes.stopping import Preparation, StopFlag, StopSignals
from dptrain.runs.texts import count, networks
from dptrain.settings import DeploymentConfig
from dptrain.state import TrainingState, layout_digest

from .compute import RunComputer
from .parts import Parts, canary_digest, first_state


@dataclass(frozen=True, slots=True)
class Life:
    """What differs between two starts of the same run."""

    term: int  #: number of this start
    logs: Path  #: folder of the workers' and augmenters' logs
    state: TrainingState | None = None  #: of the checkpoint to continue from; None: the first step
    launch: bool = True  #: start workers and augmenters here; False: they connect from elsewhere


def train(parts: Parts, life: Life, recorder: Recorder, stop: StopSignals | StopFlag, preparation: Preparation) -> int:
    """Trains until the end, a request to stop or a failure, and returns the exit code.

    Raises UsageError if the address cannot be bound, and Interrupted if a signal comes before the kernels are compiled;
    no process is left running then. Does not close the recorder.
    """
    deployment, notes = parts.config.deployment, list[str]()
    with ExitStack() as stack:
        link: InProcessHub | RouterLink
        crew: WorkerThreads | Children
        if life.launch and deployment.workers == 0:
            link = InProcessHub()
            stack.callback(link.close)
            machine = preparation.run(lambda: _machine(parts, life, notes.append))
            stop.prepared()
            crew = threads = stack.enter_context(WorkerThreads(link, _threads(deployment)))
            threads.start()
        else:
            link = _bind(parts, recorder)
            stack.callback(link.close)
            specs = _specs(deployment, link.near, life.logs) if life.launch else []
            if specs:
                _warn_of_surplus(parts, recorder)
            crew = children = stack.enter_context(Children(specs))
            children.start()  # they import what they need while the kernels are compiled here
            machine = preparation.run(lambda: _machine(parts, life, notes.append))
            stop.prepared()
            children.begin()
            if link.endpoint.startswith("tcp://") or not life.launch:
                recorder.tell(Notice("info", f"listening on {link.endpoint}: {_worker_command(deployment)}"))
        for note in notes:
            recorder.tell(Notice("info", note))
        ended = run_coordinator(machine, link, recorder, stop, crew)
        link.close(FLUSH)
    return ended.code


def _worker_command(deployment: DeploymentConfig) -> str:
    """What to type on another host."""
    keys = ["--keys", "KEYS"] if deployment.keys else []
    return " ".join(["dptrain worker --connect ADDRESS", *keys, *networks(deployment)])


def _warn_of_surplus(parts: Parts, recorder: Recorder) -> None:
    workers, shards = parts.config.deployment.workers, parts.config.training.shards_per_step
    for warning in surplus(workers, shards, len(os.sched_getaffinity(0))):
        recorder.tell(Notice("warning", warning))


def surplus(workers: int, shards: int, cores: int) -> list[str]:
    """Warnings about workers of this host that make no step faster. `shards`: of one step."""
    warnings = []
    if workers > shards:
        rest = "will only score and replace others"
        warnings.append(f"{workers - shards} of {workers} workers {rest}: a step has {count(shards, 'shard')}")
    if workers > cores:
        warnings.append(f"{workers} workers on {count(cores, 'core')}: they start slowly and share the cores")
    return warnings


def _bind(parts: Parts, recorder: Recorder) -> RouterLink:
    deployment = parts.config.deployment
    keys = open_keyring(deployment.keys, COORDINATOR)
    insecure = os.environ.get("DPTRAIN_INSECURE") == "1"
    address = bind_address(deployment.bind, insecure=insecure, keys=keys is not None)
    if warning := warning_about(address, keys=keys is not None):
        recorder.tell(Notice("warning", warning))
    return RouterLink(address, Limits(parts.model.params.size, parts.model.buffers.size, 0), keys)


def _machine(parts: Parts, life: Life, tell: Callable[[str], None]) -> Coordinator:
    """Also computes the canary: then the workers find the compiled kernels in the cache."""
    state = life.state or first_state(parts, tell)
    config, source, model = parts.config, parts.source, parts.model
    deployment, sha256 = config.deployment, source.dataset.sha256
    course = make_course(config, source, parts.criterion)
    job = Job(
        term=life.term,
        identity=identity(config, sha256, layout_digest(model.params, model.buffers), isa.NUMERICS),
        config=identity_json(config),
        dataset=sha256,
        canary=canary_digest(parts),
        numerics=isa.NUMERICS,
        course=course,
        stop_after=deployment.max_steps,
        checkpoint_every=deployment.checkpoint_every,
        hash_every=deployment.hash_every,
        audit=deployment.audit,
        max_wait=deployment.max_wait,
    )
    schedule = make_schedule(config.training, source.sampler.steps_per_epoch, course.steps)
    return Coordinator(job, state, make_optimizer(config.training, model.params), schedule)


def _threads(deployment: DeploymentConfig) -> list[WorkerThread]:
    threads = []
    for number in range(deployment.computing_threads):
        name, incarnation = f"t{number}", secrets.token_hex(16)
        hello = Hello(PROTOCOL, incarnation, name, os.getpid(), isa.NUMERICS, isa.level())
        computer = RunComputer(deployment.data_dir, networks=deployment.networks)
        threads.append(WorkerThread(name, incarnation, Worker(hello), computer))
    return threads


def _specs(deployment: DeploymentConfig, endpoint: str, logs: Path) -> list[ChildSpec]:
    addresses = [abstract_name(f"augmenter{n}") for n in range(deployment.augmenters)]
    common = ("--connect", endpoint, "--data-dir", deployment.data_dir)
    return [
        *(
            ChildSpec(
                name=f"a{n}",
                argv=(
                    *_python("augmenter"),
                    *common,
                    *("--bind", address, "--number", str(n), "--of", str(len(addresses))),
                ),
                log=logs / f"a{n}.log",
                worker=False,
            )
            for n, address in enumerate(addresses)
        ),
        *(
            ChildSpec(
                name=f"w{n}",
                argv=(
                    *_python("gradient"),
                    *common,
                    *("--name", f"w{n}", "--isa", deployment.isa, "--augmenters", ",".join(addresses)),
                    *("--networks", ",".join(deployment.networks)),
                ),
                log=logs / f"w{n}.log",
                worker=True,
            )
            for n in range(deployment.workers)
        ),
    ]


def _python(module: str) -> tuple[str, ...]:
    """-P: no file in the working directory can replace a module of dptrain or of Python."""
    return sys.executable, "-P", "-m", f"dptrain.workers.{module}"
