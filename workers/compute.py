"""What a worker computes: the canary, gradients of shards, scores of splits.

The images of a shard come from the augmenters; if they have not arrived, they are prepared here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dptrain.cluster.events import EvaluationTask, Failure, GradientTask, Prepared, PrepareTask, Task
from dptrain.cluster.messages import Welcome
from dptrain.course import make_course
from dptrain.errors import DataError, UsageError
from dptrain.identity import from_identity_json
from dptrain.loop import score_shard
from dptrain.model import ShardResult, ShardScore
from dptrain.net.keys import Keyring
from dptrain.net.prepared import ShardClient
from dptrain.processes.worker_loop import Result
from dptrain.state import layout_digest
from dptrain.types import I64, U8

from .parts import Parts, canary_digest, open_parts


class RunComputer:
    """The `Computer` of a worker: it prepares the run of a Welcome, then computes shards of it."""

    def __init__(
        self,
        data_dir: str,
        augmenters: Sequence[str] = (),
        keys: Keyring | None = None,
        networks: tuple[str, ...] = (),
    ) -> None:
        self._data_dir = data_dir
        self._networks = networks
        self._augmenters, self._keys = augmenters, keys
        self._parts: Parts | None = None
        self._augmented: ShardClient | None = None

    def run(self, task: Task) -> Result:
        """Carries out one task. What this host lacks, such as data, makes a Failure: starting again would not help."""
        match task:
            case PrepareTask(welcome):
                try:
                    return self._prepare(welcome)
                except (DataError, UsageError) as error:
                    return Failure(str(error))
            case GradientTask():
                return self._gradient(task)
            case EvaluationTask():
                return self._score(task)

    def prefetch(self, task: GradientTask) -> None:
        """Asks the augmenters for the images of a shard, if there are any augmenters."""
        if self._augmented is not None:
            self._augmented.request(task.step, task.shard)

    def close(self) -> None:
        """Closes the connections to the augmenters."""
        if self._augmented is not None:
            self._augmented.close()

    def _prepare(self, welcome: Welcome) -> Prepared:
        self.close()
        parts = self.parts_for(welcome.config)
        self._parts = parts
        training, model, data = parts.config.training, parts.model, parts.source.dataset
        if self._augmenters:
            shards = training.shards_per_step
            shape = (training.shard_size, *parts.source.image_shape)
            self._augmented = ShardClient(self._augmenters, welcome.identity, shards, shape, self._keys)
        layout = layout_digest(model.params, model.buffers)
        course = make_course(parts.config, parts.source, parts.criterion)
        return Prepared(layout, data.sha256, canary_digest(parts), course, model.params, model.buffers)

    def parts_for(self, identity: str) -> Parts:
        """The data and the network of the run with this configuration (JSON), as the coordinator sends it.

        Python files of networks come from this worker's own options: the coordinator cannot make it run code.
        """
        config = from_identity_json(identity)
        deployment = replace(config.deployment, networks=self._networks)
        return open_parts(replace(config, deployment=deployment), self._data_dir)

    def _gradient(self, task: GradientTask) -> ShardResult:
        assert self._parts is not None, "a worker is admitted after it has prepared"
        x, y = self._shard(self._parts, task.step, task.shard)
        return self._parts.model.gradient(task.params, x, y, task.step, task.shard)

    def _shard(self, parts: Parts, step: int, shard: int) -> tuple[U8, I64]:
        if self._augmented is not None:
            y = parts.source.labels(step, shard)
            x = self._augmented.take(step, shard, len(y))
            if x is not None:
                return x, y
        return parts.source.images(step, shard)

    def _score(self, task: EvaluationTask) -> ShardScore:
        assert self._parts is not None, "a worker is admitted after it has prepared"
        _, source, model, criterion = self._parts
        weights, part = (task.params, task.buffers), (task.split, task.start, task.stop)
        return score_shard(model, source, criterion, weights, part)
