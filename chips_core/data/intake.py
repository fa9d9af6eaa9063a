"""Intake: every input row in, one row of pairs.parquet out, with exactly one outcome and its reason.

The order of the questions: can the row be taken apart, is its pair id new, can the image be read, is there a caption,
was this image with this caption given before. Memory does not grow with the source but for 16 bytes a row.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import pyarrow as pa

from chips_core.data.captions import caption_flags
from chips_core.data.checking import Checked, checked
from chips_core.data.flags import Flag
from chips_core.data.limits import DEFAULT_LIMITS, ImageLimits
from chips_core.data.opener import ImageOpener
from chips_core.data.rows import FIELDS, Row
from chips_core.data.seen import FirstSeen, hash_of
from chips_core.data.source_kind import Source
from chips_core.outcomes import FAILED, Outcome
from chips_core.pairs_schema import PAIRS
from chips_core.progress import Progress, Silent

ROWS_AT_ONCE = 256
REASONS_TOLD = 3  # of the reasons why rows failed, the most frequent

Batch = list[tuple[Row, Outcome | None, str]]


def examine(
    source: Source,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    check: Literal["full", "header"] = "full",
    workers: int = 0,
    progress: Progress | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields batches of `pairs_schema.PAIRS`, one row for each row of the source, in its order.

    Args:
        source: where the rows come from.
        limits: what an image may cost.
        check: `full` decodes every image, which alone decides whether it is broken; `header` reads its size only.
        workers: processes that decode; 0 decodes in this one.
        progress: where to report to.
    """
    told = progress or Silent()
    told.start("intake", total=source.count_hint or 0, unit="rows")
    ids, pairs, remarks, reasons = FirstSeen(), FirstSeen(), Counter[str](), _Reasons()
    opener = ImageOpener(source.root, limits=limits)
    for batch, facts in checked(_admitted(source, ids), opener=opener, check=check, workers=workers):
        table = _Columns(pairs).of(batch, facts)
        remarks.update(flag for flags in table["flags"] for flag in flags)
        reasons.add(batch, table)
        yield pa.RecordBatch.from_pydict(table, schema=PAIRS)
        told.advance(len(batch))
    reasons.tell(told)
    for name, count in source.ignored.items():
        told.note(f"Passed over: {count:,} x {name}.")
    for flag in (Flag.PATIENT_DATA, Flag.BURNED_IN):
        if remarks[flag]:
            told.note(f"{remarks[flag]:,} pairs are flagged: {flag}.")


def _admitted(source: Source, ids: FirstSeen) -> Iterator[Batch]:
    """Yields rows in batches with what is decided before the image is opened."""
    rows = source.rows()
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        numbers = [row.number for row in batch]
        first = ids.add([hash_of(row.pair_id) for row in batch], numbers)
        yield [
            (row, row.outcome, row.reason)
            if row.outcome is not None or where == row.number
            else (row, Outcome.REFUSED, f"pair id given twice: in row {where:,} and again in row {row.number:,}")
            for row, where in zip(batch, first, strict=True)
        ]


class _Columns:
    """Turns a batch of rows and what was found of their images into columns."""

    def __init__(self, pairs: FirstSeen) -> None:
        self._pairs = pairs

    def of(self, batch: Batch, facts: list[Checked]) -> dict[str, list[Any]]:
        """Returns the columns of `PAIRS`."""
        columns: dict[str, list[Any]] = {name: [getattr(row, name) for row, _, _ in batch] for name in FIELDS}
        decided = [
            _decided(row, outcome, reason, found=found)
            for (row, outcome, reason), found in zip(batch, facts, strict=True)
        ]
        self._mark_duplicates([row for row, _, _ in batch], facts, decided)
        columns["outcome"] = [str(outcome) for outcome, _ in decided]
        columns["reason"] = [reason for _, reason in decided]
        columns["flags"] = [
            [*found.flags, *caption_flags(row.caption)] for (row, _, _), found in zip(batch, facts, strict=True)
        ]
        columns["image_sha256"] = [found.sha256 for found in facts]
        columns["width"] = [found.width for found in facts]
        columns["height"] = [found.height for found in facts]
        return columns

    def _mark_duplicates(self, rows: list[Row], facts: list[Checked], decided: list[tuple[Outcome, str]]) -> None:
        kept = [i for i, (outcome, _) in enumerate(decided) if outcome is Outcome.KEPT]
        numbers = [rows[i].number for i in kept]
        first = self._pairs.add([hash_of(facts[i].sha256, rows[i].caption) for i in kept], numbers)
        for i, number, where in zip(kept, numbers, first, strict=True):
            if where != number:
                decided[i] = (Outcome.DUPLICATE, f"same image and same caption as row {where:,}")


class _Reasons:
    """Counts why rows failed, in the words of their reasons without the numbers in them."""

    def __init__(self) -> None:
        self._counts, self._first = Counter[str](), dict[str, str]()

    def add(self, batch: Batch, table: Mapping[str, list[Any]]) -> None:
        """Counts a batch."""
        for (row, _, _), outcome, reason in zip(batch, table["outcome"], table["reason"], strict=True):
            if outcome in FAILED:
                words = re.sub(r"\d[\d,]*", "…", reason.removeprefix(f"{row.where}: "))
                self._counts[words] += 1
                self._first.setdefault(words, row.where)

    def tell(self, progress: Progress) -> None:
        """Says the most frequent reasons, and where each was met first."""
        for words, count in self._counts.most_common(REASONS_TOLD):
            progress.note(f"Failed: {count:,} x {words} (first: {self._first[words]}).")


def _decided(row: Row, outcome: Outcome | None, reason: str, *, found: Checked) -> tuple[Outcome, str]:
    if outcome is not None:
        return outcome, reason
    if found.outcome:
        return Outcome(found.outcome), f"{row.where}: {found.reason}"
    if not row.caption.strip():
        return Outcome.EMPTY_CAPTION, f"{row.where}: the caption is empty"
    return Outcome.KEPT, ""
