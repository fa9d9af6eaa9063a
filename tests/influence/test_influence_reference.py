"""The reference: what a pair does to it is what the slow definitions say of the block with the pair added."""

import oracles
import pytest
import torch

from chips_core.influence import reference
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.endpoint import Heads, forward, pair_dots
from chips_core.influence.kernel import Wants
from chips_core.influence.passes import score_pairs
from chips_core.influence.reference import Reference

PLAN = BlockPlan(size=8, repeats=2)


def case(pairs: int = 50, scale: float = 5.0) -> tuple[Features, Heads]:
    X, Y, heads = oracles.random_case(pairs, scale=scale)
    return Features(X, Y), heads


def blocks_of(pool: Features) -> list[torch.Tensor]:
    return PLAN.first(pool, reference.BLOCKS)


def slow(pool: Features, heads: Heads, *, n: int, seed: int = 1) -> torch.Tensor:
    """The means over the blocks of ∇Pos_n·v and ∇Neg_n·v, each block with pair n in it."""
    v, found = oracles.random_direction(heads, seed), []
    for block in blocks_of(pool):
        rows = torch.cat([block[block != n], torch.tensor([n])])
        dots = pair_dots(forward(pool.image[rows], pool.text[rows], heads), v)
        found.append(torch.stack([dots.pos[-1], dots.neg[-1]]))
    return torch.stack(found).mean(0)


@pytest.mark.parametrize("scale", [1.0, 5.0, 100.0, 2000.0])
def test_dots__equal_the_definitions_on_the_block_with_the_pair_added(scale: float) -> None:
    pool, heads = case(scale=scale)
    blocks = blocks_of(pool)
    rows = torch.randperm(len(pool), generator=torch.Generator().manual_seed(2))[:40]
    assert 0 < int(torch.isin(rows, torch.cat(blocks)).sum()) < len(rows)  # members and others
    found = Reference.of(pool, heads, v=oracles.random_direction(heads), blocks=blocks).dots(rows)
    expected = torch.stack([slow(pool, heads, n=int(n)) for n in rows], dim=1)
    torch.testing.assert_close(torch.stack([found.pos, found.neg]), expected, rtol=1e-8, atol=1e-8)


def test_dots__do_not_depend_on_who_else_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, heads = case()
    whole = Reference.of(pool, heads, v=oracles.random_direction(heads), blocks=blocks_of(pool))
    everybody = whole.dots(torch.arange(len(pool)))
    monkeypatch.setattr(reference, "ROWS_AT_ONCE", 3)
    some = whole.dots(torch.tensor([40, 7, 7]))
    torch.testing.assert_close(some.total, everybody.total[[40, 7, 7]], rtol=1e-12, atol=1e-12)
    assert len(whole.dots(torch.tensor([], dtype=torch.int64)).pos) == 0


def test_dots__of_a_pool_of_one_block_are_those_of_a_pass() -> None:
    pool, heads = case(8)
    v = oracles.random_direction(heads)
    found = Reference.of(pool, heads, v=v, blocks=blocks_of(pool)).dots(torch.arange(8))
    scores = score_pairs(pool, heads, directions=[v], plan=PLAN, wants=Wants(deletion=True))
    torch.testing.assert_close(found.pos, scores.pos_dots[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.neg, scores.neg_dots[0], rtol=1e-9, atol=1e-9)


def test_dots__in_single_precision_with_a_sharp_scale_are_near_the_exact_ones() -> None:
    pool, heads = case(scale=100.0)
    rows, v, blocks = torch.arange(len(pool)), oracles.random_direction(heads), blocks_of(pool)
    exact = Reference.of(pool, heads, v=v, blocks=blocks).dots(rows)
    found = Reference.of(pool, heads.to(torch.float32), v=v, blocks=blocks).dots(rows)
    torch.testing.assert_close(found.total, exact.total, rtol=1e-3, atol=1e-3 * float(exact.total.abs().max()))


def test_first__are_disjoint_blocks_of_the_plan_whatever_the_order_of_the_pool() -> None:
    pool, _ = case()
    found = blocks_of(pool)
    assert len(found) == reference.BLOCKS
    assert len(torch.cat(found).unique()) == len(torch.cat(found))
    turn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    turned = Features(pool.image[turn], pool.text[turn], turn)
    for block, other in zip(found, blocks_of(turned), strict=True):
        assert torch.equal(turn[other], block)
