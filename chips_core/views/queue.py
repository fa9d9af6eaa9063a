"""The queue of pairs to look at: a run's scores beside the pairs, an order, filters, and where to go next.

A place is a number in the queue from 0 on; a row is a number among the kept pairs, which is the row of the features.
The queue keeps its order and its length while verdicts are given: they only say which places are still open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.errors import InputError
from chips_core.influence.titles import title_of
from chips_core.outcomes import Outcome
from chips_core.store import Pool
from chips_core.store.review import content_hash
from chips_core.views.verdicts import CHOICES, Held, Precision, precision

KIND = "scores"
COLUMNS = ("pair_id", "caption", "label", "modality", "split", "group", "source", "image_sha256", "outcome")
PAGE = 100
LISTED_TEXT = 200  # characters of a caption in the list form
OPEN, EVERY = "not judged yet", "all"
STATES = (OPEN, EVERY, *(str(choice.verdict) for choice in CHOICES))
Suspect = Literal["high", "low", "neither"]
SUSPECT: Mapping[str, Suspect] = {"suspect": "high", "valuable": "low"}

Rows = NDArray[np.int64]
Codes = NDArray[np.int8]  # of each pair's verdict: its place in CHOICES, -1 where there is none


@dataclass(frozen=True)
class Ranking:
    """An order of the queue by one score; `suspect` says which scores are: high, low, or neither."""

    column: str
    title: str
    meaning: str
    suspect: Suspect
    method: str

    @property
    def high_first(self) -> bool:
        """Whether the highest score comes first."""
        return self.suspect != "low"


@dataclass(frozen=True)
class Filters:
    """What the queue is narrowed to; empty means everything."""

    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def count(self) -> int:
        """How many of them are on."""
        return bool(self.labels) + bool(self.sources) + (self.low is not None or self.high is not None)


@dataclass(frozen=True, eq=False)
class Scored:
    """The kept pairs of a pool and the scores of one run.

    Attributes:
        folder: of the pool.
        pool_id: its name for addresses of images.
        run: the run's name.
        version: its fingerprint, which goes with every verdict.
        features: the name of the features that were scored; None when the run does not say.
        pairs: COLUMNS and `input_row`, one line per kept pair.
        rankings: the orders to choose from, the recommended one first.
        scores: by column, (N,), NaN where a pair has no score.
    """

    folder: Path
    pool_id: str
    run: str
    version: str
    features: str | None
    pairs: pd.DataFrame
    rankings: tuple[Ranking, ...]
    scores: Mapping[str, NDArray[np.float32]]
    _sorted: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    @cached_property
    def ids(self) -> "pd.Index[str]":
        """The pair ids, ready to be looked up."""
        return cast("pd.Index[str]", pd.Index(self.pairs["pair_id"]))

    @cached_property
    def id_rank(self) -> Rows:
        """The place of each pair id among all, for ties."""
        order = np.argsort(self.pairs["pair_id"].to_numpy(dtype=object), kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank

    def row_of(self, pair_id: str) -> int | None:
        """Returns the row of a pair; None when it is not one of these."""
        found = self.ids.get_indexer(pd.Index([pair_id]))
        return int(found[0]) if found[0] >= 0 else None

    def standing(self, column: str, row: int) -> float | None:
        """Returns the share of the scored pairs whose score is lower, ties counting half; None without a score."""
        value = self.scores[column][row]
        if np.isnan(value):
            return None
        line = self._line(column)
        below, above = np.searchsorted(line, value, "left"), np.searchsorted(line, value, "right")
        return float(below + above) / 2 / len(line)

    def is_constant(self, column: str) -> bool:
        """Returns whether all pairs have the same score, which then says nothing."""
        line = self._line(column)
        return len(line) == 0 or bool(line[0] == line[-1])

    def _line(self, column: str) -> NDArray[np.float32]:
        """Returns the scores of a column, ascending, sorted once."""
        if column not in self._sorted:
            known = self.scores[column]
            self._sorted[column] = np.sort(known[~np.isnan(known)])
        return self._sorted[column]

    def content_hashes(self, rows: Sequence[int] | Rows) -> list[str]:
        """Returns the fingerprint of what each pair shows."""
        shown = self.pairs.iloc[np.asarray(rows, dtype=np.int64)]
        both = zip(shown["image_sha256"], shown["caption"], strict=True)
        return [content_hash(image_sha256=str(image), caption=str(caption)) for image, caption in both]


def runs_of(pool: Pool) -> tuple[str, ...]:
    """Returns the names of the runs, the newest first."""
    return tuple(artifact.name for artifact in reversed(pool.tables(KIND)))


def kept_pairs(pool: Pool) -> pd.DataFrame:
    """Returns the kept pairs with the number of their input row, which addresses their image."""
    pairs = pool.pairs(list(COLUMNS))
    kept = np.flatnonzero((pairs["outcome"] == Outcome.KEPT).to_numpy())
    return pairs.iloc[kept].reset_index(drop=True).assign(input_row=kept)


def load_run(pool: Pool, run: str) -> Scored:
    """Returns the pairs and scores of a run, verified."""
    artifact = next((found for found in pool.tables(KIND) if found.name == run), None)
    if artifact is None:
        raise InputError(f"Pool '{pool.path.name}' has no run of that name.", fix="choose another run.")
    table, pairs = pool.table(KIND, run), kept_pairs(pool)
    numbers = [str(name) for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]
    names = [name for name in numbers if name != "row"]
    at = pd.Index(pairs["pair_id"]).get_indexer(table["pair_id"])
    scores = {}
    for name in names:
        scores[name] = np.full(len(pairs), np.nan, dtype=np.float32)
        scores[name][at[at >= 0]] = table[name].to_numpy(dtype=np.float32, na_value=np.nan)[at >= 0]
    described = artifact.record.get("columns") or []
    features = artifact.record.get("features")
    return Scored(
        folder=pool.path,
        pool_id=pool.id,
        run=run,
        version=artifact.fingerprint,
        features=features if isinstance(features, str) else None,
        pairs=pairs,
        rankings=_rankings(names, described),
        scores=scores,
    )


def without_run(pool: Pool) -> Scored:
    """Returns the pairs of a pool that has no run yet: no scores, no orders."""
    return Scored(pool.path, pool.id, "", "", None, kept_pairs(pool), (), {})


def worklist(scored: Scored, ranking: Ranking, filters: Filters) -> Rows:
    """Returns the rows of the queue in order: the most suspect first, ties by pair id; pairs without a score left out.

    Args:
        scored: the run.
        ranking: which score orders it, and from which end.
        filters: what it is narrowed to.
    """
    score = scored.scores[ranking.column].astype(np.float64)
    held = ~np.isnan(score)
    if filters.labels:
        held &= scored.pairs["label"].isin(filters.labels).to_numpy(dtype=np.bool_)
    if filters.sources:
        held &= scored.pairs["source"].isin(filters.sources).to_numpy(dtype=np.bool_)
    if filters.low is not None:
        held &= score >= np.float32(filters.low)  # as the scores are stored
    if filters.high is not None:
        held &= score <= np.float32(filters.high)
    rows = np.flatnonzero(held)
    key = -score[rows] if ranking.high_first else score[rows]
    return rows[np.lexsort((scored.id_rank[rows], key))].astype(np.int64)


def codes_of(scored: Scored, held: Mapping[str, Held]) -> Codes:
    """Returns (N,) the code of each pair's verdict, -1 for none."""
    codes = np.full(len(scored.pairs), -1, dtype=np.int8)
    number = {str(choice.verdict): at for at, choice in enumerate(CHOICES)}
    if held:
        at = scored.ids.get_indexer(pd.Index(list(held)))
        given = np.array([number.get(found.verdict, -1) for found in held.values()], dtype=np.int8)
        codes[at[at >= 0]] = given[at >= 0]
    return codes


