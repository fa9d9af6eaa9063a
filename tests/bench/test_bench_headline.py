"""The headline results on coloured squares: each is there, plain, and says what it must say on an easy case."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bench_detect import write_folder

from chips_core.bench import base, editing, endpoint_ranking, headline, noisy_pool, select
from chips_core.errors import UsageError


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("headline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noisy_pool, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=2, batch_size=16))
        patch.setattr(select, "REPEATS", 1)
        patch.setattr(editing, "DELTA", 3.0)  # a barely trained model is far from any minimum
        data = write_folder(folder / "d")
        return headline.run(data=data, noise=0.3, seeds=1, quick=True, cache=folder / "cache")


def test_run__every_result_is_there(found: dict[str, Any]) -> None:
    json.dumps(found, allow_nan=False)
    assert set(headline.RESULTS) <= set(found)
    for mark in ("(a)", "(b)", "(c)", "(d)", "(e)"):
        assert mark in headline.table(found)
    assert set(found["budgets"]["noisy"]["random"]) == {"0.1", "0.2", "0.3", "0.4", "0.5"}
    assert -1 <= found["endpoint"]["spearman"] <= 1
    assert 0 < found["endpoint"]["endpoint"] < found["endpoint"]["parameters"]


def test_editing__the_edit_goes_the_way_of_the_retraining(found: dict[str, Any]) -> None:
    for line in found["editing"]["removals"]:
        assert line["cosine"] > 0.9


def test_along__is_the_inner_product_of_each_pairs_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_pool, "QUICK_RECIPE", replace(base.QUICK_RECIPE, epochs=1, batch_size=16))
    case = noisy_pool.noisy_case(
        write_folder(tmp_path / "d"), noise=0.2, kind="within", quick=True, cache=tmp_path / "c", progress=None
    )
    model = endpoint_ranking.load_model(endpoint_ranking.parse_model(str(case.encoder_file))).model.double().eval()
    batch = endpoint_ranking._Batches(case, model)
    rows = list(case.parts.pool[:6])
    texts = case.data.column("caption", places=rows)
    u = batch.gradient(list(case.parts.target[:6]), None)
    for only in ((), endpoint_ranking.ENDPOINT):
        fast = batch.along(u, rows, texts, only=only)
        for place in range(6):
            own = torch.autograd.grad(batch.losses(rows, texts)[place], list(u_names(model, u)))
            slow = sum(
                float((g * u[name]).sum()) for name, g in zip(u, own, strict=True) if not only or name.startswith(only)
            )
            np.testing.assert_allclose(float(fast[place]), slow, rtol=1e-3, atol=1e-9)


def u_names(model: Any, u: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    parameters = dict(model.named_parameters())
    return [parameters[name] for name in u]


def test_run__an_unknown_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no result"):
        headline.run(data=tmp_path, only="x")
