"""Benchmark `trace`: are the pairs that a trace names really those that made the model err?

A share of the pool's captions is swapped. For some mispredicted test images the 20 pairs that each way of tracing
blames are left out and the heads really fitted again; what counts is how far the image's loss falls and how often the
prediction turns right. `is` is plain influence at the end of the fit, `through_fit` plain influence through all of it;
`nearest` blames the most similar images that carry a wrong label, `random` anybody.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chips_core.bench.base import image_features, text_features
from chips_core.bench.noisy_pool import NoisyCase, class_prompts, inputs_of, noisy_case
from chips_core.errors import InputError
from chips_core.jobs.prompts import TEMPLATE
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind

if TYPE_CHECKING:
    from torch import Tensor

    from chips_core.influence.relative import Sizes
    from chips_core.verify.tracer import Tracer

TOP = 20
IMAGES, QUICK_IMAGES = 40, 4
PROBES, QUICK_PROBES = 64, 8
WAYS = ("relative_is", "is", "through_fit", "nearest", "random")


@dataclass(frozen=True)
class _Case:
    """A noisy pool with its model, and the test images."""

    tracer: "Tracer"
    pool_labels: "Tensor"
    images: "Tensor"
    labels: "Tensor"
    wrong: "Tensor"  # places of the mispredicted test images, in seeded order


def run(
    *,
    data: Path,
    noise: float = 0.2,
    kind: Kind = "within",
    seed: int = 0,
    quick: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns how far the loss of mispredicted images falls without the pairs that each way of tracing blames.

    Args:
        data: a data set folder with labels.
        noise: share of the pool's captions to swap.
        kind: `within` a source, with a caption of another label; or `across` sources.
        seed: of the swap, of the choice of images and of the random removals.
        quick: a model of fewer epochs and fewer images.
        cache: where trained models are kept.
        progress: told of everything.
    """
    told, began = progress or Silent(), time.perf_counter()
    noisy = noisy_case(data, noise=noise, kind=kind, quick=quick, cache=cache, progress=told)
    case = _case(noisy, seed=seed, progress=told)
    sizes = case.tracer.sizes(probes=QUICK_PROBES if quick else PROBES)
    chosen = case.wrong[: QUICK_IMAGES if quick else IMAGES]
    told.start("trace and refit", total=len(chosen), unit="images")
    found, seconds = [], []
    for place in chosen.tolist():
        line, clicked = _one_image(case, sizes, place=place, seed=seed)
        found.append(line)
        seconds.append(clicked)
        told.advance()
    return {
        "noise": noise,
        "kind": kind,
        "seed": seed,
        "images": len(found),
        "mispredicted": len(case.wrong),
        "removed": min(TOP, len(case.tracer.pool)),
        "pairs": {name: len(getattr(noisy.parts, name)) for name in ("base", "pool", "target", "test")},
        "encoder": noisy.encoder.fingerprint,
        **_figures(found),
        "click_s": float(np.median(seconds)),
        "index_recall_at_20": _recall(case, sizes, chosen=chosen, progress=told),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(result: Mapping[str, Any]) -> str:
    """Returns the result of `run` as lines to print."""
    head = f"{'blamed by':<14}{'loss drop':>22}{'turned right':>14}"
    lines = [f"{result['images']} of {result['mispredicted']} wrong predictions, top {result['removed']} removed", head]
    for name in WAYS:
        drop = f"{result['loss_drop'][name]:+.4f} ± {result['loss_drop_sd'][name]:.4f}"
        lines.append(f"{name:<14}{drop:>22}{result['flip_rate'][name]:>14.0%}")
    lines.append(f"one trace takes {result['click_s']:.2f} s; a quick answer holds {result['index_recall_at_20']:.1%}")
    lines.append(f"of the exact top {TOP} of either kind")
    return "\n".join(lines)


def _figures(found: list[dict[str, tuple[float, bool]]]) -> dict[str, Any]:
    drops = {way: np.array([line[way][0] for line in found]) for way in WAYS}
    return {
        "loss_drop": {way: float(values.mean()) for way, values in drops.items()},
        "loss_drop_sd": {way: float(v.std(ddof=1)) if len(v) > 1 else 0.0 for way, v in drops.items()},
        "loss_drop_quartiles": {
            way: [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])] for way, values in drops.items()
        },
        "flip_rate": {way: float(np.mean([line[way][1] for line in found])) for way in WAYS},
    }


