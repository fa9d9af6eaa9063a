"""A noisy pool for the benchmarks: the small model's features, a seeded swap of captions, and what methods may see.

The truth (which captions were swapped) is handed out beside the inputs, never inside them. The pairs' ids are dealt
anew for each seed, so that no order can give anything away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chips_core.bench.base import (
    QUICK_RECIPE,
    RECIPE,
    Parts,
    base_file,
    default_cache,
    image_features,
    parts_of,
    text_features,
)
from chips_core.bench.dataset import BenchData, read_dataset
from chips_core.clip.loading import load_encoder
from chips_core.clip.spec import parse_model
from chips_core.progress import Progress, Silent
from chips_core.verify.noise import Kind, SwappedCaptions, swap_captions

if TYPE_CHECKING:
    from torch import Tensor

    from chips_core.clip.adapter import OpenClipEncoder
    from chips_core.influence.descent import FitSettings
    from chips_core.influence.fit import FittedHeads
    from chips_core.influence.inputs import ScoringInputs, TargetLoss


@dataclass(frozen=True)
class NoisyCase:
    """What stays the same over the seeds."""

    data: BenchData
    parts: Parts
    encoder: "OpenClipEncoder"
    pool_images: "Tensor"
    target_images: "Tensor"
    noise: float
    kind: Kind
    quick: bool
    encoder_file: Path

    def pool_column(self, name: str) -> list[str]:
        """Returns one column of the pool's rows."""
        return self.data.column(name, places=self.parts.pool)

    def swapped(self, seed: int) -> SwappedCaptions:
        """Returns the pool's captions after the seed's swap, and the truth."""
        labels, sources, captions = (self.pool_column(name) for name in ("label", "source", "caption"))
        return swap_captions(captions, labels=labels, sources=sources, rate=self.noise, kind=self.kind, seed=seed)

    def id_order(self, seed: int) -> NDArray[np.int64]:
        """Returns the place of each pair's id among the sorted ids, dealt anew for each seed, (N,)."""
        return np.random.default_rng(seed + 1_000).permutation(len(self.parts.pool))


def noisy_case(
    data: Path, *, noise: float, kind: Kind, quick: bool, cache: Path | None, progress: Progress | None
) -> NoisyCase:
    """Returns a data set with its model and the features of its pool and target images.

    Args:
        data: a data set folder.
        noise: share of the pool's captions to swap.
        kind: `within` a source, with a caption of another label; or `across` sources.
        quick: a model of fewer epochs.
        cache: where trained models are kept; the user's cache where None.
        progress: told of everything.
    """
    told = progress or Silent()
    read = read_dataset(data, progress=told)
    parts = parts_of(read, seed=0)
    recipe = QUICK_RECIPE if quick else RECIPE
    file = base_file(read, parts, cache=cache or default_cache(), recipe=recipe, progress=told)
    encoder = load_encoder(parse_model(str(file)), device="cpu", precision="fp32")
    pool, target = (
        image_features(encoder, read.images, places=places, progress=told) for places in (parts.pool, parts.target)
    )
    return NoisyCase(read, parts, encoder, pool, target, noise, kind, quick, file)


def inputs_of(
    case: NoisyCase,
    captions: tuple[str, ...],
    *,
    order: NDArray[np.int64],
    seed: int,
    target_loss: "TargetLoss" = "pairs",
    fit: "FitSettings | None" = None,
) -> tuple["ScoringInputs", "FittedHeads"]:
    """Returns what the methods may see, and the heads fitted to the pool.

    Args:
        case: the data set.
        captions: of the pool, as they are now.
        order: (N,) place of each pair's id among the sorted ids.
        seed: of every random choice.
        target_loss: what "good at the target set" means to the methods.
        fit: how the heads are fitted; as for the scores where None.
    """
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
    fitted = fit_heads(pool, target, heads=heads, plan=plan, settings=fit)
    classes = class_prompts(case)
    prompts = text_features(case.encoder, list(classes.values())) if classes and all(classes.values()) else None
    labels, target_labels = (_label_codes(case, places, classes) for places in (case.parts.pool, case.parts.target))
    inputs = ScoringInputs(
        pool=pool,
        heads=heads,
        target=target,
        labels=labels,
        target_labels=target_labels,
        captions=_codes(captions),
        prompts=prompts,
        fitted=fitted.heads,
        snapshots=fitted.snapshots,
        target_loss=target_loss,
        plan=plan,
    )
    return inputs, fitted


def class_prompts(case: NoisyCase) -> dict[str, str]:
    """Returns the classes of pool and target set in order, with a prompt each ("" for none); empty below two."""
    named: dict[str, str] = {}
    for place in (*case.parts.pool, *case.parts.target):
        row = case.data.rows[place]
        if row.label and not named.get(row.label):
            named[row.label] = row.class_prompt
    return {name: named[name] for name in sorted(named)} if len(named) > 1 else {}


def _label_codes(case: NoisyCase, places: Sequence[int], classes: Mapping[str, str]) -> "Tensor | None":
    import torch

    if not classes:
        return None
    code = {label: number for number, label in enumerate(classes)}
    return torch.tensor([code.get(label, -1) for label in case.data.column("label", places=places)])


def _codes(captions: tuple[str, ...]) -> "Tensor":
    import torch

    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(caption, len(known)) for caption in captions])
