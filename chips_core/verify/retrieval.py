"""Image-text retrieval: how often the own caption is among the k best for an image, and the other way round."""

from collections.abc import Sequence

import torch
from torch import Tensor

AT = (1, 5, 10)
ROWS_AT_ONCE = 1024


def recall(
    image: Tensor, text: Tensor, *, captions: Sequence[str], at: Sequence[int] = AT
) -> dict[str, dict[str, float] | None]:
    """Returns R@k of both ways as `{"image_to_text": {"1": …}, "text_to_image": …}`; None where there are no pairs.

    A hit is any partner of an equal caption: two images with the very same sentence cannot be told apart by it.

    Args:
        image: (n, D) unit embeddings.
        text: (n, D) unit embeddings, row i belongs to image i.
        captions: the texts.
        at: the k.
    """
    if not len(image):
        return {"image_to_text": None, "text_to_image": None}
    known: dict[str, int] = {}
    codes = torch.tensor([known.setdefault(caption, len(known)) for caption in captions])
    return {
        "image_to_text": _one_way(image, text, codes=codes, at=at),
        "text_to_image": _one_way(text, image, codes=codes, at=at),
    }


def ranks(asked: Tensor, answers: Tensor, *, codes: Tensor) -> Tensor:
    """Returns the place of the best right answer of each question, 0 is the first; ties count against it, (n,)."""
    found = []
    for start in range(0, len(asked), ROWS_AT_ONCE):
        similarity = asked[start : start + ROWS_AT_ONCE].double() @ answers.double().T
        right = codes[start : start + ROWS_AT_ONCE, None] == codes[None, :]
        best = similarity.masked_fill(~right, -torch.inf).max(1, keepdim=True).values
        found.append(((similarity >= best) & ~right).sum(1))
    return torch.cat(found)


def _one_way(asked: Tensor, answers: Tensor, *, codes: Tensor, at: Sequence[int]) -> dict[str, float]:
    place = ranks(asked, answers, codes=codes)
    return {str(k): float((place < k).double().mean()) for k in at}
