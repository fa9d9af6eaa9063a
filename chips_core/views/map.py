"""What the Map page shows: layouts, what can colour, filter and sort the pairs, and cards and tables of some of them.

A row is a number among the kept pairs, which is the row of the features; an input row addresses an image. Everything
here is about rows: a layout says which of them it places.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.influence.titles import title_of
from chips_core.insight.vectors import Space
from chips_core.outcomes import Outcome
from chips_core.store import Pool
from chips_core.store.review import content_hash

MAPS, SCORES = "maps", "scores"
SPACES: Mapping[Space, str] = {"image": "Images", "text": "Captions", "joint": "Both"}
PAIR_COLUMNS = {"label": "Label", "source": "Source", "modality": "Modality", "split": "Split"}
VERDICT = "verdict"
NO_VERDICT = ""
FIRST_SCORES = ("queue", "delta_loss_if_removed", "utility", "alignment", "learnability", "relevance")
LISTED_TEXT = 240  # characters of a caption in the table

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layout:
    """The places of the pairs in the plane.

    Attributes:
        name: the map's name in the pool.
        space: what the distances are about.
        xy: (M, 2) float32, read-only, the same array at every call.
        rows: (M,) which pairs they are.
    """

    name: str
    space: Space
    xy: Floats
    rows: Rows

    def placed(self, mask: Mask) -> Mask:
        """Returns a mask over rows (N,) as a mask over places (M,)."""
        return mask[self.rows]

    def unplaced(self, mask: Mask) -> int:
        """Returns how many of the rows in a mask (N,) this layout does not place."""
        return int(np.count_nonzero(mask)) - int(np.count_nonzero(mask[self.rows]))

    def place_of(self, row: int | None) -> int | None:
        """Returns where a row is among the places; None for no row, or one that has no place here."""
        found = [] if row is None else np.flatnonzero(self.rows == row).tolist()
        return int(found[0]) if found else None

    def spread(self, placed: Mask, mask: Mask) -> Mask:
        """Returns the mask over rows (N,) with its placed pairs as in `placed` (M,); pairs without a place stay."""
        changed = mask.copy()
        changed[self.rows] = placed
        return changed


@dataclass(frozen=True)
class Choice:
    """Something that can colour, sort or filter the pairs.

    Attributes:
        key: names it: `score.COLUMN`, `pair.COLUMN` or `verdict`.
        title: for a person.
        kind: how it is coloured.
        meaning: in plain words; "" where the title says it.
        high_first: whether a high value is what one looks for first.
    """

    key: str
    title: str
    kind: Literal["sequential", "diverging", "categorical"]
    meaning: str = ""
    high_first: bool = True

    @property
    def column(self) -> str:
        """The name of the column."""
        return self.key.partition(".")[2] or self.key


@dataclass(frozen=True, eq=False)
class Named:
    """A column of names: `names[codes[row]]` is the name of a row, "" where the source says nothing."""

    codes: NDArray[np.int64]
    names: tuple[str, ...]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many pairs have each name, the most frequent first."""
        counts = np.bincount(self.codes, minlength=len(self.names))
        return {self.names[at]: int(counts[at]) for at in np.argsort(-counts, kind="stable")}


@dataclass(frozen=True)
class MapCard:
    """One pair as the gallery shows it."""

    row: int
    input_row: int
    pair_id: str
    caption: str
    label: str


