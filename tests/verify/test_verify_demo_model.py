"""The recipe of the demo's model: the same weights every time, readable by the encoder, new to the demo's pool."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chips_core.clip import load_encoder, parse_model
from chips_core.phantoms import Planted, plan
from chips_core.progress import Silent
from chips_core.verify.demo_model import CONFIG, IMAGE_SIZE, RECIPE, SEED, drawn, retrain

SHORT = replace(RECIPE, epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    retrain(folder, pairs=40, recipe=SHORT)
    return folder


def test_retrain__same_weights_every_time(trained, tmp_path):
    retrain(tmp_path, pairs=40, recipe=SHORT)
    names = sorted(path.name for path in trained.iterdir())
    assert names == ["open_clip_config.json", "open_clip_config.safetensors"]
    assert all((trained / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_retrain__gives_a_model_that_an_encoder_reads(trained):
    encoder = load_encoder(parse_model(str(trained)))
    images = torch.stack([encoder.preprocess(image) for image in _pictures()])
    assert torch.isfinite(encoder.image_features(images)).all()
    assert sum(path.stat().st_size for path in trained.iterdir()) < 12_000_000


def test_recipe__keeps_left_and_right():
    assert not RECIPE.mirror


def test_seed__gives_phantoms_that_the_demo_does_not_hold():
    mine = {p.pair_id for p in plan(seed=SEED, train=50, val=0, test=0)}
    assert not mine & {p.pair_id for p in plan()}


def test_drawn__bytes_of_the_size_that_the_model_takes():
    pairs = [p for p in plan(seed=SEED, train=6, val=0, test=0) if p.planted != Planted.UNREADABLE]
    images = drawn(pairs, progress=Silent())
    assert images.shape == (len(pairs), 3, IMAGE_SIZE, IMAGE_SIZE)
    assert images.dtype == torch.uint8
    assert images.float().std() > 20
    assert CONFIG["model_cfg"]["vision_cfg"]["image_size"] == IMAGE_SIZE


def _pictures() -> list:
    from PIL import Image

    return [Image.new("RGB", (160, 120), (200, 120, 90)), Image.new("RGB", (90, 160), (20, 20, 20))]
