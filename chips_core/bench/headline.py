"""Benchmark `headline`: what the papers behind this product claim, measured on a data set of one's own.

(a) budgets: accuracy after training on 10 to 50 %, by method, on the pool as it is and with swapped captions.
(b) editing: the heads as ECIF predicts them without some pairs, against heads really trained without them.
(c) removal: what the most harmful and the most valuable pairs are worth, by training without them.
(d) ablations: what each part of CHIPS contributes.
(e) endpoint: whether the last layers rank pairs as all parameters do.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chips_core.bench import ablations, budgets, editing, endpoint_ranking, removal
from chips_core.bench.noisy_pool import noisy_case
from chips_core.bench.select import exam_of, noisy_pool
from chips_core.errors import UsageError
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind

RESULTS = ("budgets", "editing", "removal", "ablations", "endpoint")


def run(
    *,
    data: Path,
    noise: float = 0.2,
    kind: Kind = "within",
    seeds: int = 3,
    only: str | None = None,
    quick: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns the five results, each under its name.

    Args:
        data: a data set folder with labels.
        noise: share of captions that are swapped in the noisy pool.
        kind: `within` a source, with a caption of another label; or `across` sources.
        seeds: repetitions, of (a) and (c).
        only: one of RESULTS, where the others are not wanted.
        quick: a model of fewer epochs, and small samples.
        cache: where trained models are kept.
        progress: told of everything.
    """
    if only is not None and only not in RESULTS:
        raise UsageError(f"There is no result '{only[:20]}'.", fix=f"the results are {', '.join(RESULTS)}.")
    told, began = progress or Silent(), time.perf_counter()
    wanted = RESULTS if only is None else (only,)
    case = noisy_case(data, noise=noise, kind=kind, quick=quick, cache=cache, progress=told)
    exam = exam_of(case)
    found: dict[str, Any] = {"noise": noise, "kind": kind, "encoder": case.encoder.fingerprint}
    if "budgets" in wanted:
        found["budgets"] = budgets.measured(case, exam, seeds=seeds, progress=told)
    if "removal" in wanted:
        found["removal"] = removal.measured(case, exam, seeds=seeds, progress=told)
    if "editing" in wanted or "ablations" in wanted:
        pool = noisy_pool(case, exam, seed=0)
        if "editing" in wanted:
            found["editing"] = editing.measured(case, pool, quick=quick, progress=told)
        if "ablations" in wanted:
            found["ablations"] = ablations.measured(pool, quick=quick, progress=told)
    if "endpoint" in wanted:
        found["endpoint"] = endpoint_ranking.measured(case, quick=quick, progress=told)
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def table(result: Mapping[str, Any]) -> str:
    """Returns the results as lines to print."""
    makers = (budgets.table, editing.table, removal.table, ablations.table, endpoint_ranking.table)
    parts = [make(result[name]) for name, make in zip(RESULTS, makers, strict=True) if name in result]
    return "\n\n".join(parts)
