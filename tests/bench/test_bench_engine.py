"""The engine benchmark: its keys, and numbers that follow from what was measured."""

import json
import math

import pytest
import torch

from chips_core.bench import engine

KEYS = {
    "pairs_per_s",
    "gemm_limit_pairs_per_s",
    "fraction_of_limit",
    "autograd_pairs_per_s",
    "speedup_vs_autograd",
    "trak_pairs_per_s",
    "speedup_vs_trak",
    "encode_pairs_per_s",
    "overhead_vs_encode",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"IMAGE_WIDTH": 96, "TEXT_WIDTH": 80, "WIDTH": 64, "BLOCK": 32, "QUICK_PAIRS": 128}.items():
        monkeypatch.setattr(engine, name, value)
    monkeypatch.setattr(engine, "SMALLER_BLOCKS", (16,))
    monkeypatch.setattr(engine, "_encode", float)


@pytest.mark.usefixtures("small")
def test_run__has_the_contract_s_keys_and_consistent_ratios() -> None:
    found = engine.run(quick=True)
    assert set(found) >= KEYS
    json.dumps(found, allow_nan=False)
    assert found["fraction_of_limit"] == pytest.approx(found["pairs_per_s"] / found["gemm_limit_pairs_per_s"])
    assert found["speedup_vs_autograd"] == pytest.approx(found["pairs_per_s"] / found["autograd_pairs_per_s"])
    assert set(found["autograd_pairs_per_s_by_block"]) == {"16", "32"}
    assert found["autograd_pairs_per_s"] == max(found["autograd_pairs_per_s_by_block"].values())
    assert found["overhead_vs_encode"] == pytest.approx(engine.ENCODED_AT_ONCE / found["pairs_per_s"])
    assert found["large_pairs"] == 128 * engine.QUICK_GROWTH


@pytest.mark.usefixtures("small")
def test_run__without_the_peer_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)
    found = engine.run(quick=True)
    assert found["trak_pairs_per_s"] is None
    assert found["speedup_vs_trak"] is None


def test_structured_features__pairs_belong_together() -> None:
    features, heads, _ = engine.structured_features(256, seed=0)
    image = torch.nn.functional.normalize(features.image.float() @ heads.image.T, dim=1)
    text = torch.nn.functional.normalize(features.text.float() @ heads.text.T, dim=1)
    cosines = image @ text.T
    own, others = float(cosines.diagonal().mean()), float(cosines.mean())
    assert own > others + 0.2
    assert math.isfinite(own)
