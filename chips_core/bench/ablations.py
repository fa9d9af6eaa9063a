"""Headline result (d): CHIPS with one part changed at a time, by the accuracy after training on what it chooses."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chips_core.bench.select import NoisyPool
from chips_core.curate.recipe import chosen_count
from chips_core.errors import SingularCurvature
from chips_core.progress import Progress

if TYPE_CHECKING:
    from chips_core.influence.chips import ChipsSettings

SHARES = ("0.1", "0.3")


def measured(pool: NoisyPool, *, quick: bool, progress: Progress) -> dict[str, Any]:
    """Returns by variant the accuracy and the share of wrong captions at each budget; None where it has no solution.

    Args:
        pool: with or without swapped captions.
        quick: only the product and its parts, without other settings.
        progress: told of every variant.
    """
    from chips_core.influence.chips import ChipsSettings
    from chips_core.influence.papers import CHIPS_PAPER

    base = ChipsSettings()
    variants = {"as in the paper": base} | ({} if quick else _variants(base))
    progress.start("ablations of CHIPS", total=len(variants), unit="variants")
    found: dict[str, Any] = {}
    for name, settings in variants.items():
        try:
            columns = {key: values.numpy() for key, values in CHIPS_PAPER.compute(pool.inputs, settings).items()}
        except SingularCurvature:  # of this variant; the others stand
            found[name] = None
            progress.advance()
            continue
        found[name] = _judged(pool, columns["utility"])
        if settings == base:
            align, learn, relevant = (columns[key] for key in ("alignment", "learnability", "relevance"))
            parts = {
                "alignment alone": align,
                "without learnability": align * relevant,
                "without relevance": align * learn,
                "learnability alone": learn,
                "relevance alone": relevant,
            }
            found |= {part: _judged(pool, values) for part, values in parts.items()}
        progress.advance()
    return found


def table(result: Mapping[str, Any]) -> str:
    """Returns the result as lines to print."""
    head = f"{'CHIPS':<24}" + "".join(f"{f'at {share}':>9}{'noise':>7}" for share in SHARES)
    lines = ["(d) accuracy after training on what CHIPS chooses", head]
    for name, row in result.items():
        if row is None:
            lines.append(f"{name:<24}  its curvature system has no stable solution at this damping")
            continue
        lines.append(f"{name:<24}" + "".join(f"{row[share]:>9.3f}{row[f'noise_{share}']:>7.2f}" for share in SHARES))
    return "\n".join(lines)


def _variants(base: "ChipsSettings") -> dict[str, "ChipsSettings"]:
    found = {f"alpha {alpha:g}": replace(base, alpha=alpha) for alpha in (0.0, 0.6, 0.8)}
    found |= {
        "curvature: Gauss-Newton": replace(base, curvature="ggn"),
        "curvature: none": replace(base, curvature="identity"),
    }
    return found | {f"sketch of {k}": replace(base, sketch="rademacher", sketch_size=k) for k in (64, 512, 2048)}


def _judged(pool: NoisyPool, worth: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, float]:
    by_id = np.argsort(pool.table.id_rank(), kind="stable")
    order = by_id[np.argsort(-worth[by_id], kind="stable")]
    row: dict[str, float] = {}
    for share in SHARES:
        chosen = order[: chosen_count(share, candidates=len(order))]
        row |= {share: pool.accuracy(chosen), f"noise_{share}": float(pool.swapped[chosen].mean())}
    return row
