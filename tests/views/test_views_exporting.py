"""Exports as the page shows them: names, the difference in words, what is there, and cards by name."""

import json
import os
from pathlib import Path

import pytest
from review_pools import aimed_pool

from chips_core.errors import InputError
from chips_core.store import Review
from chips_core.views.exporting import (
    card_of,
    class_changes,
    columns_offered,
    export_target,
    exports_there,
    in_a_sentence,
    preview,
    suggested_name,
)


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    pool = aimed_pool(tmp_path / "pool")
    with Review.open(pool.path) as review:
        review.create_selection(name="mine", pair_ids=["p1", "p4"], reviewer="me")
    return pool


def export_at(home, name, **changes):
    folder = home / "exports" / name
    folder.mkdir(parents=True)
    told = {"format": "chips-lens-export", "kind": "csv", "selection": "s", "pairs": 2, "pool": {"id": "x"}}
    told |= {"files": {"pairs.csv": {"bytes": 10, "sha256": ""}}} | changes
    (folder / "manifest.json").write_text(json.dumps(told))
    (folder / "card.html").write_text("<p>card</p>")
    return folder


def test_preview__adds_up_to_all_rows(pool):
    plan = preview(pool, "mine")
    assert plan.table["pair_id"].tolist() == ["p1", "p4"]
    assert len(plan.table) + sum(plan.dropped.values()) == 7
    assert preview(pool, "mine") is plan  # looked at once
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p1", verdict="wrong pair", reviewer="me")
    assert preview(pool, "mine").table["pair_id"].tolist() == ["p4"]


def test_in_a_sentence__what_goes_and_of_which_class(pool):
    plan = preview(pool, "mine")
    changes = class_changes(plan)
    assert [change.removed for change in changes] == sorted((c.removed for c in changes), reverse=True)
    assert in_a_sentence(plan).startswith("4 of 6 pairs stay behind: 100.0% of not said, ")


def test_columns_offered__never_those_that_are_always_there(pool):
    offered = columns_offered(pool)
    assert not {"pair_id", "image", "caption", "outcome", "image_sha256"} & set(offered)
    assert {"label", "group", "queue"} <= set(offered)


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc", "a/b", "a b", ".hidden", "x" * 61])
def test_export_target__stays_in_its_folder(pool, name):
    assert pool
    with pytest.raises(InputError):
        export_target(name)
    with pytest.raises(InputError):
        card_of(name)


def test_export_target__beside_the_pools(pool):
    assert export_target("best") == Path(pool.path).parent / "exports" / "best"


def test_exports_there__only_what_is_ours_and_whole(pool, tmp_path):
    assert pool
    assert exports_there(pool.id) == ()
    export_at(tmp_path, "one")
    export_at(tmp_path, "other", format="something else")
    (tmp_path / "exports" / "half").mkdir()
    (tmp_path / "exports" / "torn").mkdir()
    (tmp_path / "exports" / "torn" / "manifest.json").write_text("{")
    assert [found.name for found in exports_there("y")] == ["one"]
    export_at(tmp_path, "mine", pool={"id": "y"})
    os.utime(tmp_path / "exports" / "mine", (1, 1))  # older, but of the pool that is open
    assert [found.name for found in exports_there("y")] == ["mine", "one"]


@pytest.mark.parametrize(
    ("selection", "name"), [("best-30", "best-30"), ("../x y", "_x_y"), ("..", "selection"), ("ü" * 99, "_" * 40)]
)
def test_suggested_name__is_one_that_a_folder_may_have(pool, selection, name):
    assert pool
    assert suggested_name(selection) == name
    assert export_target(suggested_name(selection)).name == name


def test_card_of__the_card_of_an_export_and_nothing_else(pool, tmp_path):
    assert pool
    folder = export_at(tmp_path, "one")
    assert card_of("one") == b"<p>card</p>"
    (tmp_path / "secret.html").write_text("secret")
    (folder / "card.html").unlink()
    (folder / "card.html").symlink_to(tmp_path / "secret.html")
    with pytest.raises(InputError):
        card_of("one")
    export_at(tmp_path, "other", format="something else")
    with pytest.raises(InputError):
        card_of("other")
