"""Help: the layout of --help, and hints for a command line that is not understood."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from inspect import signature
from io import StringIO

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError
from cyclopts.help import HelpEntry, HelpPanel
from cyclopts.help.formatters import PlainFormatter
from rich.console import Console, ConsoleOptions

from dptrain.errors import UsageError
from dptrain.recipefile import ELSEWHERE, RECIPE_SUFFIX
from dptrain.recipes import shipped

# --- layout: two columns of plain text, as wide as the terminal

_COLUMN = 26  #: where the second column begins; a longer name has a line of its own


class Columns(PlainFormatter):
    """The plain formatter of cyclopts with panels in two columns: cyclopts continues long lines at the left margin."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Prints one panel: its title, and one or more lines per entry."""
        if not panel.entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        for entry in panel.entries:
            name = ", ".join(entry.display_labels_with_metavar or entry.display_labels)
            lines += row(name, _description(entry), options.max_width)
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
        console.print()


def _description(entry: HelpEntry) -> str:
    # A description may be an object that rich draws: draw it on one very long line.
    paper = Console(file=StringIO(), width=100_000, force_terminal=False, no_color=True)
    with paper.capture() as drawn:
        paper.print(entry.description or "", end="", highlight=False)
    marks = [f"[choices: {', '.join(entry.choices)}]"] if entry.choices else []
    marks += [f"[default: {entry.default}]"] if entry.default not in (None, '""', "False") else []
    marks += ["[required]"] if entry.required else []
    return " ".join([*drawn.get().split(), *marks])


def row(name: str, text: str, width: int) -> list[str]:
    """The lines of one name and its description."""
    body = textwrap.wrap(text, max(40, width - _COLUMN), break_on_hyphens=False) or [""]
    head = f"  {name}"
    lines = [" " * _COLUMN + line for line in body]
    if len(head) <= _COLUMN - 2:
        return [(head.ljust(_COLUMN) + body[0]).rstrip(), *lines[1:]]
    return [head, *(lines if text else [])]


# --- flags of other tools, and words without their flag

#: Options of the predecessors (PyFunt, deep-residual-networks-pyfunt) -> the flag here.
PREDECESSORS = {
    "--dataset_path": "--data-dir",
    "-load": "--resume",
    "--load_checkpoint": "--resume",
    "--n_size": "--n",
    "--n_starting_filters": "--filters",
    "--n_processes": "--workers",
    "-np": "--workers",
    "--n_train": "--samples",
    "--weight_decay": "--weight-decay",
    "-wd": "--weight-decay",
    "--network_regularization": "--l2",
    "-reg": "--l2",
    "--learning_rate": "--lr",
    "-lr": "--lr",
    "-mom": "--momentum",
    "--n_epochs": "--epochs",
    "-nep": "--epochs",
    "--batch_size": "--batch-size",
    "-bs": "--batch-size",
}
#: Options of the predecessors whose number has another unit here: taking it would give another run without a warning.
_OTHER_UNIT = {
    "-cp": "--checkpoint-every counts steps, not epochs; 0 (the default): one checkpoint per epoch",
    "--checkpoint_every": "--checkpoint-every counts steps, not epochs; 0 (the default): one checkpoint per epoch",
    "--experiment_path": "use --runs DIRECTORY and --name NAME: a run is left in DIRECTORY/NAME",
}
_TRAINING_VERBS = ("train", "coordinator")


def translated(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line with flags of the predecessors replaced by ours, and one note per flag that was replaced.

    Raises UsageError for a flag whose number means something else here.
    """
    if not tokens or tokens[0] not in _TRAINING_VERBS:
        return list(tokens), []
    made, notes = [], []
    for token in tokens:
        name, equals, value = token.partition("=")
        if name in _OTHER_UNIT:
            raise UsageError(f"{name}: {_OTHER_UNIT[name]}")
        ours = PREDECESSORS.get(name)
        made.append(f"{ours}{equals}{value}" if ours else token)
        if ours:
            notes.append(f"{name} is called {ours} here")
    return made, notes


def explained(error: CycloptsError, program: str = "dptrain") -> str:
    """The error with a hint at what was probably meant, else as it is."""
    verb = " ".join(error.command_chain or ())
    hint = ""
    if isinstance(error, UnknownOptionError):
        known = {name for argument in error.argument_collection for name in argument.names}
        hint = _flag(error.token.keyword or error.token.value, known)
    elif isinstance(error, UnusedCliTokensError) and error.unused_tokens and error.target:
        hint = _word(error.unused_tokens[0], program, verb, set(signature(error.target).parameters))
    elif isinstance(error, MissingArgumentError) and error.argument and not error.argument.name.startswith("-"):
        hint = f"{verb} needs {error.argument.name}: {error.argument.parameter.help}; see `{program} {verb} --help`"
    return hint or str(error)


def _flag(given: str, known: set[str]) -> str:
    if given.startswith("-n") and {"--n", "--workers"} <= known:
        return "-n is not a flag: use --n (blocks per stage) or --workers"
    name = given.partition("=")[0]
    ours = ELSEWHERE.get(name.replace("_", "-"))
    return f"Unknown option: {name}. Did you mean {ours}?" if ours in known else ""


def _word(word: str, program: str, verb: str, fields: set[str]) -> str:
    from dptrain.data.catalog import NAMES  # imports Numba
    from dptrain.data.folder import FOLDER

    meant = ["--recipe"] if word in shipped() or word.endswith(RECIPE_SUFFIX) else []
    meant += ["--dataset"] if word.partition(":")[0] in (*NAMES, FOLDER) else []
    likely = [f"{flag} {word}" for flag in meant if flag.removeprefix("--") in fields]
    if likely:
        return f"{verb} does not take the word {word!r}: did you mean {' or '.join(likely)}?"
    return f"{verb} does not take the word {word!r}; see `{program} {verb} --help`"
