"""The screen against the reference: the same influence where its rank is full, and nearly the same order below."""

import oracles
import pytest
import torch

from chips_core.influence import screen
from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Direction, Heads
from chips_core.influence.reference import Reference
from chips_core.influence.screen import Screen

ANCHORS = torch.arange(3, 40, 3)


def case(pairs: int = 60, scale: float = 8.0) -> tuple[Features, Heads, Direction]:
    X, Y, heads = oracles.random_case(pairs, width=5, scale=scale)
    return Features(X.float(), Y.float()), heads.to(torch.float32), oracles.random_direction(heads)


def by_the_reference(pool: Features, heads: Heads, v: Direction) -> torch.Tensor:
    found = Reference.of(pool, heads, v=v, blocks=[ANCHORS]).dots(torch.arange(len(pool)))
    return found.total.float()


@pytest.mark.parametrize("scale", [3.0, 30.0])
def test_totals__of_full_rank_are_those_of_the_reference(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, heads, v = case(scale=scale)
    monkeypatch.setattr(screen, "ROWS_AT_ONCE", 7)
    found, expected = Screen.of(pool, heads).totals(v, anchors=ANCHORS), by_the_reference(pool, heads, v)
    others = torch.ones(len(pool), dtype=torch.bool)
    others[ANCHORS] = False
    size = float(expected[others].square().mean().sqrt())  # the screen's embeddings are in half precision
    torch.testing.assert_close(found[others], expected[others], rtol=0.02, atol=0.005 * size)


def test_totals__of_low_rank_along_a_direction_of_low_rank_are_exact_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, heads, v = case()
    low = Direction(v.image[:, :1] @ v.image[:1], v.text[:, :1] @ v.text[:1], v.log_scale)
    expected = by_the_reference(pool, heads, low)
    others = torch.ones(len(pool), dtype=torch.bool)
    others[ANCHORS] = False
    errors = {}
    for rank in (1, 5):
        monkeypatch.setattr(screen, "RANK", rank)
        for name, direction, truth in (("low", low, expected), ("full", v, by_the_reference(pool, heads, v))):
            found = Screen.of(pool, heads).totals(direction, anchors=ANCHORS)
            errors[rank, name] = float((found - truth)[others].norm() / truth[others].norm())
    assert max(errors[1, "low"], errors[5, "low"], errors[5, "full"]) < 0.01
    assert errors[1, "full"] > 0.05  # what a rank below that of the direction leaves out
