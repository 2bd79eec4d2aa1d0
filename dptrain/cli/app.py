"""The verbs and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from dptrain import __version__
from dptrain.cli.helping import Columns
from dptrain.cli.hints import explained
from dptrain.cli.seedflags import translated
from dptrain.errors import DptrainError

USAGE = 64  #: exit code of a command line that cannot be understood

#: Verb -> where its function lives, and its line in --help. Imported only when asked for: no verb may pull in Numba
#: (0.5 s) before it computes.
VERBS = {
    "train": ("dptrain.cli.train:train", "train a network on this machine"),
    "recipes": ("dptrain.cli.recipes:recipes", "list recipes to start with, or all"),
    "eval": ("dptrain.cli.evaluate:evaluate", "score a checkpoint on a split of its data set"),
    "reestimate": ("dptrain.cli.reestimate:reestimate", "measure a checkpoint's BatchNorm statistics anew"),
    "import": ("dptrain.cli.import_weights:import_weights", "make a checkpoint of weights from elsewhere"),
    "predict": ("dptrain.cli.predict:predict", "name what is in images"),
    "bench": ("dptrain.cli.bench:bench", "measure a training step"),
    "coordinator": ("dptrain.cli.coordinator:coordinator", "lead a run whose workers are started elsewhere"),
    "worker": ("dptrain.cli.worker:worker", "compute gradients for a coordinator"),
    "augmenter": ("dptrain.cli.augmenter:augmenter", "prepare samples ahead of the workers"),
    "keys": ("dptrain.cli.keys:keys", "make, list and revoke the keys of those who may take part over tcp"),
    "status": ("dptrain.cli.status:status", "tell how a run is doing"),
    "data": ("dptrain.cli.data:data", "list, fetch and look at data sets"),
    "doctor": ("dptrain.cli.doctor:doctor", "check this machine"),
    "verify": ("dptrain.cli.verify:verify", "compare two runs bit by bit"),
    "describe": ("dptrain.cli.describe:describe", "print a network layer by layer"),
    "gradcheck": ("dptrain.cli.gradcheck:gradcheck", "check every gradient against differences"),
    "check": ("dptrain.cli.check:check", "test a configuration before training it"),
    "history": ("dptrain.cli.history:history", "export a run's histories as CSV"),
    "plot": ("dptrain.cli.plot:plot", "draw the curves of runs"),
    "explain": ("dptrain.cli.explain:explain", "draw what a trained network does"),
    "report": ("dptrain.cli.report:report", "write one HTML file about a run"),
    "experiment": ("dptrain.cli.experiment:experiment", "compare depths, shortcuts, solvers, ... over several seeds"),
}


def build_app(*, listing: bool = True) -> App:
    """The command line as cyclopts sees it. Without `listing` each verb's help is its docstring, not its line here."""
    app = App(
        name="dptrain",
        help="Trains residual networks on CPUs: one process or many, always the same bits.",
        version=__version__,
        help_format="plaintext",
        help_formatter=Columns(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for at, (verb, (place, line)) in enumerate(VERBS.items()):
        app.command(place, name=verb, help=line if listing else None, sort_key=at)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line (default: sys.argv) and gives the exit code; see `dptrain.errors` for what it says."""
    logging.basicConfig(format="dptrain: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    try:
        tokens, notes = translated(sys.argv[1:] if argv is None else argv)
        sys.stderr.write("".join(f"dptrain: note: {note}\n" for note in notes))
        code = build_app(listing=not tokens or tokens[0] not in VERBS)(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return complain(explained(error), USAGE)
    except DptrainError as error:
        return complain(str(error), error.exit_code, getattr(error, "__notes__", ()))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `dptrain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MemoryError as error:
        return complain(f"not enough memory: {error}; fewer filters and smaller shards need less", 78)
    except OSError as error:  # what a verb opens itself, it answers for itself; this is the output, or a bug
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return complain(f"{error.filename or 'the output'} cannot be written: {error.strerror}", 75)
    return code if isinstance(code, int) else 0


def complain(text: str, code: int, notes: Sequence[str] = ()) -> int:
    """One line on stderr, whatever is in the text, and below it one for each note."""
    lines = [f"dptrain: error: {text}", *(f"  {note}" for note in notes)]
    sys.stderr.write("".join(f"{' '.join(line.splitlines())}\n" for line in lines))
    return code
