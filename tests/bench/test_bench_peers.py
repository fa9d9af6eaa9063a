"""The peers see the same gradients as we do, and traker's scores are what our words for TRAK say."""

from pathlib import Path

import oracles
import pytest
import torch

from chips_core.bench.peers import (
    Endpoint,
    PairLoss,
    autograd_pairs_per_s,
    trak_pairs_per_s,
    trak_scores,
    whole_gradients,
)
from chips_core.influence.blocks import Features
from chips_core.influence.endpoint import Heads, forward, pair_dots


def small_case() -> tuple[Features, Heads]:
    X, Y, heads = oracles.random_case(pairs=12, width=3, image_width=4, text_width=3, scale=3.0)
    return Features(X, Y), heads


def test_pair_loss__has_our_own_path_gradients() -> None:
    pairs, heads = small_case()
    module = Endpoint(heads)
    loss = PairLoss.at(module, pairs)
    weights = dict(module.named_parameters())
    slow = oracles.own_path_gradients(pairs.image, pairs.text, heads)
    for n in range(len(pairs)):
        value = loss.get_output(module, weights, {}, pairs.image[n], pairs.text[n], torch.tensor(n))
        parts = torch.autograd.grad(value, list(weights.values()))
        torch.testing.assert_close(torch.cat([p.reshape(-1) for p in parts]), slow[n])


def test_whole_gradients__are_those_that_our_scores_are_products_of() -> None:
    pairs, heads = small_case()
    found = whole_gradients(pairs, heads, rows=torch.tensor([3, 7]))
    flat = torch.cat([found[name].reshape(2, -1) for name in ("image", "text", "log_scale")], dim=1)
    v = heads.zeros().from_flat(
        torch.randn(flat.shape[1], dtype=flat.dtype, generator=torch.Generator().manual_seed(0))
    )
    ours = pair_dots(forward(pairs.image, pairs.text, heads), v).loss[[3, 7]]
    torch.testing.assert_close(flat @ v.flat(), ours)


def test_trak_scores__are_whitened_products_of_gradients(tmp_path: Path) -> None:
    pytest.importorskip("trak")
    pairs, heads = small_case()
    found = trak_scores(pairs, heads.to(torch.float32), folder=tmp_path, damping=0.05)
    g = oracles.own_path_gradients(pairs.image, pairs.text, heads)
    g = g / g.shape[1] ** 0.5  # traker divides by the root of the number of parameters
    inverse = torch.linalg.inv(g.T @ g + 0.05 * torch.eye(g.shape[1], dtype=g.dtype))
    slow = g @ (inverse / inverse.abs().mean()) @ g.T  # and the inverse by its mean entry
    torch.testing.assert_close(found.double(), slow, rtol=1e-3, atol=1e-3)


def test_autograd_pairs_per_s__runs() -> None:
    pairs, heads = small_case()
    assert autograd_pairs_per_s(pairs, heads, sample=6, at_once=4) > 0


def test_trak_pairs_per_s__runs(tmp_path: Path) -> None:
    pytest.importorskip("trak")
    pairs, heads = small_case()
    narrow = heads.to(torch.float32)
    half = Features(pairs.image.half(), pairs.text.half())
    assert trak_pairs_per_s(half, narrow, folder=tmp_path, width=8, at_once=5) > 0
