"""The small model that the benchmarks score with: always the same recipe, trained once a data set, then cached.

It learns from 40 % of the train split, whole groups (patients) at a time. The rest of train is the pool, val the
target set; test pairs are never near a decision. The model never sees a pair of the pool.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chips_core import atomic
from chips_core.bench.dataset import IMAGE_SIZE, BenchData
from chips_core.clip.adapter import OpenClipEncoder
from chips_core.clip.small import small_config
from chips_core.errors import InputError
from chips_core.progress import Progress, Silent
from chips_core.verify.small import MODEL_NAME, Recipe, recipe_fingerprint, save_small, train_small

if TYPE_CHECKING:
    from torch import Tensor

BASE_SHARE = 0.4
LENT = 0.1
RECIPE = Recipe(epochs=30)
QUICK_RECIPE = Recipe(epochs=8)
FEATURES_AT_ONCE = 256
LEAST = 32  # pairs that each of base, pool and target set must have


@dataclass(frozen=True)
class Parts:
    """Places of the pairs of a data set by the part that they play."""

    base: tuple[int, ...]
    pool: tuple[int, ...]
    target: tuple[int, ...]
    test: tuple[int, ...]


def bench_config() -> dict[str, Any]:
    """Returns the description of the benchmarks' model: a ModifiedResNet for 64 px with 3 M visual parameters."""
    config = small_config("resnet", IMAGE_SIZE, vision_width=24)
    config["preprocess_cfg"]["resize_mode"] = "squash"
    return config


def parts_of(data: BenchData, *, seed: int) -> Parts:
    """Returns which pairs train the base, which are the pool, which the target set, which are for testing.

    Groups are never divided between parts that are dealt here. A folder without a val or a test split lends a tenth of
    its train groups for each.
    """
    train, target, test = data.places("train"), data.places("val"), data.places("test")
    if len(target) < LEAST:
        target, train = _by_group(data, train, share=LENT, seed=seed + 1)
    if not test:
        test, train = _by_group(data, train, share=LENT, seed=seed + 2)
    base, pool = _by_group(data, train, share=BASE_SHARE, seed=seed)
    for name, places in (("base", base), ("pool", pool), ("target set", target)):
        if len(places) < LEAST:
            raise InputError(f"Only {len(places)} pairs for the {name}.", fix=f"use data with {LEAST} pairs for each.")
    return Parts(tuple(base), tuple(pool), tuple(target), tuple(test))


def base_file(
    data: BenchData,
    parts: Parts,
    *,
    cache: Path,
    seed: int = 0,
    recipe: Recipe = RECIPE,
    progress: Progress | None = None,
) -> Path:
    """Returns where the small model trained on the base pairs lies; trains it where it is not in the cache.

    Args:
        data: the data set.
        parts: which of its pairs to train on.
        cache: the folder of trained models; one folder a fingerprint.
        seed: of the training.
        recipe: how to train.
        progress: told of every batch.
    """
    config = bench_config()
    name = recipe_fingerprint(config, recipe=recipe, data=data.fingerprint(parts.base), seed=seed)
    folder = cache / name
    if not (folder / MODEL_NAME).is_file():
        captions = data.column("caption", places=parts.base)
        trained = train_small(
            data.images[list(parts.base)], captions, config=config, seed=seed, recipe=recipe, progress=progress
        )
        atomic.make_folder(cache)
        save_small(trained, folder)
    return folder / MODEL_NAME


def default_cache() -> Path:
    """Returns the folder where trained benchmark models are kept: XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "chips-lens" / "bench"


def image_features(
    encoder: OpenClipEncoder, images: "Tensor", *, places: Sequence[int], progress: Progress | None = None
) -> "Tensor":
    """Returns the features of the images at some places, (n, dv), in the given order."""
    import torch

    told = progress or Silent()
    told.start("encode", total=len(places))
    settings = encoder.preprocessing
    mean, std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    found = []
    for start in range(0, len(places), FEATURES_AT_ONCE):
        some = images[list(places[start : start + FEATURES_AT_ONCE])].float() / 255
        found.append(encoder.image_features((some - mean) / std))
        told.advance(len(some))
    return torch.cat(found)


def text_features(encoder: OpenClipEncoder, captions: Sequence[str]) -> "Tensor":
    """Returns the features of captions, (n, dt), in the given order; equal captions are encoded once."""
    import torch

    different = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    ids = encoder.tokenize(list(different)).ids
    pieces = [encoder.text_features(ids[i : i + FEATURES_AT_ONCE]) for i in range(0, len(ids), FEATURES_AT_ONCE)]
    return torch.cat(pieces)[[different[caption] for caption in captions]]


def _by_group(data: BenchData, places: Sequence[int], *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Returns (about a share of the places, the rest), whole groups on either side, both in order of pair id."""
    rows = [data.rows[place] for place in places]
    owners = [row.group or row.pair_id for row in rows]
    names = sorted(set(owners))
    turn = {names[i]: t for t, i in enumerate(np.random.default_rng(seed).permutation(len(names)))}
    order = sorted(range(len(places)), key=lambda i: (turn[owners[i]], i))
    cut = round(share * len(places))
    while 0 < cut < len(order) and owners[order[cut - 1]] == owners[order[cut]]:
        cut += 1
    return sorted(places[i] for i in order[:cut]), sorted(places[i] for i in order[cut:])
