"""The augmenter process: prepares shards a few steps ahead and sends them to the workers that ask for them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from dptrain.cluster.events import StopRequested
from dptrain.cluster.messages import Welcome
from dptrain.errors import DataError, UsageError
from dptrain.identity import from_identity_json
from dptrain.net.address import bind_address, connect_address, warning_about
from dptrain.net.keys import AUGMENTER, COORDINATOR, open_keyring
from dptrain.net.links import DealerLink
from dptrain.net.prepared import Place, Prefetch, ShardServer
from dptrain.processes.augmenter_loop import CoordinatorWatch, ask_for_run, serve
from dptrain.processes.stopping import LAUNCHER, StopSignals, StopSource, wait_for

from .entry import run

log = logging.getLogger("dptrain.augmenter")


@dataclass(frozen=True, slots=True)
class Options:
    """What one augmenter process is started with."""

    connect: str  #: address of the coordinator
    bind: str  #: address it listens at for workers
    number: int = 0  #: of this augmenter among the `of` augmenters of the run
    of: int = 1
    data_dir: str = ""
    keys: str = ""  #: directory of this augmenter's keys; "": none
    insecure: bool = False  #: may listen beyond this host, and connect there, without keys
    launcher: int = 0  #: process id of the launcher; 0: started by hand


def augment(options: Options) -> int:
    """Serves until a signal or the end of the run. Raises UsageError, DataError, ConnectionLostError, RefusedError."""
    if not 0 <= options.number < options.of:
        raise UsageError(f"augmenter {options.number} of {options.of}: the numbers are 0 to {options.of - 1}")
    keys = open_keyring(options.keys, AUGMENTER)
    bind = bind_address(options.bind, insecure=options.insecure, keys=keys is not None)
    coordinator = connect_address(options.connect, insecure=options.insecure, keys=keys is not None)
    if keys is not None:
        keys.server(COORDINATOR)
    for address in (bind, coordinator):
        if warning := warning_about(address, keys=keys is not None):
            log.warning(warning)
    import dptrain.data  # noqa: F401  # and the kernels: half a second

    wait_for(options.launcher)
    link = DealerLink(coordinator, keys)
    try:
        with StopSignals(launched=options.launcher > 0) as stop:
            answer = ask_for_run(link, stop)
            if isinstance(answer, StopRequested):
                return answer.exit_code
            with closing(ShardServer(bind, answer.identity, keys)) as server:
                return _serve(options, server, CoordinatorWatch(link, answer), answer, stop)
    finally:
        link.close()


def _serve(options: Options, server: ShardServer, watch: CoordinatorWatch, welcome: Welcome, stop: StopSource) -> int:
    prefetch = _prefetch(welcome, options)
    log.info("augmenter %d of %d, process %d: at %s", options.number, options.of, os.getpid(), server.endpoint)
    ending = serve(server, prefetch, stop, watch)
    log.info("augmenter %d: %s", options.number, ending.reason)
    return ending.exit_code


def _prefetch(welcome: Welcome, options: Options) -> Prefetch:
    from dptrain.data import open_source

    config = from_identity_json(welcome.config)
    source = open_source(config.data, config.training, options.data_dir)
    if source.dataset.sha256 != welcome.dataset:
        raise DataError(
            f"{config.data.dataset} on this host has SHA-256 {source.dataset.sha256[:12]}, the run's has "
            f"{welcome.dataset[:12]}: copy the coordinator's files here"
        )
    total_steps = config.training.epochs * source.sampler.steps_per_epoch
    return Prefetch(source, total_steps, Place(options.number, options.of))


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m dptrain.workers.augmenter`, as the coordinator starts it; the command is `dptrain augmenter`."""
    parser = argparse.ArgumentParser(prog="dptrain.workers.augmenter", description=__doc__, allow_abbrev=False)
    parser.add_argument("--connect", required=True)
    parser.add_argument("--bind", required=True)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--keys", default="")
    parser.add_argument(LAUNCHER, type=int, default=0)
    given = parser.parse_args(argv)
    options = Options(**vars(given), insecure=os.environ.get("DPTRAIN_INSECURE") == "1")
    return run(options.launcher, lambda: augment(options))


if __name__ == "__main__":
    sys.exit(main())
