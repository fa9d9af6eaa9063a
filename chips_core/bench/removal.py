"""Headline result (c): heads trained without the 10, 20 and 30 % most harmful, most valuable, and random pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chips_core.bench.noisy_pool import NoisyCase
from chips_core.bench.select import NoisyPool, noisy_pool
from chips_core.progress import Progress

if TYPE_CHECKING:
    from chips_core.verify.proxy import Exam

SHARES = (0.1, 0.2, 0.3)
SCORED = ("queue", "ecif_audit")


def measured(case: NoisyCase, exam: "Exam", *, seeds: int, progress: Progress) -> dict[str, Any]:
    """Returns the accuracy on the test images without each share of the pairs, mean over the seeds.

    Args:
        case: the data set with swapped captions.
        exam: the test images.
        seeds: repetitions.
        progress: told of every seed.
    """
    progress.start("removal", total=seeds, unit="pools")
    rows = []
    for seed in range(seeds):
        rows.append(_one(noisy_pool(case, exam, seed=seed, methods=SCORED)))
        progress.advance()
    keys = rows[0].items()
    names = {name: {key: float(np.mean([row[name][key] for row in rows])) for key in first} for name, first in keys}
    drops = [[row[name]["0.1"] - row[name]["0.0"] for row in rows] for name in names]
    return {
        "curves": names,
        "change_at_0.1": {name: float(np.mean(drop)) for name, drop in zip(names, drops, strict=True)},
        "change_at_0.1_sd": {
            name: float(np.std(drop, ddof=1)) if seeds > 1 else 0.0 for name, drop in zip(names, drops, strict=True)
        },
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as lines to print."""
    head = f"{'removed':<28}" + "".join(f"{share:>9}" for share in ("0.0", *map(str, SHARES)))
    lines = ["(c) accuracy after training without a share of the pool", head]
    lines += [
        f"{name:<28}" + "".join(f"{value:>9.3f}" for value in row.values()) for name, row in result["curves"].items()
    ]
    return "\n".join(lines)


def _one(pool: NoisyPool) -> dict[str, dict[str, float]]:
    worth = pool.table.scores["ecif_audit"].worth
    orders = {
        "most harmful (queue)": np.argsort(pool.table.scores["queue"].worth, kind="stable"),
        "most harmful (ECIF)": np.argsort(worth, kind="stable"),
        "random": np.random.default_rng(pool.seed + 5_000).permutation(len(worth)),
        "most valuable (ECIF)": np.argsort(-worth, kind="stable"),
    }
    full = pool.accuracy(np.arange(len(worth)))
    return {name: {"0.0": full} | _curve(pool, order) for name, order in orders.items()}


def _curve(pool: NoisyPool, order: NDArray[np.int64]) -> dict[str, float]:
    return {str(share): pool.accuracy(np.sort(order[round(share * len(order)) :])) for share in SHARES}
