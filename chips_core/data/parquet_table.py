"""Tables in Parquet files: text columns as strings, class numbers by their names, image bytes left where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chips_core.data.containers import open_parquet
from chips_core.data.tables import Cells, Nested
from chips_core.errors import InputError

ROWS_AT_ONCE = 2_048
EXTENSION = b"ARROW:extension:name"
DAMAGE = (pa.ArrowException, OSError, ValueError, MemoryError, LookupError, TypeError, RuntimeError)


class ParquetTable:
    """One Parquet file; `columns` are those that can be text or an image.

    A column of bytes, or of {bytes, path} as data hubs store images, is an image column: its cells are locators into
    the file (`<name>#<row>:<column>`), and the bytes are read by the opener alone.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self.path = path
        self._name = name
        with self._told():
            file = open_parquet(path)
            self._schema: pa.Schema = file.schema_arrow
            self._rows = int(file.metadata.num_rows)
        self._refuse_pickles()
        self.images = [field.name for field in self._schema if _is_image(field.type)]
        self.columns = list(self._schema.names)
        self._classes = _class_names(self._schema)

    @property
    def count_hint(self) -> int | None:
        """The number of rows."""
        return self._rows

    def rows(self, wanted: list[str]) -> Iterator[tuple[int, Cells]]:
        """Yields (row number from 1, cells) with the wanted columns; the bytes of images are not read."""
        self._refuse_types(wanted)
        texts = [name for name in wanted if name not in self.images]
        pictures = [name for name in wanted if name in self.images]
        number = 0
        with self._told():
            batches = open_parquet(self.path).iter_batches(batch_size=ROWS_AT_ONCE, columns=texts)
            for batch in batches:
                columns = [self._as_text(batch.column(name), name) for name in texts]
                for cells in zip(*columns, strict=True) if columns else iter([()] * batch.num_rows):
                    row: dict[str, str] = dict(zip(texts, cells, strict=True))
                    for name in pictures:
                        row[name] = f"{self._name}#{number}:{name}"
                    number += 1
                    yield number, row

    def _as_text(self, column: pa.Array, name: str) -> list[str]:
        """Returns a column as strings: null is "", bytes that are not UTF-8 stay visible as lone surrogates."""
        if name in self._classes:
            names = self._classes[name]
            return [
                "" if value is None else names[value] if 0 <= value < len(names) else str(value)
                for value in column.to_pylist()
            ]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if _is_nested(column.type):
            return ["" if v is None else Nested(json.dumps(v, default=str)) for v in column.to_pylist()]
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = pc.cast(column, pa.string())
        try:
            return ["" if value is None else value for value in column.to_pylist()]
        except UnicodeDecodeError:
            raw = column.cast(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())
            return [(value or b"").decode("utf-8", "surrogateescape") for value in raw.to_pylist()]

    def _refuse_pickles(self) -> None:
        for field in self._schema:
            kind = (field.metadata or {}).get(EXTENSION, b"")
            if b"py_extension_type" in kind or b"pickle" in kind.lower():
                raise InputError(
                    f"{self.path.name}: column '{field.name[:60]}' holds a pickled type, which runs code when read.",
                    fix="save the column as text or plain bytes.",
                )

    def _refuse_types(self, wanted: list[str]) -> None:
        for name in wanted:
            kind = self._schema.field(name).type
            if pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType):
                raise InputError(f"{self.path.name}: column '{name}' has type {kind}, expected text.")

    def _told(self) -> "_NamedDamage":
        return _NamedDamage(self.path)


class _NamedDamage:
    """Turns what Arrow raises on a damaged file into a sentence with its name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DAMAGE):
            raise InputError(
                f"{self._path.name} is not a readable Parquet file ({type(error).__name__}).", fix="fetch it again."
            ) from error


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or _is_binary(kind))


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the names behind class numbers, as data hubs write them into the file's metadata."""
    held = (schema.metadata or {}).get(b"huggingface")
    if not held:
        return {}
    try:
        features = json.loads(held)["info"]["features"]
        return {
            name: [str(n) for n in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
