"""Runs notebooks from a fresh kernel and writes what came out: `python tools/run_notebooks.py [-o FOLDER] FILE...`.

Without -o in place. Progress on stderr is left out, and so are times of cells: what is committed says what is shown.
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

PATIENCE = 1800  #: seconds a cell may take


def run(source: Path, target: Path) -> None:
    """Raises CellExecutionError where a cell fails; nothing is written then."""
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    with tempfile.TemporaryDirectory() as sockets:  # on tcp anybody on this machine could speak to the kernel
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
    nbformat.write(notebook, target)  # type: ignore[no-untyped-call]  # the same


def smaller(png: str) -> str:
    """Base64 to base64: 128 colours, which is enough for a figure, and a third of the bytes to commit."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1, and the cell's words, where one fails."""
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
