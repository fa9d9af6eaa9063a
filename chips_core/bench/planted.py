"""Benchmark `planted`: which kinds of the demo's planted errors the queue finds, and which it does not.

The demo pool holds errors of named kinds; the truth is made anew from its seed and never stored with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from chips_core.errors import InputError
from chips_core.phantoms import truth
from chips_core.progress import Progress
from chips_core.store import Pool

TOPS = (10, 50, 100, 200)
RANKED_BY = ("queue", "peer_loss", "influence", "label_contradiction")
RIGHT = "not planted"


def run(*, pool: Path, seed: int = 0, progress: Progress | None = None) -> dict[str, Any]:
    """Returns how many of the first pairs are planted errors, by kind, for the queue and each of its parts.

    Args:
        pool: a demo pool, scored.
        seed: the demo's.
        progress: not needed; nothing here takes long.
    """
    del progress
    opened = Pool.open(pool)
    runs = [run for run in opened.tables("scores") if "queue" in run.record["methods"]]
    kinds = truth(seed)
    if not runs or not kinds.keys() & set(opened.pairs(["pair_id"])["pair_id"]):
        raise InputError(
            f"Pool '{opened.path.name}' is no demo pool of seed {seed} with a queue.", fix="run: chips demo POOL"
        )
    scores = opened.table("scores", runs[-1].name)
    scores["kind"] = [kinds.get(str(pair_id), RIGHT) for pair_id in scores["pair_id"]]
    planted = scores[scores["kind"] != RIGHT]["kind"].value_counts().sort_index()
    return {
        "pool": opened.path.name,
        "run": runs[-1].name,
        "pairs": len(scores),
        "planted": {str(kind): int(count) for kind, count in planted.items()},
        "rankings": {name: _found(scores, by=name) for name in RANKED_BY if name in scores},
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result of `run` as lines to print."""
    lines = [f"{'ranking':<22}" + "".join(f"{f'top {top}':>10}" for top in TOPS)]
    for name, found in result["rankings"].items():
        lines.append(f"{name:<22}" + "".join(f"{found['planted'][str(top)]:>10}" for top in TOPS))
    lines += ["", f"{'kind':<22}{'planted':>10}" + "".join(f"{f'top {top}':>10}" for top in TOPS)]
    by_kind = result["rankings"]["queue"]["by_kind"]
    for kind, count in [*result["planted"].items(), (RIGHT, result["pairs"] - sum(result["planted"].values()))]:
        cells = "".join(f"{by_kind[str(top)].get(kind, 0):>10}" for top in TOPS)
        lines.append(f"{kind:<22}{count:>10}{cells}")
    return "\n".join(lines)


def _found(scores: pd.DataFrame, *, by: str) -> dict[str, Any]:
    kinds = scores.sort_values([by, "pair_id"], ascending=[False, True])["kind"]
    return {
        "planted": {str(top): int((kinds.head(top) != RIGHT).sum()) for top in TOPS},
        "by_kind": {str(top): {str(k): int(n) for k, n in kinds.head(top).value_counts().items()} for top in TOPS},
    }
