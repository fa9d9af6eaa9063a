"""Zero-shot measures by hand, and beside open_clip's own code on the same model and images."""

import numpy as np
import pytest
import torch

from chips_core.verify.bootstrap import interval
from chips_core.verify.retrieval import recall
from chips_core.verify.zero_shot import calibration, class_weights, logits_of, measured

LOGITS = torch.tensor([[2.0, 1, 0], [0, 2, 1], [3, 1, 0], [0, 1, 4], [1, 1, 0], [0, 0, 1]])
LABELS = np.array([0, 1, 1, 0, 0, -1])


def by_hand(**changes):
    given = {"classes": ["a", "b", "c"], "groups": ["p", "p", "q", "r", "", ""], "sources": ["x"] * 5 + ["y"]}
    return measured(LOGITS, LABELS, **(given | changes))


def test_measured__j1_by_hand_with_a_tie():
    found = by_hand()
    assert (found.images, found.ties) == (5, 1)
    assert found.accuracy is not None
    assert found.accuracy.mean == pytest.approx(3 / 5)  # the tie falls to the first class
    assert [(line.images, line.correct) for line in found.classes] == [(3, 2), (2, 1), (0, 0)]
    assert found.confusion.tolist() == [[2, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert found.balanced == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert set(found.sources) == {"x"}


def test_measured__j1_j3_a_class_without_images_has_no_accuracy_and_no_images_have_none_at_all():
    assert by_hand().classes[2].accuracy is None
    nothing = measured(LOGITS[:0], LABELS[:0], classes=["a", "b", "c"], groups=[], sources=[])
    assert (nothing.accuracy, nothing.balanced, nothing.calibration) == (None, None, None)
    assert nothing.as_dict()["accuracy"] is None


def test_measured__j1_one_class():
    found = measured(torch.ones(2, 1), np.array([0, 0]), classes=["only"], groups=["", ""], sources=["", ""])
    assert found.accuracy is not None
    assert found.accuracy.mean == 1.0


def test_calibration__by_hand():
    found = calibration(np.array([[0.9, 0.1], [0.8, 0.2], [0.85, 0.15]]), np.array([0, 0, 1]))
    assert found.images[8:] == (2, 1)
    assert found.ece == pytest.approx((abs(1 - 1.65) + abs(1 - 0.9)) / 3)
    assert found.accuracy[0] is None


def test_interval__draws_whole_patients():
    values = np.array([1.0] * 50 + [0.0] * 50)
    together = interval(values, ["a"] * 50 + ["b"] * 50)
    alone = interval(values, [""] * 100)
    assert together is not None
    assert alone is not None
    assert (together.low, together.high) == (0.0, 1.0)
    assert alone.low is not None
    assert alone.low > 0.35


def test_interval__one_patient_has_no_interval_and_nothing_has_no_mean():
    found = interval(np.array([1.0, 0.0]), ["a", "a"])
    assert found is not None
    assert (found.mean, found.low) == (0.5, None)
    assert interval(np.zeros(0), []) is None


def found_by(image, text, captions, at, groups=None):
    return recall(image, text, captions=captions, groups=groups or [""] * len(image), at=at)


def test_recall__equal_captions_are_hits():
    image = torch.eye(3)
    text = image[[1, 0, 2]]
    assert found_by(image, text, ["u", "v", "w"], (1, 2)).found["image_to_text"] == {
        "1": pytest.approx(1 / 3),
        "2": pytest.approx(1 / 3),
    }
    assert found_by(image, text, ["u", "u", "w"], (1,)).found["text_to_image"] == {"1": 1.0}
    nothing = found_by(image[:0], text[:0], [], (1,))
    assert nothing.found["image_to_text"] is None
    assert nothing.intervals["image_to_text"] is None


def test_recall__ties_count_against():
    same = torch.ones(4, 1)
    assert found_by(same, same, list("abcd"), (1, 4)).found["image_to_text"] == {"1": 0.0, "4": 1.0}


def test_recall__intervals_draw_whole_patients():
    image = torch.eye(4)
    text = image[[1, 0, 2, 3]]
    one, two = (
        found_by(image, text, list("abcd"), (1,), groups=groups) for groups in (["p"] * 4, ["p", "p", "q", "q"])
    )
    assert one.intervals["image_to_text"] == {"1": None}
    assert two.intervals["image_to_text"] == {"1": [0.0, 1.0]}


def test_zero_shot__equals_open_clip():
    """Same model, same images, several templates: open_clip's own classifier and argmax give the same accuracy."""
    from chips_core.clip import encoder_from_model, open_clip_module
    from chips_core.clip.prompts import class_prompts, prompt_features
    from chips_core.clip.small import build_small, small_config

    config = small_config("vit", 32, embed_dim=16, vision_width=32, vision_layers=1, text_width=32, text_layers=1)
    model = build_small(config, seed=3)
    encoder = encoder_from_model(model, config, name="small", device="cpu", precision="fp32")
    names, templates = ["disc", "bar", "ring {x}"], ["a picture of a {}", "one {} in grey"]
    images = torch.randn(60, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = np.arange(60) % 3
    theirs = open_clip_module().build_zero_shot_classifier(
        model,
        lambda texts: encoder.tokenize(texts).ids,
        names,
        [lambda name, t=template: t.replace("{}", name) for template in templates],
    )
    with torch.no_grad():
        expected = model.logit_scale.exp() * model.encode_image(images, normalize=True) @ theirs
    found = prompt_features(encoder, class_prompts(names, templates))
    weights = class_weights(found.features, found.owner, head=encoder.heads.text)
    ours = logits_of(
        encoder.image_features(images), weights=weights, head=encoder.heads.image, scale=encoder.heads.scale
    )
    assert torch.allclose(ours, expected, atol=1e-4)
    assert torch.equal(ours.argmax(1), expected.argmax(1))
    accuracy = measured(ours, labels, classes=names, groups=[""] * 60, sources=[""] * 60).accuracy
    assert accuracy is not None
    assert accuracy.mean == float((expected.argmax(1).numpy() == labels).mean())
