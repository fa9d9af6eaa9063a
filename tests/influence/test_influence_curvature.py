"""Gradients in factors, curvature matrices and their inverses against dense matrices and autograd, in float64."""

import math

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chips_core.errors import SingularCurvature, UsageError
from chips_core.influence import curvature, endpoint, factored
from chips_core.influence.endpoint import Block, Heads


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


def case(pairs: int = 7, seed: int = 0, scale: float = 5.0) -> tuple[Block, Heads, torch.Tensor]:
    """A block, its heads, and every pair's ∇ℓ_n by autograd, (B, |ϑ|)."""
    X, Y, heads = oracles.random_case(pairs, scale=scale, seed=seed)
    slow = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, X, Y, heads)
    return endpoint.forward(X, Y, heads), heads, slow


def rows_of(gradients: factored.GradientSet) -> torch.Tensor:
    return torch.stack([gradients.combine(e).flat() for e in torch.eye(len(gradients), dtype=torch.float64)])


def roles(block: Block, heads: Heads, X: torch.Tensor, Y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """g_pos and g_neg by autograd, with P and Q held fixed."""
    P, Q = torch.softmax(block.logits, 1), torch.softmax(block.logits, 0)
    pull = -((1 - P.diagonal()) + (1 - Q.diagonal())) / 2
    pos = oracles.pair_gradients(lambda S: pull * S.diagonal(), X, Y, heads)
    off = 1 - torch.eye(len(P), dtype=P.dtype)
    neg = oracles.pair_gradients(lambda S: ((P * S * off).sum(1) + (Q * S * off).sum(0)) / 2, X, Y, heads)
    return pos, neg


@given(pairs=st.integers(2, 8), scale=st.sampled_from([0.5, 5.0, 50.0]), seed=st.integers(0, 1000))
def test_loss_gradients__equal_autograd(pairs: int, scale: float, seed: int) -> None:
    block, heads, slow = case(pairs, seed, scale)
    fast = factored.loss_gradients(block)
    v = oracles.random_direction(heads)
    close(rows_of(fast), slow)
    close(fast.dots(v), slow @ v.flat(), 1e-8)
    close(fast.gram(), slow @ slow.T, 1e-8)


def test_loss_gradients__without_scale_lack_only_the_scale() -> None:
    block, _, slow = case()
    slow[:, -1] = 0
    close(rows_of(factored.loss_gradients(block, train_scale=False)), slow)


def test_role_gradients__equal_autograd_and_add_up_to_the_loss_term() -> None:
    X, Y, heads = oracles.random_case()
    block, _, slow = case()
    pos, neg = roles(block, heads, X, Y)
    close(rows_of(factored.pos_role_gradients(block)), pos)
    close(rows_of(factored.neg_role_gradients(block)), neg)
    close(pos + neg, slow)


def test_own_path_gradients__equal_autograd() -> None:
    X, Y, heads = oracles.random_case()
    block = endpoint.forward(X, Y, heads)
    close(rows_of(factored.own_path_gradients(block)), oracles.own_path_gradients(X, Y, heads))


def test_joined_and_mixed__are_concatenation_and_combination() -> None:
    block, _, slow = case()
    other = factored.own_path_gradients(block)
    both = factored.joined([factored.loss_gradients(block), other.scaled(2.0)])
    rows = torch.cat([slow, 2 * rows_of(other)])
    close(both.gram(), rows @ rows.T)
    mix = torch.randn(14, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close(rows_of(both.mixed(mix)), mix.T @ rows)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_pair_roles__woodbury_equals_dense_equals_conjugate_gradients(alpha: float) -> None:
    X, Y, heads = oracles.random_case()
    block, u = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    pos, neg = roles(block, heads, X, Y)
    M = ((1 - alpha) * pos.T @ pos + alpha * neg.T @ neg) / 7
    low = curvature.pair_roles([block], alpha=alpha)
    damping = curvature.relative_damping(low, heads.zeros())
    assert damping == pytest.approx(0.1 * float(M.trace()) / u.size, rel=1e-10)
    close(curvature.dense(low, u), M)
    by_matrix = curvature.dense_solve(M, u, damping=damping).direction.flat()
    by_woodbury = low.solve(u, damping=damping)
    by_steps = curvature.conjugate_gradients(low.multiply, u, damping=damping, tolerance=1e-13, max_steps=1000)
    close(by_woodbury.direction.flat(), by_matrix, 1e-8)
    close(by_steps.direction.flat(), by_matrix, 1e-8)
    close((low.multiply(by_woodbury.direction) + by_woodbury.direction * damping).flat(), u.flat())
    values = torch.linalg.eigvalsh(M)
    assert by_woodbury.condition == pytest.approx(float(values[-1] + damping) / damping, rel=1e-6)


def test_pair_roles__several_blocks_are_one_mean() -> None:
    blocks = [case(seed=s)[0] for s in (0, 0)]
    one, two = curvature.pair_roles(blocks[:1]), curvature.pair_roles(blocks)
    v = oracles.random_direction(case()[1])
    close(one.multiply(v).flat(), two.multiply(v).flat())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 6 / 7])
