"""The Subset lab's numbers: offers, trials, coverage, overlap, scores, titles, what was measured."""

import numpy as np
import pytest
from review_pools import aimed_pool, plain_pool

from chips_core.curate.measured import measured_name
from chips_core.curate.recipe import Recipe, title_of_method
from chips_core.errors import UsageError
from chips_core.store import Review
from chips_core.views.curate import lab_of, overlap


def test_offers__a_pool_without_scores_says_what_is_missing(tmp_path):
    pool = plain_pool(tmp_path / "plain")
    offers = {offer.name: offer.why_not for offer in lab_of(pool).offers()}
    assert offers == {
        "audit_then_select": "needs scores",
        "random": "",
        "clipcov": "needs features",
        "semdedup": "needs features",
    }


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPS_ROOTS", str(tmp_path))
    return aimed_pool(tmp_path / "pool")


def test_attempt__counts_flags_and_features(pool):
    lab = lab_of(pool)
    assert (lab.count, lab.eligible) == (6, 6)
    trial = lab.attempt(Recipe("queue", "3"))
    assert trial.selected.ids == ("p5", "p0", "p1")  # the least suspect
    assert trial.flagged == 0
    assert lab.attempt(Recipe("clipcov", "4")).pairs == 4
    assert lab.attempt(Recipe("semdedup", "4")).pairs == 4
    assert lab.attempt(Recipe("queue:1,semdedup:1", "4")).pairs == 4
    assert lab.attempt(Recipe("random", "0")).flagged == 0


def test_lab__its_drop_is_the_one_that_the_audit_makes(pool, tmp_path):
    lab = lab_of(pool)
    assert (
        lab.attempt(Recipe("audit_then_select", "3")).selected.notes[0].startswith(f"The audit drops {lab.drop:.1%}:")
    )
    assert lab_of(plain_pool(tmp_path / "plain")).drop is None


def test_attempt__classes_and_the_rare_ones(pool):
    lab = lab_of(pool)
    trial = lab.attempt(Recipe("queue", "3"))  # p5 has no label, p0 and p1 are of a and a or b
    labels = [str(label) for label in lab.table.labels()[trial.selected.rows]]
    assert trial.classes == (len(set(labels) - {""}), 2)
    assert lab.attempt(Recipe("queue", "6")).rare == 1.0


def test_attempt__the_same_recipe_is_followed_once(pool):
    lab = lab_of(pool)
    assert lab.attempt(Recipe("queue", "3")) is lab.attempt(Recipe("queue", "3"))
    assert lab.attempt(Recipe("queue", "3", at_least=1)) is not lab.attempt(Recipe("queue", "3"))


def test_attempt__an_unknown_method_is_refused(pool):
    with pytest.raises(UsageError):
        lab_of(pool).attempt(Recipe("nothing", "3"))


def test_lab__is_read_again_when_somebody_judged(pool):
    before = lab_of(pool)
    assert lab_of(pool) is before
    with Review.open(pool.path) as review:
        review.add_verdict(pair_id="p5", verdict="wrong pair", reviewer="me")
        review.add_verdict(pair_id="p1", verdict="correct", reviewer="me")
    assert (lab_of(pool).eligible, lab_of(pool).confirmed) == (5, 1)


def test_coverage__before_kept_and_lost(pool):
    lab = lab_of(pool)
    found = lab.coverage([lab.attempt(Recipe("queue", "3")), lab.attempt(Recipe("queue", "6"))], "label")
    assert [(line.value, line.before, line.kept) for line in found] == [
        ("a", 3, (2, 3)),
        ("b", 2, (0, 2)),
        ("not said", 1, (1, 1)),
    ]
    assert [line.lost_by for line in found] == [(), (0,), ()]


def test_overlap__share_of_the_lines_pairs(pool):
    lab = lab_of(pool)
    shares = overlap([lab.attempt(Recipe("queue", "2")), lab.attempt(Recipe("ecif", "4"))])
    assert shares.diagonal().tolist() == [1.0, 1.0]
    ours = {"p5", "p0"} & set(lab.attempt(Recipe("ecif", "4")).selected.ids)
    assert shares[0, 1] == len(ours) / 2
    assert shares[1, 0] == len(ours) / 4


def test_shapes__all_bars_of_a_set_add_up(pool):
    lab = lab_of(pool)
    trial = lab.attempt(Recipe("queue", "3"))
    for _, _, shape in lab.shapes([trial]):
        assert sum(shape.before) == pytest.approx(1)
        assert sum(shape.after[0]) == pytest.approx(1)
    assert int(np.count_nonzero(lab.mask(trial))) == 3


def test_measured__found_by_the_pairs_themselves(pool):
    import pandas as pd

    lab = lab_of(pool)
    one, other = lab.attempt(Recipe("queue", "3")), lab.attempt(Recipe("queue", "4"))
    name = measured_name(one.selected.ids, target=lab.origin.target, features=lab.origin.features, seed=0)
    record = {"accuracy": 0.5, "base": 0.4, "change": 0.1, "low": None, "high": None}
    record |= {"recall_at_1": 0.2, "base_recall": 0.1, "seconds": 1.0}
    pool.write_table("measured", name, pd.DataFrame({"source": ["s"]}), record=record, fingerprint="f")
    found = lab.measured(pool, [one, other])
    assert found[0] is not None
    assert (found[0].accuracy, found[0].base) == (0.5, 0.4)
    assert found[1] is None


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("audit_then_select", "Audit, then select"),
        ("loss_residual", "Loss residual"),
        ("queue:2,random:1", "Least suspect 2 : Random 1"),
        ("queue,clipcov:1.5", "Least suspect 1 : ClipCov 1.5"),
    ],
)
def test_title_of_method(method, title):
    assert title_of_method(method) == title
