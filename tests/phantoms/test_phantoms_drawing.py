"""The pictures: the same for a scene, the finding on the side that the caption names, each finding to be seen."""

from dataclasses import replace

import numpy as np
import pytest

from chips_core.phantoms import MODALITIES, Planted, draw, plan
from chips_core.phantoms.canvas import SIZE, Ellipse, blur, clip, fill, mesh, spline, turned, warp
from chips_core.phantoms.captions import class_prompt
from chips_core.phantoms.pair import PhantomPair
from chips_core.phantoms.scene import Scene

FINDINGS = [(m.key, f.key) for m in MODALITIES.values() for f in m.findings]


def pair_of(
    modality: str, finding: str, *, side: str = "left", severity: str = "large", number: int = 1, copy: int = 0
) -> PhantomPair:
    view = MODALITIES[modality].views[-1]
    scene = Scene(modality, finding, side, severity, view, 0, number, number, copy)
    prompt = class_prompt(modality, finding)
    return PhantomPair("p1", "", f"{modality}:{finding}", prompt, "train", modality, "", "g1", "", scene)


def grey(pair: PhantomPair) -> np.ndarray:
    return draw(pair).mean(2) / 255


def halves(image: np.ndarray, *, rows: slice, columns: slice) -> tuple[float, float]:
    """Returns the mean of the same region in the viewer's left and right half; `columns` counts from the middle."""
    middle = image.shape[1] // 2
    right = image[rows, middle + columns.start : middle + columns.stop]
    left = image[rows, middle - columns.stop : middle - columns.start]
    return float(left.mean()), float(right.mean())


@pytest.mark.parametrize(("modality", "finding"), FINDINGS)
def test_draw__same_bytes_for_a_scene_and_others_for_another(modality, finding):
    first = draw(pair_of(modality, finding))
    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert SIZE * 0.75 <= first.shape[0] <= SIZE
    assert first.shape[1] == SIZE
    assert np.array_equal(first, draw(pair_of(modality, finding)))
    assert not np.array_equal(first, draw(pair_of(modality, finding, number=2)))


@pytest.mark.parametrize(("modality", "finding"), FINDINGS)
def test_draw__a_finding_changes_the_picture(modality, finding):
    other = "normal" if MODALITIES[modality].normal else next(f for m, f in FINDINGS if m == modality and f != finding)
    ill = np.mean(
        [
            np.abs(blur(grey(pair_of(modality, finding, number=k)) - grey(pair_of(modality, other, number=k)), 2)).max()
            for k in range(3)
        ]
    )
    assert ill > 0.08


def test_draw__an_effusion_whitens_the_base_of_the_drawn_side():
    for number in range(6):
        for side, sign in (("left", 1), ("right", -1)):
            image = grey(pair_of("chest-radiograph", "pleural-effusion", side=side, number=number))
            left, right = halves(image, rows=slice(80, 105), columns=slice(36, 54))
            assert sign * (right - left) > 0.05, (number, side)


def test_draw__a_pneumothorax_darkens_the_rim_of_the_drawn_side():
    for number in range(6):
        sides = {
            side: grey(pair_of("chest-radiograph", "pneumothorax", side=side, number=number))
            for side in ("left", "right")
        }
        left, right = halves(sides["left"] - sides["right"], rows=slice(50, 90), columns=slice(34, 54))
        assert right < left - 0.05


def test_draw__the_disc_lies_towards_the_nose():
    for number in range(6):
        for side, sign in (("right", 1), ("left", -1)):  # a right eye's disc is on the viewer's right
            image = grey(pair_of("fundus-photograph", "normal", side=side, severity="", number=number))
            left, right = halves(blur(image, 4), rows=slice(55, 105), columns=slice(20, 45))
            assert sign * (right - left) > 0.02, (number, side)


