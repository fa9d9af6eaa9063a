"""What an export would write: the pairs, the columns by allow-list, what is left behind and why; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from chips_core.curate.candidates import Candidates, HigherIs, Mask, Rows
from chips_core.curate.distribution import Distribution, distribution
from chips_core.curate.from_pool import candidates_of
from chips_core.curate.licences import Licence, licences_of
from chips_core.curate.suspects import suspects
from chips_core.errors import InputError, UsageError
from chips_core.outcomes import Outcome
from chips_core.store import Pool, Review
from chips_core.store.review import EVERYTHING
from chips_core.store.review_database import FILE as REVIEW

SELECTIONS, SCORES = "selections", "scores"
DEFAULT_COLUMNS = (
    *("pair_id", "image", "caption", "label", "class_prompt", "split", "modality", "body_part", "source"),
    "caption_source",
)
ALLOWED = (*DEFAULT_COLUMNS, "group", "width", "height")  # group, the patient, only when it is asked for
NEEDED = ("pair_id", "image", "caption")
COUNTED = ("label", "modality", "body_part", "source")
LEADING = ("queue", "delta_loss_if_removed", "utility", "clipscore", "negcliploss", "learnability")
MOST_SCORES = 6


@dataclass(frozen=True)
class Coverage:
    """How many pairs each value of a column has before and after: (value, before, after), the most frequent first."""

    column: str
    counts: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ScoreChange:
    """How a score lies before and after: the column, what a high value says, and the distribution."""

    column: str
    higher_is: HigherIs
    shape: Distribution


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """What would be written.

    Attributes:
        selection: its name.
        table: one line a pair in the order of the selection: the columns asked for, with `image` as the locator.
        coverage: before (all kept pairs) and after, by column.
        scores: the leading scores before (all candidates) and after.
        suspect: the share of suspect pairs among the candidates and in the selection; None without a queue.
        licences: what the source says of its licence.
        left_behind: ids of the kept pairs that are not in it.
        dropped: how many pairs each reason leaves behind.
        record: how the selection was made, as far as it is known.
        runs: the fingerprint of the run of every score that is written.
        warnings: what to know.
    """

    selection: str
    table: pd.DataFrame = field(repr=False)
    coverage: tuple[Coverage, ...]
    scores: tuple[ScoreChange, ...]
    suspect: tuple[float, float] | None
    licences: tuple[Licence, ...]
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
        left_out = len(rows) - len(kept)
        what = f"{left_out:,} pairs of the selection were" if left_out > 1 else "1 pair of the selection was"
        warnings.append(f"{what} judged wrong since and left out.")
    if (found < 0).any():
        warnings.append(f"{int((found < 0).sum()):,} pairs of the selection are not in this pool any more.")
    warnings += _leaks(table, kept)
    if not len(kept):
        warnings.append("Nothing is selected: the export holds no pair.")
    lines, runs = _lines(pool, pairs, rows=kept, columns=columns)
    return ExportPlan(
        selection=selection,
        table=lines,
        coverage=tuple(_coverage(pairs[name].to_numpy(object), chosen, column=name) for name in COUNTED),
        scores=_scores(table, chosen),
        suspect=_suspect(table, chosen),
        licences=licences_of(pool.source_root),
        left_behind=tuple(str(pair_id) for pair_id in pairs["pair_id"][~chosen]),
        dropped=_dropped(pool, record, readable=table.readable, wrong=wrong, chosen=chosen),
        record=record,
        runs={**origin.runs, **runs},
        warnings=tuple(warnings),
    )


def _leaks(table: Candidates, kept: Rows) -> list[str]:
    """Returns what to know of a selection that somebody made by hand: a recipe never chooses such pairs."""
    found = []
    outside = int(np.count_nonzero(~table.readable[kept]))
    if outside:
        found.append(f"{outside:,} pairs are of the target or test set, or not encoded: do not train on those.")
    for reason, mask in table.barred.items():
        count = int(np.count_nonzero(mask[kept] & table.readable[kept]))
        if count:
            found.append(f"{count:,} pairs: {reason}.")
    return found


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
                made = next((a for a in computed.values() if a.fingerprint == recipe.get("fingerprint")), None)
                return ids, made.record if made else {"recipe": recipe}
    if name in computed and not (pool.path / REVIEW).is_file():
        ids = [str(pair_id) for pair_id in pool.table(SELECTIONS, name, ["pair_id"])["pair_id"]]
        return ids, computed[name].record
    there = ", ".join(sorted(saved or computed)) or "none"
    raise InputError("There is no selection of that name.", fix=f"the selections are: {there}; or 'all'.")


def _scores(table: Candidates, chosen: Mask) -> tuple[ScoreChange, ...]:
    rank = {name: at for at, name in enumerate(LEADING)}
    names = sorted((name for name in table.columns if name in rank), key=lambda name: rank[name])
    names += [name for name, found in table.columns.items() if name not in rank and found.higher_is != "neutral"]
    return tuple(
        ScoreChange(name, found.higher_is, distribution(found.values, among=table.readable, sets=[chosen]))
        for name in names[:MOST_SCORES]
        if (found := table.columns[name]) and np.isfinite(found.values).any()
    )


def _suspect(table: Candidates, chosen: Mask) -> tuple[float, float] | None:
    found = suspects(table)
    if found is None or not table.readable.any():
        return None
    return float(found[table.readable].mean()), float(found[chosen].mean()) if chosen.any() else 0.0


def _lines(
    pool: Pool, pairs: pd.DataFrame, *, rows: Rows, columns: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Returns the columns that are asked for, and the runs that scores come from."""
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
