"""What the Compare page shows: two selections, two runs or two reviewers against each other, and methods by rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from chips_core.errors import InputError
from chips_core.influence.titles import title_of, title_of_method
from chips_core.numbers import number
from chips_core.store import Pool, Review
from chips_core.store.review_database import FILE as REVIEW
from chips_core.views.map import PairColumns, Rows

TOP = 0.1  # the share of the first pairs whose overlap is told
PLACES = 100  # that a pair can move in, however many pairs there are
Texts = NDArray[np.object_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A small table: the titles of its columns, and for each line its name and its cells as numbers."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True, eq=False)
class Difference:
    """Two things compared, pair by pair.

    Attributes:
        a: the name of the first.
        b: the name of the second.
        facts: what is to be said of them, (words, number as text).
        groups: (N,) the number of the name that a pair falls under, -1 for `rest`; None where `change` tells it.
        names: of the groups.
        rest: what is said of the pairs in no group.
        change: (N,) by how many places of a hundred a pair moves from a to b, NaN where it is in one of them only; None
            where `groups` tell it.
        differing: the pairs that differ, those that differ most first.
        told: what a and what b say of a pair, (N,) each.
        table: by class, or verdict against verdict; None where there is none.
        high_first: whether a pair that rises is the one to look at, for it becomes more suspect.
        people: whether a and b are reviewers, none of whom comes before the other.
    """

    a: str
    b: str
    facts: tuple[tuple[str, str], ...]
    change: Floats | None
    differing: Rows = field(repr=False)
    told: tuple[Texts, Texts] = field(repr=False)
    groups: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    rest: str = ""
    table: Table | None = None
    high_first: bool = True
    people: bool = False


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike methods rank the pairs: their titles and Spearman's correlation of each two, (M, M)."""

    titles: tuple[str, ...]
    correlation: Floats
    pairs: int


def compare_selections(pool: Pool, pairs: PairColumns, a: str, b: str) -> Difference:
    """Returns two saved selections against each other."""
    with Review.open(pool.path) as review:
        chosen = [pairs.rows_of(review.selection_pairs(name)) for name in (a, b)]
    inside = np.zeros((2, len(pairs)), np.bool_)
    for at, rows in enumerate(chosen):
        inside[at, rows] = True
    both, only_a, only_b = inside[0] & inside[1], inside[0] & ~inside[1], inside[1] & ~inside[0]
    union = int(np.count_nonzero(inside.any(axis=0)))
    facts = (
        ("In both", f"{np.count_nonzero(both):,}"),
        (f"Only in {a}", f"{np.count_nonzero(only_a):,}"),
        (f"Only in {b}", f"{np.count_nonzero(only_b):,}"),
        ("Shared of all chosen", f"{np.count_nonzero(both) / union:.1%}" if union else "–"),
    )
    differing = np.r_[np.flatnonzero(only_a), np.flatnonzero(only_b)].astype(np.int64)
    told = (_yes_no(inside[0]), _yes_no(inside[1]))
    names = (f"only in {a}", f"only in {b}", "in both")
    groups = _numbered(only_a, only_b, both)
    table = _by_class(pairs, inside, names=(a, b))
    return Difference(a, b, facts, None, differing, told, groups, names, "in neither", table)


def columns_in_both(pool: Pool, a: str, b: str) -> dict[str, str]:
    """Returns the scores that two runs have in common, with their titles.

    Those that rank come first, and of them those that the runs compute by different methods, such as in their two
    modes: the others mostly come out the same.
    """
    found = [_described(pool, run) for run in (a, b)]
    both = [name for name in found[0] if name in found[1]]

    def last(name: str) -> tuple[bool, bool]:
        one, other = (columns[name] for columns in found)
        return one.get("higher_is") == "neutral", one.get("method") == other.get("method")

    both.sort(key=last)
    return {name: title_of(name) for name in both}


