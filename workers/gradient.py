"""The worker process: computes gradients for the coordinator it connects to. The coordinator sends all settings."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dptrain.cluster.events import Ended
from dptrain.cluster.messages import PROTOCOL, Hello
from dptrain.cluster.worker import Worker
from dptrain.errors import ConnectionLostError, RefusedError
from dptrain.net.address import connect_address, warning_about
from dptrain.net.keys import AUGMENTER, COORDINATOR, WORKER, Keyring, open_keyring
from dptrain.net.links import DealerLink
from dptrain.processes.stopping import INCARNATION, LAUNCHER, StopSignals, wait_for
from dptrain.processes.worker_loop import run_worker

from .entry import run

PATIENCE = 1.0  #: seconds for the task that is being computed when the worker is to end
log = logging.getLogger("dptrain.worker")


@dataclass(frozen=True, slots=True)
class Options:
    """What one worker process is started with."""

    connect: str  #: address of the coordinator
    augmenters: tuple[str, ...] = ()  #: addresses by number; the same for every worker
    data_dir: str = ""
    name: str = ""  #: for logs; "": host and process id
    isa: str = "auto"  #: set before the kernels are imported
    keys: str = ""  #: directory of this worker's keys; "": none
    insecure: bool = False  #: may connect to other hosts without keys
    networks: tuple[str, ...] = ()  #: Python files whose networks this worker may run
    launcher: int = 0  #: process id of the launcher; 0: started by hand
    incarnation: str = ""  #: "": a random one


def work(options: Options) -> int:
    """Works until the coordinator sends Stop (0) or a signal comes. Raises ConnectionLostError and RefusedError.

    Where the compute thread is still busy then, perhaps inside a kernel or the compiler, it exits and does not return.
    """
    keys = open_keyring(options.keys, WORKER)
    address, *augmenters = _addresses(options, keys)
    os.environ["DPTRAIN_ISA"] = options.isa
    from dptrain.kernels import isa  # read the variable

    from .compute import RunComputer  # imports the kernels

    wait_for(options.launcher)
    name = options.name or f"{socket.gethostname()}:{os.getpid()}"
    incarnation = options.incarnation or secrets.token_hex(16)
    hello = Hello(PROTOCOL, incarnation, name, os.getpid(), isa.NUMERICS, isa.level())
    computer = RunComputer(options.data_dir, augmenters, keys, options.networks)
    log.info("worker %s, process %d, %s: connecting to %s", name, os.getpid(), isa.level(), address)
    with StopSignals(launched=options.launcher > 0) as stop:
        ended, idle = run_worker(Worker(hello), DealerLink(address, keys), computer, stop, PATIENCE)
    log.info("worker %s: %s", name, ended.reason)
    if not idle:
        leave(ended)
    computer.close()
    raise_for(ended)
    return ended.code


def _addresses(options: Options, keys: Keyring | None) -> list[str]:
    """The addresses of coordinator and augmenters. Raises UsageError where one cannot or may not be connected to."""
    secured = keys is not None
    texts = (options.connect, *options.augmenters)
    addresses = [connect_address(text, insecure=options.insecure, keys=secured) for text in texts]
    if keys is not None:
        keys.server(COORDINATOR)
        for number in range(len(options.augmenters)):
            keys.server(AUGMENTER, number)
    for text in filter(None, dict.fromkeys(warning_about(address, keys=secured) for address in addresses)):
        log.warning(text)
    return addresses


def raise_for(ended: Ended) -> None:
    """Raises the error that the exit code stands for, if it is one."""
    if ended.code == ConnectionLostError.exit_code:
        raise ConnectionLostError(ended.reason)
    if ended.code == RefusedError.exit_code:
        raise RefusedError(ended.reason)


def leave(ended: Ended) -> None:
    """Ends the process without waiting for its threads."""
    if ended.code in (ConnectionLostError.exit_code, RefusedError.exit_code):
        sys.stderr.write(f"dptrain: error: {ended.reason}\n")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended.code)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m dptrain.workers.gradient`, as the coordinator starts it; the command is `dptrain worker`."""
    parser = argparse.ArgumentParser(prog="dptrain.workers.gradient", description=__doc__, allow_abbrev=False)
    parser.add_argument("--connect", required=True)
    parser.add_argument("--augmenters", default="", help="addresses, separated by commas")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--networks", default="", help="Python files, separated by commas")
    parser.add_argument("--keys", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--isa", default="auto")
    parser.add_argument(LAUNCHER, type=int, default=0)
    parser.add_argument(INCARNATION, default="")
    given = parser.parse_args(argv)
    given.augmenters = tuple(filter(None, given.augmenters.split(",")))
    given.networks = tuple(filter(None, given.networks.split(",")))
    options = Options(**vars(given), insecure=os.environ.get("DPTRAIN_INSECURE") == "1")
    return run(options.launcher, lambda: work(options))


if __name__ == "__main__":
    sys.exit(main())
