"""The endpoint: jvp, vjp, per-pair inner products, gradients and Gauss-Newton products against autograd, in float64."""

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chips_core.errors import InputError
from chips_core.influence import endpoint, loss
from chips_core.influence.endpoint import Heads


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@given(
    pairs=st.integers(2, 9),
    width=st.integers(1, 5),
    scale=st.sampled_from([0.1, 1.0, 14.3, 100.0]),
    seed=st.integers(0, 10_000),
)
def test_gradients__equal_autograd_per_pair(pairs: int, width: int, scale: float, seed: int) -> None:
    X, Y, heads = oracles.random_case(pairs, width, scale=scale, seed=seed)
    block, v = endpoint.forward(X, Y, heads), oracles.random_direction(heads, seed + 1)
    slow = oracles.pair_gradients(lambda S: oracles.pos_of(S) / 2, X, Y, heads)
    close(endpoint.pair_dots(block, v).loss, slow @ v.flat(), 1e-9)
    close(endpoint.mean_gradient(block).flat(), slow.mean(0), 1e-9)
    close(endpoint.sum_gradient(block).flat(), 2 * slow.sum(0), 1e-9)


def test_pair_dots__equal_autograd_for_positives_and_deletion() -> None:
    X, Y, heads = oracles.random_case()
    block, v = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    dots = endpoint.pair_dots(block, v)
    close(dots.pos, oracles.pair_gradients(oracles.pos_of, X, Y, heads) @ v.flat(), 1e-12)
    close(dots.neg, oracles.pair_gradients(oracles.neg_by_deletion, X, Y, heads) @ v.flat(), 1e-10)
    taylor = oracles.pair_gradients(lambda S: loss.negatives(S, exact=False), X, Y, heads)
    close(dots.neg_taylor, taylor @ v.flat(), 1e-12)


def test_jvp__is_the_transpose_of_vjp() -> None:
    X, Y, heads = oracles.random_case()
    block, v = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    A = torch.randn(7, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    close((A * endpoint.jvp(block, v)).sum(), endpoint.vjp(block, A).dot(v), 1e-12)
    close(block.logits, oracles.logits_of(oracles.flat_heads(heads), X, Y, heads), 1e-12)


@pytest.mark.parametrize("strip", [1, 3, 96])
def test_gauss_newton_product__equals_the_dense_matrix_and_is_psd(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "STRIP_ROWS", strip)
    X, Y, heads = oracles.random_case()
    block, w = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    G = oracles.gauss_newton(X, Y, heads)
    close(endpoint.gauss_newton_product(block, w).flat(), G @ w.flat())
    close(G, G.T)
    assert float(torch.linalg.eigvalsh(G).min()) > -1e-9


def test_gauss_newton_product__without_scale_is_the_submatrix() -> None:
    X, Y, heads = oracles.random_case()
    block, w = endpoint.forward(X, Y, heads), oracles.random_direction(heads)
    G = oracles.gauss_newton(X, Y, heads)
    G[-1], G[:, -1] = 0, 0
    close(endpoint.gauss_newton_product(block, w, train_scale=False).flat(), G @ w.flat())


@pytest.mark.parametrize("of", [loss.loss_coefficients, loss.pos_coefficients, loss.neg_coefficients])
def test_gradient__without_scale_only_lacks_the_scale(of: endpoint.Coefficients) -> None:
    X, Y, heads = oracles.random_case()
    block = endpoint.forward(X, Y, heads)
    weights = torch.linspace(-1, 2, 7, dtype=torch.float64)
    whole = endpoint.gradient(block, weights, of=of)
    frozen = endpoint.gradient(block, weights, of=of, train_scale=False)
    assert float(frozen.log_scale) == 0.0
    assert float(whole.log_scale) != 0.0
    close(whole.image, frozen.image)


def test_direction__arithmetic_is_that_of_flat_vectors() -> None:
    _, _, heads = oracles.random_case()
    a, b = oracles.random_direction(heads, 1), oracles.random_direction(heads, 2)
    close((a + 2 * b - (-a)).flat(), 2 * a.flat() + 2 * b.flat())
    close(a.axpy(3.0, b).flat(), a.flat() + 3 * b.flat())
    close(a.dot(b), a.flat() @ b.flat())
    close(a.norm(), torch.linalg.vector_norm(a.flat()))
    close(a.from_flat(b.flat()).flat(), b.flat())
    close(heads.moved(a).minus(heads).flat(), a.flat())
    assert a.size == len(a.flat()) == 4 * 6 + 4 * 5 + 1


def test_forward__names_rows_without_length_or_with_nan() -> None:
    X, Y, heads = oracles.random_case()
    X[2], Y[4, 0] = 0.0, torch.nan
    with pytest.raises(InputError, match=r"rows \[2\]"):
        endpoint.forward(X, Y, heads)
    X[2] = 1.0
    with pytest.raises(InputError, match=r"rows \[4\]"):
        endpoint.forward(X, Y, heads)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_heads__refuse_a_scale_that_is_none(scale: float) -> None:
    with pytest.raises(InputError, match="logit scale"):
        Heads.of(torch.eye(2), torch.eye(2), scale=scale)


def test_heads__refuse_shapes_and_values_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="one space"):
        Heads.of(torch.ones(3, 2), torch.ones(4, 2), scale=1.0)
    with pytest.raises(InputError, match="not usable"):
        Heads.of(torch.tensor([[torch.inf]]), torch.ones(1, 1), scale=1.0)
