"""Tracing: against autograd and a dense inverse, on a planted wrong pair, and beside really fitting again."""

from dataclasses import replace

import pytest
import torch

from chips_core.influence import ecif
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.curvature import dense, dense_solve
from chips_core.influence.descent import FitSettings
from chips_core.influence.endpoint import Heads
from chips_core.influence.fit import fit_heads, refit_heads
from chips_core.verify import tracer as tracers
from chips_core.verify.tracer import Tracer, honesty_of

CLASSES, EACH = 3, 20
PLANTED = 40  # rows of class 0's images with class 1's captions


def made(*, planted: int = 6, seed: int = 0) -> tuple[Tracer, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three classes of features on a line of their own; some images of class 0 carry a caption of class 1."""
    draw = torch.Generator().manual_seed(seed)
    centres, words = torch.randn(CLASSES, 8, generator=draw), torch.randn(CLASSES, 6, generator=draw)

    def features(codes: torch.Tensor, texts: torch.Tensor) -> Features:
        image = centres[codes] + 0.35 * torch.randn(len(codes), 8, generator=draw)
        return Features(image, words[texts] + 0.2 * torch.randn(len(codes), 6, generator=draw))

    codes = torch.arange(CLASSES).repeat(EACH)
    texts = codes.clone()
    wrong = torch.nonzero(codes == 0).reshape(-1)[:planted]
    texts[wrong] = 1
    pool, target = features(codes, texts), features(codes, codes)
    test = features(codes[:15], codes[:15])
    heads = Heads.of(torch.randn(5, 8, generator=draw), torch.randn(5, 6, generator=draw), scale=6.0)
    plan = BlockPlan(size=64, repeats=2)
    fitted = fit_heads(pool, target, heads=heads, plan=plan, settings=FitSettings(epochs=12, batch_size=16))
    return Tracer(pool, heads, fitted, plan, words), test.image, codes[:15], wrong


def test_refit__with_all_pairs_is_the_fit_itself():
    tracer, _, _, _ = made()
    again = tracer.retrained(torch.zeros(len(tracer.pool), dtype=torch.bool))
    assert torch.equal(again.image, tracer.fitted.heads.image)
    assert torch.equal(again.text, tracer.fitted.heads.text)


def test_refit__does_not_see_the_removed_pairs():
    tracer, _, _, wrong = made()
    keep = torch.ones(len(tracer.pool), dtype=torch.bool)
    keep[wrong] = False
    image = tracer.pool.image.clone()
    image[wrong] = 99.0
    other = Features(image, tracer.pool.text)
    both = [
        refit_heads(pool, keep, fitted=tracer.fitted, heads=tracer.base, plan=tracer.fit_plan)
        for pool in (tracer.pool, other)
    ]
    assert torch.equal(both[0].image, both[1].image)
    assert not torch.equal(both[0].image, tracer.fitted.heads.image)


def test_gradient__is_autograd_of_the_cross_entropy():
    tracer, images, labels, _ = made()
    image, text = (head.clone().requires_grad_() for head in (tracer.heads.image, tracer.heads.text))
    a, b = (torch.nn.functional.normalize(x @ head.T, dim=1) for x, head in ((images, image), (tracer.prompts, text)))
    torch.nn.functional.cross_entropy(tracer.heads.scale * a @ b.T, labels).backward()  # type: ignore[no-untyped-call]
    found = tracer.gradient(images, labels)
    assert torch.allclose(found.image.float(), image.grad, atol=1e-5)
    assert torch.allclose(found.text.float(), text.grad, atol=1e-5)


def test_trace__equals_a_dense_inverse_and_single_removals(monkeypatch):
    """plain_n = v · H⁻¹ ∇(L - L without n) / 2N, with H written out and each pair removed by itself."""
    monkeypatch.setattr(tracers, "TOLERANCE", 1e-7)
    tracer, images, labels, _ = made()
    traced = tracer.trace(images[:1], labels[:1], sizes=tracer.sizes(probes=4))
    v = tracer.gradient(images[:1], labels[:1])
    solved = dense_solve(dense(tracer.curvature, v), v, damping=tracer.settings.damping).direction
    for row in (0, 7, 31):
        one = torch.zeros(len(tracer.pool), dtype=torch.bool)
        one[row] = True
        gradient = ecif.removal_gradient(tracer.pool, one, heads=tracer.heads, plan=tracer.plan)
        assert float(traced.plain[row]) == pytest.approx(float(gradient.dot(solved)), rel=1e-4, abs=1e-8)


def test_through_fit__is_the_courses_effect_on_the_mean_loss():
    tracer, images, labels, _ = made()
    both = tracer.through_fit(images[:2], labels[:2]).plain
    each = [tracer.through_fit(images[[row]], labels[[row]]).plain for row in range(2)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2, rtol=1e-3, atol=1e-5 * float(both.abs().max()))


@pytest.mark.parametrize("kind", ["plain", "relative"])
def test_trace__finds_the_planted_wrong_pairs(kind):
    tracer, images, labels, wrong = made()
    zero = labels == 0
    traced = tracer.trace(images[zero], labels[zero], sizes=tracer.sizes(probes=32))
    worst = torch.argsort(getattr(traced, kind))[: len(wrong)]
    assert len(set(worst.tolist()) & set(wrong.tolist())) >= len(wrong) - 1


def test_removal__is_predicted_with_the_right_sign_and_happens():
    tracer, images, labels, wrong = made(planted=8)
    zero = labels == 0
    members = torch.zeros(len(tracer.pool), dtype=torch.bool)
    members[wrong] = True
    before = float(tracer.losses(images[zero], labels[zero]).mean())
    for heads in (tracer.edited(members), tracer.retrained(members)):
        assert float(tracer.losses(images[zero], labels[zero], heads).mean()) < before - 0.01


def test_removal__of_planted_pairs_helps_an_image_to_its_own_caption():
    """A retrieval error: the answers are captions, of which one is the image's own."""
    tracer, images, labels, wrong = made(planted=8)
    captions = tracer.pool.text[24:39]  # five right ones of each class in turn, the first of class 0
    images = images[labels == 0]
    asked, own = replace(tracer, prompts=captions), torch.zeros(len(images), dtype=torch.int64)
    traced = asked.trace(images, own, sizes=None)
    worst = torch.argsort(traced.plain)[: len(wrong)]
    assert len(set(worst.tolist()) & set(wrong.tolist())) >= len(wrong) - 2
    members = torch.zeros(len(tracer.pool), dtype=torch.bool)
    members[wrong] = True
    before = float(asked.losses(images, own).mean())
    for heads in (asked.edited(members), asked.retrained(members)):
        assert float(asked.losses(images, own, heads).mean()) < before - 0.01


def test_edited__without_removal_is_the_same_model():
    tracer, _, _, _ = made()
    assert torch.equal(tracer.edited(torch.zeros(len(tracer.pool), dtype=torch.bool)).image, tracer.heads.image)


def test_honesty__predictions_follow_real_refits():
    tracer, images, labels, _ = made()
    found = honesty_of(tracer, images[:6], labels[:6], removals=16, share=0.1, seed=0)
    assert found.spearman > 0.6
    assert found.slope > 0
    assert found.fit_spearman > max(0.9, found.spearman)
    assert 0.7 < found.fit_slope < 1.4
    lie = honesty_of(
        replace(tracer, prompts=tracer.prompts[[1, 2, 0]]), images[:6], labels[:6], removals=3, share=0.1, seed=0
    )
    assert lie != found
