"""What an export promises when it is killed, cancelled, damaged, or fed with hostile text; and what its card says."""

import csv
import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from export_pools import chosen, export, make_pool, pairs_of, step
from faults import Unflushed, every_failure, every_kill, injected

from chips_core.cli import main
from chips_core.curate.card import CardFacts, data_card
from chips_core.curate.distribution import distribution
from chips_core.curate.export import ExportSettings, is_export
from chips_core.curate.export import export as write_export
from chips_core.curate.export_check import check_export
from chips_core.curate.export_formats import write_format
from chips_core.curate.export_plan import Coverage, ScoreChange, export_plan
from chips_core.curate.licences import Licence, licences_of
from chips_core.data import ImageOpener
from chips_core.errors import ChipsError, InputError, UsageError
from chips_core.progress import Silent, Stopped
from chips_core.store import Pool, Review

NASTY = ['line\nbreak\r\nand "quotes", commas', "NUL \x00 in it", "'=already", "\u202eturned", "  spaced  ", "last"]


@pytest.fixture
def pool(tmp_path):
    folder = make_pool(tmp_path)
    chosen(folder)
    return folder


def left_of(place):
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


@pytest.fixture
def writing(pool):
    """Returns a function that writes the plan once more, without reading the pool again."""
    opened = Pool.open(pool)
    plan = export_plan(opened, selection="best")

    def write(to, *, force=False, form="csv"):
        settings = ExportSettings(form, force=force)
        return write_export(plan, pool=opened, to=to, settings=settings, progress=Silent())

    return write


def test_export__h2_killed_at_every_call_leaves_nothing_under_the_name(writing, tmp_path):
    place = tmp_path / "place"

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()

    for _ in every_kill(lambda: writing(place / "out"), fresh=fresh):
        if (place / "out").exists():
            assert check_export(place / "out").findings == ()
        writing(place / "out", force=True)
        assert left_of(place) == ["out"]  # what the killed one left is gone


def test_export__h2_killed_while_replacing_never_loses_the_earlier_one(writing, tmp_path):
    place = tmp_path / "place"

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        with injected(Unflushed()):
            writing(place / "out")

    for _ in every_kill(lambda: writing(place / "out", form="jsonl", force=True), fresh=fresh):
        with pytest.raises(InputError):  # one of the two is there, now or after it came back
            writing(place / "out")
        assert check_export(place / "out").findings == ()
        writing(place / "out", form="jsonl", force=True)
        assert left_of(place) == ["out"]


def test_export__h2_a_full_disk_is_told_and_leaves_nothing_half(writing, tmp_path):
    place = tmp_path / "place"

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()

    for _, raised in every_failure(lambda: writing(place / "out"), fresh=fresh, code=errno.ENOSPC, ever_after=True):
        assert isinstance(raised, ChipsError)
        assert left_of(place) in ([], ["out"])  # whole, where only the last wait for the disk failed
        assert not (place / "out").exists() or check_export(place / "out").findings == ()


def test_export__h2_another_export_of_a_longer_name_is_left_alone(writing, tmp_path):
    other = tmp_path / ".tmp-out-2-0123abcd"
    other.mkdir()
    writing(tmp_path / "out")
    assert other.is_dir()


def test_export__cancelled_leaves_nothing(pool, tmp_path):
    class Cancelling(Silent):
        def advance(self, done=1):
            raise Stopped(128 + 15 * done)

    opened = Pool.open(pool)
    plan = export_plan(opened, selection="best")
    settings = ExportSettings("csv", copy_images=True)
    with pytest.raises(Stopped):
        write_export(plan, pool=opened, to=tmp_path / "place" / "out", settings=settings, progress=Cancelling())
    assert left_of(tmp_path / "place") == []


def test_export__h7_check_names_what_is_not_what_was_written(pool, tmp_path, capsys):
    to = tmp_path / "out"
    export(pool, to, images="copy")
    assert main(["check", str(to), "--json", "--quiet"]) == 0
    table = to / "pairs.csv"
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    next((to / "images").rglob("*.png")).unlink()
    (to / "note.txt").write_text("mine")
    capsys.readouterr()
    assert main(["check", str(to), "--json", "--quiet"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert sorted(f["problem"] for f in found["findings"]) == [
        "it is missing", "it is not in the manifest", "it is not what was written"
    ]  # fmt: skip
    assert main(["check", str(to), "--repair", "--quiet"]) == 2


def test_check_export__a_manifest_that_leads_out_of_the_folder(pool, tmp_path):
    to = tmp_path / "out"
    export(pool, to)
    told = json.loads((to / "manifest.json").read_text())
    told["files"]["../data/pairs.csv"] = {"bytes": 1, "sha256": ""}
    (to / "manifest.json").write_text(json.dumps(told))
    assert [f.problem for f in check_export(to).findings] == ["its name leads out of the export"]
    with pytest.raises(InputError):
        check_export(tmp_path / "data")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "webdataset", "huggingface"])
