import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from chips_core.clip.small import build_small, save_small, small_config, small_preprocess, small_tokenizer
from chips_core.errors import InputError, UsageError

CAPTIONS = ["MRI of the brain, T1-weighted", "HER2+ carcinoma", "", "肺炎の X-ray", "nan"]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_build_small__one_to_three_million_visual_parameters_and_an_asset_under_12_mb(kind, tmp_path: Path):
    config = small_config(kind)
    model = build_small(config, seed=0)
    assert 1e6 < sum(weight.numel() for weight in model.visual.parameters()) < 3e6
    weights = save_small(model, config, to=tmp_path / "small.json")
    assert weights.stat().st_size < 12e6
    assert json.loads((tmp_path / "small.json").read_text()) == config


def test_build_small__same_seed_same_weights_and_the_callers_generator_is_left_alone():
    config = small_config("vit", vision_layers=1)
    before = torch.get_rng_state()
    first, again, other = (build_small(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual.proj"], other["visual.proj"])


def test_build_small__can_be_trained():
    config = small_config("resnet", vision_width=8)
    model = build_small(config, seed=0).train()
    ids = small_tokenizer(config)(CAPTIONS).ids
    images = torch.rand(len(CAPTIONS), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        image, text, scale = model(images, ids)
        loss = torch.nn.functional.cross_entropy(scale * image @ text.T, torch.arange(len(CAPTIONS)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def test_save_small__vectors_keep_float32(tmp_path: Path):
    config = small_config("resnet", vision_width=8)
    saved = load_file(save_small(build_small(config, seed=0), config, to=tmp_path / "m.json"))
    assert saved["visual.bn1.running_var"].dtype == torch.float32
    assert saved["logit_scale"].dtype == torch.float32
    assert saved["visual.conv2.weight"].dtype == torch.float16


def test_small_config__a_size_that_does_not_fit_is_a_usage_error():
    with pytest.raises(UsageError, match="multiple of 32"):
        small_config("resnet", 72)


def test_small_tokenizer__start_words_end_padding():
    tokens = small_tokenizer(small_config())(["brain MRI", "MRI brain", "Brain, MRI."])
    first, turned, dressed = tokens.ids
    assert first[0] == 1
    assert first[3] == 4095 == first.max()
    assert first[4:].eq(0).all()
    assert torch.equal(turned[1:3], first[1:3].flip(0))
    assert torch.equal(dressed, first)
    assert tokens.lost == (0, 0, 0)


def test_small_tokenizer__signs_that_mean_something_are_words():
    positive, negative, bare, share = small_tokenizer(small_config())(["HER2+", "HER2-", "HER2", "HER2 <5%"]).ids
    assert not torch.equal(positive, negative)
    assert not torch.equal(negative, bare)
    assert (share > 0).sum() == 6


def test_small_tokenizer__words_that_do_not_fit_are_counted():
    tokenizer = small_tokenizer(small_config(context_length=8))
    tokens = tokenizer(["a b c d e f", "a b c d e f g", "a b c d e f g h i"])
    assert tokens.lost == (0, 1, 3)
    assert tokens.ids.shape == (3, 8)
    assert tokens.ids[:, -1].tolist() == [4095] * 3
    assert torch.equal(tokens.ids[0], tokens.ids[1])


def test_small_tokenizer__any_text_is_taken():
    ids = small_tokenizer(small_config())(["\ud800 \x00 🫀", "x" * 100_000, "  ", "肺炎"]).ids
    assert ids.min() >= 0
    assert ids.max() == 4095
    assert (ids[3] > 0).sum() == 4


def test_small_tokenizer__disagreeing_with_the_text_tower_is_refused():
    config = small_config()
    config["tokenizer"] = config["tokenizer"] | {"vocab_size": 2048}
    with pytest.raises(InputError, match="disagree"):
        small_tokenizer(config)


def test_small_preprocess__size_and_range():
    image = small_preprocess(small_config(image_size=96))(Image.new("RGB", (120, 100), "white"))
    assert image.shape == (3, 96, 96)
    assert image.unique().tolist() == [2.0]  # (1 - 0.5) / 0.25
