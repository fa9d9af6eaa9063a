"""Peer loss: does a pair's caption fit its image at least as well as the captions of pairs of one kind do?

The contrastive loss of a right pair depends on its kind: an image whose caption stands in the pool four hundred times,
word for word, or whose caption says what no image shows, has a high loss for no fault of its own. Compared inside
groups of images that look alike, these differences cancel [decided]:

    peer_n = ½ log max_g mean_{j∈g} e^{S_nj - S_nn} + ½ log max_g mean_{i∈g} e^{S_in - S_nn}

(S = logits, row = image; g = the groups of a k-means; the mean over several groupings and all blocks).
Where a wrong caption is drawn from the captions of a group, this is the log odds of "wrong" against "right" for the
density ratio e^S that InfoNCE learns [derived], up to a constant: 0 and below for a right pair, several nats above for
a wrong one, in every group alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.clusters import kmeans
from chips_core.influence.embedding import Embeddings, rows_in_order
from chips_core.influence.endpoint import Heads, embed
from chips_core.influence.passes import Tick
from chips_core.influence.targets import block_of

GROUPINGS = (4, 6, 9)  # groups in each k-means, of images and of whole pairs; several, since none is right
AT_ONCE = 65_536
LEAST_MEMBERS = 8  # of a group in a block: the mean of fewer says nothing


@dataclass(frozen=True)
class PeerLosses:
    """What comparing each pair with others found, (N,) by row.

    Attributes:
        loss: peer loss, in nats; high where the pair is suspect.
        better_captions: share of the other captions that fit its image better than its own.
        better_images: share of the other images that its caption fits better than its own.
    """

    loss: Tensor
    better_captions: Tensor
    better_images: Tensor


def like_pairs(pool: Features, *, heads: Heads, seed: int, groupings: Sequence[int] = GROUPINGS) -> tuple[Tensor, ...]:
    """Returns the group of every pair, (N,) by row, for each grouping: first by image, then by image and caption."""
    rows = rows_in_order(pool)
    of_images = Embeddings(pool.image, heads.image, rows)
    of_pairs = Embeddings(_sums(pool, heads), None, rows)
    found = []
    for number, embeddings in enumerate((of_images, of_pairs)):
        for place, count in enumerate(groupings):
            by_row = torch.empty(len(pool), dtype=torch.int64)
            by_row[rows] = kmeans(embeddings, clusters=count, seed=seed + number * len(groupings) + place).of
            found.append(by_row)
    return tuple(found)


def peer_losses(
    pool: Features, *, heads: Heads, plan: BlockPlan, groups: Sequence[Tensor], tick: Tick | None = None
) -> PeerLosses:
    """Returns peer losses, averaged over the groupings and the plan's rounds.

    Args:
        pool: features of the N pairs.
        heads: the endpoint, fitted to the pool, at the calibrated scale.
        plan: the blocks.
        groups: from `like_pairs`.
        tick: told of each block.
    """
    pairs = len(pool)
    rounds = plan.rounds(pairs)
    total = torch.zeros(3, pairs, dtype=torch.float64)
    for rows in plan.rows(pairs, rank=pool.rank):
        logits = block_of(pool, rows, heads=heads).logits
        members = _memberships([group[rows] for group in groups])
        found = torch.stack([_in_block(logits, members), *_better(logits)])
        total[:, rows] += found.to(torch.float64) / rounds
        if tick is not None:
            tick(len(rows))
    return PeerLosses(*total)


def _sums(pool: Features, heads: Heads) -> Tensor:
    """Returns x̂ + ŷ of every pair, (N, D) float16: k-means needs no more."""
    found = torch.empty(len(pool), heads.image.shape[0], dtype=torch.float16)
    for start in range(0, len(pool), AT_ONCE):
        piece = slice(start, start + AT_ONCE)
        image, _ = embed(pool.image[piece], heads.image)
        text, _ = embed(pool.text[piece], heads.text)
        found[piece] = image + text
    return found


def _memberships(groups: Sequence[Tensor]) -> list[Tensor]:
    """Returns for each grouping the columns of 1/size for the members of each large enough group, (B, G)."""
    found = []
    for group in groups:
        member = torch.nn.functional.one_hot(group).to(torch.float32)
        sizes = member.sum(0)
        large = sizes >= min(LEAST_MEMBERS, float(sizes.max()))
        found.append(member[:, large] / sizes[large])
    return found


def _in_block(logits: Tensor, members: Sequence[Tensor]) -> Tensor:
    """Returns the peer loss of each pair of a block, (B,)."""
    own = logits.diagonal()
    by_row = _best_group(logits, members) - own
    by_column = _best_group(logits.T, members) - own
    return (by_row + by_column) / 2


def _best_group(logits: Tensor, members: Sequence[Tensor]) -> Tensor:
    """Returns log max_g mean_{j∈g} e^{S_nj}, the mean over the groupings, (B,)."""
    most = logits.max(dim=1, keepdim=True).values
    shifted = (logits - most).exp()  # the best group's mean is never below 1/B of the largest, so it cannot vanish
    tiny = torch.finfo(shifted.dtype).tiny
    best = [(shifted @ member).max(dim=1).values.clamp(min=tiny).log() for member in members]
    return most[:, 0] + torch.stack(best).mean(0)


def _better(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the shares of the other captions and of the other images that fit strictly better, (B,) each."""
    own, others = logits.diagonal(), max(1, len(logits) - 1)
    slack = 1e-5 * own.abs().max().clamp(min=1.0)  # an equal caption elsewhere differs in the last bits only
    captions = (logits > own[:, None] + slack).sum(1) / others
    images = (logits > own[None] + slack).sum(0) / others
    return captions, images
