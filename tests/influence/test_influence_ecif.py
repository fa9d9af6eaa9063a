"""ECIF: signs, sizes, sets, editing and tracing, against dense inverses and real retraining of a small model."""

import math
from dataclasses import replace

import oracles
import pytest
import torch

from chips_core.errors import UsageError
from chips_core.influence import ecif, endpoint, loss, relative, targets
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.ecif import EcifSettings
from chips_core.verify.retrain import Objective, retrain

PLAN = BlockPlan()
SETTINGS = EcifSettings(damping=0.1, train_scale=True, tolerance=1e-8)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    size = float(b.abs().max())
    torch.testing.assert_close(a / size, b / size, rtol=tolerance, atol=tolerance, check_dtype=False)


def case(pairs: int = 8) -> tuple[Features, endpoint.Heads, endpoint.Direction]:
    X, Y, heads = oracles.random_case(pairs)
    return Features(X, Y), heads, oracles.random_direction(heads)


def inverse(pool: Features, heads: endpoint.Heads, *, train_scale: bool = True) -> torch.Tensor:
    G = oracles.gauss_newton(pool.image, pool.text, heads) / len(pool)
    if not train_scale:
        G[-1], G[:, -1] = 0, 0
    return torch.linalg.inv(G + 0.1 * torch.eye(len(G), dtype=G.dtype))


@pytest.mark.parametrize("train_scale", [True, False])
def test_score__equals_the_dense_inverse(train_scale: bool) -> None:
    pool, heads, u = case()
    settings = replace(SETTINGS, train_scale=train_scale)
    found = ecif.score(pool, heads=heads, plan=PLAN, u=u, settings=settings)
    flat = u.flat().clone()
    flat[-1] *= float(train_scale)
    v = inverse(pool, heads, train_scale=train_scale) @ flat
    pos = oracles.pair_gradients(oracles.pos_of, pool.image, pool.text, heads) @ v / 16
    neg = oracles.pair_gradients(oracles.neg_by_deletion, pool.image, pool.text, heads) @ v / 16
    taylor = oracles.pair_gradients(lambda S: loss.negatives(S, exact=False), pool.image, pool.text, heads) @ v / 16
    close(found.pos, pos)
    close(found.neg, neg)
    close(found.neg_taylor, taylor)
    close(found.delta_loss_if_removed, pos + neg)
    first = ecif.score(pool, heads=heads, plan=PLAN, u=u, settings=replace(settings, negatives="taylor"))
    close(first.delta_loss_if_removed, pos + taylor)


def test_removal_gradient__of_a_set_equals_autograd_of_real_deletion() -> None:
    pool, heads, _ = case()
    for members in ([2], [0, 3, 4], list(range(7)), list(range(8))):
        mask = torch.zeros(8, dtype=torch.bool)
        mask[members] = True
        theta = oracles.flat_heads(heads)

        def lost(t: torch.Tensor, members: list[int] = members) -> torch.Tensor:
            S = oracles.logits_of(t, pool.image, pool.text, heads)
            return oracles.pos_of(S).sum() - oracles.loss_without(S, members)

        slow = torch.autograd.functional.jacobian(lost, theta) / 16
        close(ecif.removal_gradient(pool, mask, heads=heads, plan=PLAN, train_scale=True).flat(), slow, 1e-9)


def test_removal_gradient__of_one_pair_is_its_score() -> None:
    pool, heads, u = case()
    found = ecif.score(pool, heads=heads, plan=PLAN, u=u, settings=SETTINGS)
    mask = torch.arange(8) == 3
    edited = ecif.edit(pool, mask, heads=heads, plan=PLAN, settings=SETTINGS)
    close(edited.minus(heads).dot(u), found.delta_loss_if_removed[3])


