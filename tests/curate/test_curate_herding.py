"""Herding against its definition, and that every beginning of its order stands for the whole."""

import numpy as np

from chips_core.curate import herding
from chips_core.curate.herding import herded, in_proportion


def embeddings(count=60, *, seed=0):
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(2, count, 5)) + draw.normal(size=5)
    return found / np.linalg.norm(found, axis=2, keepdims=True)


def one_group(count):
    return np.array(["s"] * count, dtype=object)


def test_herded__equals_the_definition():
    image, text = embeddings(30)
    z = np.hstack([image, text])
    left, chosen = list(range(30)), []
    while left:
        # nearest to the whole mean: argmin |mean of chosen and i - mean of all|, up to |z_i|², which is 2 for all
        best = max(left, key=lambda i: (len(chosen) + 1) * z[i] @ z.mean(0) - sum(z[i] @ z[j] for j in chosen))
        chosen.append(best)
        left.remove(best)
    found = herded(image, text, rows=np.arange(30), groups=one_group(30), seed=0)
    assert found.tolist() == chosen


def test_herded__a_tenth_keeps_the_mean_far_better_than_chance():
    image, text = embeddings(400)
    z = np.hstack([image, text])

    def gap(rows):
        return np.linalg.norm(z[rows].mean(0) - z.mean(0))

    found = herded(image, text, rows=np.arange(400), groups=one_group(400), seed=0)[:40]
    chance = [gap(np.random.default_rng(s).permutation(400)[:40]) for s in range(50)]
    assert gap(found) < 0.5 * min(chance)


def test_herded__groups_in_proportion_and_every_row_once():
    image, text = embeddings(60)
    groups = np.array(["big"] * 45 + ["small"] * 15, dtype=object)
    found = herded(image, text, rows=np.arange(60), groups=groups, seed=0)
    assert sorted(found.tolist()) == list(range(60))
    for count in (4, 12, 40):
        assert abs((groups[found[:count]] == "small").sum() - count / 4) <= 1


def test_herded__layout_of_the_rows_does_not_matter_even_in_blocks(monkeypatch):
    monkeypatch.setattr(herding, "BLOCK", 16)
    image, text = embeddings(60)
    first = herded(image, text, rows=np.arange(60), groups=one_group(60), seed=3)
    at = np.random.default_rng(0).permutation(60)
    rows = np.argsort(at)  # the same pairs in the order of their ids
    again = herded(image[at], text[at], rows=rows, groups=one_group(60), seed=3)
    assert at[again].tolist() == first.tolist()
    assert sorted(first.tolist()) == list(range(60))


def test_in_proportion__by_hand():
    groups = np.array(["a", "a", "a", "a", "b", "b"], dtype=object)
    assert in_proportion(np.arange(6), groups).tolist() == [0, 4, 1, 2, 5, 3]
    assert in_proportion(np.empty(0, np.int64), groups).tolist() == []
