"""Scoring runs: which there are, what they hold, what can be computed next, and the steps that compute it.

Plain tables and words; the page draws them, and hands the planned steps to a background job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from chips_core.influence.titles import title_of, title_of_method
from chips_core.insight.summary import Histogram, histogram
from chips_core.store import Pool
from chips_core.store.manifest import Artifact

SCORES, MAPS = "scores", "maps"
DEMO = "demo"  # the model that ships with the product is asked for by this name
SHAPES = 8  # distributions on the Overview page
BINS = 36
WORDS_OF_SPACE = {"image": "by images", "text": "by captions", "joint": "by both"}
LEADING = ("queue", "ecif", "chips")  # the methods that this product is about come first
Meaning = Literal["suspect", "valuable", "neutral"]


@dataclass(frozen=True)
class ScoreShape:
    """The distribution of one score of a run; `signed` where zero divides good from bad."""

    column: str
    title: str
    method: str
    meaning: str
    higher_is: Meaning
    signed: bool
    histogram: Histogram


def runs_of(pool: Pool) -> list[Artifact]:
    """Returns the scoring runs of a pool, the newest first."""
    return list(reversed(pool.tables(SCORES)))


def chosen_run(pool: Pool, wanted: str | None) -> Artifact | None:
    """Returns the run of that name, else the newest with a queue, else the newest; None when nothing was scored."""
    found = runs_of(pool)
    queued = [run for run in found if "queue" in run.record.get("settings", {})]
    return next((run for run in found if run.name == wanted), next(iter(queued or found), None))


def run_table(pool: Pool) -> pd.DataFrame:
    """Returns one line a run, the newest first: run, mode, target, methods, pairs, seconds, when."""
    lines = [
        {
            "run": run.name,
            "mode": run.record.get("mode", ""),
            "target set": run.record.get("target", ""),
            "methods": ", ".join(_without_mode(str(method)) for method in run.record.get("methods", [])),
            "pairs": int(run.record.get("pairs", 0)),
            "took": duration(run.record.get("seconds")),
            "when": when(run.created),
        }
        for run in runs_of(pool)
    ]
    return pd.DataFrame(lines, columns=["run", "mode", "target set", "methods", "pairs", "took", "when"])


def map_table(pool: Pool) -> pd.DataFrame:
    """Returns one line a map, the newest first: map, laid out by, seed, neighbours, when."""
    lines = [
        {
            "map": found.name,
            "laid out": WORDS_OF_SPACE.get(str(found.record.get("space")), ""),
            "neighbours": int(found.record.get("neighbours", 0)),
            "seed": int(found.record.get("seed", 0)),
            "when": when(found.created),
        }
        for found in reversed(pool.tables(MAPS))
    ]
    return pd.DataFrame(lines, columns=["map", "laid out", "neighbours", "seed", "when"])


def settings_table(run: Artifact) -> pd.DataFrame:
    """Returns everything that can change the scores of a run, one line each, for whoever wants to repeat it."""
    record = run.record
    lines = [("target set", f"{record.get('target', '')} ({int(record.get('target_pairs', 0)):,} pairs)")]
    lines += [
        (name, str(record[name])) for name in ("mode", "seed", "block", "reshuffles", "features") if name in record
    ]
    for method, values in dict(record.get("settings", {})).items():
        lines += [(f"{method}: {name}", str(value)) for name, value in dict(values).items()]
    lines += [(f"{method}: left out", f"it {why}") for method, why in dict(record.get("left_out", {})).items()]
    lines += [("pairs without a score", f"{int(record.get('unreadable', 0)):,}")]
    lines += [("torch", str(record.get("torch", "")))]
    return pd.DataFrame(lines, columns=["setting", "value"])


def score_shapes(pool: Pool, run: str, *, most: int = SHAPES) -> tuple[ScoreShape, ...]:
    """Returns the distributions of a run's scores, one a method first, then the parts, `most` of them at most."""
    return _shapes(pool.path, (pool.path / "pool.json").stat().st_mtime_ns, run)[:most]


@lru_cache(maxsize=32)
def _shapes(folder: Path, _version: int, run: str) -> tuple[ScoreShape, ...]:
    pool = Pool.open(folder)
    described: list[Mapping[str, Any]] = [*chosen_record(pool, run).get("columns", [])]
    table = pool.table(SCORES, run, [str(entry["column"]) for entry in described]) if described else pd.DataFrame()
    shapes = [_shape(entry, table[str(entry["column"])]) for entry in described if entry["method"] != "random"]
    seen: set[str] = set()
    shapes.sort(
        key=lambda shape: next((n for n, name in enumerate(LEADING) if shape.method.startswith(name)), len(LEADING))
    )
    leading = [shape for shape in shapes if shape.method not in seen and not seen.add(shape.method)]  # type: ignore[func-returns-value]
    return (*leading, *[shape for shape in shapes if shape not in leading])


def chosen_record(pool: Pool, run: str) -> dict[str, Any]:
    """Returns the record of a run, empty when it is not there."""
    return next((found.record for found in pool.tables(SCORES) if found.name == run), {})


def _shape(entry: Mapping[str, Any], values: pd.Series) -> ScoreShape:
    column = str(entry["column"])
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return ScoreShape(
        column=column,
        title=title_of(column),
        method=str(entry["method"]),
        meaning=str(entry.get("meaning", "")),
        higher_is=entry.get("higher_is", "neutral"),
        signed=bool(entry.get("signed", False)),
        histogram=histogram(numbers, bins=BINS),
    )


def _without_mode(method: str) -> str:
    return title_of_method(method).partition(",")[0]


def encoder_of(record: Mapping[str, Any]) -> str:
    """Returns the name of the encoder that made the features with this record, as a person gives it to `encode`."""
    return DEMO if record.get("model") == DEMO else str(record.get("encoder", ""))


def duration(seconds: float | None) -> str:
    """Returns for example `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`; empty when it is not known."""
    if seconds is None or not np.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def when(stamp: str) -> str:
    """Returns a stored time on this machine's clock, to the minute; the stamp itself when it cannot be read."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp


def between(began: str, ended: str) -> str:
    """Returns how long something took, from two stored times."""
    try:
        return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
    except ValueError:
        return ""


def joined(words: Sequence[str]) -> str:
    """Returns for example `encode, score and map`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
