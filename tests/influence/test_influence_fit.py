"""Heads fitted to a pool: the scale is the target set's, the best epoch is kept, and order does not matter."""

import math

import pytest
import torch

from chips_core.errors import InputError, NoTargetSet, UsageError
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.descent import FitSettings
from chips_core.influence.endpoint import Heads
from chips_core.influence.fit import calibrate_scale, fit_heads, refit_heads
from chips_core.influence.targets import target_loss

PLAN = BlockPlan(size=64, repeats=1)
KINDS = 6


def pairs_of(count: int, *, seed: int, wrong: float = 0.0) -> Features:
    """Pairs of six kinds; a share of them has the text of another kind."""
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.randint(KINDS, (count,), generator=draw)
    texts = torch.where(torch.rand(count, generator=draw) < wrong, (kinds + 1) % KINDS, kinds)
    one_hot = torch.nn.functional.one_hot
    image = one_hot(kinds, KINDS) + 0.4 * torch.randn(count, KINDS, generator=draw)
    return Features(image, one_hot(texts, KINDS) + 0.1 * torch.randn(count, KINDS, generator=draw))


def heads(*, scale: float = 30.0, seed: int = 0) -> Heads:
    draw = torch.Generator().manual_seed(seed)
    image, text = (torch.eye(KINDS) + 0.3 * torch.randn(KINDS, KINDS, generator=draw) for _ in range(2))
    return Heads.of(image, text, scale=scale)


def test_calibrate_scale__finds_the_best_scale() -> None:
    target, start = pairs_of(60, seed=1), heads()
    found = calibrate_scale(target, start, plan=PLAN)
    losses = [
        target_loss(target, Heads.of(start.image, start.text, scale=found.scale * factor), plan=PLAN)
        for factor in (0.8, 1.0, 1.25)
    ]
    assert losses[1] == min(losses)
    assert torch.equal(found.image, start.image)
    again = calibrate_scale(target, heads(scale=2.0), plan=PLAN)
    assert again.scale == pytest.approx(found.scale)


def test_fit_heads__lowers_the_target_loss_and_keeps_the_best_epoch() -> None:
    target = pairs_of(60, seed=2)
    fit = fit_heads(pairs_of(200, seed=1, wrong=0.2), target, heads=heads(), plan=PLAN)
    assert fit.epoch == min(range(len(fit.history)), key=fit.history.__getitem__)
    assert fit.epoch > 0
    assert target_loss(target, fit.heads, plan=PLAN) == pytest.approx(fit.history[fit.epoch])
    assert len(fit.snapshots) == fit.epoch
    assert fit.heads.scale == pytest.approx(calibrate_scale(target, heads(), plan=PLAN).scale)


def test_fit_heads__stops_when_the_target_set_gets_worse() -> None:
    everything_wrong = pairs_of(200, seed=1, wrong=1.0)
    fit = fit_heads(everything_wrong, pairs_of(60, seed=2), heads=heads(), plan=PLAN, settings=FitSettings(patience=2))
    assert fit.epoch < len(fit.history) - 1 == fit.epoch + 2


def test_fit_heads__without_patience_goes_through_all_epochs_and_keeps_the_last() -> None:
    everything_wrong, target = pairs_of(200, seed=1, wrong=1.0), pairs_of(60, seed=2)
    how = FitSettings(epochs=6, patience=None)
    fit = fit_heads(everything_wrong, target, heads=heads(), plan=PLAN, settings=how)
    assert fit.epoch == len(fit.snapshots) == len(fit.history) - 1 == 6
    assert fit.history[6] > min(fit.history)  # an early stop would have kept another
    keep = torch.ones(200, dtype=torch.bool)
    again = refit_heads(everything_wrong, keep, fitted=fit, heads=heads(), plan=PLAN)
    assert torch.equal(again.image, fit.heads.image)


def test_fit_heads__a_strong_proximal_term_holds_the_heads() -> None:
    pool, target = pairs_of(200, seed=1), pairs_of(60, seed=2)
    start = heads()
    free, held = (
        fit_heads(pool, target, heads=start, plan=PLAN, settings=FitSettings(proximal=d, patience=30)).heads
        for d in (0.0, 1000.0)
    )
    assert (held.image - start.image).norm() < 0.2 * (free.image - start.image).norm()


def test_fit_heads__order_of_the_rows_does_not_matter() -> None:
    pool, target = pairs_of(100, seed=1), pairs_of(40, seed=2)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(5))
    other = Features(pool.image[shuffled], pool.text[shuffled], shuffled)
    small = FitSettings(batch_size=16)
    first, second = (fit_heads(some, target, heads=heads(), plan=PLAN, settings=small).heads for some in (pool, other))
    torch.testing.assert_close(first.image, second.image)


def test_fit_heads__softened_halves_the_scale_alone() -> None:
    fit = fit_heads(pairs_of(50, seed=1), pairs_of(40, seed=2), heads=heads(), plan=PLAN)
    assert fit.softened.scale == pytest.approx(fit.heads.scale / 2)
    assert torch.equal(fit.softened.text, fit.heads.text)


def test_fit_heads__refuses_what_cannot_be_fitted() -> None:
    with pytest.raises(NoTargetSet):
        fit_heads(pairs_of(9, seed=0), pairs_of(1, seed=0), heads=heads(), plan=PLAN)
    with pytest.raises(InputError, match="cannot fit"):
        fit_heads(pairs_of(1, seed=0), pairs_of(9, seed=0), heads=heads(), plan=PLAN)
    with pytest.raises(UsageError):
        FitSettings(soften=0.0)
    assert math.isfinite(fit_heads(pairs_of(2, seed=0), pairs_of(2, seed=0), heads=heads(), plan=PLAN).history[-1])
