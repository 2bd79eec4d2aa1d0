"""Training from Python: the same recipe, settings, processes and run directory as `dptrain train`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from dptrain.api.plan import plan, refuse_unused_address
from dptrain.api.run import Run
from dptrain.api.session import train
from dptrain.api.settings import Setting, in_python, texts
from dptrain.errors import DivergedError, TrainingError, UsageError
from dptrain.kernels import isa
from dptrain.run.condition import diverged
from dptrain.transport.preparation import Preparation
from dptrain.transport.stopping import Interrupted


@in_python()
def fit(recipe: str | Path = "", /, **settings: Setting) -> Run:
    """Trains as `dptrain train --recipe RECIPE` with the settings as flags (`batch_size=64` is `--batch-size 64`), and
    gives back the run. Progress goes to stdout; `log_format="quiet"` keeps it away.

    Main thread only: Ctrl-C (SIGTERM, SIGHUP) ends it between two steps, writes a checkpoint and raises
    KeyboardInterrupt; the same call with `name=NAME, resume="auto"` goes on. Raises UsageError or DataError before
    anything is trained; DivergedError where the loss became NaN; TrainingError where the workers failed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("fit wants the main thread: only that one hears Ctrl-C and SIGTERM")
    chosen = plan(str(recipe), os.environ, texts(settings), {})
    refuse_unused_address(chosen)
    if chosen.config.deployment.isa not in ("auto", isa.level()):
        raise UsageError(
            f"isa = {chosen.config.deployment.isa!r}, but the kernels of this process are for {isa.level()!r} already: "
            "set DPTRAIN_ISA before the first use of dptrain"
        )
    preparation = Preparation()
    try:
        finished = train(chosen, preparation, launch=True)
    except Interrupted as interrupted:
        raise KeyboardInterrupt from interrupted
    if finished.failure:
        wild = finished.code == DivergedError.exit_code and diverged(finished.path)
        error = (DivergedError if wild else TrainingError)(finished.failure)
        error.exit_code = finished.code
        raise error
    if finished.code:
        raise KeyboardInterrupt
    deployment = chosen.config.deployment
    return Run(finished.path, data_dir=deployment.data_dir, networks=deployment.networks)
