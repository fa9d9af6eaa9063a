"""For every family of models: features times heads are what open_clip's own factory, model and tokenizer give."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from chips_core.clip import load_encoder, open_clip_module, parse_model
from chips_core.clip.architecture import architecture_of, build_model

CAPTIONS = [
    "MRI of the brain",
    "a chest x-ray showing pneumonia",
    "nan",
    "Caf\u00e9, 3.5 cm <script>",
    "word " * 99,
]
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] mri of the brain a chest x - ray showing word nan 3 . 5 cm ##s"

VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
CLIP = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
TIMM = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "image_size": 160}
TIMM_CNN = {"timm_model_name": "test_resnet", "timm_model_pretrained": False, "image_size": 160}
POOLED_CNN = {"timm_model_name": "resnet10t", "timm_model_pretrained": False, "image_size": 224, "timm_proj": ""}
CUSTOM = {"embed_dim": 24, "custom_text": True, "text_cfg": TEXT}
HUGGING = {"hf_model_name": "tiny-bert", "hf_tokenizer_name": "tiny-bert", "context_length": 20}
COCA = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": VIT | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
    "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}

# family -> (description, dv, dt): a bias adds one to the width of its tower
FAMILIES: dict[str, tuple[dict[str, Any], int, int]] = {
    "vit": (CLIP, 32, 32),
    "vit-mean-pool": (CLIP | {"vision_cfg": VIT | {"pool_type": "avg", "final_ln_after_pool": True}}, 32, 32),
    "vit-quick-gelu": (CLIP | {"quick_gelu": True, "nonscalar_logit_scale": True}, 32, 32),
    "text-eos": (CLIP | {"text_cfg": TEXT | {"pool_type": "eos", "eos_id": 49407}}, 32, 32),
    "text-not-causal": (CLIP | {"text_cfg": TEXT | {"no_causal_mask": True}}, 32, 32),
    "text-last": (CUSTOM | {"vision_cfg": VIT, "text_cfg": TEXT | {"pool_type": "last"}}, 32, 32),
    "text-bias": (CLIP | {"text_cfg": TEXT | {"proj_bias": True}}, 32, 33),
    "text-none": (CLIP | {"embed_dim": 32, "text_cfg": TEXT | {"proj_type": "none"}}, 32, 32),
    "resnet": (CLIP | {"vision_cfg": RESNET}, 257, 32),
    "custom-text": (CUSTOM | {"vision_cfg": VIT}, 32, 32),
    "timm-linear": (CUSTOM | {"vision_cfg": TIMM | {"timm_pool": "token", "timm_proj": "linear"}}, 64, 32),
    "timm-linear-bias": (CUSTOM | {"vision_cfg": TIMM | {"timm_proj": "linear", "timm_proj_bias": True}}, 65, 32),
    "timm-mlp": (CUSTOM | {"vision_cfg": TIMM_CNN | {"timm_pool": "avg", "timm_proj": "mlp"}}, 48, 32),
    "timm-none": (CUSTOM | {"embed_dim": 64, "vision_cfg": TIMM | {"timm_proj": "none"}}, 64, 32),
    "timm-classifier": (CUSTOM | {"vision_cfg": TIMM | {"timm_proj": None}}, 65, 32),
    "timm-attention-pool": (CUSTOM | {"vision_cfg": POOLED_CNN | {"timm_pool": "rot_attn"}}, 513, 32),
    "timm-absolute-pool": (CUSTOM | {"vision_cfg": POOLED_CNN | {"timm_pool": "abs_attn"}}, 513, 32),
    "bert-mlp": (CLIP | {"text_cfg": HUGGING | {"hf_proj_type": "mlp", "hf_pooler_type": "cls_pooler"}}, 32, 28),
    "bert-linear": (CLIP | {"text_cfg": HUGGING | {"hf_proj_type": "linear"}}, 32, 32),
    "bert-none": (CLIP | {"embed_dim": 32, "text_cfg": HUGGING | {"hf_proj_type": None}}, 32, 32),
    "coca": (COCA, 24, 32),
}


def write_bert(folder: Path) -> None:
    """Writes a tiny BERT's configuration and tokenizer, as a folder from the hub would hold them."""
    open_clip_module()
    from transformers import BertConfig, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    BertTokenizerFast(vocab={word: place for place, word in enumerate(WORDS.split())}).save_pretrained(folder)
    BertConfig(
        vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    ).save_pretrained(folder)


