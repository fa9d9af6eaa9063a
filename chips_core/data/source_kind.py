"""What every source offers: its kind, its root, its columns, and its rows."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from chips_core.data.columns import ColumnMap
from chips_core.data.rows import Row

TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet")
LOOKED_AT = 2_000  # names looked at when a folder is recognised


class SourceKind(StrEnum):
    """What a source is."""

    DATASET_FOLDER = "dataset folder"
    TABLE = "table"
    IMAGE_FOLDER = "image folder"
    WEBDATASET = "webdataset"
    MEDMNIST = "medmnist"
    COCO = "coco"
    DICOM = "dicom"


class Source(Protocol):
    """A source of pairs.

    Attributes:
        kind: what it is.
        root: the folder that locators are relative to.
        columns_found: the columns, or what stands for them.
        mapping: which column is which field; guessed, then overridden.
        count_hint: about how many rows there are; None when that is not known before reading.
        ignored: what was passed over and why, counted; filled while rows are read.
    """

    @property
    def kind(self) -> SourceKind: ...  # noqa: D102
    @property
    def root(self) -> Path: ...  # noqa: D102
    @property
    def columns_found(self) -> list[str]: ...  # noqa: D102
    @property
    def mapping(self) -> ColumnMap: ...  # noqa: D102
    @property
    def count_hint(self) -> int | None: ...  # noqa: D102
    @property
    def ignored(self) -> dict[str, int]: ...  # noqa: D102

    def rows(self) -> Iterator[Row]:
        """Yields every input row, in a fixed order."""

    def preview(self, n: int) -> list[Row]:
        """Returns the first `n` rows."""
