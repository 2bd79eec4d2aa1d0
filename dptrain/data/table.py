"""Small tables in text files (CSV and similar), read strictly: rows by column name, errors with the line number."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from dptrain.errors import DataError

_MOST_BYTES = 64 << 20  #: of a file of labels


def rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of each line below the header, with at least these columns. Raises DataError."""
    lines = text(path).splitlines()
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)} in its first line {lines[:1]}")
        for row in reader:
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} fields, {len(header)} in the header")
            yield reader.line_num, {name: field.strip() for name, field in zip(header, row, strict=True)}
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def whole(path: Path, line: int, field: str, below: int) -> int:
    """The field as a number in 0 ... below - 1. Raises DataError."""
    if not (field.isascii() and field.isdigit() and len(field) < 10 and int(field) < below):
        raise DataError(f"{path}, line {line}: {field[:40]!r} is no whole number in 0 ... {below - 1}")
    return int(field)


def text(path: Path) -> str:
    """The whole file. Raises DataError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
