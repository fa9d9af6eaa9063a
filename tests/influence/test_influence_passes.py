"""The fast pass equals the definitions, whatever the order, the shards, the threads and the precision."""

from collections.abc import Callable

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chips_core.errors import InputError, UsageError
from chips_core.influence import endpoint, loss, strips
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.kernel import Wants
from chips_core.influence.lanes import in_lanes
from chips_core.influence.passes import PairScores, score_pairs, unusable_rows

EVERYTHING = Wants(deletion=True, taylor=True, own_path=True, margins=True, neg_values=True)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


def same(a: PairScores, b: PairScores, tolerance: float) -> None:
    for name in PairScores.__dataclass_fields__:
        close(getattr(a, name), getattr(b, name), tolerance)


def pool(pairs: int = 50, *, scale: float = 10.0, seed: int = 0) -> tuple[Features, endpoint.Heads, list]:
    X, Y, heads = oracles.random_case(pairs, scale=scale, seed=seed)
    Y[:, :5] += X[:, :5]  # pairs that belong together
    return Features(X, Y), heads, [oracles.random_direction(heads, 1), oracles.random_direction(heads, 2)]


@given(
    pairs=st.integers(2, 12),
    scale=st.sampled_from([0.01, 5.0, 100.0, 1e4]),
    seed=st.integers(0, 10_000),
)
def test_score_pairs__one_block_equals_the_definitions(pairs: int, scale: float, seed: int) -> None:
    X, Y, heads = oracles.random_case(pairs, scale=scale, seed=seed)
    vs = [oracles.random_direction(heads, 1), oracles.random_direction(heads, 2)]
    found = score_pairs(Features(X, Y), heads, directions=vs, plan=BlockPlan(), wants=EVERYTHING)
    block = endpoint.forward(X, Y, heads)
    S, size = block.logits, max(1.0, scale)
    close(found.loss, loss.pair_losses(S))
    close(found.correctness, loss.correctness(S))
    close(found.margin, loss.margins(S))
    close(found.neg, loss.negatives(S), 1e-8)
    close(found.neg_taylor, loss.negatives(S, exact=False))
    for k, v in enumerate(vs):
        slow = endpoint.pair_dots(block, v)
        close(found.loss_dots[k] / size, slow.loss / size)
        close(found.neg_dots[k] / size, slow.neg / size)
        close(found.taylor_dots[k] / size, slow.neg_taylor / size)
        close(found.own_dots[k] / size, endpoint.own_path_dots(block, v) / size)


def test_own_path__equals_autograd_with_the_others_held_fixed() -> None:
    X, Y, heads = oracles.random_case()
    v = oracles.random_direction(heads)
    slow = oracles.own_path_gradients(X, Y, heads)
    close(endpoint.own_path_dots(endpoint.forward(X, Y, heads), v), slow @ v.flat(), 1e-12)


def test_score_pairs__averages_over_blocks_and_rounds() -> None:
    features, heads, vs = pool()
    plan = BlockPlan(size=13, repeats=3, seed=5)
    found = score_pairs(features, heads, directions=vs, plan=plan, wants=EVERYTHING)
    total = torch.zeros(50, dtype=torch.float64)
    for rows in plan.rows(50):
        block = endpoint.forward(features.image[rows], features.text[rows], heads)
        total[rows] += endpoint.pair_dots(block, vs[1]).neg
    close(found.neg_dots[1], total / 3)


@given(seed=st.integers(0, 1000))
def test_score_pairs__the_order_of_the_rows_does_not_matter(seed: int) -> None:
    features, heads, vs = pool()
    plan = BlockPlan(size=16, repeats=2, seed=3)
    straight = score_pairs(features, heads, directions=vs, plan=plan, wants=EVERYTHING)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    shuffled = Features(features.image[order], features.text[order], order)
    found = score_pairs(shuffled, heads, directions=vs, plan=plan, wants=EVERYTHING)
    for name in PairScores.__dataclass_fields__:
        assert torch.equal(getattr(straight, name)[..., order], getattr(found, name)), name


@pytest.mark.parametrize("shards", [1, 2, 5, 40])
def test_score_pairs__shards_add_up(shards: int) -> None:
    features, heads, vs = pool()
    plan = BlockPlan(size=16, repeats=2)
    whole = score_pairs(features, heads, directions=vs, plan=plan, wants=EVERYTHING)
    parts = [
        score_pairs(features, heads, directions=vs, plan=plan, wants=EVERYTHING, shard=(i, shards))
        for i in range(shards)
    ]
    same(sum(parts[1:], parts[0]), whole, 1e-12)


def test_score_pairs__several_directions_at_once_are_each_alone() -> None:
    features, heads, vs = pool()
    both = score_pairs(features, heads, directions=vs, plan=BlockPlan(size=16))
    for k, v in enumerate(vs):
        alone = score_pairs(features, heads, directions=[v], plan=BlockPlan(size=16))
        assert torch.equal(both.loss_dots[k], alone.loss_dots[0])
        assert torch.equal(both.neg_dots[k], alone.neg_dots[0])


