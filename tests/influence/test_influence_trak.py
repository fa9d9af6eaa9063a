"""TRAK: own-path factors against autograd, the sketch against its definition, the direction against dense algebra."""

import oracles
import pytest
import torch

from chips_core.errors import SingularCurvature
from chips_core.influence import endpoint
from chips_core.influence.endpoint import Block
from chips_core.influence.trak import TensorSketch, trak_direction


def flat_own_path(block: Block, *, train_scale: bool = True) -> torch.Tensor:
    to_image, to_text, slope = endpoint.own_path(block)
    image = to_image[:, :, None] * block.image_features[:, None, :]
    text = to_text[:, :, None] * block.text_features[:, None, :]
    return torch.cat([image.flatten(1), text.flatten(1), slope[:, None] * train_scale], dim=1)


def test_tensor_sketch__of_pairs_is_the_sketch_of_their_gradients() -> None:
    X, Y, heads = oracles.random_case()
    block = endpoint.forward(X, Y, heads)
    sketch = TensorSketch.for_direction(heads.zeros(), width=16, seed=3)
    fast = sketch.of_pairs(block, train_scale=True)
    for n, row in enumerate(flat_own_path(block)):
        torch.testing.assert_close(fast[n], sketch.of_direction(heads.zeros().from_flat(row)))


def test_tensor_sketch__transposed_is_its_transpose() -> None:
    _, _, heads = oracles.random_case()
    v, w = oracles.random_direction(heads), torch.randn(16, dtype=torch.float64, generator=torch.Generator())
    sketch = TensorSketch.for_direction(v, width=16, seed=0)
    torch.testing.assert_close(sketch.of_direction(v) @ w, v.dot(sketch.transposed(w, like=v)))


def test_tensor_sketch__keeps_inner_products_on_average() -> None:
    _, _, heads = oracles.random_case()
    a, b = oracles.random_direction(heads, 1), oracles.random_direction(heads, 2)
    found = []
    for seed in range(200):
        sketch = TensorSketch.for_direction(a, width=32, seed=seed)
        found.append(float(sketch.of_direction(a) @ sketch.of_direction(b)))
    values = torch.tensor(found, dtype=torch.float64)
    assert abs(float(values.mean() - a.dot(b))) < 4 * float(values.std()) / 200**0.5
    assert float(values.std()) > 0


def test_tensor_sketch__a_wide_sketch_is_nearly_lossless() -> None:
    X, Y, heads = oracles.random_case(pairs=12)
    block, v = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    sketch = TensorSketch.for_direction(v, width=4096, seed=0)
    dots = sketch.of_pairs(block, train_scale=True) @ sketch.of_direction(v)
    assert oracles.spearman(dots, endpoint.own_path_dots(block, v)) > 0.9


@pytest.mark.parametrize("train_scale", [True, False])
def test_trak_direction__scores_equal_dense_algebra(train_scale: bool) -> None:
    X, Y, heads = oracles.random_case(pairs=20)
    blocks = [endpoint.forward(X[:10], Y[:10], heads), endpoint.forward(X[10:], Y[10:], heads)]
    u = oracles.random_direction(heads)
    v = trak_direction(lambda: iter(blocks), u, width=8, damping=0.1, seed=5, train_scale=train_scale)
    sketch = TensorSketch.for_direction(u, width=8, seed=5)
    rows = [flat_own_path(b, train_scale=train_scale) for b in blocks]
    phi = torch.stack([sketch.of_direction(u.from_flat(row)) for row in torch.cat(rows)])
    K = phi.T @ phi / 20
    slow = phi @ torch.linalg.inv(K + 0.1 * K.trace() / 8 * torch.eye(8, dtype=torch.float64)) @ sketch.of_direction(u)
    fast = torch.cat([endpoint.own_path_dots(b, v) for b in blocks])
    torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-8)


def test_trak_direction__refuses_no_damping_on_a_singular_matrix_and_gives_zero_without_gradients() -> None:
    X, Y, heads = oracles.random_case(pairs=3)
    block = endpoint.forward(X, Y, heads)
    u = oracles.random_direction(heads)
    v = trak_direction(
        lambda: iter([endpoint.forward(X[:1], Y[:1], heads)]), u, width=8, damping=0.1, seed=0, train_scale=True
    )
    assert float(v.norm()) == 0
    with pytest.raises(SingularCurvature, match="raise the damping"):
        trak_direction(lambda: iter([block]), u, width=64, damping=1e-18, seed=0, train_scale=True)
