"""How a pool remembers its model: names as given, files by their place from the pool, so that all can move together."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import tiny_dataset, tiny_model

from chips_core.cli import main
from chips_core.errors import InputError
from chips_core.jobs.models import DEMO, DEMO_FOLDER, model_of_record, model_record
from chips_core.store import Pool

POOL = Path("/data/pools/mine")


@pytest.mark.parametrize("name", [DEMO, "ViT-B-32", "hf-hub:org/name"])
def test_model_record__names_stay_names(name: str) -> None:
    assert model_record(name, weights=None, pool=POOL) == {"model": name, "weights": None}


def test_model_record__a_tag_stays_a_tag() -> None:
    recorded = model_record("ViT-B-32", weights="laion2b_s34b_b79k", pool=POOL)
    assert recorded["weights"] == "laion2b_s34b_b79k"
    assert model_of_record(recorded, pool=POOL).weights == "laion2b_s34b_b79k"


def test_model_of_record__demo_is_the_shipped_one_wherever_that_is() -> None:
    assert model_of_record({"model": DEMO, "weights": None}, pool=POOL).config == str(
        DEMO_FOLDER / "open_clip_config.json"
    )


@pytest.mark.parametrize("named", ["{}", "local-dir:{}", "{}/open_clip_config.json"])
def test_m6__a_model_of_ones_own_is_found_from_a_copy_and_no_path_is_stored(
    tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "here" / "model")
    weights = (tmp_path / "here" / "model" / "open_clip_config.safetensors").rename(tmp_path / "here" / "w.safetensors")
    recorded = model_record(named.format("here/model"), weights="here/w.safetensors", pool=Path("here/pool"))
    assert str(tmp_path) not in json.dumps(recorded)
    assert str(Path.cwd().name) not in json.dumps(recorded)
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir("/")
    spec = model_of_record(recorded, pool=tmp_path / "there" / "pool")
    assert spec.config == str(tmp_path / "there" / "model" / "open_clip_config.json")
    assert spec.weights == str(tmp_path / "there" / weights.name)


@pytest.mark.parametrize("record", [{}, {"model": None}, {"model": 3}, {"model": ""}])
def test_model_of_record__that_says_nothing_is_told(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="which model"):
        model_of_record(record, pool=POOL)


def test_encode__with_relative_names_is_understood_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_dataset(tmp_path / "data", count=18)
    tiny_model(tmp_path / "model")
    assert main(["intake", "data", "pool", "--quiet"]) == 0
    assert main(["encode", "pool", "--model", "model", "--quiet"]) == 0
    assert Pool.open(tmp_path / "pool").feature_sets()[0].record["model"] == "./../model/open_clip_config.json"
    (tmp_path / "prompts.json").write_text(json.dumps({name: f"a {name}" for name in ("bar", "disc", "ring")}))
    monkeypatch.chdir("/")
    arguments = ["evaluate", str(tmp_path / "pool"), "--prompts", str(tmp_path / "prompts.json"), "--quiet"]
    assert main(arguments) == 0
