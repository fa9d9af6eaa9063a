"""Random projections: unbiased, error falling as 1/√k, the same from the same seed, and right inside a curvature."""

import math

import oracles
import pytest
import torch

from chips_core.errors import UsageError
from chips_core.influence import curvature, endpoint, factored
from chips_core.influence.sketch import Rademacher, Sketch, Sketched, Sparse, TwoSided

KINDS = [Rademacher, Sparse, TwoSided]


def make(kind: type, size: int, seed: int) -> Sketch:
    return TwoSided(size, seed, left=2) if kind is TwoSided else kind(size, seed)


def case() -> tuple[factored.GradientSet, endpoint.Direction, endpoint.Direction, endpoint.Block]:
    X, Y, heads = oracles.random_case()
    block = endpoint.forward(X, Y, heads)
    return factored.loss_gradients(block), oracles.random_direction(heads, 1), oracles.random_direction(heads, 2), block


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_project__keeps_inner_products_on_average(kind: type) -> None:
    _, a, b, _ = case()
    b = b + a * 0.5
    found = torch.stack([make(kind, 8, s).project(a) @ make(kind, 8, s).project(b) for s in range(200)])
    sigma = float(found.std()) / math.sqrt(200)
    assert abs(float(found.mean() - a.dot(b))) < 4 * sigma


@pytest.mark.parametrize("kind", KINDS[:2])
def test_project__error_falls_with_the_root_of_the_size(kind: type) -> None:
    _, a, b, _ = case()

    def error(size: int) -> float:
        found = [make(kind, size, s).project(a) @ make(kind, size, s).project(b) for s in range(100)]
        return float((torch.stack(found) - a.dot(b)).square().mean().sqrt())

    assert error(16) / error(256) == pytest.approx(4.0, rel=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_project__is_linear_seeded_and_the_transpose_of_lift(kind: type) -> None:
    _, a, b, _ = case()
    sketch, again, other = make(kind, 16, 3), make(kind, 16, 3), make(kind, 16, 4)
    assert torch.equal(sketch.project(a), again.project(a))
    assert not torch.equal(sketch.project(a), other.project(a))
    close(sketch.project(a + 2 * b), sketch.project(a) + 2 * sketch.project(b))
    z = torch.randn(len(sketch.project(a)), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close(sketch.project(a) @ z, sketch.lift(z, a).dot(a))


@pytest.mark.parametrize("kind", KINDS)
def test_project_set__equals_projecting_each_vector(kind: type) -> None:
    vectors, *_ = case()
    sketch = make(kind, 16, 3)
    each = [sketch.project(vectors.combine(e)) for e in torch.eye(len(vectors), dtype=torch.float64)]
    close(sketch.project_set(vectors), torch.stack(each))


@pytest.mark.parametrize("kind", KINDS)
def test_sketched__is_the_inverse_inside_the_sketch(kind: type) -> None:
    _, u, g, block = case()
    low, sketch = curvature.pair_roles([block]), make(kind, 16, 3)
    R = torch.stack([sketch.project(u.from_flat(e)) for e in torch.eye(u.size, dtype=torch.float64)], dim=1)
    M = R @ curvature.dense(low, u) @ R.T
    inside = torch.linalg.solve(M + 0.1 * torch.eye(len(M), dtype=M.dtype), R @ u.flat())
    solved = Sketched(low, sketch).solve(u, damping=0.1)
    close(solved.direction.dot(g), (R @ g.flat()) @ inside)
    assert Sketched(low, sketch).trace() == pytest.approx(float(M.trace()))


def test_sketched__refuses_what_it_cannot_do() -> None:
    _, u, _, block = case()
    with pytest.raises(UsageError, match="above zero"):
        Sketched(curvature.pair_roles([block]), Rademacher(8)).solve(u, damping=0.0)
    with pytest.raises(UsageError, match="two-sided"):
        TwoSided(100)
