"""Influence through the whole fit: against a fit differentiated forwards, step by step, and against real removals."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from chips_core.influence import loss
from chips_core.influence.blocks import BlockPlan, Features, seeded
from chips_core.influence.descent import Fit, FitSettings, Step
from chips_core.influence.endpoint import Direction, Heads, forward
from chips_core.influence.fit import fit_heads, refit_heads, start_of
from chips_core.influence.ranks import spearman
from chips_core.influence.unrolled import Course, hessian_product

PAIRS, D, DV, DT = 40, 4, 7, 5
PLAN = BlockPlan(size=32, repeats=1, seed=3)
SETTINGS = FitSettings(epochs=4, batch_size=13, relative_rate=0.02, proximal=0.4, patience=None, most_pairs=36)


def features(count: int, *, seed: int) -> Features:
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.randint(4, (count,), generator=draw)
    image, text = torch.randn(4, DV, generator=seeded(0, 1))[kinds], torch.randn(4, DT, generator=seeded(0, 2))[kinds]
    return Features(
        image + 0.6 * torch.randn(count, DV, generator=draw), text + 0.6 * torch.randn(count, DT, generator=draw)
    )


@pytest.fixture(scope="module")
def course() -> Course:
    draw = torch.Generator().manual_seed(1)
    heads = Heads.of(torch.randn(D, DV, generator=draw), torch.randn(D, DT, generator=draw), scale=6.0)
    pool = features(PAIRS, seed=2)
    pool = replace(pool, rank=torch.randperm(PAIRS, generator=draw))
    fitted = fit_heads(pool, features(20, seed=3), heads=heads, plan=PLAN, settings=SETTINGS)
    return Course(pool, heads, fitted, PLAN)


def direction(*, seed: int, dtype: torch.dtype = torch.float32) -> Direction:
    draw = torch.Generator().manual_seed(seed)
    image, text = torch.randn(D, DV, generator=draw, dtype=dtype), torch.randn(D, DT, generator=draw, dtype=dtype)
    return Direction(image, text, torch.zeros((), dtype=dtype))


def mean_loss(image: Tensor, text: Tensor, pool: Features, rows: Tensor, scale: float) -> Tensor:
    """The mean loss of a batch, written out."""
    a, b = pool.image[rows].double() @ image.T, pool.text[rows].double() @ text.T
    logits = scale * (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).T
    return loss.pair_losses(logits).mean()


def watched(course: Course) -> tuple[list[Step], Fit]:
    fit = Fit(course.pool, start_of(course.fitted, course.base), settings=SETTINGS, seed=PLAN.seed)
    steps: list[Step] = []
    for epoch in range(1, SETTINGS.epochs + 1):
        for rows in fit.batches(epoch):
            fit.step(rows, watch=steps.append)
    return steps, fit


def told(course: Course, fit: Fit, rows: Tensor, *heads: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of a batch's mean loss and of the hold, by autograd."""
    start = start_of(course.fitted, course.base)

    def total(image: Tensor, text: Tensor) -> Tensor:
        away = (image - start.image.double()).square().sum() + (text - start.text.double()).square().sum()
        return mean_loss(image, text, course.pool, rows, start.scale) + fit.hold / 2 * away

    found: tuple[Tensor, Tensor] = torch.func.grad(total, argnums=(0, 1))(*heads)
    return found


def adam(course: Course, fit: Fit, step: Step, *state: Tensor) -> tuple[Tensor, ...]:
    """One step of the fit, from both heads, Adam's means, its squares, and what is added to the gradients."""
    heads, means, squares, more = state[:2], state[2:4], state[4:6], state[6:]
    slopes = [g + e for g, e in zip(told(course, fit, step.rows, *heads), more, strict=True)]
    means = tuple(0.9 * m + 0.1 * g for m, g in zip(means, slopes, strict=True))
    squares = tuple(0.999 * s + 0.001 * g * g for s, g in zip(squares, slopes, strict=True))
    first, second = 1 - 0.9**step.number, 1 - 0.999**step.number
    moved = [
        head - rate * (m / first) / ((s / second).sqrt() + 1e-8)
        for head, rate, m, s in zip(heads, fit.rates, means, squares, strict=True)
    ]
    return (*moved, *means, *squares)


def forwards(course: Course, pair: int) -> list[Tensor]:
    """Returns how the two heads move to first order where a pair is missing from its batches: dual numbers."""
    steps, fit = watched(course)
    none = [torch.zeros(D, DV, dtype=torch.float64), torch.zeros(D, DT, dtype=torch.float64)]
    tangents, before = [*none, *none, *none], [*none, *none]
    for step in steps:
        heads, missing = [step.heads.image.double(), step.heads.text.double()], none
        if bool((step.rows == pair).any()):
            without, whole = (told(course, fit, of, *heads) for of in (step.rows[step.rows != pair], step.rows))
            missing = [a - b for a, b in zip(without, whole, strict=True)]
        one = partial(adam, course, fit, step)
        tangents = list(torch.func.jvp(one, (*heads, *before, *none), (*tangents, *missing))[1])
        before = [part.double() for part in (*step.mean, *step.square)]
    return tangents[:2]


