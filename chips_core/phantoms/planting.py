"""Errors planted among phantom pairs, each of a named kind, as they occur in real collections."""

from dataclasses import replace
from enum import StrEnum

import numpy as np

from chips_core.phantoms import captions
from chips_core.phantoms.pair import PhantomPair

SHARE = 0.08  # of the train split
PLANTING = 13  # the stream of random numbers


class Planted(StrEnum):
    """What is wrong with a pair."""

    WRONG_PAIR = "wrong pair"  # the caption of another pair of the same modality and another label
    LATERALITY = "laterality flip"  # left for right
    NEGATION = "negation flip"  # denies what is there, or claims what is not
    WRONG_MODALITY = "wrong modality"  # the caption of a pair of another modality
    UNINFORMATIVE = "uninformative caption"
    NEAR_DUPLICATE = "near duplicate"  # another pair's image saved anew, under this pair's own caption
    UNREADABLE = "unreadable file"


SHARES = {
    Planted.LATERALITY: 0.15,  # the kinds that few pairs allow choose first
    Planted.WRONG_PAIR: 0.27,
    Planted.NEGATION: 0.15,
    Planted.WRONG_MODALITY: 0.13,
    Planted.UNINFORMATIVE: 0.11,
    Planted.NEAR_DUPLICATE: 0.12,
    Planted.UNREADABLE: 0.07,
}


def plant(pairs: list[PhantomPair], *, seed: int) -> dict[str, PhantomPair]:
    """Returns the pairs with a planted error by id; they replace the right ones."""
    rng = np.random.default_rng([seed, PLANTING])
    pool = [pair for pair in pairs if pair.split == "train"]
    waiting = [pool[k] for k in rng.permutation(len(pool))]
    total, kinds = round(SHARE * len(pool)), list(SHARES)
    bounds = np.rint(np.cumsum(list(SHARES.values())) * total).astype(int)
    found: dict[str, PhantomPair] = {}
    lent: set[int] = set()  # shots that a near duplicate copies: their own pairs stay as they are
    for kind, bound in zip(kinds, bounds, strict=True):
        for pair in waiting:
            if len(found) >= bound:
                break
            if pair.pair_id in found or pair.scene.shot in lent or (kind is Planted.LATERALITY and not pair.scene.side):
                continue
            spoilt = _spoilt(pair, kind=kind, pool=waiting, taken=found, rng=rng)
            if spoilt:
                found[pair.pair_id] = replace(spoilt, planted=str(kind))
                lent |= {spoilt.scene.shot} if spoilt.scene.copy else set()
    return found


def _spoilt(
    pair: PhantomPair,
    *,
    kind: Planted,
    pool: list[PhantomPair],
    taken: dict[str, PhantomPair],
    rng: np.random.Generator,
) -> PhantomPair | None:
    """Returns the pair with an error of that kind; None where this small pool has no partner for it."""
    if kind is Planted.LATERALITY:
        return replace(pair, caption=captions.other_side(pair.scene, rng=rng))
    if kind is Planted.NEGATION:
        return replace(pair, caption=captions.turned_round(pair.scene, rng=rng))
    if kind is Planted.UNINFORMATIVE:
        return replace(pair, caption=captions.uninformative(rng))
    if kind is Planted.UNREADABLE:
        return pair
    same = kind is not Planted.WRONG_MODALITY
    partners = [
        p for p in pool if (p.modality == pair.modality) == same and p.label != pair.label and p.pair_id not in taken
    ]
    if not partners:
        return None
    partner = partners[int(rng.integers(len(partners)))]
    if kind is Planted.NEAR_DUPLICATE:
        copied = replace(partner.scene, copy=1 + pair.scene.shot)
        return replace(pair, scene=copied, label=partner.label, class_prompt=partner.class_prompt)
    return replace(pair, caption=partner.caption)