def compare_runs(pool: Pool, pairs: PairColumns, a: str, b: str, *, column: str) -> Difference:
    """Returns two runs against each other: by how many places of a hundred each pair moves in one score."""
    if column not in columns_in_both(pool, a, b):
        raise InputError(f"The runs have no score '{column[:40]}' in common.", fix="choose another score.")
    values = np.stack([_values(pool, run, column, count=len(pairs)) for run in (a, b)])
    known = np.isfinite(values).all(axis=0)
    ranks = np.full(values.shape, np.nan)
    ranks[:, known] = [_ranks(line) for line in values[:, known]]
    change = PLACES * (ranks[1] - ranks[0])
    rows = np.flatnonzero(known & (change != 0))
    differing = rows[np.argsort(-np.abs(change[rows]), kind="stable")].astype(np.int64)
    facts = (
        ("Pairs in both", f"{np.count_nonzero(known):,}"),
        ("Rank correlation", f"{_correlation(ranks[:, known]):.3f}"),
        (f"Shared of the first {TOP:.0%}", f"{_top_overlap(ranks[:, known]):.1%}"),
        ("Half move less than", f"{_median(np.abs(change[known])):.1f} of {PLACES} places"),
    )
    told = (_numbers(values[0]), _numbers(values[1]))
    high_first = _described(pool, b)[column].get("higher_is") != "valuable"
    return Difference(a, b, facts, change, differing, told, high_first=high_first)


def reviewers_of(pool: Pool) -> tuple[str, ...]:
    """Returns who gave verdicts that hold, by name."""
    return tuple(sorted(set(_verdicts(pool)["reviewer"])))


def compare_reviewers(pool: Pool, pairs: PairColumns, a: str, b: str) -> Difference:
    """Returns the verdicts of two reviewers against each other, with Cohen's kappa."""
    given = _verdicts(pool)
    told = tuple(_told(given[given["reviewer"] == who], pairs) for who in (a, b))
    judged = [found != "" for found in told]
    both = judged[0] & judged[1]
    same = both & (told[0] == told[1])
    names = (f"only {a}", f"only {b}", "they agree", "they differ")
    groups = _numbered(judged[0] & ~judged[1], judged[1] & ~judged[0], same, both & ~same)
    count = int(np.count_nonzero(both))
    facts = (
        ("Judged by both", f"{count:,}"),
        ("Agree", f"{np.count_nonzero(same) / count:.1%}" if count else "–"),
        ("Cohen's kappa", f"{kappa(told[0][both], told[1][both]):.2f}" if count else "–"),
        ("Differ", f"{np.count_nonzero(both & ~same):,}"),
    )
    table = _confusion(told[0][both], told[1][both]) if count else None
    differing = np.flatnonzero(both & ~same).astype(np.int64)
    rest, both_told = "judged by neither", (told[0], told[1])
    return Difference(a, b, facts, None, differing, both_told, groups, names, rest, table, people=True)


def agreement(pool: Pool, run: str) -> Agreement:
    """Returns how alike the methods of a run rank the pairs; every score is turned so that high is valuable."""
    described = _described(pool, run)
    leading: dict[str, str] = {}
    for name, entry in described.items():
        if entry.get("higher_is") != "neutral" and entry["method"] != "random":
            leading.setdefault(str(entry["method"]), name)
    table = pool.table("scores", run, list(leading.values())) if leading else pd.DataFrame()
    turned = [
        table[name].to_numpy(np.float64, na_value=np.nan) * (-1 if described[name]["higher_is"] == "suspect" else 1)
        for name in leading.values()
    ]
    values = np.stack(turned) if turned else np.empty((0, 0))
    known = np.isfinite(values).all(axis=0)
    ranks = np.stack([_ranks(line) for line in values[:, known]]) if len(values) else values
    found = np.array([[_correlation(np.stack([one, other])) for other in ranks] for one in ranks])
    return Agreement(tuple(title_of_method(method) for method in leading), found, int(np.count_nonzero(known)))


