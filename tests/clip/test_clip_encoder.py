"""The encoder's promises: C4, C7, determinism, precision, what is folded and what is copied."""

import dataclasses
from typing import Any

import pytest
import torch
from PIL import Image

from chips_core.clip import Encoder, encoder_from_model, load_encoder, parse_model, require_same_encoder
from chips_core.clip.precision import choose_device, choose_precision, computes_bfloat16
from chips_core.clip.small import build_small, save_small, small_config
from chips_core.errors import EncoderMismatch, InputError, UsageError

FINDINGS = ("MRI", "CT", "tumour", "normal")
CAPTIONS = [f"{organ} {finding}" for organ in ("brain", "chest", "liver") for finding in FINDINGS]


def noisy_small(kind: str = "vit", **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Returns a random small model whose answers differ between images, and its description."""
    config = small_config(kind, **({"vision_layers": 2, "vision_width": 64} if kind == "vit" else {}))
    config["model_cfg"]["vision_cfg"] |= settings
    model = build_small(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(0.02)
    return model, config


def some_images(count: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(count, 3, 4, 4, generator=generator) * 2
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic")


def spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    ranks = torch.stack([values.flatten().argsort().argsort().double() for values in (first, second)])
    return float(torch.corrcoef(ranks)[0, 1])


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_image_features__c7_train_mode_left_by_a_caller_changes_nothing(kind: str):
    model, config = noisy_small(kind, **({"patch_dropout": 0.5} if kind == "vit" else {}))
    encoder = encoder_from_model(model, config, name="small", precision="fp32")
    images, ids = some_images(), encoder.tokenize(CAPTIONS).ids
    first = encoder.image_features(images), encoder.text_features(ids)
    encoder._model.train()
    again = encoder.image_features(images), encoder.text_features(ids)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not encoder._model.training


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_image_features__c7_two_encoders_are_bit_equal_on_the_cpu(precision: str):
    model, config = noisy_small()
    one, two = (encoder_from_model(model, config, name="s", precision=precision, device="cpu") for _ in range(2))
    assert torch.equal(one.image_features(some_images()), two.image_features(some_images()))
    assert torch.equal(one.embed_texts(CAPTIONS), two.embed_texts(CAPTIONS))


def test_image_features__do_not_depend_on_the_batch():
    model, config = noisy_small("resnet")
    encoder = encoder_from_model(model, config, name="s", precision="fp32")
    whole = encoder.image_features(some_images())
    parts = torch.cat([encoder.image_features(part) for part in some_images().split(5)])
    assert float((parts - whole).norm() / whole.norm()) < 1e-5


def test_image_features__end_in_one_where_the_layer_has_a_bias():
    model, config = noisy_small("resnet")
    encoder = encoder_from_model(model, config, name="s", precision="bf16")
    features = encoder.image_features(some_images())
    assert features[:, -1].tolist() == [1.0] * 12
    assert encoder.image_dim == 513
    torch.testing.assert_close(encoder.heads.image[:, -1], model.visual.attnpool.c_proj.bias.detach())


def test_image_features__a_head_can_be_fitted_on_them():
    model, config = noisy_small()
    encoder = encoder_from_model(model, config, name="s")
    head = encoder.heads.image.clone().requires_grad_(True)
    (encoder.image_features(some_images()) @ head.T).square().sum().backward()
    assert head.grad is not None


def test_encoder_from_model__the_model_goes_on_as_it_was():
    model, config = noisy_small()
    model.train()
    before = model.encode_image(some_images()).detach()
    encoder = encoder_from_model(model, config, name="s", precision="fp32")
    encoder.image_features(some_images())
    assert model.training
    assert all(weight.requires_grad for name, weight in model.named_parameters())
    assert torch.equal(model.encode_image(some_images()).detach(), before)


def test_encoder_from_model__is_an_encoder():
    model, config = noisy_small()
    encoder: Encoder = encoder_from_model(model, config, name="small", device="cpu", precision="fp32")
    assert (encoder.name, encoder.device.type, encoder.precision) == ("small", "cpu", "fp32")
    assert encoder.preprocessing["size"] == [64, 64]
    assert encoder.preprocess(Image.new("L", (90, 70))).shape == (3, 64, 64)
    assert encoder.heads.image.dtype == encoder.heads.text.dtype == torch.float32
    assert encoder.heads.scale == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_image_features__bfloat16_ranks_like_float32(kind: str):
    model, config = noisy_small(kind)
    exact = encoder_from_model(model, config, name="s", precision="fp32")
    quick = encoder_from_model(model, config, name="s", precision="bf16")
    cosines = [encoder.embed_images(some_images(32)) @ encoder.embed_texts(CAPTIONS).T for encoder in (exact, quick)]
    assert not torch.equal(*cosines)
    assert spearman(*cosines) > 0.99


def test_lower_weights__matrices_only_and_they_still_require_a_gradient():
    model, config = noisy_small("resnet")
    towers = encoder_from_model(model, config, name="s", precision="bf16")._model
    assert towers.visual.layer1[0].conv1.weight.dtype == torch.bfloat16
    assert towers.transformer.resblocks[0].attn.in_proj_weight.dtype == torch.bfloat16
    for norm in (towers.visual.bn1, towers.ln_final, towers.token_embedding):
        assert norm.weight.dtype == torch.float32
    assert all(weight.requires_grad for weight in towers.parameters())  # a third of the speed otherwise
    assert model.visual.layer1[0].conv1.weight.dtype == torch.float32


def test_choose_precision__auto_follows_the_machine():
    cpu = choose_device("cpu")
    assert computes_bfloat16(cpu, cpu_capabilities=lambda: {"amx_bf16": True, "avx2": True})
    assert computes_bfloat16(cpu, cpu_capabilities=lambda: {"avx512_bf16": True})
    assert not computes_bfloat16(cpu, cpu_capabilities=lambda: {"avx2": True, "avx512_f": True})
    assert choose_precision("auto", device=cpu) == ("bf16" if computes_bfloat16(cpu) else "fp32")
    assert choose_precision("fp16", device=cpu) == "fp16"


def test_choose_device__one_that_is_not_there_is_a_usage_error():
    for wish in ("abacus", "cuda:99"):
        with pytest.raises(UsageError, match=wish):
            choose_device(wish)
    with pytest.raises(UsageError, match="fp8"):
        choose_precision("fp8", device=torch.device("cpu"))


def test_fingerprint__names_weights_architecture_preprocessing_and_tokenizer():
    model, config = noisy_small()
    base = encoder_from_model(model, config, name="one", precision="fp32").fingerprint
    assert encoder_from_model(model, config, name="other name", precision="bf16").fingerprint == base
    other_preprocessing = config | {"preprocess_cfg": {"mean": [0.5, 0.5, 0.4]}}
    quick = config | {"model_cfg": config["model_cfg"] | {"quick_gelu": True}}
    clip_tokens = {key: value for key, value in config.items() if key != "tokenizer"}
    changes = (other_preprocessing, quick, clip_tokens)
    found = {encoder_from_model(model, changed, name="x").fingerprint for changed in changes}
    with torch.no_grad():
        model.visual.proj[0, 0] += 1e-3
    found.add(encoder_from_model(model, config, name="one").fingerprint)
    assert len(found | {base}) == 5


def test_fingerprint__the_same_from_either_kind_of_file(tmp_path):
    model, config = noisy_small()
    save_small(model, config, to=tmp_path / "m.json")
    whole = load_encoder(parse_model(str(tmp_path / "m.json")))
    prefixed = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": prefixed}, tmp_path / "w.pt")
    full = load_encoder(parse_model(str(tmp_path / "m.json"), weights=str(tmp_path / "w.pt")))
    assert full.fingerprint == encoder_from_model(model, config, name="x").fingerprint
    assert whole.fingerprint != full.fingerprint  # one went through float16
    assert (whole.name, full.name) == ("m", "m (w.pt)")


def test_require_same_encoder__c4_refused_with_both_names_and_fingerprints():
    model, config = noisy_small()
    encoder = encoder_from_model(model, config, name="small")
    require_same_encoder(encoder, name="anything", fingerprint=encoder.fingerprint, where="pool 'chest'")
    both = rf"pool 'chest'.*ViT-B-16 \(3f2a91\).*small \({encoder.fingerprint[:6]}\)"
    with pytest.raises(EncoderMismatch, match=both):
        require_same_encoder(encoder, name="ViT-B-16", fingerprint="3f2a910000000000", where="pool 'chest'")


def test_image_features__a_tower_that_does_not_pool_is_refused():
    model, config = noisy_small()
    encoder = encoder_from_model(model, config, name="s")
    encoder._model.visual.pool_type = "none"
    with pytest.raises(InputError, match="pools its tokens"):
        encoder.image_features(some_images(2))


def test_heads__cannot_be_replaced():
    model, config = noisy_small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        encoder_from_model(model, config, name="s").heads.logit_scale = 0.0  # type: ignore[misc]
