"""The evaluate step: what the encoder, as it came, gets right on a split: zero-shot by class prompts, and retrieval.

Without labels or prompts there is no classification, and the answer says why; retrieval needs only the captions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core.errors import InputError
from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads, embed
from chips_core.jobs.models import model_of_record
from chips_core.jobs.scoring_set import class_prompts, heads_of, tensors_of
from chips_core.progress import Progress
from chips_core.store import Features as StoredFeatures
from chips_core.store import Pool
from chips_core.store.parts import TRAIN
from chips_core.verify import zero_shot
from chips_core.verify.retrieval import Recall, recall

COLUMNS = ["pair_id", "caption", "label", "split", "source", "group", "image_sha256"]


@dataclass(frozen=True)
class Settings:
    """Which split, and whose prompts: a file of label -> prompts, else those that came with the data."""

    pool: str
    split: str = "test"
    prompts: str | None = None
    features: str | None = None


@dataclass(frozen=True)
class EncodedSplit:
    """The encoded pairs of a split.

    Attributes:
        rows: (T,) features rows.
        pairs: their columns, in the order of `rows`.
        features: their features.
        labels: (T,) class codes, -1 where a label has no prompt or is missing.
        leaked: (T,) whether it shows an image that a training pair shows too.
        left_out: rows of the split that cannot be asked: no caption, or an image that could not be read.
    """

    rows: npt.NDArray[np.int64]
    pairs: pd.DataFrame
    features: Features
    labels: npt.NDArray[np.int64]
    leaked: npt.NDArray[np.bool_]
    left_out: int = 0


@dataclass(frozen=True)
class Prompts:
    """The classes and the features of their prompts, which class each prompt belongs to, and where they are from."""

    classes: tuple[str, ...]
    features: torch.Tensor
    owner: torch.Tensor
    origin: str


def run(settings: Settings, *, progress: Progress) -> Mapping[str, Any]:
    """Returns accuracy, confusion, calibration and retrieval of a split, as plain data."""
    pool = Pool.open(Path(settings.pool))
    stored = pool.features(settings.features)
    prompts = _prompts(pool, stored, file=settings.prompts)
    found = encoded_split(pool, stored, split=settings.split, classes=prompts.classes if prompts else ())
    heads = heads_of(stored)
    retrieved = _retrieval(found, heads=heads)
    progress.note(f"{len(found.rows):,} pairs of the split; {int(found.leaked.sum()):,} also show a training image.")
    if found.left_out:
        progress.note(f"{found.left_out:,} more rows of it have no caption, or an image that could not be read.")
    return {
        "features": stored.name,
        "split": settings.split,
        "pairs": len(found.rows),
        "left_out": found.left_out,
        "images_also_in_training": int(found.leaked.sum()),
        "prompts": prompts.origin if prompts else None,
        "classes": list(prompts.classes) if prompts else [],
        "why_no_zero_shot": _why_not(prompts, found),
        "zero_shot": _zero_shot(found, prompts, heads=heads) if prompts else None,
        "retrieval": retrieved.found,
        "retrieval_intervals": retrieved.intervals,
    }


def encoded_split(
    pool: Pool, stored: StoredFeatures, *, split: str, classes: tuple[str, ...] = (), most: int | None = None
) -> EncodedSplit:
    """Returns the encoded pairs of a split, the first `most` of them; says which splits there are when it has none."""
    pairs = pool.kept(COLUMNS)
    of_split = (pairs["split"] == split).to_numpy()
    there = np.flatnonzero(of_split & stored.done)
    rows = there[:most]
    if not len(rows):
        known = ", ".join(sorted(set(pairs["split"]) - {""})) or "none"
        raise InputError(
            f"Pool '{pool.path.name}' has no encoded pair in the split '{split}'; its splits are: {known}.",
            fix="name one of them, or bring the data in again with a split column.",
        )
    chosen = pairs.iloc[rows].reset_index(drop=True)
    codes = pd.Categorical(chosen["label"].to_numpy(dtype=object), categories=list(classes)).codes
    trained = set(pairs["image_sha256"][~of_split & pairs["split"].isin([TRAIN, ""]).to_numpy()]) - {""}
    leaked = chosen["image_sha256"].isin(trained).to_numpy(dtype=bool)
    left_out = int((pool.pairs(["split"])["split"] == split).sum()) - len(there)
    features = tensors_of(stored, rows, pairs=pairs)
    return EncodedSplit(rows, chosen, features, np.asarray(codes, np.int64), leaked, left_out)


def _prompts(pool: Pool, stored: StoredFeatures, *, file: str | None) -> Prompts | None:
    if file is not None:
        return _from_file(Path(file), stored, pool=pool.path)
    classes, features = class_prompts(pool, stored.name)
    if features is None:
        return None
    return Prompts(classes, features, torch.arange(len(classes)), "the data's own")


def _from_file(path: Path, stored: StoredFeatures, *, pool: Path) -> Prompts:
    """Returns the prompts of a file, encoded by the model that encoded the pool."""
    from chips_core.clip import load_encoder, require_same_encoder
    from chips_core.clip.prompts import load_prompts, prompt_features

    given = load_prompts(path)
    encoder = load_encoder(model_of_record(stored.record, pool=pool), device="cpu", precision="fp32")
    require_same_encoder(
        encoder,
        name=str(stored.record.get("encoder")),
        fingerprint=str(stored.record.get("encoder_fingerprint")),
        where="the pool",
    )
    found = prompt_features(encoder, given)
    return Prompts(found.labels, found.features, found.owner, path.name)


def _why_not(prompts: Prompts | None, found: EncodedSplit) -> str | None:
    """Returns why there is no classification; None where there is."""
    if prompts is None:
        return "The pool has no labels, so it has no class prompts. Give a label column at intake, or --prompts FILE."
    if not (found.labels >= 0).any():
        return "No pair of this split has a label that a prompt names. Give labels to the split, or other prompts."
    return None


def _zero_shot(found: EncodedSplit, prompts: Prompts, *, heads: Heads) -> dict[str, Any]:
    weights = zero_shot.class_weights(prompts.features, prompts.owner, head=heads.text)
    logits = zero_shot.logits_of(found.features.image, weights=weights, head=heads.image, scale=heads.scale)
    groups, sources = (found.pairs[name].astype(str).tolist() for name in ("group", "source"))
    result = zero_shot.measured(logits, found.labels, classes=prompts.classes, groups=groups, sources=sources)
    return result.as_dict()


def _retrieval(found: EncodedSplit, *, heads: Heads) -> Recall:
    image, _ = embed(found.features.image, heads.image)
    text, _ = embed(found.features.text, heads.text)
    captions, groups = (found.pairs[name].astype(str).tolist() for name in ("caption", "group"))
    return recall(image, text, captions=captions, groups=groups)
