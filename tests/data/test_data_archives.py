"""Cases B9-B11: shards, arrays and COCO files; nothing is extracted, unpickled or allocated on a claim."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hostile import make

from chips_core.data import ColumnMap, ImageOpener, SourceKind, examine, open_source, recognise
from chips_core.errors import InputError, UnreadableInput
from chips_core.pairs_schema import PAIRS


def rows_of(path: Path) -> list[dict[str, object]]:
    """Returns what intake makes of a source."""
    return pa.Table.from_batches(examine(open_source(path)), PAIRS).to_pylist()


def shard(path: Path, *, samples: int = 3) -> Path:
    """Writes a shard as BIOMEDICA comes: an image, a caption and a JSON with metadata for each key."""
    entries = []
    for i in range(samples):
        about = {"modality": "X-ray", "subject_id": 100 + i, "label": ["a", "b"], "nested": {"x": 1}}
        entries += [
            make.entry(f"PMC{i:03d}.jpg", make.encoded("JPEG", image=make.picture(seed=i))),
            make.entry(f"PMC{i:03d}.txt", f"A radiograph of the hand, case {i}.".encode()),
            make.entry(f"PMC{i:03d}.json", json.dumps(about).encode()),
        ]
    return make.tar_of(path, entries)


def test_webdataset__members_of_a_key_become_a_pair_found_again_by_offset(tmp_path: Path):
    shard(tmp_path / "shard-0000.tar")
    shard(tmp_path / "shard-0001.tar", samples=2)
    source = open_source(tmp_path)
    assert source.kind is SourceKind.WEBDATASET
    assert source.mapping == ColumnMap(
        image="jpg", caption="txt", label="json.label", modality="json.modality", group="json.subject_id"
    )
    found = rows_of(tmp_path)
    assert [row["pair_id"] for row in found[2:4]] == ["shard-0000/PMC002", "shard-0001/PMC000"]
    assert (found[1]["caption"], found[1]["group"]) == ("A radiograph of the hand, case 1.", "101")
    assert found[0]["outcome"] == "kept"
    assert found[3]["outcome"] == "duplicate"
    assert found[0]["image"].startswith("shard-0000.tar#512:")
    assert ImageOpener(tmp_path).read(str(found[2]["image"])).sha256 == found[2]["image_sha256"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-0000.tar", "shard-0001.tar"]


@pytest.mark.parametrize("attack", make.of("tar"), ids=lambda attack: attack.name)
def test_b10__tar_attacks_are_streamed_and_never_extracted(attack: make.Attack, tmp_path: Path):
    path = attack.make(tmp_path)
    before = sorted(child.name for child in tmp_path.iterdir())
    began = time.monotonic()
    try:
        outcomes = {str(row["outcome"]) for row in rows_of(path)}
    except InputError as error:
        outcomes = {make.REFUSED_SOURCE if path.name in str(error) else str(error)}
    assert outcomes
    assert outcomes <= set(attack.expected)
    assert time.monotonic() - began < 30  # it does not hang; the machine may be busy
    assert sorted(child.name for child in tmp_path.iterdir()) == before
    assert not (tmp_path.parent / "x.png").exists()


def test_b9__pickled_members_are_ignored_and_counted(tmp_path: Path):
    source = open_source(make.tar_with_pickles(tmp_path))
    (row,) = source.rows()
    assert row.outcome is None
    assert source.ignored == {".pkl member": 1, ".pyd member": 1, ".pt member": 1, ".pickle member": 1}
    assert not (tmp_path / "marker").exists()


def test_b10__a_shard_of_many_entries_is_read_in_constant_memory(tmp_path: Path):
    info, _ = make.entry("x.xyz", b"")
    header = info.tobuf()
    path = tmp_path / "many.tar"
    good = make.tar_of(tmp_path / "good.tar", [make.entry("a.png", make.encoded("PNG")), make.entry("a.txt", b"x y z")])
    start = good.read_bytes()
    good.unlink()
    path.write_bytes(start[: start.rindex(b"x y z") + 512] + header * 5_000 + bytes(1024))
    source = open_source(path)
    tracemalloc.start()
    assert len(list(source.rows())) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert source.ignored[".xyz member"] == 5_000
    assert peak < 1e6


@pytest.mark.parametrize("cut", [700, 2_000, 5_000, 7_777])
def test_b10__what_a_cut_shard_lost_is_a_row_and_not_silence(cut: int, tmp_path: Path):
    path = shard(tmp_path / "s.tar", samples=6)
    data = path.read_bytes()
    path.write_bytes(data[: len(data.rstrip(b"\0")) - cut])
    found = rows_of(path)
    assert found[-1]["outcome"] == "broken"
    assert "cut off" in str(found[-1]["reason"])


def test_b10__a_damaged_header_in_the_middle_is_a_row_and_not_the_end(tmp_path: Path):
    path = shard(tmp_path / "s.tar", samples=4)
    data = bytearray(path.read_bytes())
    at = data.index(b"PMC002.jpg")
    data[at : at + 10] = b"XXXXXXXXXX"  # its checksum is wrong now, and tarfile stops without a word
    path.write_bytes(data)
    found = rows_of(path)
    assert [row["outcome"] for row in found] == ["kept", "kept", "broken"]
    assert "damaged here" in str(found[2]["reason"])


def test_tar_locator__outside_the_archive_or_of_odd_form_is_refused(tmp_path: Path):
    shard(tmp_path / "s.tar")
    opener = ImageOpener(tmp_path)
    for place, outcome in {
        "s.tar#0:999999999999:a": "broken",
        "s.tar#99999999:10:a": "broken",
        "s.tar#-1:10:a": "refused",
        "s.tar#x": "refused",
        "s.tar#0:10:a": "broken",
    }.items():
        with pytest.raises(UnreadableInput) as told:
            opener.read(place)
        assert told.value.outcome == outcome, place


# ---------------------------------------------------------------- MedMNIST


def medmnist(path: Path, *, compressed: bool = True) -> Path:
    """Writes a tiny file of MedMNIST's form."""
    rng = np.random.default_rng(0)
    save = np.savez_compressed if compressed else np.savez
    arrays = {}
    for split, n in (("train", 5), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8).reshape(n, 1)
    save(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_medmnist__items_have_names_splits_and_their_own_pixels(compressed: bool, tmp_path: Path):
    path = medmnist(tmp_path / "pneumoniamnist.npz", compressed=compressed)
    assert recognise(path) is recognise(tmp_path) is SourceKind.MEDMNIST
    found = rows_of(path)
    assert [row["split"] for row in found] == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    assert found[1]["caption"] == "a chest X-ray showing pneumonia"
    assert {row["outcome"] for row in found} == {"kept"}
    opener = ImageOpener(tmp_path)
    with np.load(path, allow_pickle=False) as held:
        for split, index in (("train", 4), ("test", 2), ("train", 0), ("val", 1)):
            read = opener.read(f"pneumoniamnist.npz#{split}_images/{index}")
            assert (np.asarray(read.image)[..., 0] == held[f"{split}_images"][index]).all()


def test_medmnist__volumes_colour_and_several_labels(tmp_path: Path):
    volume = np.zeros((1, 28, 28, 28), np.uint8)
    volume[0, 14] = 200
    np.savez(tmp_path / "nodulemnist3d.npz", test_images=volume, test_labels=np.array([[1]]))
    np.savez(
        tmp_path / "chestmnist.npz",
        test_images=np.full((2, 28, 28, 3), 9, np.uint8),
        test_labels=np.array([[1, 0, 1] + [0] * 11, [0] * 14]),
    )
    found = rows_of(tmp_path)
    assert [row["label"] for row in found] == ["atelectasis, effusion", "no finding", "malignant"]
    assert "several frames" in found[2]["flags"]
    assert np.asarray(ImageOpener(tmp_path).read("nodulemnist3d.npz#test_images/0").image).min() == 200


@pytest.mark.parametrize("attack", make.of("npz"), ids=lambda attack: attack.name)
def test_b11__array_attacks_are_refused_before_allocation(attack: make.Attack, tmp_path: Path):
    path = attack.make(tmp_path)
    tracemalloc.start()
    with pytest.raises(InputError) as told:
        list(open_source(path).rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.name in str(told.value)
    assert peak < 50e6
    assert not (tmp_path / "marker").exists()
    with pytest.raises(UnreadableInput):
        ImageOpener(tmp_path).read(f"{path.name}#{'train_labels' if 'labels' in attack.name else 'train_images'}/0")


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (make.npz_claims_a_trillion, r"claims\.npz: Array 'train_images' claims shape \(1000000000000, 28, 28\)"),
        (make.npz_of_objects, r"objects\.npz: Array 'train_images' holds objects"),
        (make.npz_labels_of_objects, r"labels\.npz: Array 'train_labels' holds objects"),
    ],
)
def test_b11__the_reason_is_told(attack: make.Callable[[Path], Path], words: str, tmp_path: Path):
    with pytest.raises(InputError, match=words):
        list(open_source(attack(tmp_path)).rows())


