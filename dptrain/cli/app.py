"""The verbs and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from dptrain import __version__
from dptrain.cli.helping import Columns
from dptrain.cli.hints import explained, translated
from dptrain.errors import DptrainError, ExitCode

#: Verb -> where its function lives, and its line in --help. Imported only when asked for: no verb may pull in Numba
#: (0.5 s) before it computes.
VERBS = {
    "train": ("dptrain.cli.train:train", "train a network on this machine"),
    "recipes": ("dptrain.cli.recipes:recipes", "list recipes to start with, or all"),
    "eval": ("dptrain.cli.evaluate:evaluate", "score a checkpoint on a split of its data set"),
    "reestimate": ("dptrain.cli.weights:reestimate", "measure a checkpoint's BatchNorm statistics anew"),
    "import": ("dptrain.cli.weights:import_weights", "make a checkpoint of weights from elsewhere"),
    "predict": ("dptrain.cli.predict:predict", "name what is in images"),
    "bench": ("dptrain.cli.bench:bench", "measure the throughput of this machine"),
    "coordinator": ("dptrain.cli.processes:coordinator", "lead a run whose workers are started elsewhere"),
    "worker": ("dptrain.cli.processes:worker", "compute gradients for a coordinator"),
    "augmenter": ("dptrain.cli.processes:augmenter", "prepare samples ahead of the workers"),
    "keys": ("dptrain.cli.keys:keys", "make, list and revoke the keys of those who may take part over tcp"),
    "status": ("dptrain.cli.status:status", "tell how a run is doing"),
    "data": ("dptrain.cli.data:data", "list, fetch and look at data sets"),
    "doctor": ("dptrain.cli.doctor:doctor", "check this machine"),
    "verify": ("dptrain.cli.verify:verify", "compare two runs bit by bit"),
    "describe": ("dptrain.cli.describe:describe", "print a network layer by layer"),
    "gradcheck": ("dptrain.cli.gradcheck:gradcheck", "check every gradient against differences"),
    "check": ("dptrain.cli.check:check", "test a configuration before training it"),
    "history": ("dptrain.cli.plot:history", "export a run's histories as CSV"),
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
    """Runs the command line (default: sys.argv) and returns the exit code."""

    def run() -> object:
        tokens, notes = translated(sys.argv[1:] if argv is None else argv)
        sys.stderr.write("".join(f"dptrain: note: {note}\n" for note in notes))
        app = build_app(listing=not tokens or tokens[0] not in VERBS)
        return app(tokens, exit_on_error=False, print_error=False)

    return guarded(run)


def guarded(run: Callable[[], object], program: str = "dptrain") -> int:
    """Calls `run` and returns its exit code. An error becomes one line on stderr: see `dptrain.errors`."""
    logging.basicConfig(format=f"{program}: %(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    try:
        code = run()
    except CycloptsError as error:
        return complain(explained(error, program), ExitCode.USAGE, program=program)
    except DptrainError as error:
        return complain(str(error), error.exit_code, getattr(error, "__notes__", ()), program)
    except KeyboardInterrupt:
        return ExitCode.SIGINT
    except BrokenPipeError:  # `dptrain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.SIGPIPE
    except MemoryError as error:
        text = f"not enough memory: {error}; fewer filters and smaller shards need less"
        return complain(text, ExitCode.CONFIGURATION, program=program)
    except OSError as error:  # a verb reports errors of the files it opens; this is the output, or a bug
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        text = f"{error.filename or 'the output'} cannot be written: {error.strerror}"
        return complain(text, ExitCode.TEMPORARY, program=program)
    return code if isinstance(code, int) else 0


def complain(text: str, code: int, notes: Sequence[str] = (), program: str = "dptrain") -> int:
    """Writes one line to stderr, also where the text has several, and below it one for each note; returns the code."""
    lines = [f"{program}: error: {text}", *(f"  {note}" for note in notes)]
    sys.stderr.write("".join(f"{' '.join(line.splitlines())}\n" for line in lines))
    return code
