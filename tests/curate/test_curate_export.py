"""Exports: round trips, safe cells, no metadata, nothing half written, places that are refused."""

import getpass
import json
import os
import tarfile
from pathlib import Path

import pytest
from export_pools import chosen, export, make_pool, step
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chips_core import atomic, fingerprint
from chips_core.curate.export_formats import safe_cell
from chips_core.errors import ChipsError, InputError
from chips_core.store import Pool, Review


@pytest.fixture
def pool(tmp_path):
    return make_pool(tmp_path)


@given(st.text(min_size=1))
def test_safe_cell__h1(text):
    found = safe_cell(text)
    assert found in (text, "'" + text)
    if text[0] in "=@\t\r＝＋－＠":
        assert found == "'" + text


def test_safe_cell__h1_numbers_stay():
    assert [safe_cell(v) for v in ("-0.3", "+1e-5", -0.3, "-x", "a=b")] == ["-0.3", "+1e-5", -0.3, "'-x", "a=b"]


def test_export__h2_killed_leaves_nothing_under_the_name(pool, tmp_path, monkeypatch):
    chosen(pool)
    real, calls = atomic.write_bytes, []

    def failing(path, data):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(atomic, "write_bytes", failing)
    with pytest.raises(KeyboardInterrupt):
        export(pool, tmp_path / "place" / "out", images="copy")
    assert not list((tmp_path / "place").iterdir())


