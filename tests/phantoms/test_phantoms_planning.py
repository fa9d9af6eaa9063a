"""The plan: the same for a seed, patients in one split only, errors of every kind and none outside the train split."""

from collections import Counter

import numpy as np
import pytest

from chips_core.phantoms import MODALITIES, PhantomPair, Planted, labels, plan, truth
from chips_core.phantoms.catalogue import label_of

COUNTS = {"train": 600, "val": 80, "test": 70}


@pytest.fixture(scope="module")
def pairs() -> list[PhantomPair]:
    return plan(seed=5, **COUNTS)


def by_shot(pairs: list[PhantomPair]) -> dict[str, PhantomPair]:
    return {pair.pair_id: pair for pair in pairs}


def test_plan__same_for_a_seed_and_other_for_another(pairs):
    assert plan(seed=5, **COUNTS) == pairs
    other = plan(seed=6, **COUNTS)
    assert not {p.pair_id for p in other} & {p.pair_id for p in pairs}
    assert [p.caption for p in other] != [p.caption for p in pairs]


def test_plan__counts(pairs):
    assert Counter(p.split for p in pairs) == COUNTS
    assert len({p.pair_id for p in pairs}) == len({p.image for p in pairs}) == sum(COUNTS.values())


def test_plan__default_size():
    assert Counter(p.split for p in plan()) == {"train": 2400, "val": 300, "test": 300}


def test_plan__every_label_in_every_split():
    default = plan()
    for split in COUNTS:
        assert {p.label for p in default if p.split == split} == set(labels())
    assert len(labels()) == 26
    assert max(Counter(p.label for p in default).values()) < 0.1 * len(default)


def test_plan__patients_never_cross_splits(pairs):
    splits = {}
    for pair in pairs:
        splits.setdefault(pair.group, set()).add(pair.split)
    assert all(len(found) == 1 for found in splits.values())
    assert max(Counter(p.group for p in pairs).values()) > 1


def test_plan__near_duplicates_copy_an_image_of_the_train_split(pairs):
    originals = {p.scene.shot: p for p in pairs if not p.scene.copy}
    copies = [p for p in pairs if p.planted == Planted.NEAR_DUPLICATE]
    assert copies
    for copy in copies:
        assert originals[copy.scene.shot].split == "train"
        assert not originals[copy.scene.shot].planted
        assert originals[copy.scene.shot].label == copy.label


def test_plan__validation_does_not_depend_on_the_train_split(pairs):
    small = plan(seed=5, train=10, val=80, test=70)
    assert [p for p in small if p.split != "train"] == [p for p in pairs if p.split != "train"]


def test_plan__share_of_planted_errors(pairs):
    kinds = Counter(p.planted for p in pairs if p.planted)
    assert sum(kinds.values()) == round(0.08 * COUNTS["train"])
    assert set(kinds) == {str(kind) for kind in Planted}
    assert {p.split for p in pairs if p.planted} == {"train"}


def test_plan__label_is_the_truth_of_the_image(pairs):
    for pair in pairs:
        assert pair.label == label_of(pair.scene.modality, pair.scene.finding)
        assert pair.modality == pair.scene.modality
        assert pair.body_part == MODALITIES[pair.modality].body_part


def test_truth__tells_the_planted_kinds(pairs):
    assert truth(5, **COUNTS) == {p.pair_id: p.planted for p in pairs if p.planted}


def test_plan__ids_do_not_tell_what_is_planted(pairs, monkeypatch):
    monkeypatch.setattr("chips_core.phantoms.planting.SHARE", 0.0)
    clean = plan(seed=5, **COUNTS)
    assert not any(p.planted for p in clean)
    assert [(p.pair_id, p.group) for p in clean] == [(p.pair_id, p.group) for p in pairs]


def test_plan__order_tells_neither_split_nor_error():
    default = plan()
    rank = np.arange(len(default)) / len(default)
    for chosen in ([bool(p.planted) for p in default], [p.split == "test" for p in default]):
        assert abs(rank[np.array(chosen)].mean() - 0.5) < 0.08
    assert [p.pair_id for p in default] == sorted(p.pair_id for p in default)


@pytest.mark.parametrize("kind", [Planted.WRONG_PAIR, Planted.WRONG_MODALITY, Planted.LATERALITY, Planted.NEGATION])
def test_plan__a_planted_caption_is_not_the_right_one(pairs, monkeypatch, kind):
    monkeypatch.setattr("chips_core.phantoms.planting.SHARE", 0.0)
    right = by_shot(plan(seed=5, **COUNTS))
    spoilt = [p for p in pairs if p.planted == kind]
    assert spoilt
    assert all(p.caption != right[p.pair_id].caption for p in spoilt)


def test_plan__a_wrong_pair_takes_a_caption_of_its_modality_and_another_label(pairs, monkeypatch):
    monkeypatch.setattr("chips_core.phantoms.planting.SHARE", 0.0)
    owners = {}
    for pair in plan(seed=5, **COUNTS):
        owners.setdefault(pair.caption, set()).add((pair.modality, pair.label))
    for pair in pairs:
        found = owners.get(pair.caption, set())
        if pair.planted == Planted.WRONG_PAIR:
            assert any(modality == pair.modality and label != pair.label for modality, label in found)
        if pair.planted == Planted.WRONG_MODALITY:
            assert any(modality != pair.modality for modality, _label in found)


def test_plan__tiny_collections_work():
    assert len(plan(train=1, val=0, test=0)) == 1
    assert plan(train=0, val=0, test=0) == []
    assert len(plan(train=13, val=1, test=2)) == 16
