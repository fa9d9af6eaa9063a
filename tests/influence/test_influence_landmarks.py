"""What the index keeps of every pair: the own path against autograd, the sample against a pass, the combination."""

import oracles
import pytest
import torch

from chips_core.influence import landmarks
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Heads
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import score_pairs


def case(pairs: int = 9) -> tuple[Features, Heads]:
    X, Y, heads = oracles.random_case(pairs)
    return Features(X, Y), heads


def test_own_dots__equal_autograd_through_the_pairs_own_embeddings() -> None:
    pool, heads = case()
    v = oracles.random_direction(heads)
    own = landmarks.sample_paths(pool, heads, blocks=[torch.arange(len(pool))])
    found = landmarks.own_dots(pool, own, [v])[0]
    for n in range(len(pool)):
        theta = oracles.flat_heads(heads).requires_grad_(True)
        still = oracles.logits_of(theta, pool.image, pool.text, heads).detach()
        only_mine = _moved(pool, heads, theta, n=n)
        assert torch.allclose(only_mine, still)
        (gradient,) = torch.autograd.grad(oracles.pos_of(only_mine).sum(), theta)
        expected = gradient[:-1] @ v.flat()[:-1]
        assert float(found[n]) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


def _moved(pool: Features, heads: Heads, theta: torch.Tensor, *, n: int) -> torch.Tensor:
    """The logits as a function of the heads where only pair n's two embeddings follow them."""
    parts = heads.zeros().from_flat(theta)
    a, b = pool.image @ parts.image.T, pool.text @ parts.text.T
    mine = (torch.arange(len(pool)) == n)[:, None]
    a, b = torch.where(mine, a, a.detach()), torch.where(mine, b, b.detach())
    x, y = torch.nn.functional.normalize(a, dim=1), torch.nn.functional.normalize(b, dim=1)
    return parts.log_scale.detach().exp() * x @ y.T


def test_of_sample__is_a_pass_over_these_blocks() -> None:
    pool, heads = case(24)
    plan = BlockPlan(size=8, repeats=1)
    v = [oracles.random_direction(heads, seed) for seed in (1, 2)]
    blocks = landmarks.sample_blocks(plan, pool)
    own = landmarks.sample_paths(pool, heads, blocks=blocks)
    found = landmarks.of_sample(pool, heads, directions=v, own=own, blocks=blocks)
    scores = score_pairs(pool, heads, directions=v, plan=plan, wants=Wants(deletion=True))
    rows = torch.cat(blocks)
    assert len(rows) == 24
    torch.testing.assert_close(found.pos, scores.pos_dots[:, rows], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.total, (scores.pos_dots + scores.neg_dots)[:, rows], rtol=1e-6, atol=1e-8)
    whole = landmarks.of_all(pool, heads, directions=v, own=landmarks.paths(pool, heads, plan=plan), plan=plan)
    torch.testing.assert_close(whole.rest[:, rows], found.rest, rtol=0.02, atol=0.05)  # paths in half precision


def test_combination__finds_the_weights_of_a_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    A, c = torch.randn(50, 4, generator=draw), torch.tensor([1.0, -2.0, 0.0, 0.5])
    torch.testing.assert_close(landmarks.combination(A, A @ c), c.double(), rtol=1e-3, atol=1e-3)


def test_combination__of_a_landmark_given_twice_is_finite() -> None:
    A = torch.ones(5, 2)
    assert torch.isfinite(landmarks.combination(A, torch.ones(5))).all()
