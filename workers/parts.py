"""What a run consists of in one process: its data, its network, its first weights, its canary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dptrain.data import ShardSource, open_source
from dptrain.engine import build
from dptrain.errors import UsageError
from dptrain.kernels import philox
from dptrain.model import Model
from dptrain.nn import initial_buffers, initial_params
from dptrain.nn.criterion import Criterion, make_criterion
from dptrain.optim.optimizer import make_optimizer
from dptrain.settings import Config
from dptrain.state import TrainingState
from dptrain.types import I64, U8


class Parts(NamedTuple):
    """The data and the network of a run. Threads may share the source; each needs a model of its own."""

    config: Config
    source: ShardSource
    model: Model
    criterion: Criterion  #: with which splits are scored


def open_parts(config: Config, data_dir: str) -> Parts:
    """Opens the data and builds the network. Your own networks come from `config.deployment.networks`, never the wire.

    Raises UsageError and DataError.
    """
    source = open_source(config.data, config.training, data_dir)
    wanted, found = config.deployment.classes, len(source.dataset.classes)
    if wanted not in (0, found):
        raise UsageError(
            f"classes = {wanted}, but the data set {config.data.dataset} has {found}: it decides their number"
        )
    of = config.model
    criterion = make_criterion(of.criterion, of.class_weights, found, of.label_smoothing)
    model = build(
        of,
        source.image_shape,
        found,
        *source.standard,
        seed=config.training.seed,
        files=config.deployment.networks,
    )
    return Parts(config, source, model, criterion)


def first_state(parts: Parts, tell: Callable[[str], None] = lambda _: None) -> TrainingState:
    """The state before the first step: weights drawn from the seed, momentum zero, no step applied.

    With `start`, the weights of that file take their place; `tell` hears which. Raises UsageError and DataError.
    """
    model, training = parts.model, parts.config.training
    optimizer = make_optimizer(training, model.params)
    state = TrainingState(
        params_layout=model.params,
        buffers_layout=model.buffers,
        params=initial_params(model.params, training.seed),
        buffers=initial_buffers(model.buffers),
        optimizer=optimizer.init(model.params.size),
    )
    start = parts.config.deployment.start
    if training.start_sha256 and not start:
        raise UsageError(f"this run begins with the weights {training.start_sha256[:12]}: give their file with --start")
    if start:
        from dptrain.interop.weights import read_weights, take_over  # no worker needs it

        found = read_weights(start)
        weights = found.pinned(training.start_sha256)
        if weights is None:
            raise UsageError(
                f"start: {found.path} holds other weights ({found.sha256()[:12]}) than this run began with "
                f"({training.start_sha256[:12]}): put the old file back, or start a new run"
            )
        layouts = (model.params, state.params), (model.buffers, state.buffers)
        tell(take_over(weights, *layouts, training.anew, parts.source.dataset.classes))
    return state


def canary_digest(parts: Parts) -> str:
    """SHA-256 (hex) over the gradient and the scores of a made-up shard with the first weights, and over the images of
    the first augmented shard.

    A machine that finds other bits here than the coordinator would find other bits in training. It also compiles every
    kernel: a worker that compiles while it holds a shard looks dead (measured: 13 s for crop and flip, busy machine).
    """
    model, training = parts.model, parts.config.training
    x, y = _canary_shard(parts)
    params = initial_params(model.params, training.seed)
    digest = hashlib.sha256(model.gradient(params, x, y).digest().encode())
    digest.update(np.ascontiguousarray(model.logits(params, initial_buffers(model.buffers), x)).data)
    digest.update(parts.source.images(0, 0)[0].data)
    return digest.hexdigest()


def _canary_shard(parts: Parts) -> tuple[U8, I64]:
    training, data = parts.config.training, parts.source.dataset
    shape = (training.shard_size, *parts.source.image_shape)
    size = int(np.prod(shape))
    pixels = philox.words(training.seed, philox.Domain.CANARY, 0, 0, -(-size // 4))
    x = pixels.astype("<u4").view(np.uint8)[:size].reshape(shape).copy()
    draws = philox.words(training.seed, philox.Domain.CANARY, 0, 1, training.shard_size)
    return x, (draws.astype(np.int64) * len(data.classes)) >> 32
