"""Which pairs are scored, against which target set: the pool's rows as tensors, ready for the maths.

The target set is a split, a source, or a tenth held out (`store.parts`). The test split is never scored and never a
target by accident: it is looked at only when an evaluation asks for it by name. Rows are in the order of the kept
pairs; scores do not depend on it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from chips_core.errors import InputError, NoTargetSet
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import ScoringInputs
from chips_core.store import Features as StoredFeatures
from chips_core.store import Pool
from chips_core.store.parts import COLUMNS, HELD_OUT, TEST, default_target, parts_of

PROMPTS = "prompts"  # the kind of table that holds the class prompts' features
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoringSet:
    """The pairs of one run.

    Attributes:
        pairs: the kept pairs (pair_id, label, split, source, caption, image_sha256, …), index = features row.
        rows: (n,) the features rows that are scored.
        unreadable: the rows that belong to the pool but have no features: they get no score.
        target: the name of the target set.
        target_rows: its rows.
        classes: the labels in the order of their codes and prompts.
        inputs: the same as tensors.
        shared_images: how many scored pairs show an image that the target set shows too.
    """

    pairs: pd.DataFrame
    rows: Rows
    unreadable: Rows
    target: str
    target_rows: Rows
    classes: tuple[str, ...]
    inputs: ScoringInputs
    shared_images: int


def scoring_set(pool: Pool, *, target: str | None, plan: BlockPlan, features: str | None = None) -> ScoringSet:
    """Returns the pairs to score and the target set that the user named, or that is taken where none is named."""
    stored = pool.features(features)
    pairs = pool.kept([*COLUMNS, "caption", "label", "image_sha256"])
    target = target or default_target(pairs)
    parts = parts_of(pairs, target=target)
    if not parts.target.any():
        raise _no_target(pairs, target=target, pool=pool)
    rows, target_rows = np.flatnonzero(parts.scored & stored.done), np.flatnonzero(parts.target & stored.done)
    if not len(rows):
        raise InputError(f"Beside the target set '{target}' no pair is left to score.", fix="name a smaller target.")
    classes, prompts = class_prompts(pool, stored.name)
    inputs = ScoringInputs(
        pool=tensors_of(stored, rows, pairs=pairs),
        heads=heads_of(stored),
        target=tensors_of(stored, target_rows, pairs=pairs),
        labels=_codes(pairs["label"].iloc[rows], classes),
        target_labels=_codes(pairs["label"].iloc[target_rows], classes),
        captions=torch.from_numpy(pd.factorize(pairs["caption"].iloc[rows])[0].astype(np.int64)),
        prompts=prompts,
        plan=plan,
    )
    hashes = pairs["image_sha256"]
    shared = int(hashes.iloc[rows].isin(set(hashes.iloc[target_rows]) - {""}).sum())
    return ScoringSet(
        pairs,
        rows,
        np.flatnonzero(parts.scored & ~stored.done),
        target,
        target_rows,
        classes,
        inputs,
        shared_images=shared,
    )


def tensors_of(stored: StoredFeatures, rows: Rows, *, pairs: pd.DataFrame) -> Features:
    """Returns the features of some rows, with the rank of their pair ids, so that the order of rows does not matter."""
    ids = pairs["pair_id"].iloc[rows].to_numpy(dtype=object).astype(str)
    rank = np.empty(len(rows), np.int64)
    rank[np.argsort(ids, kind="stable")] = np.arange(len(rows))
    everything = len(rows) == len(stored.image)
    image = stored.image if everything else stored.image[rows]
    text = stored.text if everything else stored.text[rows]
    return Features(_tensor(image), _tensor(text), torch.from_numpy(rank))


def heads_of(stored: StoredFeatures) -> Heads:
    """Returns the encoder's endpoint as the maths wants it."""
    heads = stored.heads
    scale = torch.tensor(heads.logit_scale, dtype=torch.float32)
    return Heads(_tensor(heads.image), _tensor(heads.text), scale)


def class_prompts(pool: Pool, features: str) -> tuple[tuple[str, ...], torch.Tensor | None]:
    """Returns the classes and the text features of their prompts, as the encode step stored them."""
    if features not in {artifact.name for artifact in pool.tables(PROMPTS)}:
        return (), None
    labels = tuple(str(label) for label in pool.table(PROMPTS, features, ["label"])["label"])
    return labels, _tensor(pool.arrays(PROMPTS, features)["text"])


def _no_target(pairs: pd.DataFrame, *, target: str, pool: Pool) -> NoTargetSet:
    if target == TEST:
        return NoTargetSet(
            "The test split cannot be the target set: scores made with it would flatter every evaluation.",
            fix="use --target val, or a source's name.",
        )
    if target == HELD_OUT:
        return NoTargetSet(
            f"Pool '{pool.path.name}' has {len(pairs):,} pairs, too few of their own patients to hold some out.",
            fix="bring in more pairs, or a split column with pairs to trust.",
        )
    known = sorted((set(pairs["split"]) | set(pairs["source"])) - {"", TEST})
    listed = f"the splits and sources are {', '.join(known)}" if known else "it has neither splits nor sources"
    return NoTargetSet(
        f"Pool '{pool.path.name}' has no split or source '{target}'; {listed}.",
        fix=f"name one with --target; or use --target {HELD_OUT}, which sets a tenth of the pairs aside.",
    )


def _codes(labels: Any, classes: tuple[str, ...]) -> torch.Tensor | None:
    if not classes:
        return None
    codes = pd.Categorical(labels.to_numpy(dtype=object), categories=list(classes)).codes
    return torch.from_numpy(np.asarray(codes, np.int64))


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Returns a tensor over the array's own memory (or its map); nobody writes to it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
