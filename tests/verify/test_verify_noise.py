"""Swapped captions: as many as asked for, only from where they may come, and the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips_core.errors import InputError, UsageError
from chips_core.verify.noise import swap_captions

CAPTIONS = ["a heart", "a lung", "a lung", "a brain", "a knee", "a hip"]
LABELS = ["heart", "lung", "lung", "brain", "knee", "hip"]
SOURCES = ["chest", "chest", "chest", "head", "bones", "bones"]


def test_swap_captions__within_takes_the_same_source_and_another_label() -> None:
    found = swap_captions(CAPTIONS, labels=LABELS, sources=SOURCES, rate=0.8, kind="within", seed=0)
    assert found.swapped.tolist() == [True, True, True, False, True, True]  # the one brain has no donor
    assert found.captions == ("a lung", "a heart", "a heart", "a brain", "a hip", "a knee")


def test_swap_captions__across_takes_another_source() -> None:
    found = swap_captions(CAPTIONS, labels=LABELS, sources=SOURCES, rate=0.99, kind="across", seed=1)
    assert found.swapped.all()
    home = dict(zip(CAPTIONS, SOURCES, strict=True))
    assert all(home[caption] != source for caption, source in zip(found.captions, SOURCES, strict=True))


def test_swap_captions__a_swapped_caption_is_another_text() -> None:
    found = swap_captions(
        ["A lung.", "a lung. ", "a heart"], labels=["x", "y", "z"], sources=[""] * 3, rate=0.9, kind="within", seed=0
    )
    assert found.captions[:2] == ("a heart", "a heart")


@pytest.mark.parametrize("seed", range(8))
def test_swap_captions__within_never_takes_a_caption_of_the_same_label(seed: int) -> None:
    captions, labels = ["a", "another a", "a third a", "b"], ["x", "x", "x", "y"]
    found = swap_captions(captions, labels=labels, sources=["s"] * 4, rate=0.9, kind="within", seed=seed)
    assert found.captions[:3] == ("b", "b", "b")


def test_swap_captions__pairs_without_label_take_any_other_caption_of_the_source() -> None:
    found = swap_captions(["a", "b"], labels=["", ""], sources=["s", "s"], rate=0.9, kind="within", seed=0)
    assert found.captions == ("b", "a")


@given(
    words=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.sampled_from("st")), min_size=8),
    rate=st.sampled_from([0.1, 0.2, 0.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_swap_captions__truth_is_what_changed(words: list[tuple[str, str, str]], rate: float, seed: int) -> None:
    captions, labels, sources = zip(*words, strict=True)
    try:
        found = swap_captions(captions, labels=labels, sources=sources, rate=rate, kind="within", seed=seed)
    except InputError:
        return
    changed = [a != b for a, b in zip(captions, found.captions, strict=True)]
    assert found.swapped.tolist() == changed
    assert found.swapped.sum() <= round(rate * len(captions))


def test_swap_captions__same_seed_same_swap_other_seed_another() -> None:
    captions, labels = [f"c{i}" for i in range(60)], [f"l{i % 5}" for i in range(60)]
    first, again, other = (
        swap_captions(captions, labels=labels, sources=["s"] * 60, rate=0.3, kind="within", seed=seed)
        for seed in (1, 1, 2)
    )
    assert first.captions == again.captions
    assert first.captions != other.captions
    assert first.swapped.sum() == 18
    assert np.array_equal(first.swapped, again.swapped)


def test_swap_captions__says_what_is_missing() -> None:
    with pytest.raises(InputError, match="across sources"):
        swap_captions(["a", "b"], labels=["x", "y"], sources=["s", "s"], rate=0.5, kind="across", seed=0)
    with pytest.raises(UsageError, match="not a share"):
        swap_captions(["a", "b"], labels=["x", "y"], sources=["s", "t"], rate=1.0, kind="across", seed=0)
