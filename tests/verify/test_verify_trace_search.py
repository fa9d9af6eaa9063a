"""The quick answer against the exact one, and the order of what both say."""

import pytest
import torch
from test_verify_tracer import made

from chips_core.influence.relative import Sizes
from chips_core.verify import trace_search
from chips_core.verify.trace_search import answered
from chips_core.verify.tracer import Traced, Tracer

Case = tuple[Tracer, torch.Tensor, torch.Tensor, Sizes]


@pytest.fixture(scope="module")
def case() -> Case:
    tracer, images, labels, _ = made()
    return tracer, images, (labels + 1) % 3, tracer.sizes(probes=8)  # wrong labels, so that every image is an error


@pytest.mark.parametrize("mode", ["relative", "plain"])
@pytest.mark.parametrize("images_at_once", [1, 3])
def test_quick__with_enough_candidates_is_the_exact_answer(
    case: Case, mode: trace_search.Mode, images_at_once: int
) -> None:
    tracer, images, labels, sizes = case
    asked = images[:images_at_once], labels[:images_at_once]
    found = answered(tracer, *asked, sizes=sizes, mode=mode, top=5, way="quick")
    exact = answered(tracer, *asked, sizes=sizes, mode=mode, top=5, way="exact")
    assert torch.equal(found.places, exact.places)
    for part in ("influence", "pos", "neg"):
        torch.testing.assert_close(getattr(found, part), getattr(exact, part), rtol=1e-5, atol=1e-12)


def test_quick__few_candidates_still_hold_nearly_all(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, images, labels, sizes = case
    monkeypatch.setattr(trace_search, "CANDIDATES", 8)  # of 60 pairs; a blind screen must not find them by luck
    monkeypatch.setattr(trace_search, "ANCHORS", 20)
    found = trace_search.measured(tracer, images, labels, sizes=sizes, top=5)
    assert (found.images, found.top) == (len(labels), 5)
    assert found.recall >= 0.85
    seen = type(tracer.screen).totals
    monkeypatch.setattr(type(tracer.screen), "totals", lambda *args, **named: seen(*args, **named).roll(1))
    assert trace_search.measured(tracer, images, labels, sizes=sizes, top=5).recall < 0.6


def test_quick__few_candidates_are_ranked_among_themselves(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, images, labels, sizes = case
    monkeypatch.setattr(trace_search, "CANDIDATES", 3)
    monkeypatch.setattr(trace_search, "ANCHORS", 4)
    found = answered(tracer, images[:1], labels[:1], sizes=sizes, mode="relative", top=20, way="quick")
    assert len(found.places) <= 10
    assert len(found.places.unique()) == len(found.places)
    harmful = found.influence[found.influence < 0]
    assert torch.equal(harmful, harmful.sort().values)


def test_ranked__the_strongest_first_and_equal_ones_in_order() -> None:
    values = torch.tensor([0.5, -1.0, 0.0, -1.0, 2.0])
    found = trace_search.ranked(Traced(values, values * 0, None), torch.arange(5), theta=None, top=2)
    assert found.places.tolist() == [1, 3, 4, 0]
    halved = trace_search.ranked(
        Traced(values, values * 0, None), torch.arange(5), theta=torch.tensor([1.0, 4.0, 1.0, 1.0, 0.0]), top=2
    )
    assert halved.places.tolist() == [3, 1, 0]  # a removal without any size has no relative influence
