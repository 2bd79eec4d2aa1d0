"""`dptrain data list|get|add|preview`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dptrain.cli.flags import Recipe, takes_settings, texts
from dptrain.errors import DataError, MissingDataError, UsageError
from dptrain.recipefile import resolve
from dptrain.settings import SETTINGS

data = App(name="data", help_format="plaintext", result_action="return_value")


@data.command(name="list")
@takes_settings("data_dir")
def show(**flags: str | bool) -> int:
    """List the known data sets, and which of them are here."""
    from dptrain.data.catalog import NAMES, data_home, own, standing  # imports Numba
    from dptrain.data.datasets import DATASETS

    directory = _data_dir(flags)
    print(f"in {data_home(directory)}:")
    for name in NAMES:
        try:
            here = standing(name, directory)
        except MissingDataError:
            here = "not here"
        except DataError as error:
            here = f"damaged: {error}"
        print(f"  {name:<14} {here}\n{'':<17}{DATASETS[name].summary()}")
    for name, here in own(data_home(directory)).items():
        print(f"  {name:<14} {here}")
    print(f"  {'folder:PATH':<14} your own: PATH/train/CLASS/*.png, PATH/test/CLASS/*.png; folder:PATH:64x64: resized")
    print(f"  {'npz:FILE':<14} your own: a NumPy file with x_train, y_train, perhaps x_test, y_test, x_val, y_val")
    return 0


@data.command
@takes_settings("data_dir")
def get(
    *names: Annotated[str, Parameter(help="as listed by `dptrain data list`", required=True)],
    mirror: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="URL of a folder that has the files; tried first"),
    ] = (),
    offline: Annotated[
        bool, Parameter(negative=(), help="open no connection; print what is missing, and where it can be found")
    ] = False,
    **flags: str | bool,
) -> int:
    """Fetch data sets into the data directory: resumes broken downloads, verifies digests, unpacks."""
    from dptrain.data.catalog import data_home, open_dataset  # imports Numba
    from dptrain.data.datasets import DATASETS
    from dptrain.data.fetch import Watcher
    from dptrain.data.install import get as fetch_all

    directory = _data_dir(flags)
    for name in names:
        SETTINGS["dataset"].parse(name)
        try:
            found = open_dataset(name, directory)
        except DataError as error:
            known = DATASETS.get(name.partition(":")[0])
            if known is None or known.find is None:
                raise
            if offline:
                for note in known.by_hand_steps() if known.needed else ():
                    error.add_note(note)
                raise
            fetch_all(known.name, data_home(directory), mirror, Watcher(_asks, _progress))
            found = open_dataset(name, directory)
        counts = f"{found.train_labels.size:,} + {found.test_labels.size:,} images"
        print(f"{name}: {counts}, SHA-256 {found.sha256}, in {data_home(directory)}")
    return 0


@data.command
@takes_settings("data_dir")
def add(
    name: Annotated[str, Parameter(help="as listed, or folder:NAME")],
    /,
    *files: Annotated[Path, Parameter(help="files or archives that you have downloaded", required=True)],
    **flags: str | bool,
) -> int:
    """Add files that you downloaded yourself to the data directory: verified where a digest is known, and unpacked."""
    from dptrain.data.catalog import data_home, open_dataset  # imports Numba
    from dptrain.data.folder import FOLDER
    from dptrain.data.install import add as take_over

    directory = _data_dir(flags)
    SETTINGS["dataset"].parse(name)
    take_over(name, files, data_home(directory))
    try:
        found = open_dataset(name, directory)
    except DataError as error:
        if name.partition(":")[0] == FOLDER:  # its archives hold whole data sets
            raise DataError(f"{name}: {len(files)} file(s) added, but it cannot be used: {error}") from error
        print(f"{name}: {len(files)} file(s) added; not complete yet: {error}")
        return 0
    print(f"{name}: complete, SHA-256 {found.sha256}, in {data_home(directory)}")
    return 0


@data.command
@takes_settings("dataset", "augment", "seed", "data_dir", "isa")
def preview(
    *,
    recipe: Recipe = "",
    out: Annotated[Path, Parameter(["--out", "-o"], help="PNG file")] = Path("preview.png"),
    rows: Annotated[int, Parameter(help="images, one per row, of each class in turn")] = 8,
    variants: Annotated[int, Parameter(help="augmented versions of each image: those of the first epochs")] = 8,
    **flags: str | bool,
) -> int:
    """Draw training images and their augmented versions into a PNG file."""
    if not (1 <= rows <= 100 and 1 <= variants <= 100):
        raise UsageError(f"--rows {rows} --variants {variants}: both must be whole numbers from 1 to 100")
    config = resolve(recipe, os.environ, texts(flags))
    os.environ["DPTRAIN_ISA"] = config.deployment.isa
    from dptrain.data.preview import draw  # imports Numba: only now is the ISA known
    from dptrain.data.shards import open_source

    source = open_source(config.data, config.training, config.deployment.data_dir)
    sheet = draw(source.dataset, source.pipeline, source.one_of_each(rows), variants, config.training.seed)
    try:
        sheet.save(out, "PNG")
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror or error}") from error
    chain = ", ".join(config.data.augment) or "nothing"
    print(f"{out}: {rows} images of {config.data.dataset}, {variants} variants each, augmented by {chain}")
    return 0


def _data_dir(flags: dict[str, str | bool]) -> str:
    return resolve(environ=os.environ, flags=texts(flags)).deployment.data_dir


def _asks(address: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # what _progress has left there
    sys.stderr.write(f"{clear}asking {address}\n")


def _progress(name: str, done: int, total: int) -> None:
    """One line that changes, on a terminal only."""
    if sys.stderr.isatty():
        of = f" of {total / 1e6:,.1f}" if total else ""
        sys.stderr.write(f"\r{name}: {done / 1e6:,.1f}{of} MB\x1b[K" + ("\n" if done == total else ""))
