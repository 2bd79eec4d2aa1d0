"""The verbs, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from resource import RLIMIT_NOFILE, getrlimit
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from dptrain import __version__
from dptrain.cli.help import Columns, explained, translated
from dptrain.errors import DptrainError, ExitCode

#: Verb -> its function, and its line in --help. A function is imported when its verb is called: no verb may import
#: Numba (0.5 s) before it computes.
VERBS = {
    "train": ("dptrain.cli.train:train", "train a network on this machine"),
    "recipes": ("dptrain.cli.train:recipes", "list the recipes to start with, or all"),
    "eval": ("dptrain.cli.evaluate:evaluate", "score a checkpoint on a split of its data set"),
    "reestimate": ("dptrain.cli.weights:reestimate", "measure the BatchNorm statistics of a checkpoint again"),
    "import": ("dptrain.cli.weights:import_weights", "make a checkpoint from weights of another program"),
    "export": ("dptrain.cli.weights:export", "write trained weights for ONNX, PyTorch and other programs"),
    "predict": ("dptrain.cli.evaluate:predict", "classify images"),
    "bench": ("dptrain.cli.bench:bench", "measure the throughput of this machine"),
    "coordinator": ("dptrain.cli.train:coordinator", "lead a run whose workers are started separately"),
    "worker": ("dptrain.cli.worker:worker", "compute gradients for a coordinator"),
    "augmenter": ("dptrain.cli.worker:augmenter", "prepare images ahead of the workers"),
    "keys": ("dptrain.cli.keys:keys", "make, list and revoke the keys of processes that connect over tcp"),
    "status": ("dptrain.cli.runs:status", "show the state of a run"),
    "data": ("dptrain.cli.data:data", "list, fetch and look at data sets"),
    "doctor": ("dptrain.cli.check:doctor", "check this machine"),
    "verify": ("dptrain.cli.runs:verify", "compare two runs bit by bit"),
    "describe": ("dptrain.cli.network:describe", "print a network layer by layer"),
    "gradcheck": ("dptrain.cli.network:gradcheck", "check every gradient against finite differences"),
    "check": ("dptrain.cli.check:check", "test a configuration before training"),
    "history": ("dptrain.cli.runs:history", "export the histories of a run as CSV"),
    "plot": ("dptrain.cli.explain:plot", "draw the curves of runs"),
    "explain": ("dptrain.cli.explain:explain", "draw what a trained network does"),
    "report": ("dptrain.cli.explain:report", "write one HTML file about a run"),
    "experiment": (
        "dptrain.cli.experiment:experiment",
        "compare depths, shortcuts, solvers, ... over several seeds",
    ),
    "completion": ("dptrain.cli.app:completion", "print the completion script of a shell"),
}


def build_app(*, listing: bool = True) -> App:
    """The command line. Without `listing`, the help of each verb is its docstring and not its line in VERBS."""
    app = App(
        name="dptrain",
        help="Trains convolutional networks on CPUs, in one process or many, always to the same bits.",
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
        stripped = sys.flags.optimize > 1
        if stripped and (not tokens or {"--help", "-h"} & set(tokens)):
            sys.stderr.write("dptrain: note: PYTHONOPTIMIZE=2 strips help texts; unset it to see them\n")
        app = build_app(listing=stripped or not tokens or tokens[0] not in VERBS)
        return app(tokens, exit_on_error=False, print_error=False)

    return guarded(run)


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="the shell")], /) -> int:
    """Print the completion script of a shell, for verbs, flags and their choices.

    bash: dptrain completion bash > ~/.local/share/bash-completion/completions/dptrain

    zsh: dptrain completion zsh > FOLDER/_dptrain, with a FOLDER of $fpath

    fish: dptrain completion fish > ~/.config/fish/completions/dptrain.fish
    """
    sys.stdout.write(build_app().generate_completion(prog_name="dptrain", shell=shell))
    return 0


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
    except OSError as error:  # verbs report errors of the files they open; this is the output, or a bug
        if error.errno in (errno.EMFILE, errno.ENFILE):
            text = (
                f"{error.strerror}: this process may open {getrlimit(RLIMIT_NOFILE)[0]}; raise it with `ulimit -n 1024`"
            )
            return complain(text[0].lower() + text[1:], ExitCode.CONFIGURATION, program=program)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        text = f"{error.filename or 'the output'} cannot be written: {error.strerror}"
        return complain(text, ExitCode.TEMPORARY, program=program)
    return code if isinstance(code, int) else 0


def complain(text: str, code: int, notes: Sequence[str] = (), program: str = "dptrain") -> int:
    """Writes the text as one line to stderr, and below it one line per note; returns the code."""
    lines = [f"{program}: error: {text}", *(f"  {note}" for note in notes)]
    sys.stderr.write("".join(f"{' '.join(line.splitlines())}\n" for line in lines))
    return code
