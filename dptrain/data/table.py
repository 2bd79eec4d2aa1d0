"""Small tables in text files (CSV and similar), read strictly: rows by column name, errors with the line number."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from dptrain.errors import DataError

DELIMITERS = (",", ";", "\t")
_MOST_BYTES = 64 << 20  #: of a file of labels
_SHOWN, _BEGINNING = 3, 60  #: columns and characters that an error shows
_NUMBERS = re.compile(r"[-+0-9.,;eE\s\"]+")


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of each line below the header, with at least these columns. Raises DataError.

    Columns are separated by the first of , ; and tab with which the header has them all. Empty lines are skipped.
    """
    lines = text(path).splitlines()
    delimiter, header = header_of(path, lines[:1], columns)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        next(reader, None)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {reader.line_num}: {len(row)} fields, {len(header)} in the header")
            yield reader.line_num, {name: field.strip() for name, field in zip(header, row, strict=True)}
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def header_of(path: Path, first: list[str], columns: Collection[str]) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns, of which `columns` must be there once each. Raises DataError."""
    missing = list(columns)
    for delimiter in DELIMITERS:
        try:
            header = [name.strip() for name in next(csv.reader(first, delimiter=delimiter, strict=True), [])]
        except csv.Error as error:
            raise DataError(f"{path}, line 1: {error}") from error
        absent = [name for name in columns if name not in header]
        if not absent:
            if twice := [name for name in columns if header.count(name) > 1]:
                raise DataError(f"{path}: its first line names the column {twice[0]} twice")
            return delimiter, header
        missing = min(missing, absent, key=len)
    names = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
    begins = first[0][:_BEGINNING] if first else ""
    hint = "; it holds numbers: put the names of the columns above them" if _NUMBERS.fullmatch(begins) else ""
    raise DataError(f"{path}: no column {names} in its first line {begins!r}{hint}")


def whole(path: Path, line: int, field: str, below: int) -> int:
    """The field as a number in 0 ... below - 1. Raises DataError."""
    if not (field.isascii() and field.isdigit() and len(field) < 10 and int(field) < below):
        raise DataError(f"{path}, line {line}: {field[:40]!r} is no whole number in 0 ... {below - 1}")
    return int(field)


def text(path: Path, most: int = _MOST_BYTES) -> str:
    """The whole file, without a byte order mark. Raises DataError."""
    try:
        if path.stat().st_size > most:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {most:,} are read")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
