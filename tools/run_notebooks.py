"""Runs notebooks from the start and saves their output: `python tools/run_notebooks.py [-o FOLDER] FILE...`.

Without -o it rewrites the files. It removes progress lines (stderr) and the times of cells, so that a file changes only
when its results do.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from traitlets.config import Config

PATIENCE = 1800  #: the longest time of one cell, in seconds


def run(source: Path, target: Path) -> None:
    """Runs `source` and writes `target`. Raises CellExecutionError if a cell fails; then nothing is written."""
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    with tempfile.TemporaryDirectory() as sockets:  # with TCP, every user of this machine could reach the kernel
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        NotebookClient(
            notebook, timeout=PATIENCE, kernel_name="python3", record_timing=False, coalesce_streams=True, config=config
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
            for out in cell.outputs:
                if "image/png" in out.get("data", {}):
                    out["data"]["image/png"] = smaller(out["data"]["image/png"])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)  # type: ignore[no-untyped-call]  # nbformat has no types


def smaller(png: str) -> str:
    """A PNG as base64, reduced to 128 colours: enough for a figure, and a third of the bytes."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if a cell failed, after its error was printed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="folder; default: in place")
    given = parser.parse_args(argv)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # for `!dptrain`
    for file in given.files:
        try:
            run(file, given.out / file.name if given.out else file)
        except CellExecutionError as error:
            sys.stderr.write(f"{file}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
