"""Why a pair stands where it stands in the queue: codes, numbers and a sentence each, made from templates.

No sentence holds text of the data set. Where a reason points at other pairs (the nearest images), it names their rows,
and whoever shows it fetches their captions as plain text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads, embed
from chips_core.influence.queue import Queue, surprise

NEIGHBOURS = 5
AGREEING = 3  # of the nearest images, to be worth a word
NOTABLE = 1.6  # -log(1 - rank): the highest fifth of a part
AT_ONCE = 65_536


@dataclass(frozen=True)
class Reason:
    """One reason.

    Attributes:
        code: `better_captions`, `better_images`, `harmful`, `label`, `image_label`, `neighbours` or `none`.
        text: one sentence.
        numbers: those in the sentence, by name.
        rows: other pairs that it speaks of.
        strength: -log(1 - rank) of the part behind it; reasons come strongest first.
    """

    code: str
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    strength: float = 0.0


@dataclass(frozen=True)
class NearImages:
    """What the images nearest to some pairs carry as captions.

    Attributes:
        rows: (n, k) rows of the nearest images, nearest first.
        agreeing: (n,) how many of them share the commonest caption among them.
        example: (n,) row of one that carries it.
        differs: (n,) whether the pair's own caption is another.
    """

    rows: Tensor
    agreeing: Tensor
    example: Tensor
    differs: Tensor


def reasons(queue: Queue, rows: Sequence[int], *, near: NearImages | None = None) -> list[tuple[Reason, ...]]:
    """Returns the reasons of some pairs, strongest first; each pair has at least one.

    Args:
        queue: from `misalignment_queue`.
        rows: the pairs to explain.
        near: from `nearest_images` for the same rows, where that is wanted.
    """
    strengths = {name: surprise(values) for name, values in queue.parts.items()}
    found = []
    for place, row in enumerate(rows):
        here = {name: float(values[row]) for name, values in strengths.items()}
        own = [maker(queue, row, here[name]) for name, maker in MAKERS.items() if here.get(name, 0.0) >= NOTABLE]
        flat = [reason for several in own for reason in several]
        if near is not None:
            flat += _of_neighbours(near, place, strength=here["peer_loss"])
        flat.sort(key=lambda reason: -reason.strength)
        found.append(tuple(flat) or (Reason("none", "Nothing about this pair stands out."),))
    return found


def nearest_images(
    pool: Features, rows: Sequence[int], *, heads: Heads, captions: Tensor, k: int = NEIGHBOURS
) -> NearImages:
    """Returns the k nearest other images of some pairs, and what their captions have in common.

    Args:
        pool: features of the N pairs.
        rows: the pairs that ask.
        heads: the endpoint.
        captions: (N,) codes, equal for equal captions.
        k: how many neighbours; fewer where the pool is smaller.
    """
    asked = torch.as_tensor(list(rows), dtype=torch.int64)
    mine, _ = embed(pool.image[asked], heads.image)
    k = min(k, len(pool) - 1)
    best, where = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.int64)
    for start in range(0, len(pool), AT_ONCE):
        others, _ = embed(pool.image[start : start + AT_ONCE], heads.image)
        cosines = mine @ others.T
        inside = (asked >= start) & (asked < start + len(others))
        cosines[inside, asked[inside] - start] = -torch.inf
        best = torch.cat([best, cosines], dim=1)
        where = torch.cat([where, torch.arange(start, start + len(others)).expand(len(asked), -1)], dim=1)
        order = torch.argsort(best, dim=1, descending=True, stable=True)[:, :k]
        best, where = best.gather(1, order), where.gather(1, order)
    theirs = captions[where]
    votes = (theirs[:, :, None] == theirs[:, None]).sum(2)
    agreeing, place = votes.max(dim=1)
    example = where.gather(1, place[:, None])[:, 0]
    return NearImages(where, agreeing, example, captions[example] != captions[asked])


def _of_peers(queue: Queue, row: int, strength: float) -> list[Reason]:
    others = max(1, len(queue.score) - 1)
    captions = round(float(queue.peers.better_captions[row]) * others)
    images = round(float(queue.peers.better_images[row]) * others)
    made = []
    if images:
        text = f"Its caption fits {images:,} other image{_s(images)} better."
        made.append(Reason("better_images", text, {"images": images}, strength=strength))
    if captions:
        text = f"{captions:,} other caption{_s(captions)} fit{'' if captions > 1 else 's'} its image better."
        made.append(Reason("better_captions", text, {"captions": captions}, strength=strength))
    return made


def _of_influence(queue: Queue, row: int, strength: float) -> list[Reason]:
    gain = float(queue.parts["influence"][row])
    if gain <= 0:
        return []
    text = "Removing it is predicted to lower the loss on the target set and on the other pairs."
    return [Reason("harmful", text, {"loss_drop": gain}, strength=strength)]


def _of_label(queue: Queue, row: int, strength: float) -> list[Reason]:
    return _of_side(queue, row, strength, part="label_contradiction", code="label", side="caption")


def _of_image(queue: Queue, row: int, strength: float) -> list[Reason]:
    return _of_side(queue, row, strength, part="image_label", code="image_label", side="image")


def _of_side(queue: Queue, row: int, strength: float, *, part: str, code: str, side: str) -> list[Reason]:
    labels = queue.labels[part]
    own, likely = float(labels.own[row]), float(labels.likely_probability[row])
    if likely <= own or not queue.weights[part]:
        return []
    text = f"By its {side}, its label has a probability of {own:.0%}; another label has {likely:.0%}."
    numbers = {"own": own, "likely": likely, "likely_label": float(labels.likely[row])}
    return [Reason(code, text, numbers, strength=strength)]


def _of_neighbours(near: NearImages, place: int, *, strength: float) -> list[Reason]:
    agreeing, count = int(near.agreeing[place]), near.rows.shape[1]
    if not bool(near.differs[place]) or agreeing < AGREEING:
        return []
    text = f"{agreeing} of its {count} nearest images share one caption, and it is not this one."
    numbers = {"agreeing": agreeing, "nearest": count}
    return [Reason("neighbours", text, numbers, rows=(int(near.example[place]),), strength=strength)]


def _s(count: int) -> str:
    return "" if count == 1 else "s"


MAKERS: Mapping[str, Callable[[Queue, int, float], list[Reason]]] = {
    "peer_loss": _of_peers,
    "influence": _of_influence,
    "label_contradiction": _of_label,
    "image_label": _of_image,
}
