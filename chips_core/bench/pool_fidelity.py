"""The honesty of influence on a pool of one's own: predicted against really retrained, on a sample of its pairs."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from chips_core import fingerprint
from chips_core.bench.fidelity import PAIRS, fidelity_of
from chips_core.influence.blocks import BlockPlan, Features, seeded
from chips_core.jobs.fitting import fitted_heads
from chips_core.jobs.scoring_set import scoring_set
from chips_core.progress import Progress, Silent
from chips_core.store import Pool

KIND = "fidelity"
MEASURED = ("spearman_random", "spearman_all", "slope", "pairs", "removed_at_once", "random_removals")
FIGURES = ("features", "target", *MEASURED)
TARGETS = 256
SETS, QUICK_SETS = 200, 20


def run(
    *, pool: Path, target: str | None = None, quick: bool = False, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Returns `fidelity_of` a seeded sample of the pool, at heads fitted as audit mode fits them.

    Args:
        pool: an encoded pool.
        target: its target set; where none is named, what the score step takes.
        quick: fewer removals.
        seed: of the sample and of the removals.
        progress: told of each retraining.
    """
    opened, told = Pool.open(pool), progress or Silent()
    features = opened.feature_sets()[-1].name
    found = scoring_set(opened, target=target, plan=BlockPlan(seed=seed), features=features)
    with opened.writing("fidelity"):
        fitted = fitted_heads(opened, found, features=features, progress=told)
    result = fidelity_of(
        _sample(found.inputs.pool, PAIRS, seed=seed),
        _sample(found.inputs.needed_target(), TARGETS, seed=seed),
        heads=fitted.heads,
        random_sets=QUICK_SETS if quick else SETS,
        seed=seed,
        progress=told,
    )
    measured = {"pool": opened.path.name, "features": features, "target": found.target, **result}
    _keep(opened, measured)
    return measured


def _keep(pool: Pool, found: dict[str, Any]) -> None:
    """Stores the figures in the pool, where the page of wrong predictions shows them."""
    figures = {name: found[name] for name in FIGURES}
    name = f"fidelity-{fingerprint.of(figures)[:12]}"
    points = pd.DataFrame({"predicted": found["predicted"], "real": found["real"]})
    pool.write_table(KIND, name, points, record=figures, fingerprint=name)


def _sample(pairs: Features, count: int, *, seed: int) -> Features:
    """Returns some pairs, drawn by seed over the order of their ids."""
    by_id = torch.arange(len(pairs)) if pairs.rank is None else torch.argsort(pairs.rank)
    chosen = torch.randperm(len(pairs), generator=seeded(seed, 11))[:count]
    return pairs.take(by_id[chosen])
