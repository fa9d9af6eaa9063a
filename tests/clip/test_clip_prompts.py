"""J2, and class embeddings against open_clip's own zero-shot classifier."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chips_core.clip import encoder_from_model, open_clip_module
from chips_core.clip.prompts import class_embeddings, class_prompts, load_prompts, prompt_features
from chips_core.clip.small import build_small, small_config, small_tokenizer
from chips_core.errors import InputError, UsageError

CONFIG = small_config("vit", vision_layers=1, vision_width=32)
HOSTILE = ["{}", "{0.__class__}", "{x}", "%s %d", "two\nlines", "\\n", "{{}}", "}", "glioma"]


def test_class_prompts__j2_labels_are_literal():
    assert class_prompts(HOSTILE, ["an MRI of {}, {}"]) == {label: [f"an MRI of {label}, {label}"] for label in HOSTILE}


def test_class_prompts__j2_templates_are_literal():
    templates = ["%s {} {0.__class__}", "{{}} {x}\n{}", "{}%(label)s"]
    assert class_prompts(["CT"], templates) == {"CT": ["%s CT {0.__class__}", "{CT} {x}\nCT", "CT%(label)s"]}


@given(st.text(), st.text(), st.text())
def test_class_prompts__j2_any_text(label: str, before: str, after: str):
    before, after = before.replace("{}", ""), after.replace("{}", "")
    if "{}" in before + "|" + after:  # halves that would meet
        return
    assert class_prompts([label], [f"{before} {{}} {after}"]) == {label: [f"{before} {label} {after}"]}


@pytest.mark.parametrize("templates", [[], ["a picture"], ["ok {}", "not {0}"], "a {}"])
def test_class_prompts__templates_that_cannot_be_meant(templates):
    with pytest.raises(UsageError):
        class_prompts(["CT"], templates)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '{"CT": "a CT", "M,RI": ["an MRI", "MRI {}"]}'),
        ("p.csv", 'label,prompt\nCT,a CT\n"M,RI",an MRI\n"M,RI",MRI {}\n'),
        ("p.csv", '\ufeffprompt,label\r\na CT,CT\r\nan MRI,"M,RI"\r\nMRI {},"M,RI"\r\n'),
    ],
)
def test_load_prompts__json_and_csv(name: str, text: str, tmp_path: Path):
    (tmp_path / name).write_bytes(text.encode())
    assert load_prompts(tmp_path / name) == {"CT": ["a CT"], "M,RI": ["an MRI", "MRI {}"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.json", b"{"),
        ("p.json", b"[1]"),
        ("p.json", b"{}"),
        ("p.json", b'{"a": []}'),
        ("p.json", b'{"a": [3]}'),
        ("p.json", b'{"a": " "}'),
        ("p.json", b'{"a": "x", "a": "y"}'),
        ("p.json", b'{"a": "\xff"}'),
        ("p.json", b"[" * 100_000),
        ("p.csv", b""),
        ("p.csv", b"label,text\na,b\n"),
        ("p.csv", b"label,prompt\n"),
        ("p.csv", b"label,prompt\na\n"),
        ("p.csv", b'label,prompt\n"a,b\n'),
    ],
)
def test_load_prompts__what_cannot_be_used_is_refused_by_file(name: str, data: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=r"p\.(json|csv)"):
        load_prompts(tmp_path / name)
    with pytest.raises(InputError, match=r"nowhere\.json"):
        load_prompts(tmp_path / "nowhere.json")


def test_class_embeddings__equal_open_clips_zero_shot_classifier():
    model = build_small(CONFIG, seed=0)
    labels, templates = ["glioma", "normal", "pneumonia"], ["an MRI of {}", "a chest X-ray showing {}"]
    tokenizer = small_tokenizer(CONFIG)
    writers = [lambda label, template=template: template.replace("{}", label) for template in templates]
    with torch.no_grad():
        expected = open_clip_module().build_zero_shot_classifier(
            model, lambda texts: tokenizer(texts).ids, labels, writers
        )
    encoder = encoder_from_model(model, CONFIG, name="s", precision="fp32")
    found = class_embeddings(encoder, class_prompts(labels, templates))
    torch.testing.assert_close(found, expected.T, rtol=1e-4, atol=1e-6)


def test_prompt_features__know_whose_they_are():
    encoder = encoder_from_model(build_small(CONFIG, seed=0), CONFIG, name="s", precision="fp32")
    found = prompt_features(encoder, {"CT": ["a CT"], "MRI": ["an MRI", "MRI"]})
    assert found.labels == ("CT", "MRI")
    assert found.owner.tolist() == [0, 1, 1]
    assert torch.equal(found.features, encoder.text_features(encoder.tokenize(["a CT", "an MRI", "MRI"]).ids))
    with pytest.raises(InputError):
        prompt_features(encoder, {"CT": []})
