"""Saved selections in words: how each was made, and which can be followed again."""

from review_pools import aimed_pool

from chips_core.jobs.steps import run_step
from chips_core.progress import Silent
from chips_core.store import Review
from chips_core.views.kept_selections import kept_selections


def test_kept_selections__in_words_the_newest_first(tmp_path):
    pool = aimed_pool(tmp_path / "pool")
    assert kept_selections(pool) == ()
    asked = {"method": "queue:2,random:1", "budget": "0.5", "quotas": ["label=2"], "at_least": 1, "seed": 3}
    run_step("select", {"pool": str(pool.path), "name": "mixed", **asked}, progress=Silent())
    with Review.open(pool.path) as review:
        review.create_selection(name="mine", pair_ids=["p1"], reviewer="me", recipe={"by": "lasso"})
        review.rename_selection(name="mixed", new_name="blend", reviewer="me")
    pool.refresh()
    by_hand, made = kept_selections(pool)
    assert (by_hand.name, by_hand.method, by_hand.can_replay) == ("mine", "by hand: lasso", False)
    assert (made.name, made.method, made.can_replay) == ("blend", "Least suspect 2 : Random 1", True)
    assert made.rules == "50% of the candidates, at most 2 a label, at least 1 of every class, seed 3"
    assert made.pairs == 3
