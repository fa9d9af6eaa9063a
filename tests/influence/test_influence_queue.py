"""The queue: fused ranks by hand, slow versions of its parts, and swapped pairs first."""

import math
from dataclasses import replace

import pytest
import torch

from chips_core.errors import UsageError
from chips_core.influence.baselines import LOSS_RESIDUAL
from chips_core.influence.blocks import BlockPlan, Features
from chips_core.influence.contradiction import label_contradiction
from chips_core.influence.endpoint import Heads
from chips_core.influence.inputs import ScoringInputs
from chips_core.influence.peers import like_pairs, peer_losses
from chips_core.influence.queue import WEIGHTS, Queue, QueueSettings, fuse, misalignment_queue, surprise, witness
from chips_core.influence.reasons import nearest_images, reasons

KINDS, WRONG = 6, 12
PLAN = BlockPlan(size=80, repeats=2)


def pool_of(count: int = 120, *, seed: int = 0) -> tuple[Features, torch.Tensor, torch.Tensor]:
    """Pairs of six kinds whose first twelve have the text of another kind; their labels stay right."""
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % KINDS
    texts = kinds.clone()
    texts[:WRONG] = (kinds[:WRONG] + 2) % KINDS
    one_hot = torch.nn.functional.one_hot
    image = one_hot(kinds, KINDS) + 0.12 * torch.randn(count, KINDS, generator=draw)
    text = one_hot(texts, KINDS) + 0.06 * torch.randn(count, KINDS, generator=draw)
    return Features(image, text, torch.randperm(count, generator=draw)), kinds, texts


def heads() -> Heads:
    return Heads.of(torch.eye(KINDS), torch.eye(KINDS), scale=8.0)


def inputs_of(pool: Features, kinds: torch.Tensor | None) -> ScoringInputs:
    target, _, _ = pool_of(40, seed=9)
    target = Features(target.image[WRONG:], target.text[WRONG:])
    return ScoringInputs(pool=pool, heads=heads(), target=target, labels=kinds, fitted=heads(), plan=PLAN)


def test_surprise__by_hand_with_a_tie_and_a_missing_part() -> None:
    found = surprise(torch.tensor([3.0, 1.0, math.nan, 3.0]))
    # known values 1, 3, 3: mean ranks (1 - .5)/3 and (3 - 1)/3
    expected = [-math.log(1 / 3), -math.log(5 / 6), 1.0, -math.log(1 / 3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_fuse__weighs_the_parts_and_needs_one() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 0.0])
    torch.testing.assert_close(fuse({"a": a, "b": b}, weights={"b": 3.0}), surprise(a) + 3 * surprise(b))
    with pytest.raises(UsageError):
        fuse({})


def test_peer_losses__equals_loops() -> None:
    pool, _, _ = pool_of(40)
    plan = BlockPlan(size=64)
    groups = (torch.arange(40) % 2, torch.arange(40) % 4)
    found = peer_losses(pool, heads=heads(), plan=plan, groups=groups)
    x, y = (torch.nn.functional.normalize(side.double(), dim=1) for side in (pool.image, pool.text))
    S = 8.0 * x @ y.T
    for n in (0, 7, 39):
        sides = []
        for line in (S[n], S[:, n]):
            best = []
            for group in groups:
                means = [line[group == g].exp().mean() for g in range(int(group.max()) + 1)]
                best.append(max(means).log())
            sides.append(torch.stack(best).mean() - S[n, n])
        torch.testing.assert_close(found.loss[n], (sides[0] + sides[1]) / 2, rtol=1e-5, atol=1e-5)
        assert found.better_captions[n] == pytest.approx(float((S[n] > S[n, n] + 1e-4).sum()) / 39)


def test_peer_losses__a_caption_that_stands_often_costs_nothing() -> None:
    # forty pairs of one caption and four of another, all right: the contrastive loss differs by log 10, this does not
    kinds = torch.tensor([0] * 40 + [1] * 8)
    one_hot = torch.nn.functional.one_hot(kinds, 2).float()
    found = peer_losses(
        Features(one_hot, one_hot),
        heads=Heads.of(torch.eye(2), torch.eye(2), scale=20.0),
        plan=BlockPlan(size=64),
        groups=(kinds,),
    )
    torch.testing.assert_close(found.loss, torch.zeros(48, dtype=torch.float64), atol=1e-5, rtol=0)


def test_label_contradiction__finds_captions_of_another_label() -> None:
    pool, kinds, texts = pool_of()
    labels = kinds.clone()
    labels[50] = -1
    found = label_contradiction(pool, labels=labels, groups=(torch.zeros(120, dtype=torch.int64),), seed=0)
    assert found is not None
    assert torch.isnan(found.score[50])
    judged = torch.nan_to_num(found.score, nan=-9.0)
    assert set(judged.topk(WRONG).indices.tolist()) == set(range(WRONG))
    assert torch.equal(found.likely[:WRONG], texts[:WRONG])
    assert label_contradiction(pool, labels=torch.zeros(120, dtype=torch.int64), groups=(), seed=0) is None


