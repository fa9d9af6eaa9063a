"""Cases A1-A9: what becomes of images that are cut, fake, huge, deep, transparent, turned or odd."""

import io
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hostile import make
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chips_core.data.images import decode
from chips_core.data.limits import ImageLimits
from chips_core.data.opener import ImageOpener
from chips_core.data.thumbnails import thumbnail
from chips_core.errors import UnreadableInput

FORMS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")


def outcome_of(data: bytes) -> str:
    """Returns kept, or the outcome that the decoder names; any other exception fails the test."""
    try:
        decode(data)
    except UnreadableInput as error:
        return str(error.outcome)
    return "kept"


def pixels(data: bytes) -> np.ndarray:
    """Returns the RGB pixels."""
    image = decode(data).image
    assert image is not None
    return np.asarray(image)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a1__an_image_cut_at_half_and_at_20_random_places_is_broken(form: str):
    data = make.encoded(form)
    assert outcome_of(data) == "kept"
    rng = np.random.default_rng(7)
    for cut in [len(data) // 2, *rng.integers(1, len(data) - 1, 20), len(data) - 1, len(data) - 2]:
        assert outcome_of(data[: int(cut)]) == "broken", cut


def test_a1__a_progressive_jpeg_cut_anywhere_is_broken():
    data = make.encoded("JPEG", progressive=True)
    for cut in range(10, len(data), 37):
        assert outcome_of(data[:cut]) == "broken", cut


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a", b"BM"])
)
def test_a2__random_bytes_are_broken_and_never_another_exception(noise: bytes, magic: bytes):
    assert outcome_of(magic + noise) in ("broken", "refused")


