"""Influence on any test loss from the stored influence on a few: what a trace index keeps of every pair.

A removal's gradient g_n = ∇(Pos + Neg)_n reaches the heads by two ways: through the pair's own embeddings (its *own
path*, two rank-1 matrices, stored exactly) and through the embeddings of everybody whom it was a negative of (the
*rest*). The rest is smooth: its influence on one test image is nearly a combination of that on K others, the landmarks:

    v·Δθ_n  =  H⁻¹v · g_n  ≈  H⁻¹v · own_n + Σ_k c_k rest_kn        rest_kn = H⁻¹v_k·g_n - H⁻¹v_k·own_n    [derived]

with c from least squares on a sample of pairs, whose influence is computed in full for each question [decided]. The own
path of a removal is that of the whole loss, since L₋ₙ does not depend on pair n: dL/da_n x̃_nᵀ, with dL/dS = P + Q - 2I.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chips_core.influence import endpoint, loss
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.kernel import BlockScorer, Wants
from chips_core.influence.passes import Tick, score_pairs
from chips_core.influence.targets import block_of

SAMPLE_BLOCKS = 4  # blocks of the first round whose pairs are the sample
RIDGE = 1e-4  # of the least squares, as a share of the mean square of a landmark
ROWS_AT_ONCE = 8192
WANTS = Wants(deletion=True)


@dataclass(frozen=True)
class Paths:
    """The own path of each pair's removal, (N, D) each: dL/da_n and dL/db_n, averaged over the rounds."""

    image: Tensor
    text: Tensor

    def take(self, rows: Tensor) -> "Paths":
        """Returns those of some rows."""
        return Paths(self.image[rows], self.text[rows])


@dataclass(frozen=True)
class Influences:
    """The influence of M pairs on the losses of K test images, (K, M) each, times 2N."""

    pos: Tensor
    neg: Tensor
    rest: Tensor  # of both roles together, what does not go through the pair's own embeddings

    @property
    def total(self) -> Tensor:
        """Of both roles together."""
        return self.pos + self.neg


def sample_blocks(plan: BlockPlan, pool: Features) -> list[Tensor]:
    """Returns the rows of the sample's blocks, the same for the landmarks and for every question."""
    count = min(SAMPLE_BLOCKS, plan.block_count(len(pool)))
    return [rows for rows, _ in zip(plan.rows(len(pool), rank=pool.rank), range(count), strict=False)]


def paths(pool: Features, heads: Heads, *, plan: BlockPlan, tick: Tick | None = None) -> Paths:
    """Returns every pair's own path, in half precision."""
    rounds, found = plan.rounds(len(pool)), torch.zeros(2, len(pool), len(heads.image))
    for rows in plan.rows(len(pool), rank=pool.rank):
        for part, whole in zip(_paths_in(pool, rows, heads), found, strict=True):
            whole[rows] += part.float() / rounds
        if tick is not None:
            tick(len(rows))
    return Paths(found[0].half(), found[1].half())


def sample_paths(pool: Features, heads: Heads, *, blocks: Iterable[Tensor]) -> Paths:
    """Returns the own paths of the sample's pairs in these very blocks, in the order of the blocks."""
    each = [_paths_in(pool, rows, heads) for rows in blocks]
    return Paths(torch.cat([image for image, _ in each]), torch.cat([text for _, text in each]))


def own_dots(part: Features, own: Paths, directions: Sequence[Direction]) -> Tensor:
    """Returns the inner product of each pair's own path with each direction, (K, M) float64.

    Args:
        part: features of the M pairs.
        own: their own paths.
        directions: K vectors.
    """
    found = torch.empty(len(directions), len(part), dtype=torch.float64)
    for start in range(0, len(part), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        X, Y = part.image[some].float(), part.text[some].float()
        to_image, to_text = own.image[some].float(), own.text[some].float()
        for k, v in enumerate(directions):
            image = ((X @ v.image.float().T) * to_image).sum(1)
            found[k, some] = (image + ((Y @ v.text.float().T) * to_text).sum(1)).double()
    return found


def of_all(
    pool: Features,
    heads: Heads,
    *,
    directions: Sequence[Direction],
    own: Paths,
    plan: BlockPlan,
    tick: Tick | None = None,
) -> Influences:
    """Returns the influence of every pair, (K, N): one pass over the pool."""
    scores = score_pairs(pool, heads, directions=directions, plan=plan, wants=WANTS, tick=tick)
    rest = scores.pos_dots + scores.neg_dots - own_dots(pool, own, directions)
    return Influences(scores.pos_dots, scores.neg_dots, rest)


def of_sample(
    pool: Features, heads: Heads, *, directions: Sequence[Direction], own: Paths, blocks: Sequence[Tensor]
) -> Influences:
    """Returns the influence of the sample's pairs, (K, M), each in its own block alone.

    Args:
        pool: features of the N pairs.
        heads: the fitted endpoint.
        directions: K vectors H⁻¹v.
        own: what `sample_paths` returned for these blocks.
        blocks: what `sample_blocks` returned.
    """
    scorer = BlockScorer(heads, directions, wants=WANTS)
    each = [scorer.score(pool.image, pool.text, rows) for rows in blocks]
    pos = torch.cat([2 * columns["loss_dots"].double() for columns in each], dim=1)
    neg = torch.cat([columns["neg_dots"].double() for columns in each], dim=1)
    return Influences(pos, neg, pos + neg - own_dots(pool.take(torch.cat(list(blocks))), own, directions))


def combination(landmarks: Tensor, asked: Tensor) -> Tensor:
    """Returns c, (K,): the least squares combination of the landmarks' columns that is nearest to what is asked.

    Args:
        landmarks: (M, K) on the sample.
        asked: (M,) on the sample.
    """
    A = landmarks.double()
    gram = A.T @ A
    ridge = RIDGE * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=torch.float64)
    found: Tensor = torch.linalg.lstsq(gram + ridge, (A.T @ asked.double())[:, None]).solution[:, 0]
    return found


def _paths_in(pool: Features, rows: Tensor, heads: Heads) -> tuple[Tensor, Tensor]:
    block = block_of(pool, rows, heads=heads)
    twice = torch.full_like(block.image[:, 0], 2.0)  # L = Σ Pos = 2 Σ ℓ
    return endpoint.pull_back(block, loss.loss_coefficients(block.logits, twice))
