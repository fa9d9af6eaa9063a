"""Label checks against cleanlab and by hand; kNN-Shapley against all subsets."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chips_core.influence.embedding import Embeddings
from chips_core.influence.labels import ClassProbabilities, class_thresholds, confident_learning, self_confidence
from chips_core.influence.shapley import knn_shapley


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_labels(count: int, *, classes: int, seed: int) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def embeddings_of(features: Tensor) -> Embeddings:
    return Embeddings(features, None, torch.arange(len(features)))


def class_probabilities(count: int, *, classes: int, seed: int = 0, scale: float = 4.0) -> ClassProbabilities:
    prompts = torch.nn.functional.normalize(normal(classes, 6, seed=seed + 100), dim=1)
    return ClassProbabilities(embeddings_of(normal(count, 6, seed=seed)), prompts, scale)


def table_of(probabilities: ClassProbabilities) -> Tensor:
    return torch.cat([probabilities.of(x) for _, x in probabilities.images.pieces(7)])


def test_self_confidence__is_the_softmax_of_the_own_class() -> None:
    probabilities = class_probabilities(9, classes=3)
    y = draw_labels(9, classes=3, seed=1)
    x = torch.nn.functional.normalize(probabilities.images.features, dim=1)
    for i, value in enumerate(self_confidence(probabilities, labels=y).tolist()):
        weights = [math.exp(4.0 * float(x[i] @ t)) for t in probabilities.prompts]
        assert value == pytest.approx(weights[int(y[i])] / sum(weights))


def test_self_confidence__no_label_gets_the_median() -> None:
    probabilities = class_probabilities(4, classes=3)
    found = self_confidence(probabilities, labels=torch.tensor([0, 1, 2, -1]))
    assert found[3] == found[:3].median()
    assert self_confidence(probabilities, labels=torch.full((4,), -1)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("named", [4, 3])
@pytest.mark.parametrize("scale", [1.0, 4.0])  # a cool model is often confident of several classes
def test_confident_learning__equals_cleanlab(seed: int, named: int, scale: float) -> None:
    rank = pytest.importorskip("cleanlab.rank")
    find = pytest.importorskip("cleanlab.filter").find_label_issues
    probabilities = class_probabilities(300, classes=4, seed=seed, scale=scale)
    table = table_of(probabilities)
    y = torch.where(draw_labels(300, classes=3, seed=seed) > 0, table.argmax(1), draw_labels(300, classes=4, seed=9))
    y = y.clamp(max=named - 1)
    found = confident_learning(probabilities, labels=y)
    scores = rank.get_label_quality_scores(y.numpy(), table.numpy(), adjust_pred_probs=True)
    torch.testing.assert_close(found.quality, torch.from_numpy(scores))
    issues = find(y.numpy(), table.numpy(), filter_by="confident_learning", n_jobs=1)
    assert found.issue.tolist() == issues.tolist()
    assert 0 < found.issue.sum() < 300


@pytest.mark.parametrize("seed", range(3))
def test_self_confidence__equals_cleanlab(seed: int) -> None:
    rank = pytest.importorskip("cleanlab.rank")
    probabilities = class_probabilities(50, classes=4, seed=seed)
    y = draw_labels(50, classes=4, seed=seed)
    scores = rank.get_label_quality_scores(y.numpy(), table_of(probabilities).numpy(), method="self_confidence")
    torch.testing.assert_close(self_confidence(probabilities, labels=y), torch.from_numpy(scores))


def test_confident_learning__ignores_pairs_without_a_label() -> None:
    probabilities = class_probabilities(60, classes=3)
    y = draw_labels(60, classes=3, seed=2)
    hidden = y.clone()
    hidden[40:] = -1
    first = ClassProbabilities(probabilities.images.subset(torch.arange(40)), probabilities.prompts, 4.0)
    torch.testing.assert_close(
        class_thresholds(probabilities, labels=hidden), class_thresholds(first, labels=hidden[:40])
    )
    found = confident_learning(probabilities, labels=hidden)
    assert not found.issue[40:].any()
    assert (found.quality[40:] == found.quality[:40].median()).all()


def shapley_by_all_subsets(cosines: Tensor, *, y: Tensor, target_y: Tensor, k: int) -> Tensor:
    count = cosines.shape[1]

    def worth(members: tuple[int, ...], t: int) -> float:
        near = sorted(members, key=lambda i: -float(cosines[t, i]))[:k]
        return sum(int(y[i]) == int(target_y[t]) for i in near) / k

    values = torch.zeros(count, dtype=torch.float64)
    for t, i in itertools.product(range(len(cosines)), range(count)):
        rest = [j for j in range(count) if j != i]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - 1 - size) / math.factorial(count)
            for members in itertools.combinations(rest, size):
                values[i] += weight * (worth((*members, i), t) - worth(members, t))
    return values / len(cosines)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 200))
def test_knn_shapley__equals_all_subsets(count: int, k: int, seed: int) -> None:
    pool = embeddings_of(normal(count, 4, seed=seed))
    targets = torch.nn.functional.normalize(normal(3, 4, seed=seed + 1), dim=1)
    y, target_y = draw_labels(count, classes=2, seed=seed), draw_labels(3, classes=2, seed=seed + 1)
    found = knn_shapley(pool, labels=y, targets=targets, target_labels=target_y, k=k)
    slow = shapley_by_all_subsets(targets @ pool.take(slice(0, count)).T, y=y, target_y=target_y, k=k)
    torch.testing.assert_close(found, slow)


def test_knn_shapley__values_sum_to_the_accuracy_of_the_vote_and_pieces_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = embeddings_of(normal(200, 5))
    targets = torch.nn.functional.normalize(normal(20, 5, seed=1), dim=1)
    y, target_y = draw_labels(200, classes=3, seed=2), draw_labels(20, classes=3, seed=3)
    found = knn_shapley(pool, labels=y, targets=targets, target_labels=target_y, k=5)
    nearest = (targets @ pool.take(slice(0, 200)).T).topk(5).indices
    votes = (y[nearest] == target_y[:, None]).to(torch.float64).mean()
    torch.testing.assert_close(found.sum(), votes)
    monkeypatch.setattr("chips_core.influence.shapley.NUMBERS", 450)
    torch.testing.assert_close(knn_shapley(pool, labels=y, targets=targets, target_labels=target_y, k=5), found)


def test_knn_shapley__labels_that_are_missing_agree_with_nothing() -> None:
    pool = embeddings_of(normal(3, 4))
    targets = torch.nn.functional.normalize(normal(2, 4, seed=1), dim=1)
    none = torch.full((3,), -1)
    found = knn_shapley(pool, labels=none, targets=targets, target_labels=none[:2], k=2)
    assert found.tolist() == [0, 0, 0]