def test_export__h8_hostile_captions_come_back(tmp_path, form):
    folder = make_pool(tmp_path, captions=NASTY)  # the one with a NUL is refused at intake, by its row
    chosen(folder, budget="1.0")
    assert "p1" not in pairs_of(folder)
    to = tmp_path / "out"
    export(folder, to, form=form, **({} if form in ("webdataset", "huggingface") else {"images": "copy"}))
    source = {"webdataset": to / "shards", "huggingface": to}.get(form, to / f"pairs.{form}")
    step("intake", source=str(source), pool=str(tmp_path / "again"), workers=1)
    expected = {i: found for i, found in pairs_of(folder).items() if i != "p5"}
    assert pairs_of(tmp_path / "again") == expected


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "webdataset", "openclip", "huggingface"])
def test_export__h8_half_a_character_is_refused_by_its_pair(pool, tmp_path, form):
    opened = Pool.open(pool)
    plan = export_plan(opened, selection="best")
    table = plan.table.astype(object)
    table.loc[2, "caption"] = "half \ud83d"
    opener = ImageOpener(opened.source_root)
    with pytest.raises(InputError, match=str(table.loc[2, "pair_id"])):
        write_format(
            replace(plan, table=pd.DataFrame(table)), tmp_path, form=form, opener=opener, copy_images=False,
            originals=False, shard_size=10, progress=Silent(),
        )  # fmt: skip
    opener.close()


def test_export__h1_only_cells_like_formulas_are_changed_in_the_file(pool, tmp_path):
    export(pool, tmp_path / "out")
    with (tmp_path / "out" / "pairs.csv").open(newline="", encoding="utf-8") as handle:
        captions = {row["pair_id"]: row["caption"] for row in csv.DictReader(handle)}
    assert captions["p3"] == "'=1+1"
    assert {i: text for i, text in captions.items() if i != "p3"} == {
        i: text for i, (text, _) in pairs_of(pool).items() if i in captions and i != "p3"
    }


@pytest.mark.parametrize("form", ["webdataset", "huggingface"])
def test_export__a_format_that_holds_images_is_not_written_without_them(pool, tmp_path, form):
    with pytest.raises(UsageError, match="holds the images"):
        export(pool, tmp_path / "out", form=form, images="none")
    assert not (tmp_path / "out").exists()


def test_export__the_source_is_not_changed(pool, tmp_path):
    def state():
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "data").rglob("*") if p.is_file()}

    before = state()
    export(pool, tmp_path / "out", form="huggingface")
    assert state() == before


def test_export_plan__a_selection_by_hand_says_what_leaks(pool):
    with Review.open(pool) as review:
        review.create_selection(name="hand", pair_ids=["p0", "p5"], reviewer="me")
    plan = export_plan(Pool.open(pool), selection="hand")
    assert any("1 pairs are of the target or test set" in words for words in plan.warnings)


def test_export__a_deleted_selection_is_not_found_and_its_name_is_free(pool, tmp_path):
    with Review.open(pool) as review:
        review.delete_selection(name="best", reviewer="me")
    with pytest.raises(InputError):
        export(pool, tmp_path / "out")
    chosen(pool, budget="2")
    assert export(pool, tmp_path / "out")["pairs"] == 2


def test_licences_of__files_named_so_and_nothing_else(tmp_path):
    (tmp_path / "LICENSE.txt").write_text("\n  CC BY-NC 4.0 <b>\nmore")
    (tmp_path / "licence").write_bytes(b"\xff\xfe")
    (tmp_path / "readme.md").write_text("license: MIT")
    (tmp_path / "COPYING").symlink_to(tmp_path / "readme.md")
    found = licences_of(tmp_path)
    assert [(one.name, one.first_line) for one in found] == [
        ("LICENSE.txt", "CC BY-NC 4.0 <b>"),
        ("licence", "\ufffd\ufffd"),
    ]
    assert licences_of(tmp_path / "nowhere") == ()


def test_card__says_what_stayed_behind_of_which_class_and_whose_licence(pool, tmp_path):
    (tmp_path / "data" / "LICENSE").write_text("All rights <reserved>")
    plan = export_plan(Pool.open(pool), selection="best")
    page = data_card(plan, CardFacts(5, "csv", ("a <warning>",), "id", "f"))
    for words in ("All rights &lt;reserved&gt;", "a &lt;warning&gt;", "5 of 6 usable pairs", "Random, seeded."):
        assert words in page
    assert "says nothing about its licence" not in page
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page
    (tmp_path / "data" / "LICENSE").unlink()
    bare = data_card(export_plan(Pool.open(pool), selection="best"), CardFacts(5, "csv", (), "id", "f"))
    assert "says nothing about its licence" in bare


def test_card__every_text_of_the_data_is_escaped(pool):
    bad = "<img src=x onerror=alert(1)>"
    plan = export_plan(Pool.open(pool), selection="best")
    shape = distribution(np.arange(6.0), among=np.ones(6, bool), sets=[np.ones(6, bool)])
    hostile = replace(
        plan,
        selection=bad,
        coverage=tuple(Coverage(column, ((bad, 3, 1), (bad + "2", 1, 0))) for column in ("label", "source")),
        scores=(ScoreChange(bad, "neutral", shape),),
        licences=(Licence(bad, bad, "0"),),
        dropped={bad: 1},
        record={"recipe": {"method": "random", "quotas": [bad], "by": bad}, "notes": [bad]},
        runs={bad: bad},
    )
    page = data_card(hostile, CardFacts(5, bad, (bad,), bad, bad))
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 13
    bare = data_card(replace(hostile, record={"recipe": {"by": bad}}), CardFacts(5, bad, (), bad, bad))
    assert "<img" not in bare


def test_is_export__not_any_folder(tmp_path):
    assert not is_export(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    assert not is_export(tmp_path)