def write_model(folder: Path, description: dict[str, Any]) -> Path:
    """Writes a random model as open_clip keeps it in a folder, every weight away from its initial value."""
    described = json.loads(json.dumps(description))
    if "hf_model_name" in described["text_cfg"]:
        write_bert(folder)
        described["text_cfg"] |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    model = build_model(architecture_of(described, where="the test", folder=folder))
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator) * (0.5 if value.ndim == 1 else 0.05)
        noisy = value + noise if value.is_floating_point() else value
        if name == "text_decoder.text_projection":
            noisy = noise  # CoCa leaves it unset: whatever was in memory, NaN at times
        if "running_var" in name:
            noisy = value * 0.01  # as small as the activations of a random network, which would vanish otherwise
        state[name] = (value if name == "logit_scale" else noisy).contiguous()
    save_file(state, folder / "open_clip_model.safetensors")
    whole = {"model_cfg": described, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_load_encoder__equals_open_clip(family: str, tmp_path: Path):
    description, image_dim, text_dim = FAMILIES[family]
    folder = write_model(tmp_path, description)
    open_clip = open_clip_module()
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)
    size = transform.transforms[1].size if hasattr(transform.transforms[1], "size") else (32, 32)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (5, size[0] + 9, size[1] + 2, 3), generator=generator, dtype=torch.uint8)
    pictures = [Image.fromarray(picture.numpy()) for picture in pixels]
    model.eval()
    with torch.no_grad():
        images = torch.stack([transform(picture) for picture in pictures])
        expected_image = model.encode_image(images, normalize=False)
        expected_text = model.encode_text(ids, normalize=False)

    encoder = load_encoder(parse_model(str(folder)), precision="fp32", device="cpu")

    ours = torch.stack([encoder.preprocess(picture) for picture in pictures])
    tokens = encoder.tokenize(CAPTIONS)
    image, text = encoder.image_features(ours), encoder.text_features(tokens.ids)
    assert torch.equal(ours, images)
    assert torch.equal(tokens.ids, ids)
    assert image.shape == (5, encoder.image_dim) == (5, image_dim)
    assert text.shape == (5, encoder.text_dim) == (5, text_dim)
    torch.testing.assert_close(image @ encoder.heads.image.T, expected_image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(text @ encoder.heads.text.T, expected_text, rtol=1e-4, atol=1e-5)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(encoder.embed_images(ours), unit(expected_image, dim=-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.embed_texts(CAPTIONS), unit(expected_text, dim=-1), rtol=1e-4, atol=1e-5)
    short = encoder.embed_texts(CAPTIONS[:3])  # a batch without a long caption is computed on fewer tokens
    torch.testing.assert_close(short, unit(expected_text[:3], dim=-1), rtol=1e-4, atol=1e-5)
    assert encoder.heads.scale == pytest.approx(float(model.logit_scale.exp().detach().reshape(-1)[0]))
    lowered = load_encoder(parse_model(str(folder)), precision="bf16", device="cpu")
    assert lowered.fingerprint == encoder.fingerprint
    for exact, close in ((expected_image, lowered.embed_images(ours)), (expected_text, lowered.embed_texts(CAPTIONS))):
        assert float(torch.nn.functional.cosine_similarity(exact, close).min()) > 0.98
    assert encoder.embed_dim == expected_image.shape[1]
    assert expected_image.std(dim=0).mean() > 1e-3  # the images do differ for the model


def test_load_encoder__siglip_is_refused_with_a_reason(tmp_path: Path):
    described = CLIP | {"init_logit_bias": -10}
    (tmp_path / "m.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(Exception, match=r"SigLIP.*Fix: use a CLIP trained with the softmax"):
        load_encoder(parse_model(str(tmp_path / "m.json"), weights="random"))
    for weights in (None, "random", "webli"):  # before anybody looks for weights, or fetches gigabytes
        with pytest.raises(Exception, match="SigLIP"):
            load_encoder(parse_model("ViT-B-16-SigLIP", weights=weights))


def test_load_encoder__open_clips_own_description_by_name():
    open_clip = open_clip_module()
    encoder = load_encoder(parse_model("ViT-S-32-alt", weights="random"), precision="fp32")
    _, _, transform = open_clip.create_model_and_transforms("ViT-S-32-alt")
    picture = Image.effect_mandelbrot((260, 240), (-3, -2.5, 2, 2.5), 100).convert("RGB")
    assert torch.equal(encoder.preprocess(picture), transform(picture))
    assert (encoder.image_dim, encoder.text_dim, encoder.embed_dim, encoder.context_length) == (384, 256, 256, 77)