def _one_image(case: _Case, sizes: "Sizes", *, place: int, seed: int) -> tuple[dict[str, tuple[float, bool]], float]:
    """Returns by way of tracing (fall of the loss, whether the prediction turned right), and the seconds of a trace."""
    import torch

    from chips_core.influence.blocks import seeded

    tracer, image, label = case.tracer, case.images[[place]], case.labels[[place]]
    began = time.perf_counter()
    traced = tracer.trace(image, label, sizes=sizes)
    seconds = time.perf_counter() - began
    if traced.relative is None:
        raise TypeError("a trace with sizes has a relative influence")
    pairs = len(tracer.pool)
    blamed = {
        "relative_is": torch.argsort(traced.relative, stable=True)[:TOP],
        "is": torch.argsort(traced.plain, stable=True)[:TOP],
        "through_fit": torch.argsort(tracer.through_fit(image, label).plain, stable=True)[:TOP],
        "nearest": _nearest(case, place=place),
        "random": torch.randperm(pairs, generator=seeded(seed, 50_000 + place))[:TOP],
    }
    before = float(tracer.losses(image, label))
    found = {}
    for way, rows in blamed.items():
        members = torch.zeros(pairs, dtype=torch.bool)
        members[rows] = True
        heads = tracer.retrained(members)
        turned = bool(tracer.logits(image, heads).argmax() == label[0])
        found[way] = (before - float(tracer.losses(image, label, heads)), turned)
    return found, seconds


def _recall(case: _Case, sizes: "Sizes", *, chosen: "Tensor", progress: Progress) -> float:
    """Returns how much of the exact answers quick ones hold."""
    from chips_core.verify import trace_search

    progress.start("compare quick answers", total=len(chosen), unit="images")
    images, labels = case.images[chosen], case.labels[chosen]
    return trace_search.measured(case.tracer, images, labels, sizes=sizes, top=TOP, tick=progress.advance).recall


def _nearest(case: _Case, *, place: int) -> "Tensor":
    """Returns the pairs with the most similar images that carry another label than the test image's true one."""
    import torch

    from chips_core.influence.endpoint import embed

    head = case.tracer.heads.image
    similarity = (embed(case.tracer.pool.image, head)[0] @ embed(case.images[[place]], head)[0].T).reshape(-1)
    other = case.pool_labels != case.labels[place]
    return torch.argsort(similarity.masked_fill(~other, -2.0), descending=True, stable=True)[:TOP]


def _case(case: NoisyCase, *, seed: int, progress: Progress) -> _Case:
    import torch

    from chips_core.verify.tracer import FIT, Tracer

    prompts, codes = _classes(case)
    swapped, order = case.swapped(seed), case.id_order(seed)
    inputs, fitted = inputs_of(case, swapped.captions, order=order, seed=seed, fit=FIT)
    tracer = Tracer(inputs.pool, inputs.heads, fitted, inputs.plan, text_features(case.encoder, prompts))
    images = image_features(case.encoder, case.data.images, places=case.parts.test, progress=progress)
    truth = torch.tensor([codes.get(label, -1) for label in case.data.column("label", places=case.parts.test)])
    wrong = torch.nonzero((tracer.logits(images).argmax(1) != truth) & (truth >= 0)).reshape(-1)
    if not len(wrong):
        raise InputError("No test image is mispredicted, so there is nothing to trace.", fix="use harder data.")
    wrong = wrong[torch.from_numpy(np.random.default_rng(seed + 2_000).permutation(len(wrong)))]
    pool_labels = torch.tensor([codes.get(label, -1) for label in case.pool_column("label")])
    return _Case(tracer, pool_labels, images, truth, wrong)


def _classes(case: NoisyCase) -> tuple[list[str], dict[str, int]]:
    """Returns one prompt a class of the pool and the target set, and the classes' codes."""
    classes = class_prompts(case)
    if not classes:
        raise InputError("Tracing needs labels of two classes or more.", fix="add the columns label and class_prompt.")
    prompts = [prompt or TEMPLATE.replace("{}", label) for label, prompt in classes.items()]
    return prompts, {label: code for code, label in enumerate(classes)}
