"""A data set before it is a pool: what it is, its first rows, its columns, and the step that brings it in."""

import csv
from pathlib import Path

import pytest
from tiny import tiny_dataset

from chips_core.errors import ChipsError, UsageError
from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Pool
from chips_core.views.sources import found_sources, intake_step, preview


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    monkeypatch.delenv("CHIPS_POOL", raising=False)
    return tiny_dataset(tmp_path / "source", count=24)


def test_preview__shows_rows_pictures_and_the_guessed_columns(source: Path) -> None:
    shown = preview(str(source))
    assert (str(shown.kind), shown.expected, len(shown.table)) == ("dataset folder", 24, 20)
    assert shown.mapping["image"] == "image"
    assert shown.mapping["group"] == "group"
    assert shown.table["picture"].str.startswith("data:image/jpeg;base64,").all()
    assert shown.table["caption"][0].startswith("A ")
    assert [target.name for target in shown.facts.targets] == ["val", "held-out"]
    assert shown.facts.whole


def test_preview__a_chosen_column_is_used_and_brought_in(source: Path, tmp_path: Path) -> None:
    chosen = {"caption": "label", "group": ""}
    shown = preview(str(source), columns=chosen)
    assert set(shown.table["caption"]) == {"disc", "bar", "ring"}
    assert shown.mapping["group"] == ""
    step = intake_step(shown, pool=tmp_path / "pool", columns=chosen, images="")
    run_step(step.step, dict(step.settings) | {"workers": 1}, progress=Silent())
    pairs = Pool.open(tmp_path / "pool").pairs(["caption", "group"])
    assert set(pairs["caption"]) == {"disc", "bar", "ring"}
    assert set(pairs["group"]) == {""}


def test_preview__a_column_that_is_not_there_is_refused(source: Path) -> None:
    with pytest.raises(UsageError, match="no column 'captoin'"):
        preview(str(source), columns={"caption": "captoin"})


def test_preview__missing_images_are_no_reason_to_stop(source: Path) -> None:
    for image in (source / "images").iterdir():
        image.unlink()
    assert preview(str(source)).table["picture"].isna().all()


def test_preview__images_elsewhere(source: Path, tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    with (tmp_path / "table" / "t.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("image", "caption"), ("images/p0000.png", "one")])
    assert preview(str(tmp_path / "table" / "t.csv")).table["picture"].isna().all()
    assert preview(str(tmp_path / "table" / "t.csv"), images=str(source)).table["picture"].notna().all()
    with pytest.raises(ChipsError):
        preview(str(tmp_path / "table" / "t.csv"), images="/etc")


def test_found_sources__what_could_be_one_and_no_pools(source: Path, tmp_path: Path) -> None:
    Pool.create(tmp_path / "pool", batches=[], record={})
    (tmp_path / "notes.txt").write_text("no source")
    (tmp_path / "away").symlink_to("/etc")
    assert found_sources() == [str(source)]
