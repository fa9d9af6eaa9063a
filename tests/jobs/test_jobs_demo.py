"""The demo: one command from nothing to a scored, mapped pool; it goes on where it was, and keeps to its own folder."""

from pathlib import Path

import pytest

from chips_core.errors import InputError
from chips_core.jobs.demo import Settings, run
from chips_core.jobs.models import DEMO_FOLDER
from chips_core.phantoms import labels, plan
from chips_core.progress import Silent
from chips_core.store import Pool

SMALL = {"train": 40, "val": 5, "test": 5}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("pools") / "demo"
    return folder, dict(run(Settings(str(folder), **SMALL), progress=Silent()))


def test_run__every_phantom_is_accounted_for(built):
    folder, answers = built
    pool = Pool.open(folder)
    assert pool.outcomes().given == 50
    assert sum(answers["intake"]["outcomes"].values()) == 50
    kept = pool.kept(["pair_id", "label", "split", "group"])
    expected = {p.pair_id: (p.label, p.split, p.group) for p in plan(**SMALL)}
    assert {row.pair_id: (row.label, row.split, row.group) for row in kept.itertuples()}.items() <= expected.items()
    assert answers["encode"]["pairs"]
    assert {artifact.name for artifact in pool.tables("scores")} == {answers["score"]["run"]}
    assert {artifact.name for artifact in pool.tables("maps")} == {answers["map"]["map"]}


def test_run__again_finds_the_finished_work(built):
    folder, answers = built
    before = (folder / "pool.json").read_bytes()
    again = dict(run(Settings(str(folder), **SMALL), progress=Silent()))
    assert (folder / "pool.json").read_bytes() == before
    assert [again["encode"]["features"], again["score"]["run"]] == [
        answers["encode"]["features"],
        answers["score"]["run"],
    ]
    assert again["intake"]["outcomes"] == answers["intake"]["outcomes"]


def test_run__refuses_a_folder_with_other_phantoms(built):
    folder, _answers = built
    with pytest.raises(InputError, match="other phantoms"):
        run(Settings(str(folder), seed=9, **SMALL), progress=Silent())


def test_run__refuses_a_pool_that_is_not_a_demo(tmp_path):
    (tmp_path / "pool.json").write_text("{}")
    with pytest.raises(InputError, match="not a demo pool"):
        run(Settings(str(tmp_path), **SMALL), progress=Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["pool.json"]


def test_demo_model__is_small_and_knows_the_phantoms():
    """Zero-shot over all labels on a few test phantoms: far above chance, by the shipped weights."""
    import torch
    from PIL import Image

    from chips_core.clip import load_encoder, parse_model
    from chips_core.phantoms import draw

    assert sum(path.stat().st_size for path in DEMO_FOLDER.iterdir()) < 12_000_000
    encoder = load_encoder(parse_model(str(DEMO_FOLDER)))
    chosen = [p for p in plan() if p.split == "test"][:80]
    prompts = {p.label: p.class_prompt for p in plan()}
    images = encoder.image_features(torch.stack([encoder.preprocess(Image.fromarray(draw(p))) for p in chosen]))
    texts = encoder.text_features(encoder.tokenize([prompts[label] for label in labels()]).ids)
    heads = encoder.heads
    a = torch.nn.functional.normalize(images @ heads.image.T, dim=1)
    b = torch.nn.functional.normalize(texts @ heads.text.T, dim=1)
    found = (a @ b.T).argmax(1).tolist()
    right = [labels()[k] == p.label for k, p in zip(found, chosen, strict=True)]
    assert sum(right) / len(right) > 0.7
