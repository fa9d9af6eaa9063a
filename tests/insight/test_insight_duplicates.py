"""Duplicates and leaks on a handful of images that a reader can picture."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from chips_core.insight.duplicates import (
    Group,
    differing,
    equal_groups,
    find_duplicates,
    image_hash,
    near_by_hash,
    near_by_meaning,
)


def picture(seed):
    """A smooth random picture."""
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, size=(96, 96), dtype=np.uint8))
    return noise.filter(ImageFilter.GaussianBlur(6)).point(lambda value: max(0, min(255, (value - 118) * 12)))


@pytest.fixture(scope="module")
def hashes():
    """Pictures 0, 1, 2; then 0 brightened, 1 made smaller, 0 again."""
    one, two, three = (picture(seed) for seed in range(3))
    images = [one, two, three, one.point(lambda value: value * 0.9 + 10), two.resize((64, 64)), one]
    return np.stack([image_hash(image) for image in images])


def test_image_hash__is_32_bytes_whatever_the_mode():
    image = picture(0)
    assert image_hash(image).shape == (32,)
    assert np.array_equal(image_hash(image), image_hash(image.convert("RGB")))


def test_near_by_hash__finds_changed_copies(hashes):
    assert [group.rows for group in near_by_hash(hashes)] == [(0, 3, 5), (1, 4)]
    assert [group.rows for group in near_by_hash(hashes, bits=0)] == [(0, 5)]


def test_near_by_hash__leaves_out_what_has_no_image(hashes):
    known = np.array([False, True, True, True, True, True])
    assert [group.rows for group in near_by_hash(hashes, known=known)] == [(1, 4), (3, 5)]
    assert near_by_hash(hashes, known=np.zeros(6, dtype=bool)) == ()
    assert near_by_hash(hashes[:0]) == ()


def test_near_by_hash__bits_are_inclusive():
    hashes = np.zeros((2, 32), dtype=np.uint8)
    hashes[1, :3] = 255  # 24 bits
    assert len(near_by_hash(hashes, bits=24)) == 1
    assert near_by_hash(hashes, bits=23) == ()


def test_near_by_meaning__the_hash_decides(hashes):
    alike = np.ones((6, 4), dtype=np.float32)  # an encoder that finds all images alike
    asked = []

    def hash_of(row):
        asked.append(row)
        return None if row == 5 else hashes[row]

    assert [group.rows for group in near_by_meaning(alike, hash_of=hash_of)] == [(0, 3), (1, 4)]
    assert sorted(asked) == [0, 1, 2, 3, 4, 5]
    apart = np.eye(6, dtype=np.float32)
    assert near_by_meaning(apart, hash_of=lambda _: pytest.fail("nothing is worth opening")) == ()


def test_equal_groups__empty_is_no_value():
    assert equal_groups(["a", "", "b", "a", "", "a"]) == (Group((0, 3, 5), "exact"),)


def test_differing__empty_values_do_not_count():
    groups = [Group((0, 1), "exact"), Group((2, 3), "exact")]
    assert differing(groups, ["train", "test", "train", ""]) == (groups[0],)


def test_find_duplicates__captions_labels_splits_patients():
    found = find_duplicates(
        sha256=["a", "a", "b", "b", "c", "d"],
        captions=["No effusion.", "Large effusion.", "A cyst", " a  CYST.", "x", "y"],
        labels=["normal", "effusion", "cyst", "cyst", "", ""],
        splits=["train", "test", "train", "train", "train", "val"],
        patients=["p1", "p1", "p2", "p2", "p3", "p3"],
        near=[Group((4, 5), "near")],
    )
    assert found.exact == (Group((0, 1), "exact"), Group((2, 3), "exact"))
    assert [group.rows for group in found.other_captions] == [(0, 1), (4, 5)]
    assert [group.rows for group in found.other_labels] == [(0, 1)]
    assert [group.rows for group in found.leaks] == [(0, 1), (4, 5)]
    assert [group.rows for group in found.patients] == [(0, 1), (4, 5)]


def test_find_duplicates__an_exact_group_within_a_near_one_is_told_once():
    columns = {name: ["x", "y", "z"] for name in ("captions", "labels", "splits", "patients")}
    found = find_duplicates(sha256=["a", "a", "b"], near=[Group((0, 1, 2), "near")], **columns)
    assert [group.kind for group in found.other_captions] == ["near"]
