"""ClipCov against its slow definition, the released deductions, and the identity of marginal gains."""

import itertools

import numpy as np
import pytest

from chips_core.curate.clipcov import ClipCovSettings, clipcov, cross_covariance_gap

D = 6


def pool(count=40, *, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    codes = draw.integers(classes, size=count)
    middle = draw.normal(size=(classes, D))
    image, text = (middle[codes] + draw.normal(size=(count, D)) for _ in range(2))
    image, text = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (image, text))
    prompts = {f"c{c}": draw.normal(size=D).astype(np.float32) for c in range(classes)}
    return image, text, np.array([f"c{c}" for c in codes]), prompts


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Slow:
    """Every similarity written out."""

    def __init__(self, image, text, classes, prompts, *, threshold=0.0):
        x, y = unit(image - image.mean(0)), unit(text - text.mean(0))
        raw = x @ y.T
        s = raw if threshold is None else raw * (raw > threshold)
        self.classes, self.size = classes, {c: int((classes == c).sum()) for c in set(classes)}
        same = classes[:, None] == classes[None, :]
        self.both = (s + s.T) * same
        sizes = np.array([self.size[c] for c in classes])
        self.cross = self.both.sum(1) / sizes
        self.ls = np.array([text[i] @ unit(prompts[c]) if c in prompts else 0.0 for i, c in enumerate(classes)])
        others = [
            (x[i] @ self.mean(text, classes != c, text) + y[i] @ self.mean(image, classes != c, image))
            for i, c in enumerate(classes)
        ]
        self.score = self.cross + 2 * np.diag(raw) + self.ls / 2 - np.array(others)

    @staticmethod
    def mean(part, mask, everything):
        return unit(part[mask].mean(0) - everything.mean(0)) if mask.any() else np.zeros(part.shape[1])

    def greedy(self, count, *, refresh, released=False):
        score, picks, new = self.score.copy(), [], {c: [] for c in self.size}
        for _ in range(count):
            left = np.where(np.isin(np.arange(len(score)), picks), -np.inf, score)
            i = int(np.argmax(left))
            c = self.classes[i]
            picks.append(i)
            new[c].append(i)
            taken = [p for p in picks if self.classes[p] == c]
            if (len(taken) + released) % refresh == 0:
                mine, n = self.classes == c, self.size[c]
                score[mine] -= self.both[np.ix_(mine, new[c])].sum(1) / n
                score[mine] -= self.cross[taken if released else new[c]].sum() / n
                score[mine] -= self.ls[new[c]].sum() / 2 / n
                new[c] = []
        return picks


def fast(image, text, classes, prompts, *, count, **settings):
    rows = np.arange(len(image))
    chosen = ClipCovSettings(**settings)
    return clipcov(image, text, rows=rows, classes=classes, count=count, prompts=prompts, settings=chosen).tolist()


@pytest.mark.parametrize("threshold", [0.0, None, 0.2])
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("refresh", [2, 3, 200])
def test_clipcov__equals_the_slow_definition(threshold, released, refresh):
    for seed in range(3):
        image, text, classes, prompts = pool(seed=seed)
        slow = Slow(image, text, classes, prompts, threshold=threshold)
        expected = slow.greedy(25, refresh=refresh, released=released)
        found = fast(image, text, classes, prompts, count=25, threshold=threshold, released=released, refresh=refresh)
        assert found == expected


def test_clipcov__marginal_gain_identity():
    """Refreshed after every pick, a score is what F gains: F(S + i) - F(S), with nothing counted twice."""
    image, text, classes, _ = pool(14, classes=1)
    slow = Slow(image, text, classes, {})

    def value(chosen):
        chosen = list(chosen)
        pairs = sum(slow.both[i, j] for i, j in itertools.combinations(chosen, 2))
        return slow.score[chosen].sum() - pairs / len(image)

    picks = fast(image, text, classes, {}, count=8, refresh=1)
    chosen = []
    for pick in picks:
        left = [i for i in range(len(image)) if i not in chosen]
        own = sum(slow.both[pick, j] for j in chosen) / len(image)
        assert value([*chosen, pick]) - value(chosen) == pytest.approx(slow.score[pick] - own)
        gains = {i: value([*chosen, i]) - value(chosen) for i in left}
        assert pick == max(gains, key=gains.get)
        chosen.append(pick)


def test_clipcov__half_precision_and_few_rows():
    image, text, classes, prompts = pool()
    rows = np.array([5, 3, 20, 30])
    found = clipcov(image.astype(np.float16), text.astype(np.float16), rows=rows, classes=classes[rows], count=9)
    assert sorted(found.tolist()) == [3, 5, 20, 30]
    assert clipcov(image, text, rows=rows[:0], classes=classes[:0], count=3).tolist() == []
    assert prompts


def test_clipcov__keeps_the_cross_covariance_better_than_chance():
    image, text, classes, _ = pool(600, classes=3, seed=1)
    rows = np.arange(600)
    found = clipcov(image, text, rows=rows, classes=classes, count=200)

    def gap(chosen):
        return cross_covariance_gap(image, text, rows=rows, chosen=chosen, classes=classes)

    assert gap(rows) == pytest.approx(0, abs=1e-6)
    assert gap(found[:0]) == pytest.approx(1)
    assert gap(found) < 1


def test_refresh_of__a_fiftieth_of_the_class_or_as_released():
    settings = ClipCovSettings()
    assert [settings.refresh_of(size) for size in (3, 100, 1_000, 50_000)] == [1, 2, 20, 200]
    assert ClipCovSettings(released=True).refresh_of(100) == 200
    assert ClipCovSettings(refresh=7).refresh_of(50_000) == 7


def test_clipcov__keeps_more_of_the_cross_covariance_than_chance_and_agreement_do():
    """The more so the oftener it looks at what is covered: one update in 200 picks never comes in small classes."""
    image, text, classes, _ = pool(600, classes=4)
    rows, count = np.arange(len(image)), len(image) // 4

    def gap(chosen):
        return cross_covariance_gap(image, text, rows=rows, chosen=chosen, classes=classes, of_sums=True)

    chosen = clipcov(image, text, rows=rows, classes=classes, count=count)
    by_chance = np.mean([gap(np.random.default_rng(s).permutation(len(rows))[:count]) for s in range(20)])
    assert gap(chosen) < by_chance
    assert gap(chosen) <= gap(np.argsort(-(image * text).sum(1), kind="stable")[:count])