def test_export__h2_existing_is_kept_unless_forced(pool, tmp_path):
    chosen(pool)
    to = tmp_path / "out"
    export(pool, to)
    before = (to / "manifest.json").read_bytes()
    with pytest.raises(InputError):
        export(pool, to)
    assert (to / "manifest.json").read_bytes() == before
    export(pool, to, form="jsonl", force=True)
    assert (to / "pairs.jsonl").is_file()
    assert not (to / "pairs.csv").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError):
        export(pool, other, force=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tmp")]


def test_export__h3_names_that_would_meet_are_all_there(pool, tmp_path):
    chosen(pool)
    export(pool, tmp_path / "out", images="copy")
    images = list((tmp_path / "out" / "images").rglob("*.png"))
    assert sorted(Image.open(path).size[0] for path in images) == [8, 9, 10, 11, 12]


def test_export__h5_strict_json(pool, tmp_path):
    chosen(pool)
    export(pool, tmp_path / "out", form="jsonl")

    def refuse(name):
        raise AssertionError(name)

    for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("form", ["csv", "webdataset", "openclip", "huggingface"])
def test_export__h6_no_metadata_no_path_of_this_machine(pool, tmp_path, form):
    chosen(pool)
    to = tmp_path / "out"
    export(pool, to, form=form, **({"images": "copy"} if form == "csv" else {}))
    for path in (p for p in to.rglob("*") if p.is_file()):
        data = path.read_bytes()
        assert b"Jane Roe" not in data
        assert str(tmp_path).encode() not in data
        assert getpass.getuser().encode() not in data or len(getpass.getuser()) < 6
        assert b"a/1" not in data
        assert b"g0" not in data  # the patient
        if path.suffix == ".png":
            assert not Image.open(path).info


def test_export__h6_originals_are_counted(pool, tmp_path):
    chosen(pool)
    answer = export(pool, tmp_path / "out", images="copy", originals=True)
    assert any("5 of them hold metadata" in words for words in answer["warnings"])


def test_export__h7_manifest_tells_a_changed_byte(pool, tmp_path):
    chosen(pool)
    export(pool, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    entry = manifest["files"]["pairs.csv"]
    assert entry["sha256"] == fingerprint.of_file(tmp_path / "out" / "pairs.csv")
    assert manifest["pairs"] == 5
    assert manifest["recipe"]["method"] == "random"
    assert manifest["pool"]["fingerprint"] == Pool.open(pool).fingerprint
    (tmp_path / "out" / "pairs.csv").write_bytes(b"x")
    assert entry["sha256"] != fingerprint.of_file(tmp_path / "out" / "pairs.csv")


def test_export__h9_nothing_selected_is_a_header_and_a_warning(pool, tmp_path):
    chosen(pool, budget="0")
    answer = export(pool, tmp_path / "out")
    assert answer["pairs"] == 0
    assert answer["warnings"]
    assert (tmp_path / "out" / "pairs.csv").read_text().startswith("pair_id,image,caption")
    assert len((tmp_path / "out" / "pairs.csv").read_text().splitlines()) == 1


def test_export__h10_places_that_are_refused(pool, tmp_path):
    chosen(pool)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    into = tmp_path / "into"
    into.symlink_to(pool)
    for to in (pool, pool / "out", tmp_path / "data" / "out", link, into / "out", tmp_path):
        with pytest.raises(ChipsError):
            export(pool, to)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if not os.access(locked, os.W_OK):
        with pytest.raises(ChipsError):
            export(pool, locked / "out")


def test_export__same_bytes_twice(pool, tmp_path):
    chosen(pool)
    for name in ("one", "two"):
        export(pool, tmp_path / name, form="webdataset", shard_size=2)
    shards = sorted(path.name for path in (tmp_path / "one" / "shards").glob("*.tar"))
    assert shards == ["000000.tar", "000001.tar", "000002.tar"]
    for path in (p for p in (tmp_path / "one").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    with tarfile.open(tmp_path / "one" / "shards" / shards[0]) as shard:
        assert shard.getnames() == [f"0000000{i}.{s}" for i in (0, 1) for s in ("png", "txt", "json")]


def test_export__exclude_list_names_the_others(pool, tmp_path):
    chosen(pool, budget="3")
    export(pool, tmp_path / "out", form="exclude")
    ids = set((tmp_path / "out" / "exclude.txt").read_text().split())
    table = Pool.open(pool).table("selections", "best")
    assert ids == {f"p{i}" for i in range(6)} - set(table["pair_id"])


def test_export__preview_adds_up_and_writes_nothing(pool, tmp_path):
    chosen(pool, budget="3")
    answer = export(pool, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    assert answer["pairs"] + sum(answer["dropped"].values()) == 6
    assert answer["dropped"] == {"judged wrong": 0, "target, test or not encoded": 1, "not chosen": 2}
    assert sum(before for _, before, _ in answer["per_class"]) == 6
    assert sum(after for _, _, after in answer["per_class"]) == 3


def test_export__pairs_judged_wrong_since_stay_out(pool, tmp_path):
    chosen(pool)
    with Review.open(pool) as review:
        review.add_verdict(pair_id="p0", verdict="wrong pair", reviewer="me")
    answer = export(pool, tmp_path / "out", form="jsonl")
    assert answer["pairs"] == 4
    assert "p0" not in (tmp_path / "out" / "pairs.jsonl").read_text()
    assert answer["dropped"]["judged wrong"] == 1


def test_card__escapes_all_text(pool, tmp_path):
    chosen(pool, name="best")
    with Review.open(pool) as review:
        review.create_selection(name="<script>x", pair_ids=["p0"], reviewer="me", recipe={"by": "</pre><img>"})
    export(pool, tmp_path / "out", selection="<script>x")
    page = (tmp_path / "out" / "card.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "http:" not in page
    assert "https:" not in page


def test_select__f7_replay(pool):
    chosen(pool, budget="3")
    found = step("select", pool=str(pool), replay="best")
    assert (found["same"], found["changed"]) == (True, [])
    first = Pool.open(pool).table("selections", "best")["pair_id"].iloc[0]
    with Review.open(pool) as review:
        review.add_verdict(pair_id=first, verdict="wrong pair", reviewer="me")
    found = step("select", pool=str(pool), replay="best")
    assert found["same"] is False
    assert found["changed"] == ["the verdicts"]
    assert first in found["gone"]


def test_select__a_taken_name_and_too_large_a_budget(pool):
    chosen(pool, budget="3")
    chosen(pool, budget="3")  # the same again does nothing
    with pytest.raises(InputError):
        chosen(pool, budget="2")
    with pytest.raises(InputError, match="5 of 99"):
        chosen(pool, budget="99", name="more")
    assert [a.name for a in Pool.open(Path(pool)).tables("selections")] == ["best"]