# ---------------------------------------------------------------- COCO


def test_coco__every_caption_is_a_pair_and_an_image_without_one_is_counted(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for i in range(2):
        (tmp_path / "images" / f"{i}.png").write_bytes(make.encoded("PNG", image=make.picture(seed=i)))
    held = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(2)],
        "annotations": [
            {"id": 10, "image_id": 0, "caption": "a first caption here"},
            {"id": 11, "image_id": 0, "caption": "a second caption here"},
            {"id": 12, "image_id": 9, "caption": "of no image"},
        ],
    }
    (tmp_path / "annotations" / "captions_train2017.json").write_text(json.dumps(held))
    assert recognise(tmp_path) is SourceKind.COCO
    source = open_source(tmp_path)
    found = pa.Table.from_batches(examine(source), PAIRS).to_pylist()
    assert [row["outcome"] for row in found] == ["kept", "kept", "empty caption"]
    assert [row["pair_id"] for row in found] == ["10", "11", "image-1"]
    assert {row["split"] for row in found} == {"train"}
    assert source.ignored == {"caption of an image that is not listed": 1}


@pytest.mark.parametrize(
    "text", ['{"images": 3, "annotations": []}', '{"annotations": [', '{"images": [], "annotations": {}}']
)
def test_coco__another_form_is_refused(text: str, tmp_path: Path):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match=r"c\.json"):
        open_source(tmp_path / "c.json")


def test_coco__a_folder_as_it_is_published_finds_its_images(tmp_path: Path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "1.png").write_bytes(make.encoded("PNG"))
    held = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"id": 7, "image_id": 1, "caption": "a b c"}]}
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(held))
    for source in (tmp_path, tmp_path / "annotations", tmp_path / "annotations" / "captions_val2017.json"):
        (batch,) = examine(open_source(source))
        assert batch["outcome"].to_pylist() == ["kept"]
