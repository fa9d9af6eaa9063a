"""Intake as a whole: one outcome a row, duplicates, counts that add up, folders, captions, speed."""

import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import make
from hypothesis import given
from hypothesis import strategies as st

from chips_core.data import ImageOpener, Row, SourceKind, examine, open_source, recognise
from chips_core.data.captions import caption_flags
from chips_core.data.checking import checked
from chips_core.data.opener import ImageFacts
from chips_core.data.seen import FirstSeen, hash_of
from chips_core.errors import ChipsError, InputError
from chips_core.outcomes import OutcomeReport
from chips_core.pairs_schema import PAIRS
from chips_core.progress import Silent, Stopped


class Told:
    """A Progress that remembers, and stops after `most` units."""

    def __init__(self, most: int = 10**9) -> None:
        self.total, self.done, self.most = -1, 0, most
        self.notes: list[str] = []

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        self.total, self.stage = total, (stage, unit)

    def advance(self, done: int = 1) -> None:
        self.done += done
        if self.done >= self.most:
            raise Stopped(130)

    def note(self, text: str) -> None:
        self.notes.append(text)


def dataset(folder: Path, lines: list[str], *, images: int = 3) -> Path:
    """Writes a dataset folder with images 0.png, 1.png, ..."""
    for i in range(images):
        (folder / f"{i}.png").write_bytes(make.encoded("PNG", image=make.picture(seed=i)))
    (folder / "pairs.csv").write_text("pair_id,image,caption\n" + "\n".join(lines) + "\n")
    return folder


def intake(folder: Path, **options: object) -> list[dict[str, object]]:
    """Returns what intake makes of a source."""
    return pa.Table.from_batches(examine(open_source(folder), **options), PAIRS).to_pylist()


def test_b5__a_pair_id_given_twice_is_refused_naming_both_rows(tmp_path: Path):
    lines = ["a,0.png,one two three", "b,1.png,four five six", "a,2.png,seven eight nine", "a,1.png,ten eleven twelve"]
    rows = intake(dataset(tmp_path, lines))
    assert [row["outcome"] for row in rows] == ["kept", "kept", "refused", "refused"]
    assert rows[2]["reason"] == "pair id given twice: in row 1 and again in row 3"
    assert rows[3]["reason"] == "pair id given twice: in row 1 and again in row 4"


def test_b5__same_image_and_caption_is_a_duplicate_and_either_alone_is_not(tmp_path: Path):
    (tmp_path / "copy.png").write_bytes(make.encoded("PNG", image=make.picture(seed=0)))
    lines = ["a,0.png,one two three", "b,0.png,four five six", "c,1.png,one two three", "d,copy.png,one two three"]
    rows = intake(dataset(tmp_path, lines))
    assert [row["outcome"] for row in rows] == ["kept", "kept", "kept", "duplicate"]
    assert rows[3]["reason"] == "same image and same caption as row 1"


def test_b5__the_first_is_found_across_batches(tmp_path: Path):
    lines = [f"p{i},{i % 3}.png,caption number {i}" for i in range(700)] + [
        "p5,0.png,the last one",
        "z,0.png,caption number 0",
    ]
    rows = intake(dataset(tmp_path, lines))
    assert rows[700]["reason"] == "pair id given twice: in row 6 and again in row 701"
    assert rows[701]["reason"] == "same image and same caption as row 1"


MIXED = [
    *["ok,0.png,one two three", "gone,nowhere.png,one two three", "bad,broken.png,one two three", "void,1.png,"],
    *[
        "void2,1.png,   ",
        "twin,0.png,one two three",
        "ok,2.png,a b c",
        "far,http://x/y.png,a b c",
        "out,../x.png,a b c",
    ],
]