@pytest.mark.parametrize(
    ("modality", "finding"), [("brain-mri", "infarct"), ("brain-mri", "glioma"), ("abdominal-ct", "kidney-stone")]
)
def test_draw__a_lesion_is_on_the_drawn_side(modality, finding):
    """The same patient and exposure with the lesion on either side: each side is changed where the lesion is."""
    for number in range(4):
        at_left = grey(pair_of(modality, finding, side="left", number=number))
        at_right = grey(pair_of(modality, finding, side="right", number=number))
        healthy = grey(pair_of(modality, "normal", severity="", number=number))
        for image, sign in ((at_left, 1), (at_right, -1)):
            left, right = halves(np.abs(image - healthy), rows=slice(10, 130), columns=slice(5, 70))
            assert sign * (right - left) > 0.001


def test_draw__severity_grows():
    """The larger the effusion, the less air is left in the lungs."""
    white = [
        np.mean(
            [
                grey(pair_of("chest-radiograph", "pleural-effusion", severity=s, number=k))[60:110, 116:136].mean()
                for k in range(5)
            ]
        )
        for s in ("small", "moderate", "large")
    ]
    assert white[0] + 0.05 < white[1]
    assert white[1] + 0.05 < white[2]


def test_draw__a_near_duplicate_is_close_to_its_original_but_not_the_same():
    for modality, finding in (
        ("chest-radiograph", "cardiomegaly"),
        ("dermoscopy", "melanoma"),
        ("histology", "normal"),
    ):
        original, copy = grey(pair_of(modality, finding)), grey(pair_of(modality, finding, copy=3))
        other = grey(pair_of(modality, finding, number=2))
        assert not np.array_equal(original, copy)
        assert np.corrcoef(blur(original, 2).ravel(), blur(copy, 2).ravel())[0, 1] > 0.85
        assert np.abs(blur(original - copy, 2)).mean() < 0.5 * np.abs(blur(original - other, 2)).mean() + 0.02


def test_draw__near_duplicates_of_a_plan_are_drawn_from_their_original():
    pairs = plan(train=400, val=0, test=0)
    copy = next(p for p in pairs if p.planted == Planted.NEAR_DUPLICATE)
    original = next(p for p in pairs if p.scene == replace(copy.scene, copy=0))
    assert np.corrcoef(draw(original).ravel(), draw(copy).ravel())[0, 1] > 0.7


def test_ellipse__mask_dome_and_glow():
    where = Ellipse(0.25, 0.0, 0.5, 0.25)
    x, y = mesh()
    inside = ((x - 0.25) / 0.5) ** 2 + (y / 0.25) ** 2 < 1
    assert np.array_equal(where.mask(0.001) > 0.5, inside)
    assert np.isclose(where.mask(0.001).sum(), np.pi * 0.5 * 0.25 * (SIZE / 2) ** 2, rtol=0.02)
    assert where.dome().max() <= 1
    assert where.glow()[SIZE // 2, int(SIZE * 0.625)] > 0.99


def test_fill__covers_the_area_of_a_square():
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    assert np.isclose(fill(square).sum(), (SIZE / 2) ** 2, rtol=0.02)


def test_spline__goes_through_its_points():
    points = [(0.0, 0.0), (0.5, 0.2), (1.0, -0.3)]
    curve = spline(points)
    assert all(np.abs(curve - point).sum(1).min() < 1e-12 for point in points)


def test_blur__keeps_a_constant_and_the_sum():
    assert np.allclose(blur(np.full((SIZE, SIZE), 0.3, np.float32), 2.0), 0.3)
    dot = np.zeros((SIZE, SIZE), np.float32)
    dot[80, 80] = 1
    for sigma in (1.0, 2.5, 8.0):
        assert np.isclose(blur(dot, sigma).sum(), 1, atol=0.02)


def test_warp__shifts_to_the_left_when_it_samples_from_the_right():
    x, y = mesh()
    step = np.full_like(x, 2 / SIZE)
    assert np.allclose(warp(x.copy(), step, np.zeros_like(y))[:, :-1], x[:, 1:], atol=1e-5)


def test_turned__nothing_changes_at_angle_zero():
    image = clip(mesh()[0] + mesh()[1])
    assert np.allclose(turned(image, angle=0.0), image, atol=1e-4)