def test_misalignment_queue__swapped_pairs_come_first() -> None:
    pool, kinds, _ = pool_of()
    queue = misalignment_queue(inputs_of(pool, kinds))
    assert set(queue.parts) == set(WEIGHTS)
    assert len(set(queue.first(WRONG).tolist()) & set(range(WRONG))) >= WRONG - 1
    bare = misalignment_queue(inputs_of(pool, None))
    torch.testing.assert_close(bare.score, queue.without_labels.score)
    assert len(set(bare.first(WRONG).tolist()) & set(range(WRONG))) >= WRONG - 1


def test_misalignment_queue__labels_that_went_with_the_captions_do_no_harm() -> None:
    pool, kinds, texts = pool_of()
    stayed, went = misalignment_queue(inputs_of(pool, kinds)), misalignment_queue(inputs_of(pool, texts))
    assert stayed.weights["label_contradiction"] > 1 > stayed.weights["image_label"]
    assert went.weights["label_contradiction"] < 1 < went.weights["image_label"]
    assert len(set(went.first(WRONG).tolist()) & set(range(WRONG))) >= WRONG - 2


def test_misalignment_queue__influence_is_put_upright() -> None:
    """At too large a scale influence calls right pairs harmful; the queue softens it until it does not."""
    pool, _, _ = pool_of()
    for scale in (4.0, 16.0):
        inputs = replace(inputs_of(pool, None), fitted=Heads.of(torch.eye(KINDS), torch.eye(KINDS), scale=scale))
        queue = misalignment_queue(inputs)
        assert queue.parts["influence"][:WRONG].mean() > queue.parts["influence"][WRONG:].mean()
    only = misalignment_queue(inputs, QueueSettings(soften=(1.0,)))
    assert only.share is None
    assert "influence" not in only.parts


def test_witness__by_hand() -> None:
    part = torch.arange(100.0)
    agreeing = witness(part, lead=torch.arange(100.0))
    assert agreeing == 1.0  # the ten pairs that come first have surprises from 2.3 up
    assert witness(part, lead=-torch.arange(100.0)) == 0.0
    flat = witness(torch.zeros(100), lead=torch.arange(100.0))
    assert flat == 0.0  # -log(1 - 1/2) = .69 for everybody is below the 1 of chance


def test_misalignment_queue__order_of_the_rows_does_not_matter() -> None:
    pool, kinds, _ = pool_of()
    assert pool.rank is not None
    turned = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    other = Features(pool.image[turned], pool.text[turned], pool.rank[turned])
    first, second = misalignment_queue(inputs_of(pool, kinds)), misalignment_queue(inputs_of(other, kinds[turned]))
    torch.testing.assert_close(second.score, first.score[turned], rtol=1e-4, atol=1e-4)


def test_misalignment_queue__loss_residual_is_the_registered_one() -> None:
    pool, _, _ = pool_of()
    inputs = inputs_of(pool, None)
    registered = LOSS_RESIDUAL.compute(inputs)["loss_residual"]
    torch.testing.assert_close(misalignment_queue(inputs).parts["loss_residual"], registered)


def test_queue__first_breaks_ties_by_pair_id() -> None:
    pool, kinds, _ = pool_of()
    queue = misalignment_queue(inputs_of(pool, kinds))
    flat = Queue(torch.tensor([1.0, 2.0, 2.0, 2.0]), {}, {}, queue.peers)
    assert flat.first(3).tolist() == [1, 2, 3]
    assert flat.first(3, rank=torch.tensor([0, 3, 2, 1])).tolist() == [3, 2, 1]


def test_reasons__say_what_is_odd_in_numbers_and_no_more() -> None:
    pool, kinds, texts = pool_of()
    queue = misalignment_queue(inputs_of(pool, kinds))
    near = nearest_images(pool, [0, 60], heads=heads(), captions=texts)
    suspect, clean = reasons(queue, [0, 60], near=near)
    codes = [reason.code for reason in suspect]
    assert {"better_images", "better_captions", "label", "neighbours"} <= set(codes)
    by_code = {reason.code: reason for reason in suspect}
    assert (
        by_code["better_images"].text
        == f"Its caption fits {by_code['better_images'].numbers['images']} other images better."
    )
    assert texts[by_code["neighbours"].rows[0]] == kinds[0]
    assert [r.strength for r in suspect] == sorted((r.strength for r in suspect), reverse=True)
    assert clean == (clean[0],)
    assert clean[0].code == "none"


def test_reasons__work_without_labels_and_neighbours() -> None:
    pool, _, _ = pool_of()
    queue = misalignment_queue(inputs_of(pool, None))
    assert "label" not in {reason.code for reason in reasons(queue, [0])[0]}


def test_nearest_images__equals_sorting_everything() -> None:
    pool, _, texts = pool_of(30)
    near = nearest_images(pool, [4, 11], heads=heads(), captions=texts, k=3)
    x = torch.nn.functional.normalize(pool.image, dim=1)
    for place, row in enumerate((4, 11)):
        order = [int(i) for i in torch.argsort(x @ x[row], descending=True) if i != row]
        assert near.rows[place].tolist() == order[:3]


def test_like_pairs__puts_pairs_of_one_kind_together() -> None:
    pool, kinds, _ = pool_of()
    groups = like_pairs(pool, heads=heads(), seed=0)
    assert len(groups) == 6
    pure = []
    for group in groups:
        pure += [
            float((group[kinds == kind] == group[kinds == kind].mode().values).float().mean()) for kind in range(6)
        ]
    assert sum(pure) / len(pure) > 0.8  # by chance it would be about .3