def test_outcomes__every_row_has_one_and_the_counts_add_up(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(make.encoded("PNG")[:100])
    rows = intake(dataset(tmp_path, MIXED))
    report = OutcomeReport.of(str(row["outcome"]) for row in rows)
    assert report.counts == {
        "kept": 1,
        "missing": 2,
        "broken": 1,
        "empty caption": 2,
        "duplicate": 1,
        "refused": 2,
    }
    assert report.given == len(MIXED) == len(rows)
    assert all(bool(row["reason"]) == (row["outcome"] != "kept") for row in rows)


def test_a14__when_everything_fails_the_report_says_why(tmp_path: Path):
    lines = [f"{i},none{i}.png,one two three" for i in range(2)] + [f"b{i},bad{i}.png,one two three" for i in range(5)]
    for i in range(5):
        (tmp_path / f"bad{i}.png").write_bytes(b"junk")
    report = OutcomeReport.of(str(row["outcome"]) for row in intake(dataset(tmp_path, lines)))
    with pytest.raises(InputError, match=r"All 7 of 7 inputs failed \(2 missing, 5 broken\)\."):
        report.raise_if_nothing_kept()


@given(st.lists(st.sampled_from(["good", "cut", "html", "gone", "fifo", "folder"]), min_size=1, max_size=8))
def test_a15__a_pair_is_kept_only_if_its_image_can_be_read(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]):
    folder = tmp_path_factory.mktemp("mix")
    for i, kind in enumerate(kinds):
        data = make.encoded("PNG", image=make.picture(seed=i))
        path = folder / f"x{i}.png"
        if kind in ("good", "cut", "html"):
            path.write_bytes({"good": data, "cut": data[: len(data) // 2], "html": b"<html>"}[kind])
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
    rows = intake(dataset(folder, [f"{i},x{i}.png,a caption here" for i in range(len(kinds))], images=0))
    for kind, row in zip(kinds, rows, strict=True):
        assert (row["outcome"] == "kept") == (kind == "good")
        if row["outcome"] != "kept":
            assert (row["image_sha256"], row["width"]) == ("", 0)


def test_b13__an_address_column_is_missing_remote(tmp_path: Path):
    (tmp_path / "t.csv").write_text("url,text\nhttps://example.org/a.png,one two three\n")
    (row,) = intake(tmp_path / "t.csv")
    assert (row["outcome"], row["reason"]) == ("missing", "t.csv:2: missing: remote, images are never fetched")


def test_workers__give_the_same_rows_in_the_same_order(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(make.encoded("PNG")[:100])
    dataset(tmp_path, MIXED + [f"p{i},{i % 3}.png,caption number {i}" for i in range(1_500)])
    assert intake(tmp_path, workers=2) == intake(tmp_path)


def test_check_header__reads_sizes_and_hashes_but_not_pixels(tmp_path: Path):
    (tmp_path / "cut.png").write_bytes(make.encoded("PNG")[:-500])
    dataset(tmp_path, ["a,0.png,one two three", "b,cut.png,one two three"])
    header, full = intake(tmp_path, check="header"), intake(tmp_path)
    assert [row["outcome"] for row in header] == ["kept", "kept"]
    assert [row["outcome"] for row in full] == ["kept", "broken"]
    assert header[0]["image_sha256"] == full[0]["image_sha256"]
    assert (header[1]["width"], header[1]["height"]) == (32, 24)


def test_progress__counts_every_row_and_a_stop_unwinds(tmp_path: Path):
    dataset(tmp_path, [f"p{i},0.png,caption number {i}" for i in range(600)])
    told = Told()
    assert len(intake(tmp_path, progress=told)) == told.done == 600
    assert abs(told.total - 600) < 60
    with pytest.raises(Stopped):
        intake(tmp_path, progress=Told(most=300))
    with pytest.raises(Stopped):
        intake(tmp_path, progress=Told(most=300), workers=1)


def test_l4__patient_data_is_counted_and_never_told(tmp_path: Path):
    told = Told()
    rows = intake(
        dataset(tmp_path, ["a,0.png,Seen by Dr. Canary on 2019-11-03", "b,1.png,a normal chest film"]), progress=told
    )
    assert rows[0]["flags"] == ["may hold patient data"]
    assert rows[1]["flags"] == []
    assert told.notes == ["1 pairs are flagged: may hold patient data."]


@pytest.mark.parametrize(
    "text",
    [
        *["Pat. ID 4711", "Patient John seen 03/11/2019", "Study of 3 November 2019", "November 3rd, 2019 follow-up"],
        *["MRN: 4711 fracture", "medical record no. A123", "Dr. Smith reports no fracture", "Mrs Jones, left hip"],
        *[
            "DOE^JANE chest film",
            "call 555-123-4567 for films",
            "+49 (170) 123-4567",
            "mail a.b@clinic.org",
            "DOB unknown",
        ],
        "Patient name: Jane",
    ],
)
def test_caption_flags__patient_data(text: str):
    assert "may hold patient data" in caption_flags(text)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "A chest X-ray of a 45-year-old man with pneumonia",
            "T2-weighted MRI, TE 90 ms, TR 3000 ms",
            "L4-L5 disc 3/4",
        ],
        *["A 3 x 4 x 5 cm mass at C5/C6", "CT at 120 kV, 200 mAs, 1.25 mm slices", "Patient in supine position"],
        *["may show grade 3 changes", "Image from 2019", "BI-RADS 4 lesion, 12 mm", "Names of structures are shown"],
    ],
)
def test_caption_flags__medicine_is_not_patient_data(text: str):
    assert "may hold patient data" not in caption_flags(text)


def test_caption_flags__what_says_nothing():
    for text in ("NA", "figure 3", "IN PROGRESS", "img_0012.png", "x-ray", "CT image", "....", "12"):
        assert "uninformative caption" in caption_flags(text), text
    for text in ("A chest film with effusion.", "CT of the abdomen", "胸部X線写真、右下肺野に浸潤影"):
        assert "uninformative caption" not in caption_flags(text), text
    assert caption_flags("") == ()


def test_image_folder__labels_splits_and_literal_templates(tmp_path: Path):
    for relative in ("train/no_finding/a.png", "train/{0.__class__}/b.png", "test/no_finding/c.png", "loose.png"):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / relative).write_bytes(make.encoded("PNG", image=make.picture(seed=len(relative))))
    (tmp_path / "train" / "no_finding" / "notes.txt").write_text("x")
    (tmp_path / "train" / "no_finding" / "v.svg").write_text("<svg/>")
    (tmp_path / "out").symlink_to("/etc")
    assert recognise(tmp_path) is SourceKind.IMAGE_FOLDER
    source = open_source(tmp_path)
    (batch,) = examine(source)
    found = {str(row["image"]): row for row in batch.to_pylist()}
    assert found["train/no_finding/a.png"]["caption"] == "a medical image of no finding"
    assert (found["test/no_finding/c.png"]["label"], found["test/no_finding/c.png"]["split"]) == ("no_finding", "test")
    assert found["train/{0.__class__}/b.png"]["caption"] == "a medical image of {0.  class  }"
    assert found["loose.png"]["outcome"] == "empty caption"
    assert found["train/no_finding/v.svg"]["outcome"] == "refused"
    assert source.ignored == {"other file (.txt)": 1, "link to a folder": 1}
    assert not any("/" in str(row["pair_id"]) or "png" in str(row["pair_id"]) for row in found.values())


