"""C5 and promise 1: no network unless it was allowed; and the one door to open_clip."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from chips_core.clip import ModelSpec, load_encoder, open_clip_module, parse_model, sources
from chips_core.clip.library import network
from chips_core.clip.small import build_small, small_config
from chips_core.errors import InputError, UsageError

BIOMED = "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
TEXT = {"hf_model_name": "nobody/nothing", "hf_tokenizer_name": "nobody/nothing"}


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with no model on it, on which every attempt to reach another one is written down."""
    open_clip_module()
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CHIPS_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield attempts
    assert attempts == []


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        (parse_model("ViT-B-32", weights="laion2b_s34b_b79k"), "models/ViT-B-32/laion2b_s34b_b79k.safetensors"),
        (parse_model("RN50", weights="yfcc15m"), "models/RN50/yfcc15m.safetensors"),
        (parse_model("RN50", weights="YFCC15M"), "models/RN50/yfcc15m.safetensors"),
        (parse_model(BIOMED), "models/microsoft--BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"),
    ],
)
def test_load_encoder__c5_not_on_disk_names_the_place_at_once(spec: ModelSpec, place: str, tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        load_encoder(spec)
    assert time.monotonic() - began < 30  # it does not hang; the machine may be busy
    assert str(tmp_path / place) in caught.value.fix
    assert "network" in str(caught.value)


@pytest.mark.parametrize("text", [TEXT, {"hf_tokenizer_name": "nobody/nothing"}])
@pytest.mark.parametrize("vision", [{"timm_model_name": "hf-hub:nobody/nothing"}, {"layers": 1, "width": 64}])
def test_load_encoder__c5_towers_and_tokenizers_that_are_not_on_disk(text: Any, vision: Any, tmp_path: Path):
    described = {"embed_dim": 8, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "m.json").write_text(json.dumps(described), encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"Fix: .*(config\.json|tokenizer\.json)"):
        load_encoder(parse_model(str(tmp_path / "m.json"), weights="random"))
    assert time.monotonic() - began < 30  # it does not hang; the machine may be busy


def test_load_encoder__c5_where_the_network_is_allowed_a_failure_has_a_message(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr(open_clip_module(), "download_pretrained", fail)
    with pytest.raises(InputError, match=r"Fetching RN50 .* failed: no route"):
        load_encoder(parse_model("RN50", weights="yfcc15m"), allow_network=True)


def test_locate__a_tag_brings_its_preprocessing_and_its_activation(tmp_path: Path):
    file = tmp_path / "models" / "ViT-B-16" / "openai.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    located = sources.locate(parse_model("ViT-B-16", weights="openai"))
    assert located.weights == file
    assert located.architecture.model["quick_gelu"] is True  # open_clip's description of this name says otherwise
    assert located.architecture.preprocess["mean"][0] == pytest.approx(0.48145466)


def test_load_encoder__a_hub_model_put_by_hand(tmp_path: Path):
    folder = tmp_path / "models" / "org--tiny"
    folder.mkdir(parents=True)
    config = small_config("vit", vision_layers=1, vision_width=32)
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(build_small(config, seed=0).state_dict(), folder / "open_clip_pytorch_model.bin")
    assert load_encoder(parse_model("hf-hub:org/tiny")).name == "hf-hub:org/tiny"


@pytest.mark.parametrize("name", ["", "  ", "hf-hub:", "local-dir:"])
def test_parse_model__no_name(name: str):
    with pytest.raises(UsageError, match="No model"):
        parse_model(name)


def test_parse_model__the_kinds_of_names(tmp_path: Path):
    assert parse_model("ViT-B-32", weights="openai").title == "ViT-B-32 (openai)"
    assert parse_model("some/where/m.json") == ModelSpec("m", None, "some/where/m.json")
    assert parse_model(str(tmp_path)).config == str(tmp_path / "open_clip_config.json")
    with pytest.raises(UsageError, match="brings its own"):
        parse_model("hf-hub:a/b", weights="openai")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (parse_model("ViT-B-23", weights="random"), "near: ViT-B-32"),
        (parse_model("ViT-B-32"), "needs weights"),
        (parse_model("ViT-B-32", weights="openia"), "near: openai"),
        (parse_model("hf-hub:../../etc"), "no name of a hub model"),
        (parse_model("nowhere.json"), "No model description"),
    ],
)
def test_load_encoder__mistakes_are_answered(spec: ModelSpec, message: str):
    with pytest.raises((UsageError, InputError), match=message):
        load_encoder(spec)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"embed_dim": 8}', '{"embed_dim": 8, "vision_cfg": {"colour": 1}, "text_cfg": {}}', "[" * 9999],
)
def test_load_encoder__a_description_that_describes_nothing(text: str, tmp_path: Path):
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"m\.json|as described"):
        load_encoder(parse_model(str(tmp_path / "m.json"), weights="random"))


def test_load_encoder__a_text_tower_with_code_of_its_own_is_refused_and_not_run(tmp_path: Path):
    marker = tmp_path / "marker"
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n", encoding="utf-8")
    own = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(own), encoding="utf-8")
    described = {"embed_dim": 8, "vision_cfg": {"layers": 1, "width": 64}, "text_cfg": {"hf_model_name": "evil"}}
    (tmp_path / "m.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="as described"):
        load_encoder(parse_model(str(tmp_path / "m.json"), weights="random"))
    assert not marker.exists()


def test_network__is_put_back():
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with network(allowed=True):
        assert constants.HF_HUB_OFFLINE is False
        with network(allowed=False):
            assert constants.HF_HUB_OFFLINE is True
    assert before == constants.HF_HUB_OFFLINE


def test_open_clip_module__torchvision_can_be_imported_and_does_its_work():
    code = (
        "import sys; from chips_core.clip import open_clip_module, torchvision_ops\n"
        "assert 'torch' not in sys.modules and 'open_clip' not in sys.modules\n"
        "needed = torchvision_ops.define_missing_ops()\n"
        "assert not torchvision_ops.define_missing_ops()\n"
        "open_clip_module(); import torchvision.transforms.v2, huggingface_hub\n"
        "assert huggingface_hub.is_offline_mode()\n"
        "import torch; from torchvision.ops import nms\n"
        "boxes, scores = torch.tensor([[0., 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([1., 2])\n"
        "if not needed: assert nms(boxes, scores, 0.5).tolist() == [1]\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stderr
