"""C1-C3, C6: hostile, cut and wrong checkpoints (reliability.md)."""

import json
import os
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from chips_core.clip import load_encoder, parse_model
from chips_core.clip.small import build_small, small_config
from chips_core.clip.weights import HEADER_LIMIT, fit_weights, read_weights
from chips_core.errors import InputError

CONFIG = small_config("vit", vision_layers=1, vision_width=32, text_width=32, text_layers=1, vocab_size=64)


@pytest.fixture
def model() -> Any:
    return build_small(CONFIG, seed=0)


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Payload:
    """Makes a file when it is unpickled by a reader that runs what it reads."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_read_weights__c1_a_payload_is_refused_and_never_run(legacy: bool, model: Any, tmp_path: Path):
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pt"
    torch.save(
        {"state_dict": state_of(model), "extra": Payload(marker)}, path, _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(InputError, match=r"bad\.pt holds more than weights"):
        read_weights(path)
    assert not marker.exists()


def test_read_weights__c1_the_payload_would_work_on_a_careless_reader(tmp_path: Path):
    marker = tmp_path / "marker"
    torch.save({"extra": Payload(marker)}, tmp_path / "bad.pt")
    careless = {"weights_" + "only": False}
    torch.load(tmp_path / "bad.pt", **careless)
    assert marker.exists()


def test_read_weights__c1_torchscript_is_refused(tmp_path: Path):
    script = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    script.save(str(tmp_path / "m.pt"))
    with pytest.raises(InputError, match=r"m\.pt"):
        read_weights(tmp_path / "m.pt")


def test_read_weights__another_kind_of_file_is_not_called_an_attack(tmp_path: Path):
    (tmp_path / "t.csv").write_text("image,caption\n")
    with pytest.raises(InputError, match=r"t\.csv is not a checkpoint"):
        read_weights(tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_read_weights__c2_cut_at_twenty_places(suffix: str, model: Any, tmp_path: Path):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pt":
        torch.save(state_of(model), whole)
    else:
        save_file(state_of(model), whole)
    data = whole.read_bytes()
    assert set(read_weights(whole)) == set(model.state_dict())
    for place in range(20):
        cut = tmp_path / f"cut{place}{suffix}"
        cut.write_bytes(data[: len(data) * place // 20])
        began = time.monotonic()
        with pytest.raises(InputError, match=rf"cut{place}{suffix} (is damaged|holds|is not)"):
            read_weights(cut)
        assert time.monotonic() - began < 20  # it does not hang; the machine may be busy


@pytest.mark.parametrize("length", [HEADER_LIMIT + 1, 90 << 20, 2**40, 2**63])
def test_read_weights__c2_a_header_too_large(length: int, tmp_path: Path):
    path = tmp_path / "m.safetensors"
    with path.open("wb") as handle:
        handle.write(struct.pack("<Q", length))
        handle.truncate(min(length + 100, 200 << 20))
    began = time.monotonic()
    with pytest.raises(InputError, match=r"m\.safetensors is damaged: its header"):
        read_weights(path)
    assert time.monotonic() - began < 20  # it does not hang; the machine may be busy


@pytest.mark.parametrize(
    "offsets", [[(0, 8), (4, 12)], [(0, 8), (0, 8)], [(0, 8), (12, 20)], [(0, 8), (8, 4)], [(0, 8), (8, 999)]]
)
def test_read_weights__c2_offsets_that_overlap_leave_holes_or_leave_the_file(
    offsets: list[tuple[int, int]], tmp_path: Path
):
    header = json.dumps(
        {f"t{i}": {"dtype": "F32", "shape": [2], "data_offsets": list(pair)} for i, pair in enumerate(offsets)}
    ).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(20))
    with pytest.raises(InputError, match=r"m\.safetensors is damaged"):
        read_weights(path)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module", "compiled"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_read_weights__wrappers_and_prefixes_are_taken_off(wrap: str, suffix: str, model: Any, tmp_path: Path):
    state = state_of(model)
    prefix = {"module": "module.", "compiled": "_orig_mod."}.get(wrap, "")
    named = {prefix + name: value for name, value in state.items()}
    path = tmp_path / f"m{suffix}"
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": named} if wrap != "plain" else named, path)
    else:
        save_file(named, path)
    found = read_weights(path)
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], torch.ones(2), {}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"w": 3}}]
)
def test_read_weights__what_is_no_checkpoint_is_refused(content: Any, tmp_path: Path):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"m\.pt (holds a|is not a checkpoint)"):
        read_weights(tmp_path / "m.pt")


def test_fit_weights__c3_missing_extra_and_misshaped_name_the_first_five_and_change_nothing(model: Any):
    before = state_of(model)
    wrong = {name: value + 1 for name, value in state_of(model).items()}
    lost = [name for name in wrong if name.startswith("transformer")][:7]
    for name in lost:
        del wrong[name]
    wrong["text_projection"] = torch.zeros(3, 5)
    wrong["stranger"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        fit_weights(model, wrong, name="m.pt")
    message = str(caught.value)
    assert f"7 missing: {', '.join(lost[:5])} and 2 more" in message
    assert lost[5] not in message
    assert "1 not in the model: stranger" in message
    assert "1 of another shape: text_projection (3, 5) instead of (32, 128)" in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_read_weights__c6_not_finite_is_refused(bad: float, model: Any, tmp_path: Path):
    state = state_of(model)
    state["visual.proj"][3, 4] = bad
    (tmp_path / "m.safetensors").write_bytes(save(state))
    with pytest.raises(InputError, match=r"NaN or infinite numbers in visual\.proj"):
        read_weights(tmp_path / "m.safetensors")


def write_small(folder: Path, **changes: torch.Tensor) -> str:
    model = build_small(CONFIG, seed=0)
    save_file(state_of(model) | changes, folder / "m.safetensors")
    (folder / "m.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(folder / "m.json")


def test_load_encoder__c6_a_scale_above_100_is_warned_of(tmp_path: Path):
    path = write_small(tmp_path, logit_scale=torch.tensor(5.0))
    with pytest.warns(UserWarning, match="is 148; CLIP is trained with at most 100"):
        assert load_encoder(parse_model(path)).heads.logit_scale == 5.0


def test_load_encoder__c6_a_scale_of_100_is_not_warned_of(tmp_path: Path):
    path = write_small(tmp_path, logit_scale=torch.tensor(4.6052))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_encoder(parse_model(path))


def test_load_encoder__c6_an_absurd_scale_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="logit scale"):
        load_encoder(parse_model(write_small(tmp_path, logit_scale=torch.tensor(800.0))))