@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=12))
def test_first_seen__is_a_dictionary(batches: list[list[int]]):
    seen, model, number = FirstSeen(), {}, 0
    for batch in batches:
        numbers = list(range(number + 1, number + 1 + len(batch)))
        number += len(batch)
        expected = [model.setdefault(value, row) for value, row in zip(batch, numbers, strict=True)]
        assert seen.add([hash_of(str(value)) for value in batch], numbers) == expected


def test_recognise__says_what_it_cannot_use(tmp_path: Path):
    with pytest.raises(InputError, match="no 'nowhere'"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no pairs\.csv"):
        recognise(tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="compressed"):
        recognise(tmp_path / "a.tar.gz")
    (tmp_path / "a.csv").write_text("image,caption\n")
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(InputError, match=r"several tables: 'a\.csv', 'b\.jsonl'"):
        open_source(tmp_path)


def test_b12__twelve_thousand_rows_in_constant_memory_and_time(tmp_path: Path):
    n = 12_000
    table = pa.table(
        {"image": [f"images/{i}.png" for i in range(n)], "caption": [f"case {i} of the chest" for i in range(n)]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    began = time.process_time()
    counts = Counter[str]()
    for batch in examine(source):
        counts.update(batch["outcome"].to_pylist())
    assert counts == {"missing": n}
    assert time.process_time() - began < 12  # not quadratic; the benchmark says how fast

    def peak(rows: Iterator[pa.RecordBatch], most: int) -> int:
        tracemalloc.start()
        seen = 0
        for batch in rows:
            seen += batch.num_rows
            if seen >= most:
                break
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(examine(source), 9_000) < peak(examine(source), 3_000) + 2e6


def test_reasons__why_rows_failed_is_said_and_where_first(tmp_path: Path):
    lines = "image,caption\n" + "".join(f"{n}.png,a chest\n" for n in range(4)) + "http://x/9.png,a chest\n"
    (tmp_path / "t.csv").write_text(lines)
    told: list[str] = []

    class Listening(Silent):
        def note(self, text: str) -> None:
            told.append(text)

    list(examine(open_source(tmp_path / "t.csv"), progress=Listening()))
    assert told[0] == "Failed: 4 x missing: no such file (first: t.csv:2)."
    assert told[1].startswith("Failed: 1 x ")
    assert told[1].endswith("(first: t.csv:6).")


class Deadly(ImageOpener):
    """An opener whose worker is killed, as the kernel does when memory runs out."""

    def __reduce__(self) -> tuple[object, ...]:
        return Deadly, (self.root,)

    def facts(self, locator: str, *, check: str = "full") -> ImageFacts:  # noqa: ARG002
        os._exit(137)


def test_d10__a_killed_worker_is_told_and_nothing_hangs(tmp_path: Path):
    rows = [(Row(i, "x", f"p{i}", "0.png"), None, "") for i in range(3)]
    began = time.monotonic()
    with pytest.raises(ChipsError, match="was killed"):
        list(checked(iter([rows]), opener=Deadly(tmp_path), check="full", workers=2))
    assert time.monotonic() - began < 60  # ten seconds on a quiet machine, of which most is starting Python


def test_locators_of_containers__in_a_table_find_their_images_again(tmp_path: Path):
    entries = [make.entry("a.png", make.encoded("PNG")), make.entry("a.txt", b"one two three")]
    make.tar_of(tmp_path / "s.tar", entries)
    (first,) = intake(tmp_path / "s.tar")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "t.csv").write_text(
        f"pair_id,image,caption\n{first['pair_id']},{first['image']},one two three\n"
    )
    (batch,) = examine(open_source(tmp_path / "out" / "t.csv", image_root=tmp_path))
    assert batch.to_pylist() == [first]


def test_table__images_in_the_usual_sub_folder_are_found(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(make.encoded("PNG"))
    (tmp_path / "t.csv").write_text("filename,report\na.png,one two three\n")
    source = open_source(tmp_path / "t.csv")
    assert source.root == tmp_path / "images"
    (batch,) = examine(source)
    assert batch["outcome"].to_pylist() == ["kept"]


def medbench() -> Path:
    """Returns the folder of real images, or skips."""
    folder = Path(os.environ.get("CHIPS_MEDBENCH", Path(__file__).resolve().parents[2].parent / "shared/data/medbench"))
    if not (folder / "pairs.csv").is_file():
        pytest.skip("medbench is not here; set CHIPS_MEDBENCH to its folder")
    return folder


def test_medbench__outcomes_add_up_and_missing_captions_are_found():
    counts, short = Counter[str](), 0
    for batch in examine(open_source(medbench()), check="header"):
        counts.update(batch["outcome"].to_pylist())
        short += sum("uninformative caption" in flags for flags in batch["flags"].to_pylist())
    assert sum(counts.values()) == 9_424
    assert counts["empty caption"] == 409
    assert counts["missing"] == counts["broken"] == counts["refused"] == 0
    assert short == 81
    assert np.isclose(counts["kept"] + counts["duplicate"], 9_015)