def open_places(codes: Codes, queue: Rows, state: str) -> NDArray[np.bool_]:
    """Returns (n,) which places of the queue are to be looked at: those of a state, one of STATES."""
    here = codes[queue]
    if state == OPEN:
        return here < 0
    number = {str(choice.verdict): at for at, choice in enumerate(CHOICES)}
    return np.ones(len(queue), dtype=np.bool_) if state not in number else here == number[state]


def next_place(is_open: NDArray[np.bool_], after: int, *, step: Literal[1, -1] = 1, wrap: bool = False) -> int | None:
    """Returns the nearest open place behind `after` (-1: from the start), or before it; None when there is none.

    With `wrap` the search goes on from the start, so that what was passed over comes again.
    """
    found = np.flatnonzero(is_open)
    ahead = found[found > after] if step == 1 else found[found < after][::-1]
    if not len(ahead) and wrap:
        ahead = found[found != after]
    return int(ahead[0]) if len(ahead) else None


def precisions(queue: Rows, codes: Codes, *, places: Sequence[int | None]) -> tuple[Precision, ...]:
    """Returns the precision of the queue at some depths, by these verdicts."""
    names: list[str | None] = [*(str(choice.verdict) for choice in CHOICES), None]  # code -1 is the last
    verdicts = [names[code] for code in codes[queue].tolist()]
    return tuple(precision(verdicts, places=depth) for depth in places)


def listed(
    scored: Scored, ranking: Ranking, queue: Rows, *, places: Sequence[int] | Rows, held: Mapping[str, Held]
) -> pd.DataFrame:
    """Returns some places of the queue as a table: place, pair, caption, label, source, score, verdict, by whom."""
    rows = queue[np.asarray(places, dtype=np.int64)]
    shown = scored.pairs.iloc[rows]
    given = [held.get(pair_id) for pair_id in shown["pair_id"]]
    return pd.DataFrame(
        {
            "place": np.asarray(places, dtype=np.int64) + 1,
            "pair": shown["pair_id"].to_numpy(),
            "caption": shown["caption"].str.slice(0, LISTED_TEXT).to_numpy(),
            "label": shown["label"].to_numpy(),
            "source": shown["source"].to_numpy(),
            "score": scored.scores[ranking.column][rows],
            "verdict": [found.verdict if found else "" for found in given],
            "by": [found.reviewer if found else "" for found in given],
        }
    )


def _rankings(names: Sequence[str], described: Sequence[Mapping[str, object]]) -> tuple[Ranking, ...]:
    """Returns a ranking by every column, the queue first, then ECIF influence, then in the order of the run."""
    known = {str(entry.get("column")): entry for entry in described}
    made = []
    for name in names:
        entry = known.get(name, {})
        method = str(entry.get("method", ""))
        suspect: Suspect = SUSPECT.get(str(entry.get("higher_is", "suspect")), "neither")
        made.append(Ranking(name, title_of(name), str(entry.get("meaning", "")), suspect, method))
    return tuple(sorted(made, key=_importance))


def _importance(ranking: Ranking) -> int:
    short = ranking.column.rsplit(".", 1)[-1]
    if short in ("queue", "misalignment"):
        return 0
    if ranking.method == "queue":
        return 2
    return 1 if short == "delta_loss_if_removed" else 3
