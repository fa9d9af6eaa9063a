"""B3 (lost tokens), and that a caption is cut up as open_clip cuts it up."""

import random
import time
from pathlib import Path

import pytest
import torch
from test_clip_families import write_bert

from chips_core.clip import open_clip_module
from chips_core.clip.architecture import Architecture
from chips_core.clip.tokenizers import tokenizer_for, within_reason
from chips_core.errors import InputError

PLAIN = Architecture({"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}})


def bert(folder: Path, **settings: object) -> Architecture:
    write_bert(folder / "tiny-bert")
    text = {"hf_tokenizer_name": "tiny-bert", "context_length": 8, **settings}
    return Architecture({"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}, folder=folder)


def test_tokenizer_for__b3_lost_tokens_of_clips_own_tokenizer():
    tokenizer = tokenizer_for(PLAIN)
    captions = ["a " * 75, "a " * 76, "a " * 100, "", "nan"]
    tokens = tokenizer(captions)
    assert tokens.lost == (0, 1, 25, 0, 0)
    assert torch.equal(tokens.ids, open_clip_module().get_tokenizer("ViT-B-32")(captions))
    assert torch.equal(tokens.ids[0], tokens.ids[2])  # equal up to the cut


def test_tokenizer_for__b3_lost_tokens_of_a_hugging_face_tokenizer(tmp_path: Path):
    tokens = tokenizer_for(bert(tmp_path))(["mri " * 6, "mri " * 7, "mri " * 16, ""])
    assert tokens.lost == (0, 1, 10, 0)
    assert tokens.ids.shape == (4, 8)
    assert tokens.ids[1].tolist() == [2, *[5] * 6, 3]


def test_tokenizer_for__a_random_cut_of_training_is_not_used_for_encoding():
    masked = Architecture(PLAIN.model | {"text_cfg": {"tokenizer_kwargs": {"reduction_mask": "random"}}})
    assert torch.equal(tokenizer_for(masked)(["a b c " * 60]).ids, tokenizer_for(PLAIN)(["a b c " * 60]).ids)


def test_tokenizer_for__no_captions(tmp_path: Path):
    for architecture in (PLAIN, bert(tmp_path)):
        tokens = tokenizer_for(architecture)([])
        assert tokens.ids.shape[0] == 0
        assert tokens.lost == ()


LONG_WORD = "".join(random.Random(0).choices("etaoinshrdlu", k=100_000))  # noqa: S311  (not a secret)


@pytest.mark.parametrize("text", [LONG_WORD, "a b " * 100_000, "\ud800 half", "\x00", "🫀" * 1000])
def test_tokenizer_for__hostile_captions_take_no_time(text: str, tmp_path: Path):
    for architecture in (PLAIN, bert(tmp_path)):
        began = time.monotonic()
        assert tokenizer_for(architecture)([text]).ids.shape[0] == 1
        assert time.monotonic() - began < 30  # it does not hang; the machine may be busy


def test_within_reason__ordinary_captions_are_left_alone():
    for caption in ["Naïve T-cell, 3.5 µm — “HER2+”", "word " * 900, "肺炎 " * 50, ""]:
        assert within_reason(caption) == caption


def test_identity__differs_with_whatever_changes_the_numbers(tmp_path: Path):
    settings = [PLAIN, Architecture(PLAIN.model | {"text_cfg": {"context_length": 20}}), bert(tmp_path)]
    settings += [bert(tmp_path, context_length=9), bert(tmp_path, tokenizer_kwargs={"clean": "lower"})]
    identities = [str(tokenizer_for(architecture).identity) for architecture in settings]
    assert len(set(identities)) == 5


def test_identity__is_the_same_after_use(tmp_path: Path):
    tokenizer = tokenizer_for(bert(tmp_path))
    before = tokenizer.identity
    tokenizer(["mri"])
    assert tokenizer.identity == before == tokenizer_for(bert(tmp_path)).identity


def test_tokenizer_for__settings_that_reach_for_files_or_code_are_dropped(tmp_path: Path):
    marker = tmp_path / "marker"
    architecture = bert(tmp_path, tokenizer_kwargs={"trust_remote_code": True, "bpe_path": "/etc/passwd"})
    folder = tmp_path / "tiny-bert"
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Evil: pass\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", null]}}', encoding="utf-8"
    )
    tokenizer_for(architecture)  # transformers falls back to what the folder's tokenizer.json says
    assert not marker.exists()


def test_tokenizer_for__a_name_does_not_leave_the_folder(tmp_path: Path):
    write_bert(tmp_path / "outside")
    (tmp_path / "model").mkdir()
    text = {"hf_tokenizer_name": "../outside"}
    with pytest.raises(InputError, match=r"\.\./outside"):
        tokenizer_for(Architecture({"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}, folder=tmp_path / "model"))
