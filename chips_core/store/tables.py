"""Parquet as the pool uses it: checksums on every page, written and verified, and no non-finite scores.

Parquet does not notice flipped bits by default; with page checksums every one in the data is an error.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chips_core import atomic
from chips_core.errors import InputError, PoolDamaged

ROW_GROUP = 1 << 16  # pairs held in memory while streaming


def write_parquet(path: Path, *, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes batches as they come, in constant memory, and returns the number of rows."""
    rows = 0
    with atomic.replacing(path) as handle, _writer(handle, schema) as writer:
        for group in _regrouped(batches, schema=schema):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return rows


def read_parquet(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns columns of a file, every page checked; a damaged file or an unknown column is refused by name."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            known = file.schema_arrow.names
            unknown = [column for column in columns or () if column not in known]
            if unknown:
                raise InputError(f"{path.name} has no column '{unknown[0]}'.", fix=f"it has {', '.join(known)}.")
            return file.read(columns=list(columns) if columns is not None else None)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path.name) from error


def damaged(name: str) -> PoolDamaged:
    """Returns the error for an artifact's file that is not what was written."""
    return PoolDamaged(
        f"{name} is damaged: it is not what was written.",
        fix="run: chips check POOL --repair, which drops what can be computed again.",
    )


def to_arrow(table: pa.Table | pd.DataFrame) -> pa.Table:
    """Returns an Arrow table; a DataFrame's NaN becomes null, which is how pandas writes 'no value'."""
    if isinstance(table, pa.Table):
        return table
    try:
        return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, TypeError) as error:
        raise InputError("A column of the table mixes kinds of values.", fix="give each column one type.") from error


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Returns a DataFrame; texts stay exactly as stored."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, split_blocks=True)
    return frame


def refuse_not_finite(table: pa.Table, *, name: str) -> None:
    """Raises InputError for NaN or infinity in any column of numbers; null is the only way to say 'no score'."""
    for column in _float_columns(table):
        bad = pc.sum(pc.invert(pc.is_finite(table[column]))).as_py() or 0  # null stays null, and is not counted
        if bad:
            raise InputError(
                f"Column '{column}' of {name} holds {bad:,} values that are not finite.",
                fix="this is a fault in the method or its input features; nothing was stored.",
            )


def refuse_wrong_nulls(table: pa.Table, *, name: str, readable: pa.Array) -> None:
    """Raises InputError where a readable pair has no score, or any other row has one; `readable` holds pair ids."""
    if "pair_id" not in table.column_names:
        raise InputError(f"{name} has no column 'pair_id'.", fix="say which pair each score belongs to.")
    if pc.count_distinct(table["pair_id"], mode="all").as_py() != table.num_rows:
        raise InputError(f"{name} holds a pair id twice.", fix="give one row per pair.")
    expected = pc.is_in(table["pair_id"].cast(pa.string()), value_set=readable)
    for column in _float_columns(table):
        scored = pc.is_valid(table[column])
        lacking = pc.sum(pc.and_(expected, pc.invert(scored))).as_py() or 0
        if lacking:
            raise InputError(
                f"Column '{column}' of {name} has no value for {lacking:,} pairs that can be scored.",
                fix="score every readable pair, or leave its row out.",
            )
        surplus = pc.sum(pc.and_(scored, pc.invert(expected))).as_py() or 0
        if surplus:
            raise InputError(
                f"Column '{column}' of {name} has values for {surplus:,} pairs that cannot be read or are not here.",
                fix="give null for a pair without features.",
            )


def _float_columns(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if pa.types.is_floating(field.type)]


def _writer(handle: object, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(handle, schema, compression="zstd", write_page_checksum=True)


def _regrouped(batches: Iterable[pa.RecordBatch], *, schema: pa.Schema) -> Iterable[pa.Table]:
    """Yields tables of about ROW_GROUP rows, whatever the size of the batches."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP:
            yield pa.Table.from_batches(waiting, schema=schema)
            waiting, rows = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema=schema)
