"""The loss of a block: values, derivatives and deletions against autograd and real deletion, in float64."""

import math

import oracles
import pytest
import torch

from chips_core.errors import InputError
from chips_core.influence import loss


def logits(pairs: int = 6, *, scale: float = 4.0, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(pairs, pairs, generator=g, dtype=torch.float64)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pairs", [2, 3, 9])
@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
def test_values__equal_cross_entropy_and_real_deletion(pairs: int, scale: float) -> None:
    S = logits(pairs, scale=scale)
    close(loss.positives(S), oracles.pos_of(S))
    close(loss.pair_losses(S), oracles.pos_of(S) / 2)
    close(loss.negatives(S, floor=0.0), oracles.neg_by_deletion(S), 1e-10)


def test_negatives__first_order_is_the_derivative_by_log_weight() -> None:
    S = logits()
    close(loss.negatives(S, exact=False), oracles.neg_by_log_weight(S))


def test_negatives__two_pairs_by_hand() -> None:
    S = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    close(loss.negatives(S), torch.full((2,), 2 * math.log(2), dtype=torch.float64))
    close(loss.negatives(S, exact=False), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("members", [[0], [1, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_set_deletion__equals_deleting_the_rows_and_columns(members: list[int]) -> None:
    S = logits(scale=10.0)
    mask = torch.zeros(6, dtype=torch.bool)
    mask[members] = True
    close(loss.set_deletion(S, mask), oracles.pos_of(S).sum() - oracles.loss_without(S, members), 1e-10)


def test_set_deletion__is_not_the_sum_of_single_deletions() -> None:
    S = logits()
    mask = torch.tensor([True, True, False, False, False, False])
    single = (loss.positives(S) + loss.negatives(S))[mask].sum()
    assert abs(float(loss.set_deletion(S, mask) - single)) > 1e-3


@pytest.mark.parametrize("scale", [1.0, 8.0, 60.0])
def test_dots_and_coefficients__equal_autograd_through_the_logits(scale: float) -> None:
    S, T = logits(scale=scale), logits(seed=1)
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.5], dtype=torch.float64)
    cases = [
        (loss.loss_dots, loss.loss_coefficients, lambda s: oracles.pos_of(s) / 2),
        (loss.pos_dots, loss.pos_coefficients, oracles.pos_of),
        (loss.neg_dots, loss.neg_coefficients, oracles.neg_by_deletion),
    ]
    for dots, coefficients, slow in cases:
        J = torch.autograd.functional.jacobian(slow, S)  # (B, B, B)
        close(dots(S, T), (J * T).sum((1, 2)), 1e-9)
        close(coefficients(S, weights), (weights[:, None, None] * J).sum(0), 1e-9)


def test_dots__first_order_negatives_equal_autograd() -> None:
    S, T = logits(), logits(seed=1)
    weights = torch.arange(6, dtype=torch.float64) - 2

    def slow(s: torch.Tensor) -> torch.Tensor:
        P, Q = torch.softmax(s, 1), torch.softmax(s, 0)
        return P.sum(0) + Q.sum(1) - P.diagonal() - Q.diagonal()

    J = torch.autograd.functional.jacobian(slow, S)
    close(loss.neg_dots(S, T, exact=False), (J * T).sum((1, 2)))
    close(loss.neg_coefficients(S, weights, exact=False), (weights[:, None, None] * J).sum(0))


def test_margins_and_correctness__by_hand() -> None:
    S = torch.tensor([[3.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    close(loss.margins(S), torch.tensor([((3 - 1) + (3 - 2)) / 2, ((0 - 2) + (0 - 1)) / 2], dtype=torch.float64))
    P, Q = loss.probabilities(S)
    close(loss.correctness(S), (P.diagonal() + Q.diagonal()) / 2)


@pytest.mark.parametrize("kind", ["plus", "minus", "mixed", "flat"])
def test_everything__is_finite_at_logits_of_ten_thousand(kind: str) -> None:
    signs = {"plus": torch.eye(5), "minus": -torch.eye(5), "flat": torch.ones(5, 5)}
    S = 1e4 * signs.get(kind, torch.sign(logits(5))).to(torch.float32)
    T = logits(5, seed=2).float()
    ones = torch.ones(5)
    results = [
        loss.positives(S),
        loss.negatives(S),
        loss.correctness(S),
        loss.margins(S),
        loss.neg_dots(S, T),
        loss.loss_dots(S, T),
        loss.neg_coefficients(S, ones),
        loss.gauss_newton_coefficients(*loss.probabilities(S), T),
    ]
    assert all(bool(torch.isfinite(r).all()) for r in results)
    close(loss.neg_dots(S, T).double(), loss.neg_dots(S.double(), T.double()), 1e-5)


def test_check_logits__says_what_is_wrong() -> None:
    with pytest.raises(InputError, match="no negatives"):
        loss.check_logits(torch.ones(1, 1))
    with pytest.raises(InputError, match="not finite"):
        loss.check_logits(torch.tensor([[1.0, torch.nan], [0.0, 1.0]]))
    with pytest.raises(InputError, match="one row and one column"):
        loss.check_logits(torch.ones(2, 3))
