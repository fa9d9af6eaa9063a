"""Training of the heads on a selection: what it learns, and what must not change it."""

import numpy as np
import pytest
import torch

from chips_core.errors import InputError
from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads
from chips_core.verify.proxy import Exam, ProxySettings, train_heads

CLASSES, WIDTH = 4, 12
FAST = ProxySettings(epochs=30, batch_size=32, relative_rate=0.05)  # from random heads


def pool_of(count: int = 160, *, seed: int = 0, wrong: bool = False) -> tuple[Features, np.ndarray]:
    """Pairs of four classes, a direction of the image space and one of the text space for each."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    image = torch.eye(WIDTH)[labels] + 0.3 * torch.randn(count, WIDTH, generator=draw)
    said = (labels + 1) % CLASSES if wrong else labels
    text = torch.eye(WIDTH)[said + CLASSES] + 0.3 * torch.randn(count, WIDTH, generator=draw)
    return Features(image, text), labels.numpy()


def heads(seed: int = 5) -> Heads:
    draw = torch.Generator().manual_seed(seed)
    return Heads.of(torch.randn(8, WIDTH, generator=draw), torch.randn(8, WIDTH, generator=draw), scale=10.0)


def exam_of() -> Exam:
    images, labels = pool_of(80, seed=9)
    prompts = torch.eye(WIDTH)[torch.arange(CLASSES) + CLASSES]
    sources = ["big"] * 60 + ["small"] * 20
    owner, classes = torch.arange(CLASSES), tuple("abcd")
    return Exam(images.image, labels, prompts, owner, classes, [f"g{i // 2}" for i in range(80)], sources)


def test_train_heads__right_captions_teach_and_wrong_ones_do_not() -> None:
    exam = exam_of()
    right, wrong = (
        exam.accuracy(train_heads(pool_of(wrong=w)[0], range(160), heads=heads(), settings=FAST)) for w in (False, True)
    )
    assert exam.accuracy(heads()) < 0.8
    assert right > 0.9
    assert wrong < 0.5


def test_train_heads__order_of_rows_and_of_ids_does_not_matter() -> None:
    pool, _ = pool_of()
    rows = np.random.default_rng(0).permutation(160)[:70]
    first = train_heads(pool, rows, heads=heads())
    again = train_heads(pool, rows[::-1].copy(), heads=heads())
    order = torch.from_numpy(np.random.default_rng(1).permutation(160))
    laid_out = Features(pool.image[order], pool.text[order], order)
    place = torch.argsort(order)
    moved = train_heads(laid_out, place[torch.from_numpy(rows)].numpy(), heads=heads())
    assert torch.equal(first.image, again.image)
    torch.testing.assert_close(first.image, moved.image)
    assert not torch.equal(first.image, train_heads(pool, rows, heads=heads(), seed=1).image)
    assert first.scale == heads().scale


def test_exam__mean_over_sources_and_the_paired_difference_by_hand() -> None:
    exam = exam_of()
    right = exam.right(heads())
    assert exam.accuracy(heads()) == pytest.approx((right[:60].mean() + right[60:].mean()) / 2)
    same = exam.difference(heads(), heads())
    assert same is not None
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    trained = train_heads(pool_of()[0], range(160), heads=heads(), settings=FAST)
    better = exam.difference(heads(), trained)
    assert better is not None
    assert better.low is not None
    assert better.low > 0


def test_train_heads__one_pair_is_refused() -> None:
    with pytest.raises(InputError, match="1 pairs"):
        train_heads(pool_of()[0], [3, 3], heads=heads())
