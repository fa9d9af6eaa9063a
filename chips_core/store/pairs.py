"""pairs.parquet: one row per input row, streamed to disk while its fingerprint and its outcomes are taken.

The fingerprint is that of the contents, not of the file: the same rows give the same one, whatever the batches, the
compression or the version of the library.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chips_core.errors import InputError
from chips_core.fingerprint import LENGTH
from chips_core.outcomes import Outcome, OutcomeReport
from chips_core.pairs_schema import PAIRS
from chips_core.store.tables import damaged, read_parquet, write_parquet


@dataclass(frozen=True)
class PairsWritten:
    """What streaming the pairs to disk found out."""

    fingerprint: str
    rows: int
    outcomes: OutcomeReport


def write_pairs(path: Path, *, batches: Iterable[pa.RecordBatch]) -> PairsWritten:
    """Writes pairs.parquet, refusing batches of another schema, unknown outcomes and pair ids kept twice."""
    census = _Census()
    rows = write_parquet(path, schema=PAIRS, batches=census.watching(batches))
    _refuse_pair_ids_twice(path)
    report = OutcomeReport({str(outcome): census.outcomes.get(str(outcome), 0) for outcome in Outcome})
    return PairsWritten(census.fingerprint(), rows, report)


def read_pairs(path: Path, *, columns: list[str] | None = None, kept_only: bool = False) -> pa.Table:
    """Returns columns of the pairs in file order; with `kept_only`, row i is row i of the features."""
    wanted = columns if columns is not None else PAIRS.names
    extra = ["outcome"] if kept_only and "outcome" not in wanted else []
    table = read_parquet(path, columns=[*wanted, *extra])
    if any(table.schema.field(name).type != PAIRS.field(name).type for name in table.column_names):
        raise damaged(path.name)
    if kept_only:
        table = table.filter(pc.equal(table["outcome"], str(Outcome.KEPT)))
    return table.select(wanted)


class _Census:
    """Counts outcomes and digests contents of the batches that pass by."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._digests = {field.name: [hashlib.sha256() for _ in range(3)] for field in PAIRS}

    def watching(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for given in batches:
            batch = _checked(given)
            counts = pc.value_counts(batch["outcome"])
            self.outcomes.update({item["values"]: item["counts"] for item in counts.to_pylist()})
            unknown = set(self.outcomes) - {str(outcome) for outcome in Outcome}
            if unknown:
                raise InputError(f"'{min(unknown)[:40]}' is not an outcome.", fix="use chips_core.outcomes.Outcome.")
            for name in PAIRS.names:
                _digest_column(self._digests[name], batch[name])
            yield batch

    def fingerprint(self) -> str:
        whole = hashlib.sha256()
        for name, digests in self._digests.items():
            whole.update(name.encode())
            for digest in digests:
                whole.update(digest.digest())
        return whole.hexdigest()[:LENGTH]


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.schema.names != PAIRS.names:
        raise InputError("A batch of pairs has other columns than PAIRS.", fix="use chips_core.pairs_schema.PAIRS.")
    if any(column.null_count for column in batch.columns) or batch["flags"].flatten().null_count:
        raise InputError("A batch of pairs holds nulls.", fix="texts are never null; use ''.")
    try:
        table = pa.Table.from_batches([batch]).cast(PAIRS)
        table.validate(full=True)  # texts must be UTF-8
    except (pa.ArrowException, ValueError) as error:
        raise InputError("A batch of pairs does not fit PAIRS.", fix="give each column its type.") from error
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=PAIRS)


def _digest_column(digests: list[Any], column: pa.Array) -> None:
    """Feeds lengths and bytes into separate digests, so that where a batch ends does not matter."""
    if pa.types.is_integer(column.type):
        digests[0].update(column.to_numpy(zero_copy_only=False).astype("<i4").tobytes())
        return
    if pa.types.is_list(column.type):
        digests[2].update(pc.list_value_length(column).to_numpy(zero_copy_only=False).astype("<u4").tobytes())
        column = column.flatten()
    digests[0].update(pc.binary_length(column).to_numpy(zero_copy_only=False).astype("<u4").tobytes())
    if len(column):
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        if data is not None:
            digests[1].update(memoryview(data)[ends[0] : ends[-1]])


def _refuse_pair_ids_twice(path: Path) -> None:
    ids = read_pairs(path, columns=["pair_id"], kept_only=True)["pair_id"]
    if pc.count_distinct(ids).as_py() != len(ids):
        twice = pc.value_counts(ids).filter(pc.greater(pc.value_counts(ids).field("counts"), 1))
        raise InputError(f"{len(twice):,} pair ids are given twice among kept pairs.", fix="make pair ids unique.")