def kappa(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Returns Cohen's kappa, (p_o - p_e) / (1 - p_e): agreement beyond chance; 1 where both say one and the same.

    J. Cohen: A Coefficient of Agreement for Nominal Scales. Educational and Psychological Measurement 20(1), 1960.
    """
    first, second = np.asarray(one, dtype=object).astype(str), np.asarray(other, dtype=object).astype(str)
    observed = float(np.mean(first == second))
    words = np.unique(np.r_[first, second])
    expected = float(sum(np.mean(first == word) * np.mean(second == word) for word in words))
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def _described(pool: Pool, run: str) -> dict[str, Mapping[str, Any]]:
    record = next((found.record for found in pool.tables("scores") if found.name == run), None)
    if record is None:
        there = ", ".join(found.name for found in pool.tables("scores")) or "none"
        raise InputError(f"There is no run '{run[:60]}'.", fix=f"the runs are: {there}.")
    return {str(entry["column"]): entry for entry in record.get("columns", [])}


def _values(pool: Pool, run: str, column: str, *, count: int) -> Floats:
    table = pool.table("scores", run, ["row", column])
    values = np.full(count, np.nan)
    values[table["row"].to_numpy(np.int64)] = table[column].to_numpy(np.float64, na_value=np.nan)
    return values


def _ranks(values: Floats) -> Floats:
    """Returns the places from 0 to 1, equal values sharing the middle of theirs."""
    return np.asarray((rankdata(values) - 0.5) / max(len(values), 1), dtype=np.float64)


def _correlation(ranks: Floats) -> float:
    """Returns Pearson's correlation of two lines of ranks, which is Spearman's; 0 where one of them is constant."""
    if not ranks.shape[1] or (ranks.max(axis=1) == ranks.min(axis=1)).any():
        return 0.0
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _top_overlap(ranks: Floats) -> float:
    most = max(1, round(TOP * ranks.shape[1])) if ranks.shape[1] else 0
    first = [set(np.argsort(-line, kind="stable")[:most].tolist()) for line in ranks]
    return len(first[0] & first[1]) / most if most else 0.0


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _numbered(*masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the number of the mask that holds a pair, -1 for none, (N,)."""
    found = np.full(len(masks[0]), -1, dtype=np.int64)
    for at, mask in enumerate(masks):
        found[mask] = at
    return found


def _yes_no(mask: NDArray[np.bool_]) -> Texts:
    return np.where(mask, "in", "out").astype(object)


def _numbers(values: Floats) -> Texts:
    return np.array([number(value) if np.isfinite(value) else "" for value in values.tolist()], dtype=object)


def _by_class(pairs: PairColumns, inside: NDArray[np.bool_], *, names: tuple[str, str]) -> Table | None:
    label = pairs.named("label")
    if not any(label.names):
        return None
    counts = [np.bincount(label.codes[mask], minlength=len(label.names)) for mask in inside]
    order = np.argsort(-np.abs(counts[0] - counts[1]), kind="stable")
    lines = tuple(
        (label.names[at] or "not said", (float(counts[0][at]), float(counts[1][at])))
        for at in order
        if counts[0][at] or counts[1][at]
    )
    return Table(("Class", *names), lines)


def _verdicts(pool: Pool) -> pd.DataFrame:
    if not (pool.path / REVIEW).is_file():
        return pd.DataFrame({"pair_id": [], "verdict": [], "reviewer": []}, dtype=object)
    with Review.open(pool.path) as review:
        return review.current_verdicts(by_reviewer=True)


def _told(given: pd.DataFrame, pairs: PairColumns) -> Texts:
    found = np.full(len(pairs), "", dtype=object)
    by_id = dict(zip(given["pair_id"], given["verdict"], strict=True))
    rows = pairs.rows_of(list(by_id))
    for row, pair_id in zip(rows, pairs.pair_ids(rows), strict=True):
        found[row] = str(by_id[pair_id])
    return found


def _confusion(one: Texts, other: Texts) -> Table:
    words = sorted({*one.tolist(), *other.tolist()})
    lines = tuple(
        (word, tuple(float(np.count_nonzero((one == word) & (other == column))) for column in words)) for word in words
    )
    return Table(("", *words), lines)
