"""What an export would write: the pairs, the columns by allow-list, what is left behind and why; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from chips_core.curate.candidates import Mask, Rows
from chips_core.curate.from_pool import candidates_of
from chips_core.errors import InputError, UsageError
from chips_core.outcomes import Outcome
from chips_core.store import Pool, Review
from chips_core.store.review_database import FILE as REVIEW

SELECTIONS, SCORES = "selections", "scores"
EVERYTHING = "all"
DEFAULT_COLUMNS = (
    *("pair_id", "image", "caption", "label", "class_prompt", "split", "modality", "body_part", "source"),
    "caption_source",
)
ALLOWED = (*DEFAULT_COLUMNS, "group", "width", "height")  # group, the patient, only when it is asked for
NEEDED = ("pair_id", "image", "caption")
COUNTED = ("label", "modality", "source")


@dataclass(frozen=True)
class Coverage:
    """How many pairs each value of a column has before and after: (value, before, after), the most frequent first."""

    column: str
    counts: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """What would be written.

    Attributes:
        selection: its name.
        table: one line a pair in the order of the selection: the columns asked for, with `image` as the locator.
        coverage: before (all kept pairs) and after, by column.
        left_behind: ids of the kept pairs that are not in it.
        dropped: how many pairs each reason leaves behind.
        record: how the selection was made, as far as it is known.
        runs: the fingerprint of the run of every score that is written.
        warnings: what to know.
    """

    selection: str
    table: pd.DataFrame = field(repr=False)
    coverage: tuple[Coverage, ...]
    left_behind: tuple[str, ...] = field(repr=False)
    dropped: Mapping[str, int]
    record: Mapping[str, Any]
    runs: Mapping[str, str]
    warnings: tuple[str, ...]


def export_plan(pool: Pool, *, selection: str, columns: Sequence[str] = ()) -> ExportPlan:
    """Returns what an export of a selection would write.

    Args:
        pool: it and its source are only read.
        selection: a saved or computed selection, or `all`.
        columns: of the pairs and of the scores; pair_id, image and caption are always there.
    """
    pairs = pool.kept([*ALLOWED])
    ids, record = _chosen(pool, selection, pairs=pairs)
    index = pd.Index(pairs["pair_id"])
    found: Rows = index.get_indexer(pd.Index(ids, dtype=index.dtype)).astype(np.int64)
    table, origin = candidates_of(pool)
    wrong = table.barred["judged wrong"]
    rows = found[found >= 0]
    kept = rows[~wrong[rows]]
    chosen = np.zeros(len(pairs), np.bool_)
    chosen[kept] = True
    warnings = []
    if len(kept) < len(rows):
        warnings.append(f"{len(rows) - len(kept):,} pairs of the selection were judged wrong since and stay out.")
    if (found < 0).any():
        warnings.append(f"{int((found < 0).sum()):,} pairs of the selection are not in this pool any more.")
    if not len(kept):
        warnings.append("Nothing is selected: the export holds no pair.")
    lines, runs = _lines(pool, pairs, rows=kept, columns=columns, target=origin.target)
    return ExportPlan(
        selection=selection,
        table=lines,
        coverage=tuple(_coverage(pairs[name].to_numpy(object), chosen, column=name) for name in COUNTED),
        left_behind=tuple(str(pair_id) for pair_id in pairs["pair_id"][~chosen]),
        dropped=_dropped(pool, record, readable=table.readable, wrong=wrong, chosen=chosen),
        record=record,
        runs=runs,
        warnings=tuple(warnings),
    )


def _chosen(pool: Pool, name: str, *, pairs: pd.DataFrame) -> tuple[list[str], Mapping[str, Any]]:
    """Returns the ids of a selection in their order, and how it was made."""
    if name == EVERYTHING:
        return [str(pair_id) for pair_id in pairs["pair_id"]], {"recipe": {"method": "every kept pair"}}
    computed = {artifact.name: artifact for artifact in pool.tables(SELECTIONS)}
    saved: dict[str, Any] = {}
    if (pool.path / REVIEW).is_file():
        with Review.open(pool.path) as review:
            saved = {found.name: found for found in review.selections()}
            if name in saved:
                ids = review.selection_pairs(name)
                recipe = saved[name].recipe
                made = computed.get(name)
                whole = made is not None and recipe.get("fingerprint") == made.fingerprint
                return ids, made.record if whole and made else {"recipe": recipe}
    if name in computed:
        ids = [str(pair_id) for pair_id in pool.table(SELECTIONS, name, ["pair_id"])["pair_id"]]
        return ids, computed[name].record
    there = ", ".join(sorted({*computed, *saved})) or "none"
    raise InputError("There is no selection of that name.", fix=f"the selections are: {there}; or 'all'.")


def _lines(
    pool: Pool, pairs: pd.DataFrame, *, rows: Rows, columns: Sequence[str], target: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Returns the columns that are asked for, and the runs that scores come from."""
    del target
    wanted = list(dict.fromkeys([*NEEDED, *(columns or DEFAULT_COLUMNS)]))
    runs: dict[str, str] = {}
    lines = pairs.iloc[rows].reset_index(drop=True)[[name for name in wanted if name in ALLOWED]]
    known = {
        str(entry["column"]): artifact
        for artifact in pool.tables(SCORES)
        for entry in artifact.record.get("columns", [])
    }
    for name in (name for name in wanted if name not in ALLOWED):
        if name not in known:
            listed = ", ".join([*ALLOWED, *known])
            raise UsageError(f"'{name[:40]}' is not a column that can be exported.", fix=f"there are: {listed}.")
        scores = pool.table(SCORES, known[name].name, ["row", name])
        values = np.full(len(pairs), np.nan)
        values[scores["row"].to_numpy(np.int64)] = scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
        lines[name] = values[rows]
        runs[known[name].name] = known[name].fingerprint
    return lines[wanted], runs


def _coverage(names: Any, chosen: Mask, *, column: str) -> Coverage:
    values, codes = np.unique(names.astype(str), return_inverse=True)
    before = np.bincount(codes, minlength=len(values))
    after = np.bincount(codes[chosen], minlength=len(values))
    order = np.argsort(-before, kind="stable")
    return Coverage(column, tuple((str(values[at]), int(before[at]), int(after[at])) for at in order))


def _dropped(pool: Pool, record: Mapping[str, Any], *, readable: Mask, wrong: Mask, chosen: Mask) -> dict[str, int]:
    """Returns why the rows of the source are not in the export; together with the exported they are all rows."""
    counts = {f"{name} at intake": n for name, n in pool.outcomes().counts.items() if name != Outcome.KEPT and n}
    counts["judged wrong"] = int(np.count_nonzero(wrong & ~chosen))
    counts["target, test or not encoded"] = int(np.count_nonzero(~readable & ~chosen & ~wrong))
    left = int(np.count_nonzero(readable & ~chosen & ~wrong))
    for reason, count in record.get("kept_out", {}).items():
        if reason != "judged wrong" and 0 < count <= left:
            counts[str(reason)] = int(count)
            left -= int(count)
    counts["not chosen"] = left
    return counts
