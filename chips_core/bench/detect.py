"""Benchmark `detect`: who finds the wrong pairs?

A share of the pool's captions is swapped; every method ranks the pool without being told which; the truth only enters
the four figures at the end. The pairs' ids are dealt anew for each seed, so that no order can give anything away.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chips_core.bench.label_peers import label_peers
from chips_core.bench.noisy_pool import NoisyCase, inputs_of, noisy_case
from chips_core.errors import UsageError
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind

if TYPE_CHECKING:
    from chips_core.influence.endpoint import Heads
    from chips_core.influence.inputs import ScoringInputs

Scores = dict[str, NDArray[np.float64]]
FIGURES = ("auroc", "ap", "p_at_10", "p_at_100")
SOFT = ("chips_audit", "ecif_audit")  # measure influence: at the softened scale
SLOW = ("ekfac", "logra", "trak", "knn_shapley")  # left out when quick


def run(
    *,
    data: Path,
    noise: float = 0.2,
    kind: Kind = "within",
    seeds: int = 3,
    quick: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns how well each method finds swapped captions, mean and standard deviation over the seeds.

    Args:
        data: a data set folder.
        noise: share of the pool's captions to swap.
        kind: `within` a source, with a caption of another label; or `across` sources.
        seeds: how many swaps; the model, trained once a data set, is the same for all.
        quick: a model of fewer epochs, and only the fast methods.
        cache: where trained models are kept.
        progress: told of everything.
    """
    if seeds < 1:
        raise UsageError(f"{seeds} seeds.", fix="give one or more.")
    told = progress or Silent()
    began = time.perf_counter()
    case = noisy_case(data, noise=noise, kind=kind, quick=quick, cache=cache, progress=told)
    found: list[dict[str, dict[str, dict[str, float]]]] = []
    for seed in range(seeds):
        told.note(f"seed {seed + 1} of {seeds}")
        found.append(_one_seed(case, seed=seed))
    return {
        "noise": noise,
        "kind": kind,
        "seeds": seeds,
        "pairs": {name: len(getattr(case.parts, name)) for name in ("base", "pool", "target", "test")},
        "rows_left_out": case.data.left_out,
        "encoder": case.encoder.fingerprint,
        "methods": _over_seeds([one["methods"] for one in found]),
        "queue_parts": _over_seeds([one["queue_parts"] for one in found]),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result of `run` as lines to print, best average precision first."""
    head = f"{'method':<24}" + "".join(f"{figure:>16}" for figure in FIGURES)
    lines = [f"{result['noise']:.0%} of {result['pairs']['pool']:,} captions swapped {result['kind']} sources", head]
    for name, row in sorted(result["methods"].items(), key=lambda item: (-item[1]["ap"], item[0])):
        cells = (f"{row[figure]:.3f} ± {row[f'{figure}_sd']:.3f}" for figure in FIGURES)
        lines.append(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def figures(score: NDArray[np.float64], *, wrong: NDArray[np.bool_], order: NDArray[np.int64]) -> dict[str, float]:
    """Returns AUROC, average precision and precision at 10 and 100 of a ranking.

    Args:
        score: (N,) high is suspect.
        wrong: (N,) the truth, at least one of each.
        order: (N,) place of each pair's id, which breaks ties.
    """
    ranked = wrong[np.lexsort((order, -score))]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return {
        "auroc": _auroc(score, wrong),
        "ap": float(precision[ranked].mean()),
        "p_at_10": float(ranked[:10].mean()),
        "p_at_100": float(ranked[:100].mean()),
    }


def _auroc(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    """Returns the share of (wrong, right) couples in which the wrong one scores higher, ties counting half."""
    _, inverse, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    n_wrong, n_right = int(wrong.sum()), int((~wrong).sum())
    return float((ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))


def _one_seed(case: NoisyCase, *, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the figures of every method and of every part of the queue."""
    noisy, order = case.swapped(seed), case.id_order(seed)
    methods, parts = _scores(case, noisy.captions, order=order, seed=seed)
    return {
        "methods": {name: figures(score, wrong=noisy.swapped, order=order) for name, score in methods.items()},
        "queue_parts": {name: figures(score, wrong=noisy.swapped, order=order) for name, score in parts.items()},
    }


def _scores(
    case: NoisyCase, captions: tuple[str, ...], *, order: NDArray[np.int64], seed: int
) -> tuple[Scores, Scores]:
    """Returns every method's suspicion and every part of the queue; knows the captions as they are, not the truth."""
    from chips_core.influence.queue import misalignment_queue, softened

    inputs, fit = inputs_of(case, captions, order=order, seed=seed)
    queue = misalignment_queue(inputs)
    soft = softened(fit.heads, queue.share or fit.settings.soften)
    methods = _registered(inputs, soft=soft, quick=case.quick)
    methods["queue"] = queue.score.numpy()
    methods["queue_no_labels"] = queue.without_labels.score.numpy()
    if inputs.labels is not None:
        methods |= label_peers(inputs.pool, labels=inputs.labels, seed=seed)
    parts = {name: np.nan_to_num(values.double().numpy()) for name, values in queue.parts.items()}
    return methods, parts


def _registered(inputs: "ScoringInputs", *, soft: "Heads", quick: bool) -> Scores:
    """Returns the suspicion of every registered method that applies, high is suspect."""
    from chips_core.influence.methods import applying, compute

    left = {"queue", *(SLOW if quick else ())}  # the queue is computed beside these, with its parts
    chosen = [entry for entry in applying(inputs) if entry.name not in left]
    scores: Scores = {}
    for fitted in (inputs.fitted, soft):
        some = [entry for entry in chosen if (entry.name in SOFT) == (fitted is soft)]
        columns = compute(some, replace(inputs, fitted=fitted))
        scores |= {entry.name: entry.suspicion(columns[entry.name]).numpy() for entry in some}
    return scores


def _over_seeds(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Returns the mean and the standard deviation (`…_sd`; 0 for one seed) of each figure of each method."""
    result: dict[str, dict[str, float]] = {}
    for name in found[0]:
        row: dict[str, float] = {}
        for figure in FIGURES:
            values = np.array([one[name][figure] for one in found])
            row[figure] = float(values.mean())
            row[f"{figure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        result[name] = row
    return result
