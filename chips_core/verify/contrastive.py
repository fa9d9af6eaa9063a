"""One step of contrastive training whose batch may be far larger than what fits into memory at once.

Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021
(GradCache): all pairs are embedded without a graph; the symmetric InfoNCE of the *whole* batch gives the gradient of
every embedding; then each chunk is embedded again and takes its own part of it backwards. The parameters' gradient is
the whole batch's, exactly, for twice the forward passes; plain accumulation would only see negatives inside a chunk.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from chips_core.influence import loss
from chips_core.verify.trainee import Trainee

Chunk = tuple[Tensor, Tensor]  # what the image side and the text side take


def backward(trainee: Trainee, load: Callable[[Tensor], Chunk], rows: Tensor, *, chunk: int) -> float:
    """Adds the gradient of the mean loss over a batch to the parameters, and returns the loss.

    Args:
        trainee: the model.
        load: rows -> their images and texts, as the trainee takes them.
        rows: (B,) the batch.
        chunk: pairs that are embedded with a graph at once.
    """
    parts = torch.split(rows, chunk)
    if len(parts) == 1:
        image, text = load(rows)
        total = _loss(trainee.image(image), trainee.text(text), trainee)
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())
    with torch.no_grad():
        halves = [(trainee.image(image), trainee.text(text)) for image, text in map(load, parts)]
    whole = [torch.cat(side).requires_grad_() for side in zip(*halves, strict=True)]
    total = _loss(whole[0], whole[1], trainee)
    total.backward()  # type: ignore[no-untyped-call]
    _spread_back(trainee, load, parts, whole)
    return float(total.detach())


def _spread_back(
    trainee: Trainee, load: Callable[[Tensor], Chunk], parts: Sequence[Tensor], whole: Sequence[Tensor]
) -> None:
    """Takes the embeddings' gradients back through the towers, chunk by chunk."""
    start = 0
    for some in parts:
        image, text = load(some)
        for side, batch, embed in ((0, image, trainee.image), (1, text, trainee.text)):
            gradient = whole[side].grad
            if gradient is None:
                raise TypeError("the loss has no gradient")
            found = embed(batch)
            if found.requires_grad:
                (found * gradient[start : start + len(some)]).sum().backward()  # type: ignore[no-untyped-call]
        start += len(some)


def _loss(image: Tensor, text: Tensor, trainee: Trainee) -> Tensor:
    """Returns the mean symmetric InfoNCE, s = exp(log_scale)."""
    return loss.pair_losses(trainee.log_scale.exp() * image @ text.T).mean()
