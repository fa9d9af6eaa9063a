"""The measure step: the heads trained on what each recipe chooses, in seconds each, and judged on the target set.

What was measured before is not measured again. The heads are a proxy: `chips pretrain` trains the model itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from chips_core.config import settings_from
from chips_core.curate.candidates import Rows
from chips_core.curate.measured import KIND, Measured, measured_name
from chips_core.curate.recipe import Recipe
from chips_core.jobs.proxy import ProxyLine, proxy_accuracy
from chips_core.jobs.select import made
from chips_core.progress import Progress
from chips_core.store import Pool


@dataclass(frozen=True)
class Settings:
    """Which recipes to follow and measure, each as plain data."""

    pool: str
    recipes: tuple[Mapping[str, Any], ...] | list[Mapping[str, Any]]
    runs: tuple[str, ...] | list[str] = ()
    seed: int = 0


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Measures the recipes, keeps the figures in the pool, and returns them in the order of the recipes."""
    pool = Pool.open(Path(settings.pool))
    there = {artifact.name for artifact in pool.tables(KIND)}
    recipes = [settings_from(Recipe, given, where="a recipe") for given in settings.recipes]
    names, wanted, target, features = [], dict[str, Rows](), "", ""
    progress.start("choose the pairs", total=len(recipes), unit="recipes")
    for recipe in recipes:
        selected, origin = made(pool, recipe, runs=settings.runs, target=None)
        target, features = origin.target, origin.features
        name = measured_name(selected.ids, target=target, features=features, seed=settings.seed)
        names.append(name)
        if name not in there and len(selected.rows):
            wanted[name] = selected.rows
        progress.advance()
    if wanted:
        lines = proxy_accuracy(
            pool, wanted, target=target, seed=settings.seed, features=features or None, progress=progress
        )
        _keep(pool, lines)
    kept = {artifact.name: dict(artifact.record) for artifact in pool.tables(KIND)}
    return {"target": target, "measured": [kept.get(name) for name in names]}


def _keep(pool: Pool, lines: Sequence[ProxyLine]) -> None:
    base, *others = lines
    for line in others:
        change = line.change
        found = Measured(
            accuracy=line.accuracy,
            base=base.accuracy,
            change=None if change is None else change.mean,
            low=None if change is None else change.low,
            high=None if change is None else change.high,
            recall_at_1=line.recall_at_1,
            base_recall=base.recall_at_1,
            seconds=line.seconds,
        )
        table = pd.DataFrame({"source": list(line.sources), "accuracy": list(line.sources.values())})
        table = table.astype({"source": "str", "accuracy": "float64"})
        pool.write_table(KIND, line.name, table, record=asdict(found), fingerprint=line.name.partition("-")[2])
