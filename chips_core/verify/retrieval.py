"""Image-text retrieval: how often the own caption is among the k best for an image, and the other way round."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chips_core.verify.bootstrap import Interval, interval

AT = (1, 5, 10)
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Recall:
    """R@k of both ways as `{"image_to_text": {"1": …}, "text_to_image": …}`, None where there are no pairs.

    `intervals` holds the ends of each, over patients; None where fewer than two patients were seen.
    """

    found: dict[str, dict[str, float] | None]
    intervals: dict[str, dict[str, list[float] | None] | None]


def recall(
    image: Tensor, text: Tensor, *, captions: Sequence[str], groups: Sequence[str], at: Sequence[int] = AT
) -> Recall:
    """Returns how often a right partner is among the k best.

    A hit is any partner of an equal caption: two images with the very same sentence cannot be told apart by it.

    Args:
        image: (n, D) unit embeddings.
        text: (n, D) unit embeddings, row i belongs to image i.
        captions: the texts.
        groups: the patient of each pair, "" where unknown.
        at: the k.
    """
    known: dict[str, int] = {}
    codes = torch.tensor([known.setdefault(caption, len(known)) for caption in captions])
    found: dict[str, dict[str, float] | None] = {}
    ends: dict[str, dict[str, list[float] | None] | None] = {}
    for way, asked, answers in (("image_to_text", image, text), ("text_to_image", text, image)):
        place = ranks(asked, answers, codes=codes).numpy() if len(image) else None
        hits = {str(k): interval((place < k).astype(np.float64), groups) for k in at} if place is not None else {}
        found[way] = {k: hit.mean for k, hit in hits.items() if hit} or None
        ends[way] = {k: _ends(hit) for k, hit in hits.items() if hit} or None
    return Recall(found, ends)


def ranks(asked: Tensor, answers: Tensor, *, codes: Tensor) -> Tensor:
    """Returns the place of the best right answer of each question, 0 is the first; ties count against it, (n,)."""
    found = []
    for start in range(0, len(asked), ROWS_AT_ONCE):
        similarity = asked[start : start + ROWS_AT_ONCE].double() @ answers.double().T
        right = codes[start : start + ROWS_AT_ONCE, None] == codes[None, :]
        best = similarity.masked_fill(~right, -torch.inf).max(1, keepdim=True).values
        found.append(((similarity >= best) & ~right).sum(1))
    return torch.cat(found)


def _ends(found: Interval) -> list[float] | None:
    return [found.low, found.high] if found.low is not None and found.high is not None else None
