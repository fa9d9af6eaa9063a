"""What the Overview page shows, as plain tables, numbers and sentences."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from chips_core.insight import summary
from chips_core.insight.summary import Counts
from chips_core.outcomes import Outcome
from chips_core.store import Pool
from chips_core.views import runs
from chips_core.views.pools import PoolState

MEANINGS = {
    Outcome.KEPT: "can be scored",
    Outcome.MISSING: "the image is not there",
    Outcome.BROKEN: "the image cannot be read whole",
    Outcome.EMPTY_CAPTION: "there is no caption",
    Outcome.DUPLICATE: "same image and caption as an earlier row",
    Outcome.REFUSED: "unsafe or ambiguous, see its reason",
}
MADE_OF = ("modality", "body_part", "split", "source", "label")
MOST_VALUES = 8
Goal = Literal["bring in", "watch", "reasons", "compute", "misaligned", "map", "runs"]


@dataclass(frozen=True)
class Sample:
    """One pair as a card shows it; `row` is its number among all input rows, which is its image's address."""

    row: int
    pair_id: str
    caption: str
    label: str


@dataclass(frozen=True)
class NextStep:
    """What to do next: a sentence, and the one button that leads there."""

    goal: Goal
    sentence: str
    button: str


@dataclass(frozen=True)
class PoolCard:
    """A pool in four facts, each a value and a line below it."""

    pairs: str
    pairs_note: str
    encoder: str
    encoder_note: str
    target: str
    target_note: str
    run: str
    run_note: str


def next_step(state: PoolState, *, at_work: str = "", pages: frozenset[str] = frozenset()) -> NextStep:
    """Returns the one thing to do next.

    Args:
        state: of the pool.
        at_work: what the pool's job does at the moment, "" when none is alive.
        pages: the addresses of the pages that there are.
    """
    if at_work:
        return NextStep("watch", f"A job is at work on this pool: {at_work}.", "Watch it")
    pool = state.pool
    if pool is None:
        return NextStep("bring in", "Bring in a data set of your own, or try everything on the demo.", "Begin")
    if state.condition == "empty":
        return NextStep("bring in", f"{state.sentence} {state.next_step}", "Bring in a data set")
    if not pool.feature_sets():
        return NextStep(
            "compute", "The pairs are in. Next, encode them with a CLIP and score them.", "Encode and score"
        )
    run = runs.chosen_run(pool, None)
    if run is None:
        return NextStep("compute", "The pairs are encoded. Next, find out which of them are wrong.", "Score the pairs")
    scored = f"{int(run.record.get('pairs', 0)):,} pairs are scored."
    if "misaligned" in pages:
        words = f"{scored} Next, look at those that most probably do not belong together."
        return NextStep("misaligned", words, "Look at misaligned pairs")
    if "map" in pages and pool.tables(runs.MAPS):
        return NextStep("map", f"{scored} Next, see where they lie on the map.", "Open the map")
    return NextStep("runs", scored, "See the runs")


def pool_card(pool: Pool, run: str | None = None) -> PoolCard:
    """Returns the facts of a pool and of the chosen run."""
    report, encoder, chosen = pool.outcomes(), encoder_of(pool), runs.chosen_run(pool, run)
    record = chosen.record if chosen else {}
    methods = len(record.get("methods", []))
    precision = str(encoder.get("precision", "")) if encoder else ""
    return PoolCard(
        pairs=f"{report.kept:,}",
        pairs_note=f"of {report.given:,} rows given",
        encoder=runs.encoder_of(encoder) if encoder else "none yet",
        encoder_note=f"frozen, {precision}" if encoder else "the pairs are not encoded",
        target=str(record.get("target", "")) or "none yet",
        target_note=f"{int(record.get('target_pairs', 0)):,} pairs" if chosen else "named when the pairs are scored",
        run=f"{methods} method" + ("s" if methods != 1 else "") if chosen else "none yet",
        run_note=f"{record.get('mode', '')} mode, {runs.when(chosen.created)}" if chosen else "no scoring run",
    )


def outcome_table(pool: Pool) -> pd.DataFrame:
    """Returns one line per outcome that occurred: outcome, pairs, share, meaning."""
    report = pool.outcomes()
    lines = [
        {
            "outcome": str(o),
            "pairs": report.counts[o],
            "share": report.counts[o] / max(report.given, 1),
            "meaning": words,
        }
        for o, words in MEANINGS.items()
        if report.counts[o] or o == Outcome.KEPT
    ]
    return pd.DataFrame(lines)


def reason_table(pool: Pool, *, limit: int = 200) -> pd.DataFrame:
    """Returns the pairs that were not kept, with their reasons, the first `limit` of them."""
    pairs = pool.pairs(["pair_id", "image", "outcome", "reason"])
    return pairs[pairs["outcome"] != Outcome.KEPT].head(limit).reset_index(drop=True)


def made_of(pool: Pool) -> tuple[Counts, ...]:
    """Returns how many kept pairs each value of the telling columns has; columns of one value tell nothing."""
    return _made_of(pool.path, (pool.path / "pool.json").stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _made_of(folder: Path, _version: int) -> tuple[Counts, ...]:
    pairs = pa.Table.from_pandas(Pool.open(folder).kept(list(MADE_OF)), preserve_index=False)
    return tuple(found for found in summary.counts_by(pairs, MADE_OF) if len(found.values) > 1)


def samples(pool: Pool, *, count: int, seed: int) -> list[Sample]:
    """Returns a seeded draw of kept pairs."""
    pairs = pool.pairs(["pair_id", "caption", "label", "outcome"])
    kept = np.flatnonzero((pairs["outcome"] == Outcome.KEPT).to_numpy())
    rows = np.random.default_rng(seed).choice(kept, size=min(count, len(kept)), replace=False)
    chosen = pairs.iloc[rows]
    return [
        Sample(int(row), str(pair_id), str(caption), str(label))
        for row, pair_id, caption, label in zip(
            rows, chosen["pair_id"], chosen["caption"], chosen["label"], strict=True
        )
    ]


def encoder_of(pool: Pool) -> dict[str, Any] | None:
    """Returns the record of the newest features, or None when the pool is not encoded."""
    sets = pool.feature_sets()
    return dict(sets[-1].record) if sets else None
