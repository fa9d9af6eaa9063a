"""Ranks: ties share, constants agree with nothing."""

import pytest
import torch

from chips_core.influence.ranks import mean_ranks, spearman


def test_spearman__by_hand() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, 3.0])
    assert spearman(a, a * 5) == pytest.approx(1.0)
    assert spearman(a, -a) == pytest.approx(-1.0)
    assert spearman(a, torch.ones(4)) == 0.0
    assert spearman(a, torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.9486832980505138)


def test_mean_ranks__equal_values_share_their_mean() -> None:
    assert mean_ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
