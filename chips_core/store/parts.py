"""The parts that pairs play: target set, scored and chosen from, kept back. One rule for scores, pages and selections.

The test split is never a target and never scored. Where a pool names a train split, only that is scored. A pool
without a split to trust can set a tenth of its pairs aside (`held-out`): whole patients, by a hash of their names, so
that it is the same tenth every time, whatever the order of the pairs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
TRAIN, VAL, TEST = "train", "val", "test"
HELD_OUT = "held-out"  # a target set that no split and no source names
SHARE, LEAST, MOST = 0.1, 2, 2000  # of the pairs that would be scored; more says nothing more about a mean gradient
COLUMNS = ("pair_id", "split", "source", "group")


@dataclass(frozen=True, eq=False)
class Parts:
    """The part that each kept pair plays, (N,) each.

    Attributes:
        target: the target set.
        scored: the pairs that are scored, and that a selection chooses from.
        kept_back: target, test, and val beside a train split: no selection may share a patient or an image with them.
    """

    target: Mask
    scored: Mask
    kept_back: Mask


def parts_of(pairs: pd.DataFrame, *, target: str) -> Parts:
    """Returns the parts of the kept pairs for a target set: a split, a source, `held-out`, or "" for none.

    Args:
        pairs: with the columns `COLUMNS`.
        target: its name; one that nothing carries gives an empty target set.
    """
    split = pairs["split"].to_numpy(object)
    in_target = np.zeros(len(pairs), np.bool_)
    if target == HELD_OUT:
        in_target = _held_out(pairs, among=_to_score(split))
    elif target and target != TEST:
        in_target = np.asarray(split == target, np.bool_)
        if not in_target.any():
            in_target = np.asarray((pairs["source"].to_numpy(object) == target) & (split != TEST), np.bool_)
    kept_back = in_target | np.asarray(split == TEST, np.bool_)
    if (split == TRAIN).any():
        kept_back |= np.asarray(split == VAL, np.bool_)
    return Parts(in_target, _to_score(split) & ~in_target, kept_back)


def default_target(pairs: pd.DataFrame) -> str:
    """Returns the target set of who names none: the val split, or else a tenth held out."""
    return VAL if (pairs["split"] == VAL).any() else HELD_OUT


def _to_score(split: NDArray[np.object_]) -> Mask:
    """Returns what could be scored if there were no target set, (N,)."""
    train = split == TRAIN
    return np.asarray(train if train.any() else split != TEST, np.bool_)


def _held_out(pairs: pd.DataFrame, *, among: Mask) -> Mask:
    """Returns about a tenth of some pairs, whole groups at a time, (N,); no group that is far too large for it."""
    some = pairs.loc[among, ["pair_id", "group"]]
    wanted = min(round(SHARE * len(some)), MOST)
    if wanted < LEAST:
        return np.zeros(len(pairs), np.bool_)
    owner = some["group"].where(some["group"] != "", "\0" + some["pair_id"]).to_numpy(object)
    owners, of, sizes = np.unique(owner.astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((owners, pd.util.hash_array(owners.astype(object), categorize=False)))
    fits = order[sizes[order] <= wanted]
    before = np.cumsum(sizes[fits]) - sizes[fits]
    chosen = np.zeros(len(owners), np.bool_)
    chosen[fits[before < wanted]] = True
    mask = np.zeros(len(pairs), np.bool_)
    mask[np.flatnonzero(among)] = chosen[of]
    return mask
