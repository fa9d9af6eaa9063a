"""Retraining: it reaches the minimum that autograd agrees with, from anywhere, and says when it cannot."""

import oracles
import pytest
import torch

from chips_core.errors import SingularCurvature
from chips_core.influence.blocks import Features
from chips_core.verify import retrain
from chips_core.verify.retrain import Objective


def case() -> tuple[Objective, torch.Tensor]:
    X, Y, heads = oracles.random_case(12, width=8, image_width=9, text_width=9, scale=3.0)
    return Objective(Features(X, Y), heads, 0.3), torch.arange(12)


@pytest.mark.parametrize("blocks", [(), (torch.tensor([5, 2, 8, 0, 7]), torch.tensor([1, 3, 4, 6, 9, 10, 11]))])
@pytest.mark.parametrize("train_scale", [True, False])
def test_objective__equals_autograd(train_scale: bool, blocks: tuple[torch.Tensor, ...]) -> None:
    objective, keep = case()
    objective = Objective(objective.features, objective.anchor, 0.3, train_scale, blocks)
    keep, heads = keep[2:], objective.anchor
    there = heads.moved(oracles.random_direction(heads) * 0.1)
    anchor = oracles.flat_heads(heads)
    theta = oracles.flat_heads(there).requires_grad_(True)
    away = theta - anchor
    if not train_scale:
        away = away[:-1]
    slow = 0.15 * away.square().sum()
    for block in blocks or (keep,):
        rows = block[block >= 2]  # the kept ones
        S = oracles.logits_of(theta, objective.features.image[rows], objective.features.text[rows], heads)
        slow = slow + oracles.pos_of(S).sum() / 24
    slow.backward()
    expected = theta.grad.clone()
    if not train_scale:
        expected[-1] = 0
    value, gradient = objective.at(there, keep)
    assert value == pytest.approx(float(slow.detach()), rel=1e-12)
    torch.testing.assert_close(gradient.flat(), expected, rtol=1e-9, atol=1e-12)


def test_retrain__finds_the_same_minimum_from_two_starts() -> None:
    objective, keep = case()
    first = retrain.retrain(objective, objective.anchor, keep=keep, tolerance=1e-9)
    nearby = first.heads.moved(oracles.random_direction(first.heads) * 0.01)
    nearby = retrain.Heads(nearby.image, nearby.text, first.heads.log_scale)
    second = retrain.retrain(objective, nearby, keep=keep, tolerance=1e-9)
    assert first.gradient_norm < 1e-9
    assert float(first.heads.minus(second.heads).norm()) < 1e-7
    assert objective.at(first.heads, keep)[0] < objective.at(objective.anchor, keep)[0]


def test_retrain__says_when_it_did_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, keep = case()
    monkeypatch.setattr(retrain, "MAX_ROUNDS", 3)
    with pytest.raises(SingularCurvature, match="gradient norm"):
        retrain.retrain(objective, objective.anchor, keep=keep)
