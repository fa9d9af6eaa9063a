"""DICOM: windows, inversion, depth, frames, pseudonyms, burned-in text; only allow-listed tags leave a file."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hostile import make
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from chips_core.data import SourceKind, examine, open_source, recognise
from chips_core.data.dicom import ABOUT, PIXELS, _dataset, decode_dicom, pseudonym
from chips_core.data.limits import ImageLimits
from chips_core.errors import UnreadableInput


def dicom(pixels: np.ndarray, *, compressed: bool = False, **tags: object) -> bytes:
    """Returns a DICOM file of grey or colour pixels, (frames,) H, W."""
    held = Dataset()
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    held.file_meta.MediaStorageSOPClassUID = held.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    held.file_meta.MediaStorageSOPInstanceUID = held.SOPInstanceUID = "1.2.3.4.5"
    colour = pixels.shape[-1] == 3
    frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
    held.NumberOfFrames, held.Rows, held.Columns = frames.shape[:3]
    held.SamplesPerPixel = 3 if colour else 1
    held.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        held.PlanarConfiguration = 0
    held.BitsAllocated = held.BitsStored = pixels.dtype.itemsize * 8
    held.HighBit = held.BitsStored - 1
    held.PixelRepresentation = int(pixels.dtype.kind == "i")
    held.Modality = "CT"
    held.PixelData = frames.tobytes()
    for name, value in tags.items():
        setattr(held, name, value)
    if compressed:
        held.compress(RLELossless)
    out = io.BytesIO()
    held.save_as(out, enforce_file_format=True)
    return out.getvalue()


def grey(data: bytes) -> np.ndarray:
    """Returns one channel of the decoded image."""
    image = decode_dicom(data).image
    assert image is not None
    return np.asarray(image)[..., 0].astype(int)


RAMP = np.linspace(-1000, 3000, 64 * 64).astype(np.int16).reshape(64, 64)


def test_window__linear_is_the_formula_of_the_standard():
    data = dicom(RAMP - 24, RescaleSlope=1, RescaleIntercept=24, WindowCenter=40, WindowWidth=400)
    expected = ((RAMP.astype(float) - (40 - 0.5)) / (400 - 1) + 0.5) * 255
    expected[RAMP <= 40 - 0.5 - (400 - 1) / 2] = 0
    expected[RAMP > 40 - 0.5 + (400 - 1) / 2] = 255
    assert np.abs(grey(data) - expected).max() <= 0.5 + 1e-9
    assert decode_dicom(data).flags == ("window of the file applied",)


def test_window__exact_and_sigmoid_and_the_first_of_several():
    exact = grey(dicom(RAMP, WindowCenter=[0, 9], WindowWidth=[200, 9], VOILUTFunction="LINEAR_EXACT"))
    assert np.abs(exact - np.clip((RAMP + 100.0) / 200 * 255, 0, 255)).max() <= 0.5 + 1e-9
    sigmoid = grey(dicom(RAMP, WindowCenter=0, WindowWidth=400, VOILUTFunction="SIGMOID"))
    assert np.abs(sigmoid - 255 / (1 + np.exp(-4 * RAMP.astype(float) / 400))).max() <= 0.5 + 1e-9


def test_monochrome1__is_inverted():
    window = {"WindowCenter": 1000, "WindowWidth": 4000}
    assert (
        grey(dicom(RAMP, **window)) + grey(dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **window)) == 255
    ).all()


def test_no_window__percentiles_give_a_ramp_and_padding_is_left_out():
    found = grey(dicom(RAMP)).reshape(-1)
    assert (np.diff(found) >= 0).all()
    assert len(np.unique(found)) >= 200
    padded = RAMP.copy()
    padded[:32] = -32768
    assert len(np.unique(grey(dicom(padded, PixelPaddingValue=-32768))[32:])) >= 200


def test_voi_lut_sequence__is_applied():
    lut = Dataset()
    lut.LUTDescriptor = [256, 0, 16]
    lut.LUTData = [257 * (255 - i) for i in range(256)]
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    lut["LUTData"].VR = "US"
    data = dicom(values, VOILUTSequence=[lut])
    assert (grey(data) == 255 - values.astype(int)).all()


def test_frames_colour_and_compression():
    volume = np.stack([np.full((20, 20), v, np.uint8) for v in (10, 200)])
    assert "several frames" in decode_dicom(dicom(volume)).flags
    assert (grey(dicom(volume)) == 10).all()
    colour = np.full((20, 30, 3), (1, 2, 3), np.uint8)
    found = decode_dicom(dicom(colour)).image
    assert found is not None
    assert np.asarray(found)[0, 0].tolist() == [1, 2, 3]
    assert (grey(dicom(RAMP, compressed=True)) == grey(dicom(RAMP))).all()


def test_l3__text_that_may_be_burned_in_is_flagged():
    flag = "text may be burned in"
    assert flag in decode_dicom(dicom(RAMP, BurnedInAnnotation="YES")).flags
    assert flag in decode_dicom(dicom(RAMP, Modality="US")).flags
    assert flag in decode_dicom(dicom(RAMP, SOPClassUID=SecondaryCaptureImageStorage)).flags
    assert flag not in decode_dicom(dicom(RAMP, Modality="US", BurnedInAnnotation="NO")).flags
    assert flag not in decode_dicom(dicom(RAMP)).flags


def test_a3__sizes_are_checked_before_pixels():
    with pytest.raises(UnreadableInput, match="too large: 64 x 64"):
        decode_dicom(dicom(RAMP), limits=ImageLimits(max_megapixels=0.004))
    with pytest.raises(UnreadableInput) as told:
        decode_dicom(dicom(RAMP)[:-3000])
    assert told.value.outcome == "broken"


@given(st.data())
def test_a2__changed_bytes_are_broken_or_read(data: st.DataObject):
    held = bytearray(dicom(RAMP[:8, :8].copy(), WindowCenter=40, WindowWidth=400))
    for _ in range(data.draw(st.integers(1, 6))):
        held[data.draw(st.integers(132, len(held) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableInput):
        decode_dicom(bytes(held), limits=ImageLimits(max_megapixels=0.1))


def test_a2__a_wrong_length_in_the_file_meta_is_broken():
    data = bytearray(dicom(RAMP))
    data[138] = 1  # the group length claims one byte
    with pytest.raises(UnreadableInput) as told:
        decode_dicom(bytes(data))
    assert told.value.outcome == "broken"


def test_folder__keeps_allowed_tags_only_and_a_pseudonym_for_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    about = {
        "PatientID": "CANARY-4711",
        "PatientName": "CANARY^JANE",
        "PatientBirthDate": "CANARY!",
        "StudyDescription": "Brain without contrast",
        "SeriesDescription": "T1 axial",
        "BodyPartExamined": "HEAD",
        "Modality": "MR",
    }
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "IM0001").write_bytes(dicom(RAMP, **about))
    (tmp_path / "study" / "b.dcm").write_bytes(dicom(RAMP[::-1].copy(), **about))
    (tmp_path / "study" / "README").write_text("no image")
    assert recognise(tmp_path) is SourceKind.DICOM
    source = open_source(tmp_path)
    (batch,) = examine(source)
    rows = batch.to_pylist()
    assert [row["outcome"] for row in rows] == ["kept", "kept"]
    assert rows[0]["caption"] == "MR image of the head. Brain without contrast. T1 axial."
    assert {row["group"] for row in rows} == {pseudonym("CANARY-4711")}
    assert (rows[0]["modality"], rows[0]["body_part"]) == ("MR", "HEAD")
    assert source.ignored == {"no DICOM file": 1}
    assert "CANARY" not in str(rows)
    assert "CANARY" not in "".join(capfd.readouterr())


def test_l3__tags_that_are_not_listed_are_not_even_read():
    data = dicom(RAMP, PatientName="CANARY^JANE", OperatorsName="CANARY^JOE", PatientID="7")
    for tags, stop in ((ABOUT, True), (PIXELS, False)):
        held = _dataset(data, tags=tags, stop=stop)
        assert {element.keyword for element in held} <= set(tags)
        assert "CANARY" not in str(held)


def test_table__may_name_dicom_files(tmp_path: Path):
    (tmp_path / "a.dcm").write_bytes(dicom(RAMP))
    (tmp_path / "b").write_bytes(dicom(RAMP[:, ::-1].copy()))
    (tmp_path / "c.dcm").write_bytes(make.encoded("PNG"))
    (tmp_path / "pairs.csv").write_text("image,caption\na.dcm,one two three\nb,four five six\nc.dcm,seven eight nine\n")
    (batch,) = examine(open_source(tmp_path))
    assert batch["outcome"].to_pylist() == ["kept", "kept", "broken"]
