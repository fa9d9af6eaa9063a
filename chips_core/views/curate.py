"""What the Subset lab shows: any methods side by side at one budget, and what each keeps, loses and costs."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chips_core.config import settings_from
from chips_core.curate.audit import TELL_SUSPECTS, estimated_share
from chips_core.curate.candidates import Candidates, Embeddings
from chips_core.curate.distribution import Distribution, distribution
from chips_core.curate.from_pool import candidates_of
from chips_core.curate.measured import KIND as MEASURED
from chips_core.curate.measured import Measured, measured_name
from chips_core.curate.recipe import AUDIT, CLIPCOV, NEED_FEATURES, RANDOM, SEMDEDUP, Recipe, title_of_method
from chips_core.curate.select import Selected, select
from chips_core.curate.suspects import suspects
from chips_core.errors import ChipsError
from chips_core.influence.titles import title_of
from chips_core.store import Pool, Review
from chips_core.store.review_database import FILE as REVIEW

FEATURES_LIMIT = 50_000  # pairs up to which ClipCov and SemDeDup answer while one waits
AUDIT_LIMIT = 200_000  # likewise for the herding of the audit
COLUMNS = {"label": "Class", "modality": "Modality", "source": "Source", "body_part": "Body part", "group": "Patient"}
LEADING = ("queue", "delta_loss_if_removed", "utility", "clipscore", "negcliploss", "learnability", "relevance")
MOST_SHAPES = 6
RARE = 5  # classes looked at as the rare ones
KEPT_TRIALS = 32


@dataclass(frozen=True)
class Offer:
    """A method that can be tried, or why it cannot."""

    name: str
    title: str
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Trial:
    """What a recipe chooses.

    Attributes:
        recipe: that was followed.
        title: of its method.
        selected: the pairs, and what was said about them.
        flagged: the share of them that the queue holds suspect; None without a queue.
        classes: how many classes are in it, and how many there are; (0, 0) without labels.
        rare: the share that is kept of the rarest classes' pairs; None without labels.
    """

    recipe: Recipe
    title: str
    selected: Selected = field(repr=False)
    flagged: float | None
    classes: tuple[int, int]
    rare: float | None

    @property
    def method(self) -> str:
        """The method, or the mixture."""
        return self.recipe.method

    @property
    def pairs(self) -> int:
        """How many pairs were chosen."""
        return len(self.selected.rows)


@dataclass(frozen=True)
class Coverage:
    """How much of one value of a column each trial keeps: pairs before, then the pairs kept by each."""

    value: str
    before: int
    kept: tuple[int, ...]

    @property
    def lost_by(self) -> tuple[int, ...]:
        """The numbers of the trials that keep none of it."""
        return tuple(at for at, count in enumerate(self.kept) if not count)


class Lab:
    """The candidates of a pool, read once, and what recipes make of them; safe for several sessions."""

    def __init__(self, pool: Pool) -> None:
        self.table, self.origin = candidates_of(pool)
        self.count = int(np.count_nonzero(self.table.readable))
        self.eligible = int(np.count_nonzero(self.table.eligible))
        self.runs = bool(pool.tables("scores"))
        self.confirmed = 0 if self.table.confirmed is None else int(np.count_nonzero(self.table.confirmed))
        self.encoded = bool(pool.feature_sets())
        self._folder = pool.path
        self._suspect = suspects(self.table)
        self.drop = self._drop()
        values, self._label_codes = np.unique(self.table.labels().astype(str), return_inverse=True)
        self._named_codes = np.setdiff1d(self._label_codes[self.table.readable], np.flatnonzero(values == ""))
        self._rare = _rarest(self.table)
        self._tried: OrderedDict[Recipe, Trial] = OrderedDict()
        self._lock = threading.Lock()

    def offers(self) -> tuple[Offer, ...]:
        """Returns the methods, the default first, those that need more with what they need."""
        long = "takes minutes on a pool of this size: use chips select"
        features = "needs features" if not self.encoded else long if self.count > FEATURES_LIMIT else ""
        audit = "needs scores" if self.drop is None else long if self.encoded and self.count > AUDIT_LIMIT else ""
        named = [name for name, score in self.table.scores.items() if score.higher_is != "neutral"]
        return (
            Offer(AUDIT, title_of_method(AUDIT), audit),
            Offer(RANDOM, title_of_method(RANDOM)),
            Offer(CLIPCOV, title_of_method(CLIPCOV), features),
            *([] if SEMDEDUP in named else [Offer(SEMDEDUP, title_of_method(SEMDEDUP), features)]),
            *(Offer(name, title_of_method(name)) for name in named if name != RANDOM),
        )

    def _drop(self) -> float | None:
        """Returns the share that the audit drops where no rule sets it; None without scores."""
        if not any(name in self.table.scores for name in TELL_SUSPECTS):
            return None
        return estimated_share(self.table, rows=np.flatnonzero(self.table.eligible))[0]

    def columns(self) -> dict[str, str]:
        """Returns the columns that say something of at least one candidate, with their titles."""
        return {name: title for name, title in COLUMNS.items() if (self.table.names[name] != "").any()}

    def attempt(self, recipe: Recipe) -> Trial:
        """Returns what a recipe chooses; computed once."""
        with self._lock:
            if recipe in self._tried:
                self._tried.move_to_end(recipe)
                return self._tried[recipe]
        trial = self._attempt(recipe)
        with self._lock:
            self._tried[recipe] = trial
            while len(self._tried) > KEPT_TRIALS:
                self._tried.popitem(last=False)
        return trial

    def coverage(self, trials: Sequence[Trial], column: str) -> tuple[Coverage, ...]:
        """Returns, for every value among the candidates, its pairs and those that each trial keeps; most first."""
        values, codes = np.unique(self.table.names[column].astype(str), return_inverse=True)
        before = np.bincount(codes[self.table.readable], minlength=len(values))
        kept = [np.bincount(codes[trial.selected.rows], minlength=len(values)) for trial in trials]
        return tuple(
            Coverage(str(values[at]) or "not said", int(before[at]), tuple(int(counts[at]) for counts in kept))
            for at in np.argsort(-before, kind="stable")
            if before[at]
        )

    def shapes(self, trials: Sequence[Trial]) -> tuple[tuple[str, str, Distribution], ...]:
        """Returns (title, what a high value says, distribution) of the leading scores, one set for each trial."""
        there = self.table.columns
        rank = {name: at for at, name in enumerate(LEADING)}
        leading = sorted((name for name in there if name in rank), key=lambda name: rank[name])
        rest = [name for name, found in there.items() if name not in rank and found.higher_is != "neutral"]
        sets = [self.mask(trial) for trial in trials]
        towards = {"suspect": "high = suspect", "valuable": "high = valuable", "neutral": ""}
        return tuple(
            (
                title_of(name),
                towards[there[name].higher_is],
                distribution(there[name].values, among=self.table.readable, sets=sets),
            )
            for name in [*leading, *rest][:MOST_SHAPES]
        )

    def measured(self, pool: Pool, trials: Sequence[Trial]) -> tuple[Measured | None, ...]:
        """Returns what training the heads on each trial gave; None where it was not measured yet."""
        kept = {artifact.name: artifact.record for artifact in pool.tables(MEASURED)}
        target, features = self.origin.target, self.origin.features
        names = [measured_name(one.selected.ids, target=target, features=features, seed=0) for one in trials]
        return tuple(settings_from(Measured, kept[name], where="a measure") if name in kept else None for name in names)

    def mask(self, trial: Trial) -> NDArray[np.bool_]:
        """Returns the pairs that a trial chose, (N,)."""
        chosen = np.zeros(len(self.table), np.bool_)
        chosen[trial.selected.rows] = True
        return chosen

    def _attempt(self, recipe: Recipe) -> Trial:
        table, names = self.table, {name for name, _ in recipe.parts()}
        if names & set(NEED_FEATURES) - set(table.scores):
            embeddings = _embeddings(self._folder, version_of(self._folder), events_of(self._folder))
            table = replace(table, embeddings=embeddings)
        selected = select(table, recipe)
        rows = selected.rows
        flagged = None
        if self._suspect is not None:
            flagged = float(self._suspect[rows].mean()) if len(rows) else 0.0
        rare = None
        if self._rare is not None:
            rare = float(np.count_nonzero(self._rare[rows]) / np.count_nonzero(self._rare))
        classes = len(np.intersect1d(self._label_codes[rows], self._named_codes)), len(self._named_codes)
        return Trial(recipe, title_of_method(recipe.method), selected, flagged, classes, rare)


def lab_of(pool: Pool) -> Lab:
    """Returns the lab of a pool; the same one while neither the pool nor its verdicts change."""
    return _lab(pool.path, version_of(pool.path), events_of(pool.path))


def overlap(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Returns the share of each trial's pairs (line) that another one (column) chooses too, (T, T)."""
    chosen = [set(trial.selected.rows.tolist()) for trial in trials]
    return np.array([[len(mine & theirs) / max(len(mine), 1) for theirs in chosen] for mine in chosen])