class PairColumns:
    """The kept pairs of a pool, column by column: read when first asked for, then kept."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.RLock()
        self._texts: dict[str, pd.Series[str]] = {}
        self._named: dict[str, Named] = {}
        self._ids: pd.Index[str] | None = None
        kept = (pool.pairs(["outcome"])["outcome"] == Outcome.KEPT).to_numpy(dtype=np.bool_)
        self.input_rows: Rows = np.flatnonzero(kept).astype(np.int64)

    def __len__(self) -> int:
        """How many pairs were kept."""
        return len(self.input_rows)

    def texts(self, column: str) -> "pd.Series[str]":
        """Returns one column, (N,)."""
        with self._lock:
            if column not in self._texts:
                self._texts[column] = self._pool.kept([column])[column]
            return self._texts[column]

    def named(self, column: str) -> Named:
        """Returns one of PAIR_COLUMNS as names and codes."""
        with self._lock:
            if column not in self._named:
                table = self._pool.kept(list(PAIR_COLUMNS))  # together: reading and filtering is what takes time
                for name in PAIR_COLUMNS:
                    codes, names = pd.factorize(table[name])
                    self._named[name] = Named(np.asarray(codes, dtype=np.int64), tuple(str(found) for found in names))
            return self._named[column]

    def rows_of(self, pair_ids: Sequence[str]) -> Rows:
        """Returns the rows of these pairs; ids that are not among the kept pairs are left out."""
        with self._lock:
            if self._ids is None:
                self._ids = pd.Index(self.texts("pair_id"))
        found = self._ids.get_indexer(pd.Index(list(pair_ids), dtype=self._ids.dtype))
        return np.asarray(found[found >= 0], dtype=np.int64)

    def pair_ids(self, rows: Rows) -> list[str]:
        """Returns the ids of some rows."""
        return [str(pair_id) for pair_id in self.texts("pair_id").iloc[rows]]

    def content_hashes(self, rows: Rows) -> list[str]:
        """Returns the fingerprint of what each of some pairs shows."""
        both = zip(self.texts("image_sha256").iloc[rows], self.texts("caption").iloc[rows], strict=True)
        return [content_hash(image_sha256=str(image), caption=str(caption)) for image, caption in both]

    def card(self, row: int) -> MapCard:
        """Returns one pair."""
        return self.cards(np.array([row]))[0]

    def cards(self, rows: Rows) -> list[MapCard]:
        """Returns some pairs, in this order."""
        label = self.named("label")
        parts = zip(rows, self.pair_ids(rows), self.texts("caption").iloc[rows], label.codes[rows], strict=True)
        return [MapCard(int(r), int(self.input_rows[r]), i, str(caption), label.names[c]) for r, i, caption, c in parts]


class Values:
    """The numbers and names of every pair, for one run and the verdicts as they are now."""

    def __init__(self, pool: Pool, pairs: PairColumns, *, run: str | None, verdicts: Mapping[str, str]) -> None:
        self._pool, self._pairs, self._run = pool, pairs, run
        self._verdicts = verdicts
        self._given: Named | None = None

    def numbers(self, choice: Choice) -> Floats:
        """Returns a score, (N,), NaN where a pair has none."""
        assert self._run is not None  # noqa: S101 -- without a run there is no choice of a score
        return _score(self._pool.path, self._fingerprint(), self._run, choice.column, len(self._pairs))

    def names(self, choice: Choice) -> Named:
        """Returns a column of names, or the verdicts."""
        if choice.key != VERDICT:
            return self._pairs.named(choice.column)
        if self._given is None:
            self._given = _given(self._pairs, self._verdicts)
        return self._given

    def _fingerprint(self) -> str:
        return next(found.fingerprint for found in self._pool.tables(SCORES) if found.name == self._run)


def maps_of(pool: Pool) -> dict[Space, str]:
    """Returns the name of the newest map of each space that there is."""
    return {found.record["space"]: found.name for found in pool.tables(MAPS) if found.record.get("space") in SPACES}


def load_layout(pool: Pool, name: str) -> Layout:
    """Returns a map, verified; the same object at every call while it is among the last few."""
    return _layout(pool.path, next((found.fingerprint for found in pool.tables(MAPS) if found.name == name), ""), name)


def colour_choices(pool: Pool, pairs: PairColumns, *, run: str | None) -> tuple[Choice, ...]:
    """Returns what the pairs can be coloured by; the first nine have the keys 1 to 9."""
    scores = [_score_choice(entry) for entry in _described(pool, run)]
    rank = {f"score.{name}": at for at, name in enumerate(FIRST_SCORES)}
    leading = sorted((choice for choice in scores if choice.key in rank), key=lambda choice: rank[choice.key])
    others = [choice for choice in scores if choice.key not in rank]
    told = [name for name in PAIR_COLUMNS if any(pairs.named(name).names)]
    named = {name: Choice(f"pair.{name}", PAIR_COLUMNS[name], "categorical") for name in told}
    verdict = Choice(VERDICT, "Verdict", "categorical", "What people decided about the pairs.")
    first = [named[name] for name in ("label", "source") if name in named]
    last = [named[name] for name in told if name not in ("label", "source")]
    return (*leading, *first, verdict, *others, *last)


def ordered(rows: Rows, numbers: Floats | None, *, high_first: bool) -> Rows:
    """Returns rows by a score, equal ones by row, those without a score last; unchanged without numbers."""
    if numbers is None:
        return rows
    held = numbers[rows].astype(np.float64)
    return rows[np.argsort(-held if high_first else held, kind="stable")]  # NaN sorts last either way


def table_of(pairs: PairColumns, values: Values, rows: Rows, *, score: Choice | None) -> pd.DataFrame:
    """Returns some pairs as a table: pair, one score where one is asked for, caption, label, split, source, verdict."""
    shown: dict[str, Any] = {"pair": pairs.pair_ids(rows)}
    if score is not None:
        shown["score"] = values.numbers(score)[rows]
    shown["caption"] = pairs.texts("caption").iloc[rows].str.slice(0, LISTED_TEXT).to_numpy()
    for column in ("label", "split", "source"):
        named = pairs.named(column)
        shown[column] = [named.names[code] for code in named.codes[rows]]
    given = values.names(Choice(VERDICT, "", "categorical"))
    shown["verdict"] = [given.names[code] for code in given.codes[rows]]
    return pd.DataFrame(shown)


def score_table(values: Values, choices: Sequence[Choice], row: int) -> pd.DataFrame:
    """Returns every score of one pair, with the share of scored pairs below it."""
    lines = []
    for choice in (choice for choice in choices if choice.kind != "categorical"):
        numbers = values.numbers(choice)
        value = float(numbers[row])
        if np.isfinite(value):
            known = int(np.count_nonzero(np.isfinite(numbers)))
            lines.append({"score": choice.title, "value": value, "above": np.count_nonzero(numbers < value) / known})
    return pd.DataFrame(lines, columns=["score", "value", "above"])


def _described(pool: Pool, run: str | None) -> list[Mapping[str, Any]]:
    record = next((found.record for found in pool.tables(SCORES) if found.name == run), {})
    return [entry for entry in record.get("columns", []) if entry.get("method") != "random"]


def _score_choice(entry: Mapping[str, Any]) -> Choice:
    column = str(entry["column"])
    kind: Literal["sequential", "diverging"] = "diverging" if entry.get("signed") else "sequential"
    high = entry.get("higher_is") != "valuable"
    return Choice(f"score.{column}", title_of(column), kind, str(entry.get("meaning", "")), high_first=high)


@lru_cache(maxsize=8)
def _layout(folder: Path, _fingerprint: str, name: str) -> Layout:
    pool = Pool.open(folder)
    table = pool.table(MAPS, name, ["row", "x", "y"])
    record = next(found.record for found in pool.tables(MAPS) if found.name == name)
    xy = np.ascontiguousarray(table[["x", "y"]].to_numpy(dtype=np.float32))
    rows = table["row"].to_numpy(dtype=np.int64)
    for array in (xy, rows):
        array.setflags(write=False)
    return Layout(name, record["space"], xy, rows)


@lru_cache(maxsize=24)
def _score(folder: Path, _fingerprint: str, run: str, column: str, count: int) -> Floats:
    table = Pool.open(folder).table(SCORES, run, ["row", column])
    values: Floats = np.full(count, np.nan, dtype=np.float32)
    values[table["row"].to_numpy(dtype=np.int64)] = table[column].to_numpy(dtype=np.float32, na_value=np.nan)
    values.setflags(write=False)
    return values


def _given(pairs: PairColumns, verdicts: Mapping[str, str]) -> Named:
    names = (NO_VERDICT, *sorted(set(verdicts.values())))
    number = {name: at for at, name in enumerate(names)}
    codes = np.zeros(len(pairs), dtype=np.int64)
    by_verdict: dict[str, list[str]] = {}
    for pair_id, verdict in verdicts.items():
        by_verdict.setdefault(verdict, []).append(pair_id)
    for verdict, pair_ids in by_verdict.items():
        codes[pairs.rows_of(pair_ids)] = number[verdict]
    return Named(codes, names)
