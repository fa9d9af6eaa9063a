"""What the Curate page shows: methods side by side at one budget, what each keeps and loses, and where exports go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chips_core.curate.audit import estimated_share
from chips_core.curate.candidates import Candidates
from chips_core.curate.export_plan import ExportPlan, export_plan
from chips_core.curate.from_pool import candidates_of
from chips_core.curate.recipe import AUDIT, CLIPCOV, NEED_FEATURES, RANDOM, Recipe
from chips_core.curate.select import Selected, select
from chips_core.errors import ChipsError, InputError
from chips_core.store import Pool, Review
from chips_core.store.review_database import FILE as REVIEW
from chips_core.views.pools import roots

CLIPCOV_LIMIT = 50_000  # pairs up to which ClipCov answers while one waits
EXPORTS = "exports"  # the folder of the exports, in a root
COLUMNS = {"label": "Class", "modality": "Modality", "source": "Source"}
TITLES = {AUDIT: "Audit, then select", RANDOM: "Random", CLIPCOV: "ClipCov"}
MOST_METHODS = 3
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class Offer:
    """A method that can be tried, or why it cannot."""

    name: str
    title: str
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Trial:
    """What a method chooses; `flagged` is the share of it that the queue holds suspect, None without a queue."""

    method: str
    title: str
    selected: Selected = field(repr=False)
    flagged: float | None

    @property
    def pairs(self) -> int:
        """How many pairs were chosen."""
        return len(self.selected.rows)


class Lab:
    """The candidates of a pool, read once, and what methods make of them."""

    def __init__(self, pool: Pool) -> None:
        self.table, _ = candidates_of(pool)
        self.count = int(np.count_nonzero(self.table.readable))
        self.eligible = int(np.count_nonzero(self.table.eligible))
        self.runs = bool(pool.tables("scores"))
        self._encoded = bool(pool.feature_sets())
        self._folder = pool.path
        self._suspect = _suspect(self.table)

    def offers(self) -> tuple[Offer, ...]:
        """Returns the methods, the default first, those that need more with what they need."""
        scored = any(name in self.table.scores for name in ("queue", "negcliploss", "clipscore"))
        clipcov = "" if self._encoded else "needs features"
        if self.count > CLIPCOV_LIMIT:
            clipcov = "takes minutes on a pool of this size: chips select --method clipcov"
        named = [Offer(name, name) for name, score in self.table.scores.items() if score.higher_is != "neutral"]
        return (
            Offer(AUDIT, TITLES[AUDIT], "" if scored else "needs scores"),
            Offer(RANDOM, TITLES[RANDOM]),
            Offer(CLIPCOV, TITLES[CLIPCOV], clipcov),
            *(offer for offer in named if offer.name != RANDOM),
        )

    def attempt(self, recipe: Recipe) -> Trial:
        """Returns what a recipe chooses."""
        table = self.table
        if any(name in NEED_FEATURES for name, _ in recipe.parts()):
            table = _with_features(self._folder, _version(self._folder), _events(self._folder))
        selected = select(table, recipe)
        flagged = None
        if self._suspect is not None:
            flagged = float(self._suspect[selected.rows].mean()) if len(selected.rows) else 0.0
        return Trial(recipe.method, TITLES.get(recipe.method, recipe.method), selected, flagged)

    def coverage(self, trials: Sequence[Trial], column: str) -> pd.DataFrame:
        """Returns one line a value: its pairs among the candidates, and the share of them that each method keeps."""
        names = self.table.names[column].astype(str)
        values, codes = np.unique(names, return_inverse=True)
        before = np.bincount(codes[self.table.readable], minlength=len(values))
        lines = pd.DataFrame({COLUMNS[column]: [value or "not said" for value in values], "pairs": before})
        for trial in trials:
            after = np.bincount(codes[trial.selected.rows], minlength=len(values))
            lines[trial.title] = after / np.maximum(before, 1)
        return lines[before > 0].sort_values(["pairs", COLUMNS[column]], ascending=[False, True], ignore_index=True)


def lab_of(pool: Pool) -> Lab:
    """Returns the lab of a pool; the same one while neither the pool nor its verdicts change."""
    return _lab(pool.path, _version(pool.path), _events(pool.path))


def overlap(trials: Sequence[Trial]) -> pd.DataFrame:
    """Returns the share of each method's pairs (line) that another one (column) chooses too."""
    chosen = [set(trial.selected.ids) for trial in trials]
    shares = {
        other.title: [len(mine & theirs) / max(len(mine), 1) for mine in chosen]
        for other, theirs in zip(trials, chosen, strict=True)
    }
    return pd.DataFrame({"of the pairs of": [trial.title for trial in trials], **shares})


def selections_of(pool: Pool) -> list[str]:
    """Returns the names of the selections that can be exported, the newest first."""
    computed = [artifact.name for artifact in pool.tables("selections")]
    if not (pool.path / REVIEW).is_file():
        return list(reversed(computed))
    with Review.open(pool.path) as review:
        saved = [found.name for found in review.selections()]
    return list(reversed([*[name for name in computed if name not in saved], *saved]))


def exports_home() -> Path | None:
    """Returns the folder that exports go to: `exports` in the first of the app's folders; None where there is none."""
    return next((root / EXPORTS for root in roots() if root.is_dir()), None)


def export_target(name: str) -> Path:
    """Returns the folder of an export of that name, always in the exports' folder; says what is wrong with a name."""
    home = exports_home()
    if home is None or not _NAME.fullmatch(name.strip()):
        raise InputError(
            "That cannot be the name of an export.", fix="use letters, digits, dots, dashes and underscores."
        )
    return home / name.strip()


def preview(pool: Pool, selection: str) -> tuple[ExportPlan, pd.DataFrame]:
    """Returns what an export would hold, and why the other rows stay behind as a table."""
    plan = export_plan(pool, selection=selection)
    lines = [("in the export", len(plan.table)), *plan.dropped.items()]
    return plan, pd.DataFrame([line for line in lines if line[1]], columns=["what", "rows"])


def _suspect(table: Candidates) -> NDArray[np.bool_] | None:
    """Returns which pairs the queue holds suspect, (N,): as many of its first as the audit would drop."""
    if "queue" not in table.scores:
        return None
    rows = np.flatnonzero(table.readable)
    queue = table.scores["queue"].values
    rows = rows[np.isfinite(queue[rows])]
    share, _ = estimated_share(table, rows=rows)
    flagged = np.zeros(len(table), np.bool_)
    flagged[rows[np.argsort(-queue[rows], kind="stable")][: round(share * len(rows))]] = True
    return flagged


@lru_cache(maxsize=4)
def _lab(folder: Path, _version: int, _events: int) -> Lab:
    return Lab(Pool.open(folder))


@lru_cache(maxsize=2)
def _with_features(folder: Path, _version: int, _events: int) -> Candidates:
    table, _ = candidates_of(Pool.open(folder), features=True)
    return replace(table, scores={}, columns={})


def _version(folder: Path) -> int:
    return (folder / "pool.json").stat().st_mtime_ns


def _events(folder: Path) -> int:
    """Returns the number of the last thing that a person did; 0 where nobody did anything, or it cannot be read."""
    if not (folder / REVIEW).is_file():
        return 0
    try:
        with Review.open(folder) as review:
            return review.last_event_id()
    except ChipsError:
        return 0
