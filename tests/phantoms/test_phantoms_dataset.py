"""The folder: the same bytes on every run, whatever the processes; damaged files where planned, nothing told."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from chips_core.phantoms import COLUMNS, Planted, encoded, plan, truth, write_dataset
from chips_core.progress import Meter, Stopped

SMALL = {"train": 60, "val": 4, "test": 4}


class Counting:
    """Counts, and may stop like a user does."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.meter, self.stop_after = Meter(), stop_after

    def start(self, stage: str, *, total: int, unit: str = "pairs") -> None:
        self.meter = Meter(stage, unit, total)

    def advance(self, done: int = 1) -> None:
        self.meter.done += done
        if self.meter.done >= self.stop_after:
            raise Stopped(130)

    def note(self, text: str) -> None:
        raise AssertionError(text)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("phantoms") / "data"
    write_dataset(path, seed=3, workers=1, **SMALL)
    return path


def test_write_dataset__same_bytes_whatever_the_workers(folder, tmp_path):
    report = Counting()
    write_dataset(tmp_path / "again", seed=3, workers=2, progress=report, **SMALL)
    assert contents(tmp_path / "again") == contents(folder)
    assert report.meter.done == report.meter.total == 68


def test_write_dataset__one_row_and_one_image_for_each_pair(folder):
    rows = list(csv.DictReader(io.StringIO((folder / "pairs.csv").read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["pair_id"] for row in rows] == [p.pair_id for p in plan(seed=3, **SMALL)]
    assert {row["image"] for row in rows} == {name for name in contents(folder) if name != "pairs.csv"}


def test_write_dataset__does_not_tell_the_planted_kinds(folder):
    assert truth(3, **SMALL)
    table = (folder / "pairs.csv").read_text()
    assert "planted" not in table
    assert not any(str(kind) in table for kind in Planted)
    assert not any(b"planted" in data for data in contents(folder).values())


def test_write_dataset__stopped_leaves_no_table(tmp_path):
    with pytest.raises(Stopped):
        write_dataset(tmp_path, seed=3, workers=1, progress=Counting(stop_after=25), **SMALL)
    assert not (tmp_path / "pairs.csv").exists()


def test_encoded__small_readable_files_and_no_hidden_data():
    for pair in plan(seed=3, **SMALL):
        if pair.planted == Planted.UNREADABLE:
            continue
        data = encoded(pair)
        assert 1_000 < len(data) < 25_000
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert not image.getexif()
            assert "comment" not in image.info


def test_encoded__planted_files_cannot_be_read():
    spoilt = [p for p in plan(seed=0, train=900, val=0, test=0) if p.planted == Planted.UNREADABLE]
    assert len(spoilt) >= 4
    for pair in spoilt:
        with pytest.raises((OSError, UnidentifiedImageError)):
            Image.open(io.BytesIO(encoded(pair))).load()