@pytest.mark.parametrize("strip", [1, 160, 170, 1000, 10**6])
@pytest.mark.parametrize("swapped", [False, True])
def test_score_pairs__the_size_of_a_strip_does_not_matter(
    strip: int, swapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, heads, vs = pool(40, scale=60.0)
    if swapped:
        features = Features(features.image, features.text[torch.arange(40) ^ 1])
    whole = score_pairs(features, heads, directions=vs, plan=BlockPlan(), wants=EVERYTHING)
    monkeypatch.setattr(strips, "STRIP", strip)
    same(score_pairs(features, heads, directions=vs, plan=BlockPlan(), wants=EVERYTHING), whole, 1e-10)


def test_score_pairs__threads_do_not_matter() -> None:
    features, heads, vs = pool(400)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(score_pairs(features, heads, directions=vs, plan=BlockPlan(size=128), wants=EVERYTHING))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    same(found[0], found[1], 0.0)
    same(found[0], found[2], 0.0)


@pytest.mark.parametrize("scale", [14.3, 100.0])
def test_score_pairs__float32_from_float16_ranks_like_float64(scale: float) -> None:
    features, heads, vs = pool(300, scale=scale)
    half = Features(features.image.half(), features.text.half())
    same_numbers = Features(half.image.double(), half.text.double())
    wide = score_pairs(same_numbers, heads, directions=vs, plan=BlockPlan(), wants=EVERYTHING)
    narrow = score_pairs(half, heads.to(torch.float32), directions=vs, plan=BlockPlan(), wants=EVERYTHING)
    for name in ("loss", "neg", "loss_dots", "neg_dots", "taylor_dots", "own_dots", "margin", "correctness"):
        a, b = getattr(wide, name).reshape(-1, 300), getattr(narrow, name).reshape(-1, 300)
        assert all(kendall(x, y) >= 0.999 for x, y in zip(a, b, strict=True)), name
        assert float((a - b).abs().max()) <= 1e-4 * max(1.0, float(a.abs().max())), name


def kendall(a: torch.Tensor, b: torch.Tensor) -> float:
    first, second = torch.sign(a[:, None] - a), torch.sign(b[:, None] - b)
    return float((first * second).sum() / (first.abs() * second.abs()).sum())


def test_score_pairs__dominant_negatives_keep_their_digits_in_float32() -> None:
    features, heads, vs = pool(40, scale=100.0)
    swapped = Features(features.image, features.text[torch.arange(40) ^ 1])  # every p of a wrong pair is near one
    wide = score_pairs(swapped, heads, directions=vs, plan=BlockPlan())
    narrow = score_pairs(swapped, heads.to(torch.float32), directions=vs, plan=BlockPlan())
    close(narrow.neg_dots / 100, wide.neg_dots / 100, 2e-4)


def test_score_pairs__same_pair_twice_and_same_captions_are_finite() -> None:
    features, heads, vs = pool(20, scale=100.0)
    twice = Features(features.image[torch.arange(20) // 2], features.text[torch.arange(20) // 2])
    captions = Features(features.image, features.text[:1].expand(20, -1))
    for case in (twice, captions, Features(features.image[:2], features.text[:2])):
        found = score_pairs(case, heads, directions=vs, plan=BlockPlan(), wants=EVERYTHING)
        assert all(bool(torch.isfinite(getattr(found, n)).all()) for n in PairScores.__dataclass_fields__)
    found = score_pairs(twice, heads, directions=vs, plan=BlockPlan())
    close(found.loss[0::2], found.loss[1::2])  # a pair and its copy score alike
    found = score_pairs(captions, heads, plan=BlockPlan(), wants=Wants(margins=True))
    close(found.margin, found.margin)  # finite, and each image's row is uniform:
    assert float(found.loss.min()) > 0


def test_score_pairs__stops_where_the_tick_raises() -> None:
    features, heads, _ = pool()
    seen: list[int] = []

    def tick(pairs: int) -> None:
        seen.append(pairs)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_pairs(features, heads, plan=BlockPlan(size=16), tick=tick)
    assert seen == [13, 13, 12]


def test_in_lanes__keeps_the_order_and_passes_errors_on() -> None:
    def worker() -> Callable[[int], int]:
        return lambda x: 12 // x

    before = torch.get_num_threads()
    assert list(in_lanes(worker, [1, 2, 3, 4, 6], lanes=3)) == [(1, 12), (2, 6), (3, 4), (4, 3), (6, 2)]
    with pytest.raises(ZeroDivisionError):
        list(in_lanes(worker, [1, 0, 3], lanes=2))
    assert torch.get_num_threads() == before


def test_score_pairs__names_the_rows_that_cannot_be_scored() -> None:
    features, heads, _ = pool()
    features.image[7], features.text[31, 0] = 0.0, torch.nan
    assert unusable_rows(features, heads).tolist() == [7, 31]
    with pytest.raises(InputError, match="rows "):
        score_pairs(features, heads, plan=BlockPlan(size=16))
    with pytest.raises(InputError, match="two or more"):
        score_pairs(features.take(torch.tensor([0])), heads, plan=BlockPlan())
    with pytest.raises(InputError, match="do not pair up"):
        Features(features.image, features.text[:3])


@given(pairs=st.integers(2, 300), size=st.integers(2, 64), seed=st.integers(0, 99))
def test_rows__every_pair_once_a_round_in_balanced_blocks(pairs: int, size: int, seed: int) -> None:
    plan = BlockPlan(size=size, repeats=2, seed=seed)
    blocks = list(plan.rows(pairs))
    lengths = [len(b) for b in blocks]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 2
    assert max(lengths) <= size + 1
    assert torch.equal(torch.cat(blocks).bincount(), torch.full((pairs,), plan.rounds(pairs)))


def test_rows__a_seed_gives_its_own_blocks_and_bad_plans_are_refused() -> None:
    first, again, other = (list(BlockPlan(size=8, seed=s).rows(40)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    firsts = {tuple(first[5 * repeat].tolist()) for repeat in range(4)}
    assert len(firsts) == 4  # every round draws afresh
    for bad in ({"size": 1}, {"repeats": 0}, {"seed": -1}):
        with pytest.raises(UsageError):
            BlockPlan(**bad)
    with pytest.raises(UsageError, match="ranks"):
        list(BlockPlan().rows(3, rank=torch.tensor([0, 0, 2])))