def version_of(folder: Path) -> int:
    """Returns a number that changes when something is added to a pool."""
    return (folder / "pool.json").stat().st_mtime_ns


def events_of(folder: Path) -> int:
    """Returns the number of the last thing that a person did; 0 where nobody did anything, or it cannot be read."""
    if not (folder / REVIEW).is_file():
        return 0
    try:
        with Review.open(folder) as review:
            return review.last_event_id()
    except ChipsError:
        return 0


def _rarest(table: Candidates) -> NDArray[np.bool_] | None:
    """Returns the pairs of the rarest classes, (N,): a tenth of the classes, at least one and at most RARE."""
    labels = table.labels().astype(str)
    values, counts = np.unique(labels[table.readable], return_counts=True)
    named = values != ""
    values, counts = values[named], counts[named]
    if len(values) < 2:
        return None
    rarest = values[np.argsort(counts, kind="stable")][: min(RARE, max(1, len(values) // 10))]
    return np.asarray(np.isin(labels, rarest) & table.readable)


@lru_cache(maxsize=4)
def _lab(folder: Path, _version: int, _events: int) -> Lab:
    return Lab(Pool.open(folder))


@lru_cache(maxsize=2)
def _embeddings(folder: Path, _version: int, _events: int) -> Embeddings | None:
    table, _ = candidates_of(Pool.open(folder), features=True)
    return table.embeddings
