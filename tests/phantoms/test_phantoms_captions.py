"""The grammar: captions are true of their scene, varied, and free of leftovers of the templates."""

import re
from dataclasses import replace

import numpy as np
import pytest

from chips_core.phantoms import MODALITIES, plan
from chips_core.phantoms.captions import caption_of, class_prompt, other_side, turned_round, uninformative
from chips_core.phantoms.scene import SEVERITIES, Scene

EFFUSION = Scene("chest-radiograph", "pleural-effusion", "left", "large", "", 0, 1, 1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scenes() -> list[Scene]:
    found = [
        Scene(m.key, f.key, side if f.place or m.sided else "", severity, (f.views or m.views)[0], 0, 1, 1)
        for m in MODALITIES.values()
        for f in m.findings
        for side in ("left", "right")
        for severity in SEVERITIES
    ]
    healthy = [
        Scene(m.key, "normal", "right" if m.sided else "", "", m.views[0], 0, 1, 1)
        for m in MODALITIES.values()
        if m.normal
    ]
    return found + healthy


def sides_in(text: str) -> set[str]:
    return set(re.findall(r"\b(left|right)\b", text.lower()))


def test_caption_of__names_no_side_but_the_scenes():
    for scene in scenes():
        for seed in range(20):
            assert sides_in(caption_of(scene, rng=generator(seed))) <= {scene.side}


def test_caption_of__says_the_side_when_told_to():
    for seed in range(50):
        assert sides_in(caption_of(EFFUSION, rng=generator(seed), say_side=True)) == {"left"}


def test_caption_of__degree_fits_the_severity():
    texts = {
        grade: [caption_of(replace(EFFUSION, severity=grade), rng=generator(k)) for k in range(60)]
        for grade in SEVERITIES
    }
    assert not any("large" in t or "moderate" in t for t in texts["small"])
    assert any("small" in t for t in texts["small"])
    assert any("large" in t for t in texts["large"])
    assert not any("small" in t or "tiny" in t for t in texts["large"])


def test_caption_of__never_denies_what_the_scene_shows():
    for scene in scenes():
        if scene.finding == "normal":
            continue
        name = MODALITIES[scene.modality].finding(scene.finding).names[0].removeprefix("an ").removeprefix("a ")
        denials = [f"{word} {name}" for word in ("no", "sign of", "evidence of", "negative for", "without")]
        for seed in range(30):
            text = caption_of(scene, rng=generator(seed)).lower()
            assert not any(denial in text for denial in denials)


def test_caption_of__reads_like_a_sentence():
    for scene in scenes():
        for seed in range(20):
            text = caption_of(scene, rng=generator(seed))
            assert text.endswith(".")
            assert text[0].isupper()
            assert not re.search(r"[{}]|  |\ba [aeio]|\ban [^aeio]|\bNone\b", text), text
            assert len(text.split()) < 30


def test_caption_of__is_varied():
    texts = {caption_of(EFFUSION, rng=generator(seed)) for seed in range(200)}
    assert len(texts) > 100
    openings = {text.split()[0] for text in texts}
    assert len(openings) > 5


def test_other_side__names_the_wrong_side_and_only_it():
    for scene in scenes():
        if scene.side:
            wrong = {"left": "right", "right": "left"}[scene.side]
            assert all(sides_in(other_side(scene, rng=generator(seed))) == {wrong} for seed in range(20))
    assert sides_in(other_side(EFFUSION, rng=generator())) == {"right"}


def test_turned_round__denies_what_is_there():
    for seed in range(30):
        text = turned_round(EFFUSION, rng=generator(seed)).lower()
        assert re.search(r"(no|without) (pleural effusion|effusion|pleural fluid)", text), text


def test_turned_round__claims_what_is_not_there():
    healthy = Scene("chest-radiograph", "normal", "", "", "", 0, 1, 1)
    for seed in range(30):
        text = turned_round(healthy, rng=generator(seed)).lower()
        assert "normal" not in text
        assert any(name.split()[-1] in text for f in MODALITIES["chest-radiograph"].findings for name in f.names)


def test_uninformative__says_nothing():
    words = {uninformative(generator(seed)) for seed in range(60)}
    assert len(words) > 5
    assert all(len(text) < 25 for text in words)


def test_class_prompt__one_for_each_label():
    prompts = {p.label: p.class_prompt for p in plan(train=600, val=0, test=0)}
    assert len(set(prompts.values())) == len(prompts)
    assert class_prompt("chest-radiograph", "pleural-effusion") == "chest radiograph showing a pleural effusion"
    assert class_prompt("brain-mri", "normal") == "normal brain MRI"
    assert not any("{" in prompt for prompt in prompts.values())


@pytest.mark.parametrize("word", ["No ", "Negative for", "without", "No evidence of"])
def test_captions__hold_negations(word):
    assert any(word in p.caption for p in plan(train=600, val=0, test=0))
