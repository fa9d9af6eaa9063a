"""Ranks, and how two columns agree in them."""

import math

import torch
from torch import Tensor


def mean_ranks(values: Tensor) -> Tensor:
    """Returns each value's rank from 1, (N,) float64; equal values share their mean rank."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    ranks: Tensor = (ends - (counts.double() - 1) / 2)[inverse]
    return ranks


def spearman(a: Tensor, b: Tensor) -> float:
    """Returns the rank correlation of two columns, ties by mean rank; 0.0 where one is constant."""
    first, second = (ranks - ranks.mean() for ranks in (mean_ranks(a), mean_ranks(b)))
    length = math.sqrt(float(first.square().sum() * second.square().sum()))
    return float((first * second).sum()) / length if length else 0.0
