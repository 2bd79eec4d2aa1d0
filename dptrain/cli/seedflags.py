"""The options of the seeds' train.py, as people type them from habit: what each is called here."""

from __future__ import annotations

from collections.abc import Sequence

from dptrain.errors import UsageError

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
