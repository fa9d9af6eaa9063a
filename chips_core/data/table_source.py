"""A table as a source: one or several CSV, TSV, JSONL or Parquet files with the same columns."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from chips_core.data import columns as column_names
from chips_core.data.columns import ColumnMap
from chips_core.data.locators import parse
from chips_core.data.parquet_table import ParquetTable
from chips_core.data.rows import SPLITS, Row, refused_row, row_of
from chips_core.data.source_kind import TABLES, SourceKind
from chips_core.data.tables import Cells, CsvTable, JsonlTable, Nested
from chips_core.errors import InputError, UnreadableInput

TEXT_ONLY = ("pair_id", "image", "caption")
LOOKED_AT = 5  # rows that decide which folder the images are in
USUAL_FOLDERS = ("images", "image", "imgs", "img", "files", "data")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # what data hubs put beside a folder of images


class TableSource:
    """Pairs named by a table; see `source_kind.Source`."""

    def __init__(
        self, path: Path, *, kind: SourceKind = SourceKind.TABLE, columns: ColumnMap | None, image_root: Path | None
    ) -> None:
        self.kind = kind
        files = _files(path)
        self.root = (image_root or (path.parent if path.is_file() else path)).resolve()
        self._tables = [self._table(file) for file in files]
        self.columns_found = list(dict.fromkeys(name for table in self._tables for name in table.columns))
        self._name = path.name
        pictures = self._picture_columns()
        guessed = column_names.guess(self.columns_found)
        if guessed.image is None and pictures:
            guessed = replace(guessed, image=pictures[0])
        self.mapping = column_names.overridden(guessed, by=columns, columns=self.columns_found)
        self.ignored: dict[str, int] = {}
        if image_root is None and not pictures and self.mapping.image and self.mapping.caption:
            self.root = self._likely_root()

    @property
    def count_hint(self) -> int | None:
        """About how many rows there are."""
        hints = [table.count_hint for table in self._tables]
        return None if any(hint is None for hint in hints) else sum(hint or 0 for hint in hints)

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
        return list(islice(self.rows(), n))

    def rows(self) -> Iterator[Row]:
        """Yields every row; raises InputError when there is no column for the image or the caption."""
        column_names.require(self.mapping, columns=self.columns_found, name=self._name, needed=("image", "caption"))
        chosen = self.mapping.given()
        number = 0
        for table in self._tables:
            split = _split_of(table.path) if "split" not in chosen and len(self._tables) > 1 else ""
            for line, cells in self._cells(table, list(chosen.values())):
                number += 1
                yield self._row(number, f"{table.path.name}:{line}", cells=cells, chosen=chosen, split=split)

    def _row(self, number: int, where: str, *, cells: Cells, chosen: dict[str, str], split: str) -> Row:
        if isinstance(cells, str):
            return refused_row(number, where, reason=cells)
        values = {field: cells.get(column, "") for field, column in chosen.items()}
        for field in TEXT_ONLY:
            if isinstance(values.get(field), Nested):
                return refused_row(number, where, reason=f"{field}: a list or an object, expected text")
        image = values["image"]
        if image.startswith("/"):
            values["image"] = image.removeprefix(f"{self.root}/")
        elif image.startswith("./"):
            values["image"] = image[2:].lstrip("/") or image
        if split:
            values["split"] = split
        return row_of(number, where, values=values)

    def _cells(self, table: "CsvTable | JsonlTable | ParquetTable", wanted: list[str]) -> Iterator[tuple[int, Cells]]:
        if not isinstance(table, ParquetTable):
            return table.rows()
        return table.rows([name for name in wanted if name in table.columns])

    def _table(self, path: Path) -> "CsvTable | JsonlTable | ParquetTable":
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else ""
            table = ParquetTable(path, name=name)
            if table.images and not name:
                raise InputError(f"{path.name} holds images, so the image root must be a folder above it.")
            return table
        return JsonlTable(path) if suffix in (".jsonl", ".ndjson") else CsvTable(path)

    def _likely_root(self) -> Path:
        """Returns the table's folder, or its usual sub-folder when only there the first images are found."""
        try:
            names = [row.image for row in self.preview(LOOKED_AT) if row.outcome is None]
        except InputError:
            return self.root  # rows() tells what is wrong
        counts = {
            folder: sum(1 for name in names if _is_inside(folder, name))
            for folder in (self.root, *(self.root / name for name in USUAL_FOLDERS))
        }
        return max(counts, key=lambda folder: counts[folder])

    def _picture_columns(self) -> list[str]:
        return [name for table in self._tables if isinstance(table, ParquetTable) for name in table.images]


def _files(path: Path) -> list[Path]:
    """Returns the files of a table: itself, or the `pairs.csv`, the one table or the shards of a folder."""
    if path.is_file():
        return [path]
    for name in ("pairs.csv", *METADATA):
        if (path / name).is_file():
            return [path / name]
    found = sorted(child for child in path.iterdir() if child.suffix.lower() in TABLES and child.is_file())
    found = found or sorted((path / "data").glob("*.parquet"))
    if len(found) > 1 and not all(child.suffix.lower() == ".parquet" for child in found):
        names = ", ".join(f"'{child.name}'" for child in found[:10])
        raise InputError(f"'{path.name}' holds several tables: {names}.", fix="name the one with the captions.")
    if not found:
        raise InputError(f"There is no table in '{path.name}'.", fix="name a .csv, .tsv, .jsonl or .parquet file.")
    return found


def _is_inside(folder: Path, locator: str) -> bool:
    """Says whether a plain path is a file in a folder; looks, opens nothing."""
    try:
        return (folder / parse(locator).file).is_file()
    except (UnreadableInput, OSError, ValueError):
        return False


def _split_of(path: Path) -> str:
    """Returns the split that a shard's name begins with, such as `train-00000-of-00002.parquet`."""
    return SPLITS.get(path.stem.split("-")[0].lower(), "")