def test_cross_sample__equals_the_mean_over_ordered_pairs(alpha: float) -> None:
    block, _, slow = case()
    own = slow.T @ slow / 7
    cross = sum(torch.outer(slow[i], slow[j]) for i in range(7) for j in range(7) if i != j) / 42
    M = (1 - alpha) * own + alpha * cross
    fast = curvature.dense(curvature.cross_sample([block], alpha=alpha), oracles.random_direction(case()[1]))
    close(fast, M)
    assert float(torch.linalg.eigvalsh(fast).min()) > -1e-9


def test_cross_sample__refuses_the_alpha_that_is_not_psd() -> None:
    block, _, slow = case()
    alpha = 6 / 7 + 0.05
    cross = sum(torch.outer(slow[i], slow[j]) for i in range(7) for j in range(7) if i != j) / 42
    assert float(torch.linalg.eigvalsh((1 - alpha) * slow.T @ slow / 7 + alpha * cross).min()) < -1e-6
    with pytest.raises(UsageError, match="negative eigenvalues"):
        curvature.cross_sample([block], alpha=alpha)
    with pytest.raises(UsageError, match="α is"):
        curvature.pair_roles([block], alpha=1.5)


def test_gauss_newton__solves_and_measures_like_the_dense_matrix() -> None:
    X, Y, heads = oracles.random_case()
    block, u = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    G = oracles.gauss_newton(X, Y, heads) / 7
    fast = curvature.GaussNewton(lambda: [block], heads.zeros(), tolerance=1e-12, max_steps=500, probes=4000)
    close(curvature.dense(fast, u), G)
    assert fast.trace() == pytest.approx(float(G.trace()), rel=0.05)
    solved = fast.solve(u, damping=0.1)
    close(solved.direction.flat(), curvature.dense_solve(G, u, damping=0.1).direction.flat(), 1e-8)
    exact = torch.linalg.eigvalsh(G)
    assert solved.condition == pytest.approx(float(exact[-1] + 0.1) / 0.1, rel=0.05)
    assert solved.steps > 3


@given(rank=st.integers(0, 3), seed=st.integers(0, 100))
def test_solve__inverts_low_rank_matrices(rank: int, seed: int) -> None:
    block, heads, _ = case(seed=seed)
    some = torch.eye(7, rank, dtype=torch.float64)
    low = curvature.LowRank(factored.loss_gradients(block).mixed(some))
    u = oracles.random_direction(heads)
    x = low.solve(u, damping=0.01).direction
    close((low.multiply(x) + x * 0.01).flat(), u.flat())


def test_solve__singular_systems_are_refused_with_their_condition() -> None:
    block, heads, _ = case()
    u, low = oracles.random_direction(heads), curvature.pair_roles([block])
    with pytest.raises(SingularCurvature, match=r"rank \d+ of 45 .*condition number inf"):
        low.solve(u, damping=0.0)
    with pytest.raises(SingularCurvature, match="condition number"):
        curvature.dense_solve(curvature.dense(low, u), u, damping=0.0)
    with pytest.raises(SingularCurvature, match="condition number"):
        curvature.conjugate_gradients(low.multiply, u, damping=1e-16, max_steps=40)
    with pytest.raises(SingularCurvature, match="condition number"):
        curvature.conjugate_gradients(lambda w: w.zeros(), u, damping=0.0)


def test_solve__of_nothing_is_nothing() -> None:
    block, heads, _ = case()
    zero = heads.zeros()
    assert float(curvature.conjugate_gradients(lambda w: w, zero, damping=1.0).direction.norm()) == 0.0
    assert float(curvature.pair_roles([block]).solve(zero, damping=1.0).direction.norm()) == 0.0
    assert math.isfinite(curvature.pair_roles([block]).solve(zero, damping=1.0).residual)


def test_identity__leaves_the_direction() -> None:
    _, heads, _ = case()
    u = oracles.random_direction(heads)
    close(curvature.Identity(u.size).solve(u, damping=0.0).direction.flat(), u.flat())
    assert curvature.Identity(u.size).trace() == u.size
