"""The trace index against the exact answer: landmarks, held-out images, and the order of what it says."""

from dataclasses import replace

import pytest
import torch
from test_verify_tracer import made

from chips_core.influence.blocks import Features
from chips_core.influence.relative import Sizes
from chips_core.verify import trace_index
from chips_core.verify.trace_index import TraceIndex, ranked_exactly
from chips_core.verify.tracer import Traced, Tracer

Case = tuple[Tracer, torch.Tensor, torch.Tensor, TraceIndex, Sizes]
HELD_OUT = 4


@pytest.fixture(scope="module")
def case() -> Case:
    tracer, images, labels, _ = made()
    labels = (labels + 1) % 3  # wrong ones, so that every image is an error
    parts = [
        trace_index.part_of(tracer, images[some], labels[some])
        for some in torch.split(torch.arange(HELD_OUT, len(labels)), trace_index.AT_ONCE)
    ]
    return tracer, images, labels, TraceIndex.of(parts), tracer.sizes(probes=8)


@pytest.mark.parametrize("mode", ["relative", "plain"])
def test_search__of_a_landmark_is_the_exact_answer(case: Case, mode: trace_index.Mode) -> None:
    tracer, images, labels, index, sizes = case
    image, label = images[[7]], labels[[7]]
    found = index.search(tracer, image, label, sizes=sizes, mode=mode, top=5)
    exact = ranked_exactly(tracer, image, label, sizes=sizes, mode=mode, top=5)
    assert (found.exact, exact.exact) == (False, True)
    assert set(found.places.tolist()) == set(exact.places.tolist())
    torch.testing.assert_close(found.influence.sort().values, exact.influence.sort().values, rtol=1e-5, atol=1e-12)


def test_search__of_other_images_finds_nearly_all(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, images, labels, index, sizes = case
    monkeypatch.setattr(trace_index, "CANDIDATES", 8)  # of 60 pairs; a blind index must not find them by luck
    held = slice(0, HELD_OUT)
    found = trace_index.measured(index, tracer, images[held], labels[held], sizes=sizes, top=5)
    assert found.recall >= 0.85
    blind = replace(index, sketch=index.sketch.roll(1, 0))
    assert trace_index.measured(blind, tracer, images[held], labels[held], sizes=sizes, top=5).recall < 0.5


def test_search__what_is_shown_is_exact(case: Case) -> None:
    tracer, images, labels, index, sizes = case
    found = index.search(tracer, images[:1], labels[:1], sizes=sizes, mode="plain", top=4)
    slow = tracer.trace(images[:1], labels[:1], sizes=None)
    assert len(found.places) == 8
    for part in ("pos", "neg"):
        torch.testing.assert_close(getattr(found, part), getattr(slow, part)[found.places], rtol=1e-4, atol=1e-9)


def test_search__few_candidates_are_ranked_among_themselves(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, images, labels, index, sizes = case
    monkeypatch.setattr(trace_index, "CANDIDATES", 3)
    found = index.search(tracer, images[:1], labels[:1], sizes=sizes, mode="relative", top=20)
    assert len(found.places) <= 6
    harmful = found.influence[found.influence < 0]
    assert torch.equal(harmful, harmful.sort().values)


def test_ranked__the_strongest_first_and_equal_ones_in_order() -> None:
    values = torch.tensor([0.5, -1.0, 0.0, -1.0, 2.0])
    found = trace_index.ranked(Traced(values, values * 0, None), torch.arange(5), theta=None, top=2)
    assert found.places.tolist() == [1, 3, 4, 0]
    halved = trace_index.ranked(
        Traced(values, values * 0, None), torch.arange(5), theta=torch.tensor([1.0, 4.0, 1.0, 1.0, 0.0]), top=2
    )
    assert halved.places.tolist() == [3, 1, 0]  # a removal without any size has no relative influence


def test_landmarks_first__wrong_ones_first_and_none_without_a_label() -> None:
    labels, wrong = torch.tensor([0, 1, -1, 2, 0]), torch.tensor([False, True, True, False, True])
    found = trace_index.landmarks_first(labels, wrong=wrong, seed=3).tolist()
    assert set(found[:2]) == {1, 4}
    assert set(found) == {0, 1, 3, 4}


def test_part_of__a_pool_in_another_order_gives_the_same(case: Case) -> None:
    tracer, images, labels, _, _ = case
    turn = torch.randperm(len(tracer.pool), generator=torch.Generator().manual_seed(1))
    rank = torch.arange(len(tracer.pool))[turn]
    other = replace(tracer, pool=Features(tracer.pool.image[turn], tracer.pool.text[turn], rank))
    found = [trace_index.part_of(one, images[:2], labels[:2]).whole for one in (tracer, other)]
    torch.testing.assert_close(found[0][:, turn], found[1], rtol=1e-4, atol=1e-5)


def test_combination__finds_the_weights_of_a_sum() -> None:
    draw = torch.Generator().manual_seed(0)
    A, c = torch.randn(50, 4, generator=draw), torch.tensor([1.0, -2.0, 0.0, 0.5])
    torch.testing.assert_close(trace_index.combination(A, A @ c), c.double(), rtol=1e-3, atol=1e-3)


def test_combination__of_a_landmark_given_twice_is_finite() -> None:
    A = torch.ones(5, 2)
    assert torch.isfinite(trace_index.combination(A, torch.ones(5))).all()
