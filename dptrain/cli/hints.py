"""What was probably meant by a command line that is not understood: flags of other tools, words without their flag."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from dptrain.errors import UsageError
from dptrain.recipefile import RECIPE_SUFFIX
from dptrain.recipes import shipped

#: Old spelling -> ours.
_OURS = {
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
#: Options whose unit has changed: to take their number would be wrong without a word.
_OTHER_UNIT = {
    "-cp": "--checkpoint-every counts steps, not epochs; 0 (the default): one checkpoint an epoch",
    "--checkpoint_every": "--checkpoint-every counts steps, not epochs; 0 (the default): one checkpoint an epoch",
    "--experiment_path": "a run is left in --runs DIRECTORY under --name NAME",
}
_VERBS = ("train", "coordinator")


def translated(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line in our spelling, and a note for each option that was changed.

    Raises UsageError for an option whose number means something else here.
    """
    if not tokens or tokens[0] not in _VERBS:
        return list(tokens), []
    made, notes = [], []
    for token in tokens:
        name, equals, value = token.partition("=")
        if name in _OTHER_UNIT:
            raise UsageError(f"{name}: {_OTHER_UNIT[name]}")
        ours = _OURS.get(name)
        made.append(f"{ours}{equals}{value}" if ours else token)
        if ours:
            notes.append(f"{name} is called {ours} here")
    return made, notes


#: As scripts for PyTorch, timm or Keras call it -> here.
_ELSEWHERE = {
    "--learning-rate": "--lr",
    "--batch": "--batch-size",
    "--bs": "--batch-size",
    "--num-epochs": "--epochs",
    "--lr-schedule": "--schedule",
    "--lr-scheduler": "--schedule",
    "--scheduler": "--schedule",
    "--warmup-epochs": "--warmup",
    "--optimiser": "--optimizer",
    "--opt": "--optimizer",
    "--loss": "--criterion",
    "--normalize": "--normalise",
    "--augmentation": "--augment",
    "--data": "--dataset",
    "--dataset-dir": "--data-dir",
    "--data-path": "--data-dir",
    "--num-workers": "--workers",
    "--processes": "--workers",
    "--nproc-per-node": "--workers",
    "--num-threads": "--threads",
    "--model": "--network",
    "--arch": "--network",
    "--random-seed": "--seed",
    "--output-dir": "--runs",
    "--output": "--out",
}


def explained(error: CycloptsError, program: str = "dptrain") -> str:
    """The error with a hint at what was probably meant, or else as it is."""
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
        return "-n is not a flag: --n blocks a stage, or --workers"
    name = given.partition("=")[0]
    ours = _ELSEWHERE.get(name.replace("_", "-"))
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
