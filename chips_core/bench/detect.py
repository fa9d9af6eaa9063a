"""Benchmark `detect`: who finds the wrong pairs?

A share of the pool's captions is swapped; every method ranks the pool without being told which; the truth only enters
the four figures at the end. The pairs' ids are dealt anew for each seed, so that no order can give anything away.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chips_core.bench.base import (
    QUICK_RECIPE,
    RECIPE,
    Parts,
    base_encoder,
    default_cache,
    image_features,
    parts_of,
    text_features,
)
from chips_core.bench.dataset import BenchData, read_dataset
from chips_core.bench.label_peers import label_peers
from chips_core.errors import UsageError
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind, swap_captions

if TYPE_CHECKING:
    from torch import Tensor

    from chips_core.clip.adapter import OpenClipEncoder
    from chips_core.influence.endpoint import Heads
    from chips_core.influence.fit import FittedHeads
    from chips_core.influence.inputs import ScoringInputs

Scores = dict[str, NDArray[np.float64]]
FIGURES = ("auroc", "ap", "p_at_10", "p_at_100")
SOFT = ("chips_audit", "ecif_audit")  # measure influence: at the softened scale
SLOW = ("ekfac", "logra", "trak", "knn_shapley")  # left out when quick


@dataclass(frozen=True)
class _Case:
    """What stays the same over the seeds."""

    data: BenchData
    parts: Parts
    encoder: "OpenClipEncoder"
    pool_images: "Tensor"
    target_images: "Tensor"
    noise: float
    kind: Kind
    quick: bool


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
    case = _case(data, noise=noise, kind=kind, quick=quick, cache=cache or default_cache(), progress=told)
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


def _case(data: Path, *, noise: float, kind: Kind, quick: bool, cache: Path, progress: Progress) -> _Case:
    read = read_dataset(data, progress=progress)
    parts = parts_of(read, seed=0)
    recipe = QUICK_RECIPE if quick else RECIPE
    encoder = base_encoder(read, parts, cache=cache, recipe=recipe, progress=progress)
    pool, target = (
        image_features(encoder, read.images, places=places, progress=progress) for places in (parts.pool, parts.target)
    )
    return _Case(read, parts, encoder, pool, target, noise, kind, quick)


def _one_seed(case: _Case, *, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the figures of every method and of every part of the queue."""
    places = case.parts.pool
    labels, sources, captions = (case.data.column(name, places=places) for name in ("label", "source", "caption"))
    noisy = swap_captions(captions, labels=labels, sources=sources, rate=case.noise, kind=case.kind, seed=seed)
    order = np.random.default_rng(seed + 1_000).permutation(len(places))
    methods, parts = _scores(case, noisy.captions, order=order, seed=seed)
    return {
        "methods": {name: figures(score, wrong=noisy.swapped, order=order) for name, score in methods.items()},
        "queue_parts": {name: figures(score, wrong=noisy.swapped, order=order) for name, score in parts.items()},
    }


def _scores(case: _Case, captions: tuple[str, ...], *, order: NDArray[np.int64], seed: int) -> tuple[Scores, Scores]:
    """Returns every method's suspicion and every part of the queue; knows the captions as they are, not the truth."""
    from chips_core.influence.queue import misalignment_queue, softened

    inputs, fit = _inputs(case, captions, order=order, seed=seed)
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


def _inputs(
    case: _Case, captions: tuple[str, ...], *, order: NDArray[np.int64], seed: int
) -> tuple["ScoringInputs", "FittedHeads"]:
    """Returns what the methods may see, and the heads fitted to the pool."""
    import torch

    from chips_core.influence.blocks import BlockPlan, Features
    from chips_core.influence.endpoint import Heads
    from chips_core.influence.fit import fit_heads
    from chips_core.influence.inputs import ScoringInputs

    target_captions = case.data.column("caption", places=case.parts.target)
    pool = Features(case.pool_images, text_features(case.encoder, captions), torch.from_numpy(order))
    target = Features(case.target_images, text_features(case.encoder, target_captions))
    base = case.encoder.heads
    heads = Heads.of(base.image, base.text, scale=base.scale)
    plan = BlockPlan(seed=seed)
    fit = fit_heads(pool, target, heads=heads, plan=plan)
    labels, target_labels, prompts = _classes(case)
    inputs = ScoringInputs(
        pool=pool,
        heads=heads,
        target=target,
        labels=labels,
        target_labels=target_labels,
        captions=_codes(captions),
        prompts=prompts,
        fitted=fit.heads,
        snapshots=fit.snapshots,
        target_loss="pairs",
        plan=plan,
    )
    return inputs, fit


def _classes(case: _Case) -> tuple["Tensor | None", "Tensor | None", "Tensor | None"]:
    """Returns class codes of pool and target set, and prompts where every class has one; None where there are none."""
    import torch

    places = (*case.parts.pool, *case.parts.target)
    named = {row.label: "" for row in (case.data.rows[place] for place in places) if row.label}
    if len(named) < 2:
        return None, None, None
    for row in (case.data.rows[place] for place in places):
        if row.label and row.class_prompt and not named[row.label]:
            named[row.label] = row.class_prompt
    code = {label: number for number, label in enumerate(sorted(named))}
    pool, target = (
        torch.tensor([code.get(label, -1) for label in case.data.column("label", places=some)])
        for some in (case.parts.pool, case.parts.target)
    )
    prompts = [named[label] for label in code]
    return pool, target, text_features(case.encoder, prompts) if all(prompts) else None


def _codes(captions: tuple[str, ...]) -> "Tensor":
    import torch

    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(caption, len(known)) for caption in captions])


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
