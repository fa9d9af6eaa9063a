"""Captions from a small grammar: synonyms, sides, degrees, negations and several forms of sentence."""

from dataclasses import replace

import numpy as np

from chips_core.phantoms.catalogue import MODALITIES, NORMAL, Finding, Modality
from chips_core.phantoms.scene import SEVERITIES, SIDES, Scene

FORMS = (
    "{Study} showing {phrase}.",
    "{Study} with {phrase}.",
    "{Study}: {phrase}.",
    "{Study} demonstrates {phrase}.",
    "{Phrase} on {study}.",
    "{Phrase}, {study}.",
    "{Study}. Findings consistent with {phrase}.",
    "{Study}. Impression: {phrase}.",
)
NORMAL_FORMS = (
    "Normal {study}.",
    "{Study} without abnormality.",
    "Unremarkable {study}. {Sentence}.",
    "{Study}: {sentence}.",
    "{Sentence} on {study}.",
    "{Study}, normal. No {one}.",
    "No {one} or {two} on {study}. {Sentence}.",
)
EMPTY_WORDS = (
    "image",
    "Figure 3.",
    "see report",
    "scan",
    "medical image",
    "untitled",
    "Fig. 2",
    "picture of a patient",
    "-",
    "as above",
)
TAILS = ("No {other}.", "No sign of {other}.", "No evidence of {other}.", "Negative for {other}.")
PLAIN = 0.12  # the share of captions that were filled in from a template, word for word the class prompt
OPENINGS = ("Follow-up examination. ", "Initial study. ", "Adult patient. ", "Routine control. ")


def caption_of(scene: Scene, *, rng: np.random.Generator, say_side: bool = False) -> str:
    """Returns a caption that is true of the scene; `say_side` makes it name the side."""
    modality = MODALITIES[scene.modality]
    if rng.random() < PLAIN and not say_side:
        return _capital(class_prompt(scene.modality, scene.finding)) + "."
    opening = str(rng.choice(OPENINGS)) if rng.random() < 0.07 else ""
    study = _study(scene, modality, rng=rng, say_side=say_side)
    if scene.finding == NORMAL:
        return opening + _normal(modality, study, rng)
    finding = modality.finding(scene.finding)
    phrase = _phrase(scene, finding, rng=rng, say_side=say_side)
    text = str(rng.choice(FORMS)).format(study=study, Study=_capital(study), phrase=phrase, Phrase=_capital(phrase))
    others = [f for f in modality.findings if f.key != scene.finding]
    if modality.normal and rng.random() < 0.35:
        other = others[int(rng.integers(len(others)))]
        text += " " + str(rng.choice(TAILS)).format(other=_bare(other.names[0]))
    return opening + text


def other_side(scene: Scene, *, rng: np.random.Generator) -> str:
    """Returns a caption that names the wrong side."""
    wrong = SIDES[1 - SIDES.index(scene.side)]
    return caption_of(replace(scene, side=wrong), rng=rng, say_side=True)


def turned_round(scene: Scene, *, rng: np.random.Generator) -> str:
    """Returns a caption that denies what the scene shows, or claims what a normal scene does not show."""
    modality = MODALITIES[scene.modality]
    study = _study(scene, modality, rng=rng, say_side=False)
    if scene.finding != NORMAL:
        name = _bare(str(rng.choice(modality.finding(scene.finding).names)))
        text = str(rng.choice(["{Study}. No {name}.", "No {name} on {study}.", "{Study} without {name}."]))
        return text.format(study=study, Study=_capital(study), name=name)
    claimed = modality.findings[int(rng.integers(len(modality.findings)))]
    side = scene.side or (str(rng.choice(SIDES)) if claimed.place else "")
    return caption_of(replace(scene, finding=claimed.key, side=side, severity=str(rng.choice(SEVERITIES))), rng=rng)


def uninformative(rng: np.random.Generator) -> str:
    """Returns a caption that says nothing."""
    return str(rng.choice(EMPTY_WORDS))


def class_prompt(modality: str, finding: str) -> str:
    """Returns the zero-shot prompt of a label."""
    described = MODALITIES[modality]
    study = _plain(described)
    return f"normal {study}" if finding == NORMAL else f"{study} showing {described.finding(finding).names[0]}"


def _plain(modality: Modality) -> str:
    """Returns the study's name without view and side, as a class has neither."""
    return {"fundus-photograph": "fundus photograph", "brain-mri": "brain MRI"}.get(modality.key, modality.studies[0])


def _study(scene: Scene, modality: Modality, *, rng: np.random.Generator, say_side: bool) -> str:
    with_side = [name for name in modality.studies if "{side}" in name]
    names = with_side if say_side and with_side else modality.studies
    return str(rng.choice(names)).format(view=scene.view, side=scene.side)


def _normal(modality: Modality, study: str, rng: np.random.Generator) -> str:
    one, two = rng.permutation(len(modality.findings))[:2]
    sentence = str(rng.choice(modality.normal))
    return str(rng.choice(NORMAL_FORMS)).format(
        study=study,
        Study=_capital(study),
        sentence=sentence[0].lower() + sentence[1:],
        Sentence=sentence,
        one=_bare(modality.findings[one].names[0]),
        two=_bare(modality.findings[two].names[0]),
    )


def _phrase(scene: Scene, finding: Finding, *, rng: np.random.Generator, say_side: bool) -> str:
    """Returns for example `a small left pleural effusion` or `marked cardiomegaly`."""
    name = finding.names[int(rng.choice(len(finding.names), p=_weights(len(finding.names))))]
    noun = _bare(name)
    counted = noun != name
    words = [noun]
    after = ""
    if finding.place and (say_side or rng.random() < 0.8):
        form = rng.integers(3)
        if form == 2:
            after = " " + finding.place.format(side=scene.side)
        else:
            words.insert(0, (f"{scene.side}", f"{scene.side}-sided")[form])
    if rng.random() < 0.65:
        words.insert(0, str(rng.choice(finding.degrees[scene.grade])))
    text = " ".join(words)
    if counted:
        text = ("an " if text[0] in "aeiou" else "a ") + text
    return text + after


def _weights(count: int) -> list[float]:
    """Returns falling weights: the plainest name is the commonest."""
    raw = [1 / (k + 1) ** 0.7 for k in range(count)]
    return [w / sum(raw) for w in raw]


def _bare(name: str) -> str:
    return name.removeprefix("an ").removeprefix("a ")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
