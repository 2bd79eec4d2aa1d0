"""Reads pickles of other programs without running anything. Each reader lists the names that it allows."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Mapping
from typing import BinaryIO

#: Exceptions that damaged pickles can raise.
UNSOUND = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


_FRAME_HEAD = 9  #: bytes of the opcode FRAME and its argument


class Foreign(Exception):
    """The pickle names a class or function that is not allowed. Never leaves a reader."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, admitted: Mapping[tuple[str, str], type]) -> None:
        super().__init__(file, encoding="bytes")
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> type:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise Foreign(repr(f"{module}.{name}")[1:-1][:100]) from None  # no line break, no terminal escape

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError(f"it refers to an outside object {repr(pid)[:60]}")


def refuse_large_memo(file: BinaryIO, size: int) -> None:
    """Raises one of UNSOUND for a pickle that would fill the memory. `size`: of the whole file. Keeps its position."""
    start = file.tell()
    frame_end: int | None = None
    for opcode, argument, position in pickletools.genops(file):
        at = position or 0
        # CPython reads other bytes than this loop if an opcode crosses the end of a frame: nothing would be checked.
        if frame_end is not None and (at > frame_end or (opcode.name == "FRAME" and at < frame_end)):
            raise pickle.UnpicklingError("a frame of its pickle ends inside an opcode, or holds another frame")
        if opcode.name == "FRAME":
            frame_end = at + _FRAME_HEAD + (argument or 0)
        # CPython allocates the announced number of bytes before it checks that they are there.
        if opcode.name in ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"):
            raise pickle.UnpicklingError(f"its pickle has a {opcode.name}, which no file of numbers needs")
        # CPython makes the memo as long as the highest number: six bytes can ask for 64 GB.
        if opcode.name in ("PUT", "LONG_BINPUT") and (argument is None or argument > size):
            raise pickle.UnpicklingError(
                f"its pickle numbers an object {argument}; a file of {size} bytes can't hold that many"
            )
    file.seek(start)


def load_admitted(file: BinaryIO, size: int, admitted: Mapping[tuple[str, str], type]) -> object:
    """The pickle that starts here; `admitted` gives the class for each (module, name) in it. Texts come as bytes.

    Raises Foreign for a name that is not admitted, or one of UNSOUND. `size`: of the whole file.
    """
    refuse_large_memo(file, size)
    content: object = _Unpickler(file, admitted).load()
    return content
