"""Headline result (b): heads edited by ECIF as if some pairs had never been there, against really trained ones.

Both begin at the minimum of the same objective: the mean loss of the pool, in blocks, plus a proximal term
(`verify.retrain`, methods.md §8). The edit is one linear system, its curvature that of one block, and no training; the
truth is the minimum without the pairs, found to a gradient below TOLERANCE. Accuracy is that of zero-shot
classification of all test images.

Two times of retraining are told: on cached features, where it is itself a matter of seconds; and through the towers, as
a training that opens the images at each pass has to: the measured time of one pass times the passes it took.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from chips_core.bench.base import image_features, text_features
from chips_core.bench.noisy_pool import NoisyCase
from chips_core.bench.select import NoisyPool
from chips_core.progress import Progress

if TYPE_CHECKING:
    from chips_core.influence.blocks import BlockPlan, Features
    from chips_core.influence.ecif import EcifSettings
    from chips_core.influence.endpoint import Heads
    from chips_core.verify.retrain import Objective

BLOCK, QUICK_PAIRS = 1024, 128  # edit and truth speak of the very same blocks
SHARE, SETS = 0.1, 3
DELTA = 0.3  # of the proximal term; a much smaller one does not converge (methods.md §8)
TOLERANCE = 1e-5  # of the gradient at the minimum
EDIT_TOLERANCE = 0.1  # of the edit's linear system: its direction is then off by less than the linearisation itself is


def measured(case: NoisyCase, pool: NoisyPool, *, quick: bool, progress: Progress) -> dict[str, Any]:
    """Returns accuracy and seconds of edited and of retrained heads, for random removals and the most suspect pairs.

    Args:
        case: the data set.
        pool: of it, with swapped captions.
        quick: a smaller sample.
        progress: told of every removal.
    """
    from chips_core.influence.blocks import BlockPlan
    from chips_core.influence.ecif import EcifSettings
    from chips_core.verify.retrain import Objective, retrain

    count = min(QUICK_PAIRS, len(pool.table)) if quick else len(pool.table)
    rows = np.sort(np.random.default_rng(pool.seed).permutation(len(pool.table))[:count])
    plan = BlockPlan(size=BLOCK, repeats=1, seed=pool.seed)
    features = pool.inputs.pool.take(torch.from_numpy(rows))
    anchor = pool.start.to(torch.float64)
    objective = Objective(features, anchor, DELTA, blocks=tuple(plan.rows(count, rank=features.rank)))
    progress.start("edit and retrain", total=SETS + 1, unit="removals")
    everything = torch.ones(count, dtype=torch.bool)
    trained = retrain(objective, anchor, keep=everything, tolerance=TOLERANCE).heads
    settings = EcifSettings(damping=DELTA, curvature_pairs=BLOCK, tolerance=EDIT_TOLERANCE)
    pass_s = _pass_seconds(case, rows)
    lines = []
    for name, members in _sets(pool, rows):
        line = _one(pool, objective, trained, features, members, plan=plan, settings=settings)
        lines.append(line | {"removed": name, "through_towers_s": round(line["passes"] * pass_s, 3)})
        progress.advance()
    gaps = [abs(line["edited"] - line["retrained"]) for line in lines]
    return {
        "pairs": count,
        "before": float(pool.exam.right(trained).mean()),
        "removals": lines,
        "mean_gap": float(np.mean(gaps)),
        "largest_gap": float(max(gaps)),
        "time_share": _share(lines, "retrain_s"),
        "time_share_through_towers": _share(lines, "through_towers_s"),
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as lines to print."""
    names = f"{'removed':<16}{'edited':>9}{'retrained':>11}{'edit':>9}"
    head = f"{names}{'retraining':>12}{'by towers':>12}{'moved alike':>13}"
    lines = [f"(b) {SHARE:.0%} of {result['pairs']:,} pairs removed; accuracy before: {result['before']:.4f}", head]
    lines += [
        f"{x['removed']:<16}{x['edited']:>9.4f}{x['retrained']:>11.4f}{x['edit_s']:>7.2f} s{x['retrain_s']:>10.2f} s"
        f"{x['through_towers_s']:>10.1f} s{x['cosine']:>13.3f}"
        for x in result["removals"]
    ]
    shares = f"{result['time_share']:.3f} on features, {result['time_share_through_towers']:.3f} through the towers"
    return "\n".join([*lines, f"largest gap {result['largest_gap']:.4f}; share of the time {shares}"])


def _share(lines: list[dict[str, Any]], of: str) -> float:
    return float(sum(line["edit_s"] for line in lines) / max(1e-9, sum(line[of] for line in lines)))


def _pass_seconds(case: NoisyCase, rows: NDArray[np.int64]) -> float:
    """Returns how long one pass of the rows through both towers takes."""
    places = [case.parts.pool[row] for row in rows.tolist()]
    began = time.perf_counter()
    image_features(case.encoder, case.data.images, places=places)
    text_features(case.encoder, case.data.column("caption", places=places))
    return time.perf_counter() - began


def _sets(pool: NoisyPool, rows: NDArray[np.int64]) -> list[tuple[str, torch.Tensor]]:
    """Returns which of the rows to remove, by name: SETS random sets, and those first in the queue."""
    size, found = round(SHARE * len(rows)), []
    for number in range(SETS):
        draw = np.random.default_rng(pool.seed + 6_000 + number)
        found.append((f"random {number + 1}", draw.permutation(len(rows))[:size]))
    found.append(("most suspect", np.argsort(pool.table.scores["queue"].worth[rows], kind="stable")[:size]))
    masks = []
    for name, places in found:
        members = torch.zeros(len(rows), dtype=torch.bool)
        members[torch.from_numpy(places)] = True
        masks.append((name, members))
    return masks


def _one(
    pool: NoisyPool,
    objective: "Objective",
    trained: "Heads",
    features: "Features",
    members: torch.Tensor,
    *,
    plan: "BlockPlan",
    settings: "EcifSettings",
) -> dict[str, Any]:
    from chips_core.influence import ecif
    from chips_core.verify.retrain import retrain

    began = time.perf_counter()
    edited = ecif.edit(features, members, heads=trained.to(torch.float32), plan=plan, settings=settings)
    edit_s = time.perf_counter() - began
    began = time.perf_counter()
    found = retrain(objective, objective.anchor, keep=~members, tolerance=TOLERANCE)
    retrain_s, truth = time.perf_counter() - began, found.heads
    one, two = edited.to(torch.float64).minus(trained), truth.minus(trained)
    return {
        "edited": float(pool.exam.right(edited).mean()),
        "retrained": float(pool.exam.right(truth).mean()),
        "edit_s": round(edit_s, 3),
        "retrain_s": round(retrain_s, 3),
        "passes": found.rounds + 1,
        "cosine": float(one.dot(two) / (one.norm() * two.norm())),
    }
