"""The Curate page's numbers: offers, trials, coverage, overlap, names of exports."""

from pathlib import Path

import pytest
from review_pools import plain_pool, scored_pool

from chips_core.curate.recipe import Recipe
from chips_core.errors import InputError
from chips_core.store import Pool, Review
from chips_core.views.curate import export_target, lab_of, overlap, preview, selections_of


def test_offers__a_pool_without_scores_says_what_is_missing(tmp_path):
    pool = plain_pool(tmp_path / "plain")
    offers = {offer.name: offer.why_not for offer in lab_of(pool).offers()}
    assert offers == {"audit_then_select": "needs scores", "random": "", "clipcov": "needs features"}


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return with_target(scored_pool(tmp_path / "pool"))


def with_target(pool):
    """The runs of the small pools name no target set; a second one does."""
    table = pool.table("scores", "run")
    record = pool.tables("scores")[0].record | {"target": "val"}
    pool.write_table("scores", "aimed", table, record=record, fingerprint="aimed")
    return Pool.open(pool.path)


def test_attempt__counts_flags_and_features(pool):
    lab = lab_of(pool)
    assert (lab.count, lab.eligible) == (6, 6)
    trial = lab.attempt(Recipe("queue", "3"))
    assert trial.selected.ids == ("p5", "p0", "p1")  # the least suspect
    assert trial.flagged == 0
    assert lab.attempt(Recipe("clipcov", "4")).pairs == 4
    assert lab.attempt(Recipe("random", "0")).flagged == 0


def test_lab__is_read_again_when_somebody_judged(pool):
    before = lab_of(pool)
    assert lab_of(pool) is before
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p5", verdict="wrong pair", reviewer="me")
    assert lab_of(pool).eligible == 5


def test_coverage__before_and_kept(pool):
    lab = lab_of(pool)
    trials = [lab.attempt(Recipe("queue", "3"))]
    table = lab.coverage(trials, "label")
    assert table.values.tolist() == [["a", 3, pytest.approx(2 / 3)], ["b", 2, 0.0], ["not said", 1, 1.0]]


def test_overlap__share_of_the_lines_pairs(pool):
    lab = lab_of(pool)
    table = overlap([lab.attempt(Recipe("queue", "2")), lab.attempt(Recipe("ecif", "4"))])
    assert table.iloc[:, 1:].to_numpy().diagonal().tolist() == [1.0, 1.0]
    ours = {"p5", "p0"} & set(lab.attempt(Recipe("ecif", "4")).selected.ids)
    assert table.iloc[0, 2] == len(ours) / 2
    assert table.iloc[1, 1] == len(ours) / 4


def test_preview__adds_up_to_all_rows(pool):
    with Review.open(pool.path) as review:
        review.create_selection(name="mine", pair_ids=["p1", "p4"], reviewer="me")
    assert selections_of(pool) == ["mine"]
    plan, lines = preview(pool, "mine")
    assert plan.table["pair_id"].tolist() == ["p1", "p4"]
    assert lines["rows"].sum() == 7


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc", "a/b", "a b", ".hidden", "x" * 61])
def test_export_target__stays_in_its_folder(pool, name):
    assert pool
    with pytest.raises(InputError):
        export_target(name)


def test_export_target__beside_the_pools(pool):
    assert export_target("best") == Path(pool.path).parent / "exports" / "best"
