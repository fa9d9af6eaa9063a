"""What the model should become good at, as a gradient u: the loss of a target set, or of class prompts on its images.

A pool's pair is worth as much as its own gradient points along u (or along M⁻¹u). Repeated captions are false
negatives of each other under InfoNCE, so a target set with class labels is better measured by its class prompts.
"""

import torch
from torch import Tensor

from chips_core.errors import InputError, NoTargetSet
from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Block, Direction, Heads
from chips_core.influence.kernel import unusable
from chips_core.influence.passes import unusable_rows

IMAGES_AT_ONCE = 4096


def block_of(pairs: Features, rows: Tensor, *, heads: Heads) -> Block:
    """Returns the forward pass of some rows; names unusable features by their rows in the whole."""
    part = pairs.take(rows)
    try:
        return endpoint.forward(part.image, part.text, heads)
    except InputError:
        bad = unusable_rows(part, heads)
        if len(bad):
            raise unusable(rows[bad]) from None
        raise


def some_blocks(pool: Features, heads: Heads, *, pairs: int, plan: BlockPlan) -> list[Block]:
    """Returns the first blocks of the plan that hold about `pairs` pairs (one block at least): a seeded sample."""
    count = plan.block_count(len(pool))
    wanted = max(1, round(pairs * count / len(pool)))
    return [block_of(pool, rows, heads=heads) for rows in plan.first(pool, wanted)]


def target_gradient(target: Features, heads: Heads, *, plan: BlockPlan, train_scale: bool = True) -> Direction:
    """Returns u = ∇ of the mean loss term over the target set, in the plan's blocks [decided], in float64."""
    count = len(target)
    if count < 2:
        raise NoTargetSet(f"The target set holds {count} pairs.", fix="name a target set of two pairs or more.")
    total = heads.zeros(torch.float64)
    for rows in plan.rows(count, rank=target.rank):
        block = block_of(target, rows, heads=heads)
        weights = torch.full_like(block.image[:, 0], 1 / (count * plan.rounds(count)))
        total = total + endpoint.gradient(block, weights, train_scale=train_scale).to(torch.float64)
    return total


def target_loss(target: Features, heads: Heads, *, plan: BlockPlan) -> float:
    """Returns the mean loss term over the target set, in the plan's blocks."""
    count, total = len(target), 0.0
    for rows in plan.rows(count, rank=target.rank):
        total += float(loss.pair_losses(block_of(target, rows, heads=heads).logits).double().sum())
    return total / (count * plan.rounds(count))


def zero_shot_gradient(
    images: Tensor, labels: Tensor, *, prompts: Tensor, heads: Heads, train_scale: bool = True
) -> Direction:
    """Returns u = ∇ of the mean cross-entropy of s x̂·ŷ_c over the class prompts c [decided: `zero_shot_ce`], float64.

    Args:
        images: (T, dv) image features.
        labels: (T,) class codes from 0; -1 leaves an image out.
        prompts: (C, dt) text features of one prompt a class.
        heads: the endpoint; both heads get a gradient.
        train_scale: whether the scale belongs to ϑ.
    """
    rows = _labelled(labels, prompts)
    total = heads.zeros(torch.float64)
    for some in torch.split(rows, IMAGES_AT_ONCE):
        block = against_prompts(images[some], prompts, heads)
        A = torch.softmax(block.logits, dim=1)
        A[torch.arange(len(some)), labels[some]] -= 1
        total = total + endpoint.vjp(block, A / len(rows), train_scale=train_scale).to(torch.float64)
    return total


def zero_shot_losses(images: Tensor, labels: Tensor, *, prompts: Tensor, heads: Heads) -> Tensor:
    """Returns each image's cross-entropy over the class prompts, (T,) float64; NaN-free, 0 where the label is -1."""
    rows, losses = _labelled(labels, prompts), torch.zeros(len(labels), dtype=torch.float64)
    for some in torch.split(rows, IMAGES_AT_ONCE):
        log_p = torch.log_softmax(against_prompts(images[some], prompts, heads).logits, dim=1)
        losses[some] = -log_p[torch.arange(len(some)), labels[some]].double()
    return losses


def against_prompts(images: Tensor, prompts: Tensor, heads: Heads) -> Block:
    """Returns the forward pass of images against class prompts: logits (T, C), for `jvp` and `vjp`."""
    dtype = heads.image.dtype
    image, image_lengths = endpoint.embed(images, heads.image)
    text, text_lengths = endpoint.embed(prompts, heads.text)
    return Block(images.to(dtype), prompts.to(dtype), image_lengths, text_lengths, image, text, heads.scale)


def _labelled(labels: Tensor, prompts: Tensor) -> Tensor:
    rows = torch.nonzero(labels >= 0).reshape(-1)
    if not len(rows):
        raise NoTargetSet("No image of the target set has a class label.", fix="use the InfoNCE target instead.")
    if int(labels.max()) >= len(prompts):
        raise InputError(f"Class code {int(labels.max())}, but {len(prompts)} class prompts.", fix="give one a class.")
    return rows