def test_score__ranks_and_signs_agree_with_really_leaving_each_pair_out() -> None:
    X, Y, start = oracles.random_case(14, width=8, image_width=9, text_width=9, scale=3.0)
    Y[:, :3] += 2 * X[:, :3]
    Y[:2] = Y[:2].flip(0)  # one swapped couple
    TX, TY, _ = oracles.random_case(10, width=8, image_width=9, text_width=9, seed=5)
    TY[:, :3] += 2 * TX[:, :3]
    pool, target = Features(X, Y), Features(TX, TY)
    everybody = torch.arange(14)

    def loss_without(removed: int | None) -> float:
        keep = everybody[everybody != removed] if removed is not None else everybody
        heads = retrain(Objective(pool, start, 0.3), whole, keep=keep).heads
        return targets.target_loss(target, heads, plan=PLAN)

    whole = retrain(Objective(pool, start, 0.3), start, keep=everybody, tolerance=1e-9).heads
    settings = EcifSettings(damping=0.3)
    found = ecif.score(pool, target, heads=whole, plan=PLAN, settings=settings).delta_loss_if_removed
    real = torch.tensor([loss_without(n) - loss_without(None) for n in range(14)], dtype=torch.float64)
    assert oracles.spearman(found, real) > 0.9
    slope = float((found * real).sum() / (found * found).sum())
    assert 0.6 < slope < 1.4
    strong = real.abs() > real.abs().median()
    assert bool((torch.sign(found[strong]) == torch.sign(real[strong])).all())


def test_influence_and_sizes__equal_the_dense_inverse() -> None:
    pool, heads, u = case()
    other = oracles.random_direction(heads, 7)
    found = relative.influence(pool, [u, other], heads=heads, plan=PLAN, settings=SETTINGS)
    inv = inverse(pool, heads)
    P = oracles.pair_gradients(oracles.pos_of, pool.image, pool.text, heads) @ inv / 16
    Q = oracles.pair_gradients(oracles.neg_by_deletion, pool.image, pool.text, heads) @ inv / 16
    close(found.delta_loss_if_removed[1], (P + Q) @ other.flat())
    exact = relative.Sizes(
        P.square().sum(1), Q.square().sum(1), (P * Q).sum(1), ((P + Q) @ torch.linalg.inv(inv) * (P + Q)).sum(1)
    )
    measured = relative.sizes(pool, heads, plan=PLAN, settings=SETTINGS, probes=250, energy=True)
    for name in ("pos", "neg", "theta", "energy"):
        a, b = getattr(measured, name), getattr(exact, name)
        torch.testing.assert_close(a, b, rtol=0.35, atol=0.0)
    close(found.theta(exact)[0], (P + Q) @ u.flat() / (P + Q).norm(dim=1), 1e-5)
    close(found.energy(exact)[0], (P + Q) @ u.flat() / exact.energy.sqrt(), 1e-5)
    for n in range(8):
        basis = torch.linalg.qr(torch.stack([P[n], Q[n]], dim=1)).Q
        assert float(found.span(exact)[0, n]) == pytest.approx(float((basis.T @ u.flat()).norm()), rel=1e-4)


def test_span__of_parallel_influences_is_their_line() -> None:
    sizes = relative.Sizes(*(torch.tensor([x], dtype=torch.float64) for x in (4.0, 1.0, 2.0)), torch.zeros(0))
    both = relative.Influence(torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64))
    assert float(both.span(sizes)) == pytest.approx(1.0)  # posi-IF has length 2 and v·posi-IF = 2
    nothing = relative.Sizes(*(torch.zeros(1, dtype=torch.float64) for _ in range(3)), torch.zeros(0))
    assert math.isfinite(float(both.span(nothing)))
    assert float(both.theta(nothing)) == 0.0


def test_settings__and_calls_out_of_range_are_refused() -> None:
    pool, heads, u = case()
    with pytest.raises(UsageError, match="out of range"):
        EcifSettings(damping=-1.0)
    with pytest.raises(UsageError, match="target set"):
        ecif.score(pool, heads=heads, plan=PLAN)
    with pytest.raises(UsageError, match="'l'"):
        relative.sizes(pool, heads, plan=PLAN, settings=EcifSettings(curvature="identity"), probes=1, energy=True)
    without = relative.sizes(pool, heads, plan=PLAN, settings=SETTINGS, probes=1)
    with pytest.raises(UsageError, match="energy"):
        relative.influence(pool, [u], heads=heads, plan=PLAN, settings=SETTINGS).energy(without)
