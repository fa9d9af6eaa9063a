"""Headline result (a): accuracy after training on 10 to 50 % of a pool, by method, clean and with swapped captions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chips_core.bench.noisy_pool import NoisyCase
from chips_core.bench.select import NoisyPool, noisy_pool
from chips_core.curate.recipe import AUDIT, CLIPCOV, RANDOM
from chips_core.progress import Progress

if TYPE_CHECKING:
    from chips_core.verify.proxy import Exam

SHARES = ("0.1", "0.2", "0.3", "0.4", "0.5")
METHODS = (AUDIT, RANDOM, "clipscore", CLIPCOV, "chips_paper", "ecif_audit")
SCORED = ("queue", "clipscore", "chips_paper", "ecif_audit")  # what these methods need


def measured(case: NoisyCase, exam: "Exam", *, seeds: int, progress: Progress) -> dict[str, Any]:
    """Returns by pool and by method the accuracy at each budget, mean over the seeds, and the references.

    Args:
        case: the data set; its noise is that of the noisy pool.
        exam: the test images.
        seeds: repetitions.
        progress: told of every seed.
    """
    pools = {"clean": replace(case, noise=0.0), "noisy": case}
    progress.start("budgets", total=seeds * len(pools), unit="pools")
    found = {}
    for name, one in pools.items():
        rows = []
        for seed in range(seeds):
            rows.append(_one(noisy_pool(one, exam, seed=seed, methods=SCORED)))
            progress.advance()
        found[name] = _means(rows)
    return found


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as lines to print."""
    lines = ["(a) accuracy after training on a share of the pool"]
    for pool, rows in result.items():
        lines.append(f"{pool + ' pool':<20}" + "".join(f"{share:>9}" for share in SHARES))
        for name, row in rows.items():
            cells = [row[share] for share in SHARES] if isinstance(row, Mapping) else [row]
            lines.append(f"{name:<20}" + "".join(f"{cell:>9.3f}" for cell in cells))
    return "\n".join(lines)


def _one(pool: NoisyPool) -> dict[str, Any]:
    everything = np.arange(len(pool.table))
    return {
        "base": pool.exam.accuracy(pool.start),
        "full": pool.accuracy(everything),
        "clean_only": pool.accuracy(everything[~pool.swapped]),
        **{name: {share: pool.accuracy(pool.chosen(name, share)) for share in SHARES} for name in METHODS},
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, first in rows[0].items():
        if isinstance(first, Mapping):
            found[name] = {share: float(np.mean([row[name][share] for row in rows])) for share in first}
        else:
            found[name] = float(np.mean([row[name] for row in rows]))
    return found
