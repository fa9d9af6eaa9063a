"""Tables in text files: CSV, TSV and JSONL, every cell a string exactly as written, every row accounted for."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from chips_core.errors import InputError

CELL_BYTES = 32_000_000  # a longer quoted cell is one whose quote was never closed
DELIMITERS = ",;\t|"
PEEKED_LINES = 100

Cells = dict[str, str] | str
"""The cells of a row by column name, or why the row cannot be taken apart."""


class Nested(str):
    """The JSON text of a list or an object: kept in a label, but no caption, image or id."""

    __slots__ = ()


class CsvTable:
    """A CSV or TSV file; the delimiter is found from the header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _refuse_utf16(path)
        with _text(path) as handle:
            line = handle.readline(CELL_BYTES)
            if not line.strip():
                raise InputError(f"{path.name} is empty.", fix="the first line must name the columns.")
            self._delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else _delimiter(line)
            handle.seek(0)
            self.columns = next(self._reader(handle))
        _check_header(self.columns, path)

    @property
    def count_hint(self) -> int | None:
        """About how many rows there are, from the size of the file and of its first lines."""
        with self.path.open("rb") as handle:
            first = handle.read(1_000_000)
        lines = first.count(b"\n")
        return max(1, round(self.path.stat().st_size * lines / len(first)) - 1) if lines else None

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Yields (line number, cells) for every row after the header; empty lines are no rows."""
        with _text(self.path) as handle:
            reader = self._reader(handle)
            next(reader)
            while True:
                began = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield began, self._damage(error, began)
                    continue
                if len(cells) == len(self.columns):
                    yield began, dict(zip(self.columns, cells, strict=True))
                elif cells:
                    yield began, f"{len(cells)} cells where the header has {len(self.columns)}"

    def _reader(self, handle: TextIO) -> Any:
        csv.field_size_limit(CELL_BYTES)
        return csv.reader(handle, delimiter=self._delimiter, strict=True)

    def _damage(self, error: csv.Error, line: int) -> str:
        """Returns why one row is refused; raises when what follows cannot be told apart from it."""
        if "unexpected end" in str(error) or "field limit" in str(error):
            raise InputError(
                f"{self.path.name}:{line}: a quote opened in this row is never closed.",
                fix='close it, or write "" for a quote inside a quoted cell.',
            ) from error
        return "text after a closing quote"


class JsonlTable:
    """A JSON Lines file: one object a line; numbers are kept as they are written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _refuse_utf16(path)
        seen: dict[str, None] = {}
        for count, (_, cells) in enumerate(self.rows()):
            if isinstance(cells, dict):
                seen |= dict.fromkeys(cells)
            if count >= PEEKED_LINES:
                break
        self.columns = list(seen)

    @property
    def count_hint(self) -> int | None:
        """About how many rows there are."""
        with self.path.open("rb") as handle:
            first = handle.read(1_000_000)
        lines = first.count(b"\n")
        return max(1, round(self.path.stat().st_size * lines / len(first))) if lines else None

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Yields (line number, cells) for every line that is not blank."""
        with _text(self.path) as handle:
            number = 0
            while line := handle.readline(CELL_BYTES):
                number += 1
                if len(line) >= CELL_BYTES:
                    raise InputError(f"{self.path.name}:{number}: a line of over 32 MB.", fix="is this JSON Lines?")
                if line.strip():
                    yield number, json_cells(line)


def json_cells(text: str) -> Cells:
    """Returns the cells of one JSON object as text: null is "", true is "true", numbers keep their digits."""
    try:
        held = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        return f"not JSON at character {error.pos + 1}"
    except RecursionError:
        return "JSON nested too deeply"
    if not isinstance(held, dict):
        return "not a JSON object"
    return {name: _as_text(value) for name, value in held.items()}


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return Nested(json.dumps(value, ensure_ascii=False))


def _text(path: Path) -> TextIO:
    """Opens text so that bytes that are not UTF-8 stay visible in their cell, and quoted newlines stay as written."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _refuse_utf16(path: Path) -> None:
    with path.open("rb") as handle:
        head = handle.read(4)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path.name}:1: byte 0x{head[0]:02x}: the file is UTF-16.", fix="save it as UTF-8.")


def _delimiter(line: str) -> str:
    """Returns the delimiter that the header uses most, outside quotes; a comma when there is one column."""
    bare = re.sub(r'"(?:[^"]|"")*"', "", line)
    best = max(DELIMITERS, key=bare.count)
    return best if bare.count(best) else ","


def _check_header(columns: Sequence[str], path: Path) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InputError(f"{path.name}:1: the column '{twice[0][:60]}' is there twice.", fix="rename one of them.")
    if any("\0" in column or not column.isprintable() for column in columns):
        raise InputError(f"{path.name}:1: the header is not plain UTF-8 text.", fix="is this a CSV file?")