@given(st.sampled_from(FORMS), st.data())
def test_a2__damage_in_the_middle_is_kept_or_broken_and_never_another_exception(form: str, data: st.DataObject):
    image = bytearray(make.encoded(form))
    for _ in range(data.draw(st.integers(1, 8))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    assert outcome_of(bytes(image)) in ("kept", "broken", "refused")


@pytest.mark.parametrize("attack", make.of("image"), ids=lambda attack: attack.name)
def test_a1_a2_a3_a8_a11_a13__image_attacks_end_in_the_expected_outcome_at_once(attack: make.Attack, tmp_path: Path):
    path = attack.make(tmp_path)
    began = time.monotonic()
    with pytest.raises(UnreadableInput) as told:
        ImageOpener(tmp_path).read(path.name)
    assert told.value.outcome in attack.expected
    assert time.monotonic() - began < 20.0
    assert not (tmp_path / "marker").exists()


def test_a3__a_2_kb_png_claiming_3600_megapixels_is_refused_from_its_header():
    data = make.png_claiming(60_000, 60_000)
    assert len(data) < 3_000
    outcome_of(make.encoded("PNG"))  # imports are done before the clock starts
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(UnreadableInput, match=r"too large: 60000 x 60000 .* setting max_megapixels is 100") as told:
        decode(data)
    seconds = time.monotonic() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.value.outcome == "broken"
    assert seconds < 5  # refused by the header, not decoded; the machine may be busy
    assert peak < 50e6


def test_a3__our_limit_decides_and_not_a_warning(recwarn: pytest.WarningsRecorder):
    assert outcome_of(make.png_claiming(10_001, 10_000)) == "broken"
    small = make.encoded("PNG", image=make.picture((50, 40)))
    assert decode(small, limits=ImageLimits(max_megapixels=0.002)).width == 50
    with pytest.raises(UnreadableInput, match=r"max_megapixels is 0\.0019"):
        decode(small, limits=ImageLimits(max_megapixels=0.0019))
    assert not [w for w in recwarn.list if "bomb" in str(w.message).lower()]


@pytest.mark.parametrize(("top", "form"), [(65_535, "PNG"), (4_095, "PNG"), (65_535, "TIFF"), (4_095, "TIFF")])
def test_a4__a_deep_ramp_stays_a_ramp(top: int, form: str):
    ramp = np.linspace(0, top, 256 * 128).astype(np.uint16).reshape(128, 256)
    data = make.encoded(form, image=Image.fromarray(ramp))
    grey = pixels(data)[..., 0].reshape(-1).astype(int)
    assert (np.diff(grey) >= 0).all()
    assert len(np.unique(grey)) >= 200
    assert np.isin(grey, (0, 255)).mean() < 0.02  # both ends together; each is under one percent
    assert max((grey == 0).mean(), (grey == 255).mean()) < 0.01
    assert decode(data).flags == ("16-bit values scaled to 8",)


def test_a4__eight_bit_values_in_a_16_bit_file_stay_as_they_are():
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = make.encoded("PNG", image=Image.fromarray(grey))
    assert (pixels(data)[..., 1] == grey).all()


def test_a4__48_bit_colour_is_told():
    header = b"\x89PNG\r\n\x1a\n" + make.png_chunk(b"IHDR", b"\0\0\0\x20\0\0\0\x20\x10\x02\0\0\0")
    body = make.zlib.compress((b"\0" + bytes(range(192))) * 32)
    data = header + make.png_chunk(b"IDAT", body) + make.png_chunk(b"IEND", b"")
    assert "16-bit colour cut to 8" in decode(data).flags


def test_a5__simple_modes_give_the_known_pixels():
    for mode, colour, expected in (
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("P", 0, (10, 20, 30)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (77, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
    ):
        image = Image.new(mode, (20, 20), colour)
        if mode == "P":
            image.putpalette([10, 20, 30] * 256)
        assert tuple(pixels(make.encoded("PNG", image=image))[3, 3]) == expected, mode


def test_a5__cmyk_and_ycbcr_are_converted_and_told():
    red = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    found = decode(make.encoded("TIFF", image=red))
    assert "colour space converted" in found.flags
    assert np.asarray(found.image)[0, 0].tolist() == [255, 0, 0]
    jpeg = pixels(make.encoded("JPEG", image=red, quality=100))[0, 0].astype(int)
    assert jpeg[0] > 230
    assert jpeg[1:].max() < 30


def test_a5__transparent_palette_and_colour_key_are_laid_on_the_background():
    palette = Image.new("P", (20, 20), 3)
    palette.putpalette([50] * 768)
    data = make.encoded("PNG", image=palette, transparency=3)
    assert (pixels(data) == 255).all()
    read = decode(data, limits=ImageLimits(background=(1, 2, 3)))
    assert np.asarray(read.image)[0, 0].tolist() == [1, 2, 3]
    assert "transparency laid on background" in read.flags


def test_a5__16_bit_little_and_big_endian_int32_and_float_agree():
    ramp = np.linspace(0, 4095, 64 * 64).reshape(64, 64)
    kinds = [ramp.astype("<u2"), ramp.astype(np.int32), ramp.astype(np.float32)]
    found = [pixels(make.encoded("TIFF", image=Image.fromarray(values)))[..., 0].astype(int) for values in kinds]
    big = Image.frombytes("I;16B", (64, 64), ramp.astype(">u2").tobytes())
    found.append(pixels(make.encoded("TIFF", image=big))[..., 0].astype(int))
    for other in found[1:]:
        assert np.abs(other - found[0]).max() <= 1


def test_a5__floats_between_0_and_1_are_not_black_and_nan_is_told():
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    grey = pixels(make.encoded("TIFF", image=Image.fromarray(values)))[..., 0]
    assert (grey.min(), grey.max(), len(np.unique(grey))) == (0, 255, 256)
    values[0, 0], values[0, 1] = np.nan, np.inf
    assert "pixels that are not numbers" in decode(make.encoded("TIFF", image=Image.fromarray(values))).flags


def test_a5__an_unknown_mode_is_broken_and_not_white():
    lab = Image.new("LAB", (20, 20), (50, 10, 10))
    with pytest.raises(UnreadableInput, match="mode LAB"):
        decode(make.encoded("TIFF", image=lab))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a6__orientation_gives_the_pixels_of_the_turned_image(form: str, orientation: int):
    upright = Image.new("RGB", (40, 24), "black")
    upright.paste("white", (0, 0, 16, 8))  # the upper left corner
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that a camera applied
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(make.encoded(form, image=stored, exif=exif))
    assert (found.width, found.height) == (40, 24)
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(upright)).mean() < 4
    assert ("turned by orientation tag" in found.flags) == (orientation > 1)


def test_a7__of_several_frames_the_first_is_used_and_told():
    first, second = Image.new("RGB", (30, 30), (200, 10, 10)), make.picture((30, 30))
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        data = make.encoded(form, image=first, save_all=True, append_images=[second])
        assert "several frames" in decode(data).flags, form
        assert np.abs(pixels(data)[5, 5].astype(int) - [200, 10, 10]).max() < 12, form
        assert "several frames" not in decode(make.encoded(form, image=first)).flags


def test_a8__only_listed_formats_are_tried():
    assert outcome_of(make.encoded("ICO", image=make.picture((32, 32)))) == "broken"
    assert outcome_of(make.encoded("PCX")) == "broken"


def test_a9__odd_shapes_and_one_colour_are_flagged():
    assert set(decode(make.encoded("PNG", image=Image.new("RGB", (1, 1)))).flags) == {"tiny image", "one colour"}
    assert "extreme shape" in decode(make.encoded("PNG", image=make.picture((1, 20_000)))).flags
    assert decode(make.encoded("PNG", image=Image.new("L", (64, 64), 9))).flags == ("one colour",)
    assert decode(make.encoded("PNG", image=make.picture((64, 64)))).flags == ()


def test_a10__the_hash_changes_when_a_file_is_replaced(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(make.encoded("PNG"))
    opener = ImageOpener(tmp_path)
    before = opener.read("a.png").sha256
    assert opener.read("a.png").sha256 == before
    (tmp_path / "a.png").write_bytes(make.encoded("PNG", image=make.picture(seed=1)))
    assert opener.read("a.png").sha256 != before


def test_thumbnail__is_a_small_jpeg_without_any_of_the_metadata(tmp_path: Path):
    exif = Image.Exif()
    exif[0x010E] = "CANARY^JANE-4711"
    image = make.picture((400, 200))
    (tmp_path / "a.jpg").write_bytes(make.encoded("JPEG", image=image, exif=exif, comment=b"CANARY^JANE-4711"))
    made = thumbnail(ImageOpener(tmp_path), "a.jpg", size=64)
    assert b"CANARY" in (tmp_path / "a.jpg").read_bytes()
    assert b"CANARY" not in made
    with Image.open(io.BytesIO(made)) as small:
        assert (small.format, small.size, len(small.getexif())) == ("JPEG", (64, 32), 0)


def test_max_file_megabytes__is_checked_before_reading(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(make.encoded("PNG"))
    with pytest.raises(UnreadableInput, match=r"max_file_megabytes is 0\.001"):
        ImageOpener(tmp_path, limits=ImageLimits(max_file_megabytes=0.001)).read("a.png")