def test_hessian_product__equals_autograd() -> None:
    pool, w = features(9, seed=5), direction(seed=6, dtype=torch.float64)
    heads = Heads.of(direction(seed=7).image, direction(seed=7).text, scale=9.0).to(torch.float64)
    rows = torch.arange(9)

    def total(image: Tensor, text: Tensor) -> Tensor:
        return 9 * mean_loss(image, text, pool, rows, heads.scale)

    _, slow = torch.func.jvp(torch.func.grad(total, argnums=(0, 1)), (heads.image, heads.text), (w.image, w.text))
    found = hessian_product(forward(pool.image, pool.text, heads), w)
    torch.testing.assert_close(found.image, slow[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.text, slow[1], rtol=1e-9, atol=1e-10)
    assert float(found.log_scale) == 0


def test_effects__equal_the_fit_differentiated_forwards(course: Course) -> None:
    vs = [direction(seed=11), direction(seed=12)]
    found = course.effects(vs)
    total = found.pos + found.neg
    for pair in (0, 5, 17, 39):
        image, text = forwards(course, pair)
        slow = torch.stack([(v.image * image).sum() + (v.text * text).sum() for v in vs])
        torch.testing.assert_close(total[:, pair], slow, rtol=2e-3, atol=2e-4 * float(total.abs().max()))


def test_effects__of_several_losses_are_those_of_each(course: Course) -> None:
    vs = [direction(seed=11), direction(seed=12)]
    both, alone = course.effects(vs), course.effects(vs[1:])
    torch.testing.assert_close(both.pos[1:], alone.pos, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(both.neg[1:], alone.neg, rtol=1e-4, atol=1e-8)


def test_effects__are_nearly_what_a_removal_really_does(course: Course) -> None:
    v, fitted = direction(seed=13), course.fitted.heads
    each = course.effects([v])
    single = (each.pos + each.neg)[0]
    real, predicted = [], []
    for seed in range(24):
        keep = torch.ones(PAIRS, dtype=torch.bool)
        keep[torch.randperm(PAIRS, generator=seeded(seed, 9))[:2]] = False
        heads = refit_heads(course.pool, keep, fitted=course.fitted, heads=course.base, plan=PLAN)
        real.append(float(heads.minus(fitted).dot(v)))
        predicted.append(float(single[~keep].sum()))
    assert spearman(torch.tensor(predicted), torch.tensor(real)) > 0.9


def test_effects__a_pair_that_no_epoch_saw_has_none(course: Course) -> None:
    steps, _ = watched(course)
    one_epoch = replace(course, fitted=replace(course.fitted, epoch=1))
    seen = torch.cat([step.rows for step in steps[: len(steps) // SETTINGS.epochs]])
    unseen = sorted(set(range(PAIRS)) - set(seen.tolist()))
    assert len(unseen) == PAIRS - SETTINGS.most_pairs
    found = one_epoch.effects([direction(seed=14)])
    assert not found.pos[0, unseen].any()
    assert not found.neg[0, unseen].any()
    assert bool((found.pos[0, seen] != 0).all())


@pytest.mark.parametrize("value", [0.0, 1e-25, 1e-15, 1e-8, 1e-6])
def test_effects__a_feature_that_hardly_ever_shows_changes_nothing(course: Course, value: float) -> None:
    """Its gradients vanish, or their squares do, and would be divided by."""

    def with_one_more(feature: float) -> Course:
        image = torch.cat([course.pool.image, torch.full((PAIRS, 1), feature)], dim=1)
        base = replace(course.base, image=torch.cat([course.base.image, torch.ones(D, 1)], dim=1))
        pool = replace(course.pool, image=image)
        fitted = fit_heads(pool, pool, heads=base, plan=PLAN, settings=SETTINGS)
        return Course(pool, base, fitted, PLAN)

    v = direction(seed=16)
    shown = replace(v, image=torch.cat([v.image, torch.ones(D, 1)], dim=1))  # a test image may show it all the same
    unseen = replace(v, image=torch.cat([v.image, torch.zeros(D, 1)], dim=1))
    none, some = with_one_more(0.0).effects([unseen]), with_one_more(value).effects([shown])
    torch.testing.assert_close(some.pos, none.pos, rtol=1e-3, atol=1e-3 * float(none.pos.abs().max()))
    torch.testing.assert_close(some.neg, none.neg, rtol=1e-3, atol=1e-3 * float(none.neg.abs().max()))


def test_effects__tell_of_every_pair_of_every_step(course: Course) -> None:
    ticks: list[int] = []
    course.effects([direction(seed=15)], tick=ticks.append)
    assert sum(ticks) == course.pairs_seen == SETTINGS.epochs * SETTINGS.most_pairs


def test_fit__restored_goes_the_same_way_again(course: Course) -> None:
    fit = Fit(course.pool, start_of(course.fitted, course.base), settings=SETTINGS, seed=PLAN.seed)
    fit.epoch(1)
    saved = fit.saved
    fit.epoch(2)
    once = fit.heads
    fit.restore(saved)
    fit.epoch(2)
    assert torch.equal(fit.heads.image, once.image)
    assert torch.equal(fit.heads.text, once.text)
