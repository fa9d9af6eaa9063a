"""CHIPS's columns against per-pair autograd and dense matrices, and the bounds and warnings that come with them."""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chips_core.errors import InputError, NoTargetSet, UsageError
from chips_core.influence import chips, curvature, endpoint, loss, targets
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.chips import ChipsSettings
from chips_core.influence.passes import PairScores
from chips_core.influence.sketch import Rademacher, Sketched, Sparse, TwoSided

PLAN = BlockPlan()


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


def case(pairs: int = 9, scale: float = 5.0) -> tuple[Features, Features, endpoint.Heads]:
    X, Y, heads = oracles.random_case(pairs, scale=scale)
    TX, TY, _ = oracles.random_case(6, seed=9)
    return Features(X, Y), Features(TX, TY), heads


def gradient_rows(pool: Features, heads: endpoint.Heads, kind: str) -> torch.Tensor:
    if kind == "own_path":
        return oracles.own_path_gradients(pool.image, pool.text, heads)
    functions = {
        "loss_term": lambda S: oracles.pos_of(S) / 2,
        "deletion": lambda S: (oracles.pos_of(S) + oracles.neg_by_deletion(S)) / 2,
    }
    return oracles.pair_gradients(functions[kind], pool.image, pool.text, heads)


@pytest.mark.parametrize("gradient", ["loss_term", "own_path", "deletion"])
@pytest.mark.parametrize("matrix", ["pair_roles", "ggn", "cross_sample", "identity"])
def test_score__equals_the_dense_reference(gradient: str, matrix: str) -> None:
    pool, target, heads = case()
    settings = ChipsSettings(gradient=gradient, curvature=matrix, tolerance=1e-9)
    found = chips.score(pool, target, heads=heads, plan=PLAN, settings=settings)
    slow_u = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, target.image, target.text, heads).mean(0)
    u = heads.zeros().from_flat(slow_u)
    block = endpoint.forward(pool.image, pool.text, heads)
    if matrix == "ggn":
        M = oracles.gauss_newton(pool.image, pool.text, heads) / 9
    else:
        M = curvature.dense(chips.curvature_of([block], like=u, settings=settings, seed=0), u)
    damping = found.found.solution.damping
    v = torch.linalg.solve(M + damping * torch.eye(len(M), dtype=M.dtype), slow_u)
    expected = gradient_rows(pool, heads, gradient) @ v
    close(found.alignment / expected.abs().max(), expected / expected.abs().max(), 1e-5 if matrix == "ggn" else 1e-9)
    if matrix in ("pair_roles", "cross_sample"):
        assert damping == pytest.approx(0.1 * float(M.trace()) / u.size)
        assert set(found.found.sensitivity) == {"0.1", "10"}
    S = block.logits
    close(found.learnability, (1 - loss.correctness(S)) * (1 + torch.sigmoid(-loss.margins(S))))
    close(found.utility, found.alignment * found.learnability * found.relevance)
    assert found.negative == int((found.alignment < 0).sum())


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 10.0, 100.0, 1e4]), prototypes=st.integers(1, 4))
def test_score__bounds_hold(seed: int, scale: float, prototypes: int) -> None:
    X, Y, heads = oracles.random_case(8, scale=scale, seed=seed)
    pool, target, _ = Features(X, Y), *case()[1:]
    near = chips.relevance(pool, target, heads=heads, prototypes=prototypes)
    assert 0.2689 <= float(near.min()) <= float(near.max()) <= 0.7311
    S = endpoint.forward(X, Y, heads).logits
    scores = PairScores.empty(8, 0, chips.Wants(margins=True))
    scores.correctness.copy_(loss.correctness(S))
    scores.margin.copy_(loss.margins(S))
    learnable = chips.learnability(scores)
    assert 0 <= float(learnable.min()) <= float(learnable.max()) <= 2


def test_relevance__equals_the_formula_and_the_best_prototype_counts() -> None:
    pool, target, heads = case()
    x, y = (endpoint.embed(pool.image, heads.image)[0], endpoint.embed(pool.text, heads.text)[0])
    tx, ty = (endpoint.embed(target.image, heads.image)[0], endpoint.embed(target.text, heads.text)[0])
    cos = torch.nn.functional.cosine_similarity
    by_hand = torch.sigmoid(0.3 * cos(x, tx.mean(0)[None]) + 0.7 * cos(y, ty.mean(0)[None]))
    close(chips.relevance(pool, target, heads=heads, beta=0.7), by_hand, 1e-12)
    each = torch.sigmoid((x @ tx.T + y @ ty.T) / 2).amax(1)
    close(chips.relevance(pool, target, heads=heads, prototypes=6), each, 1e-12)


@pytest.mark.parametrize("sketch", ["rademacher", "sparse", "two_sided"])
def test_direction__in_a_sketch_is_lifted_back(sketch: str) -> None:
    pool, _, heads = case()
    u = oracles.random_direction(heads)
    low = curvature.pair_roles([endpoint.forward(pool.image, pool.text, heads)])
    settings = ChipsSettings(sketch=sketch, sketch_size=64)
    found = chips.direction(pool, u, heads=heads, plan=PLAN, settings=settings)
    kind = {"rademacher": Rademacher, "sparse": Sparse, "two_sided": TwoSided}[sketch]
    inside = Sketched(low, kind(64, 0))
    assert found.solution.damping == pytest.approx(0.1 * inside.trace() / 64)
    close(found.direction.flat(), inside.solve(u, damping=found.solution.damping).direction.flat())
    exact = low.solve(u, damping=1.0).direction  # a wide sketch at the same damping comes near
    wide = Sketched(low, kind(512, 0)).solve(u, damping=1.0).direction
    assert float((wide - exact).norm() / exact.norm()) < (0.6 if sketch != "two_sided" else 3.0)


def test_score__without_scale_never_uses_it() -> None:
    pool, target, heads = case()
    for matrix in ("pair_roles", "ggn", "cross_sample", "identity"):
        settings = ChipsSettings(curvature=matrix, train_scale=False)
        u = oracles.random_direction(heads)
        found = chips.direction(pool, u, heads=heads, plan=PLAN, settings=settings)
        assert float(found.direction.log_scale) == 0.0
    assert target is not None


def test_score__the_order_of_the_rows_does_not_matter() -> None:
    X, Y, heads = oracles.random_case(40)
    target = case()[1]
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    plan = BlockPlan(size=16, repeats=2)
    settings = ChipsSettings(prototypes=2, curvature_pairs=20)
    straight = chips.score(Features(X, Y), target, heads=heads, plan=plan, settings=settings)
    shuffled = chips.score(Features(X[order], Y[order], order), target, heads=heads, plan=plan, settings=settings)
    close(straight.utility[order], shuffled.utility, 1e-12)


@pytest.mark.parametrize(
    "bad",
    [{"alpha": 2.0}, {"beta": -1.0}, {"damping": -1.0}, {"prototypes": 0}, {"curvature": "ggn", "sketch": "sparse"}],
)
def test_settings__out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(UsageError):
        ChipsSettings(**bad)


def test_target_gradient__averages_blocks_and_zero_shot_equals_autograd() -> None:
    _, target, heads = case()
    blocks = BlockPlan(size=3, repeats=2)
    expected = torch.zeros(heads.zeros().size, dtype=torch.float64)
    for rows in blocks.rows(6):
        part = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, target.image[rows], target.text[rows], heads)
        expected += part.sum(0) / 12
    close(targets.target_gradient(target, heads, plan=blocks).flat(), expected, 1e-10)
    close(
        torch.tensor(targets.target_loss(target, heads, plan=PLAN), dtype=torch.float64),
        oracles.pos_of(endpoint.forward(target.image, target.text, heads).logits).mean() / 2,
    )
    labels, prompts = torch.tensor([0, 2, 1, -1, 0, 2]), case()[0].text[:3]

    def zero_shot(theta: torch.Tensor) -> torch.Tensor:
        S = oracles.logits_of(theta, target.image, prompts, heads)
        return torch.nn.functional.cross_entropy(S[labels >= 0], labels[labels >= 0])

    slow = torch.autograd.functional.jacobian(zero_shot, oracles.flat_heads(heads))
    fast = targets.zero_shot_gradient(target.image, labels, prompts=prompts, heads=heads)
    close(fast.flat(), slow, 1e-10)
    losses = targets.zero_shot_losses(target.image, labels, prompts=prompts, heads=heads)
    close(losses.sum() / 5, zero_shot(oracles.flat_heads(heads)), 1e-10)
    assert float(losses[3]) == 0.0


def test_targets__that_are_none_are_refused() -> None:
    pool, target, heads = case()
    with pytest.raises(NoTargetSet):
        targets.target_gradient(target.take(torch.tensor([0])), heads, plan=PLAN)
    with pytest.raises(NoTargetSet, match="class label"):
        targets.zero_shot_gradient(target.image, torch.full((6,), -1), prompts=pool.text[:2], heads=heads)
    with pytest.raises(InputError, match="Class code 2"):
        targets.zero_shot_gradient(target.image, torch.arange(6) % 3, prompts=pool.text[:2], heads=heads)
    target.image[4] = 0
    with pytest.raises(InputError, match="rows 4"):
        targets.target_gradient(target, heads, plan=PLAN)
