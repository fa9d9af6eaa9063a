"""Comparisons checked by hand: two selections, two runs, two reviewers, methods by rank; Cohen's kappa."""

import pytest
from review_pools import QUEUE, score, scored_pool

from chips_core.errors import InputError
from chips_core.store import Pool, Review
from chips_core.views.compare import (
    agreement,
    columns_in_both,
    compare_reviewers,
    compare_runs,
    compare_selections,
    kappa,
    reviewers_of,
)
from chips_core.views.map import PairColumns


@pytest.fixture
def pool(tmp_path):
    return scored_pool(tmp_path / "pool")


def facts(found):
    return dict(found.facts)


def test_compare_selections__groups_counts_and_classes(pool):
    with Review.open(pool.path) as review:
        review.create_selection(name="old", pair_ids=["p0", "p1", "p2"], reviewer="me")
        review.create_selection(name="new", pair_ids=["p2", "p3"], reviewer="me")
    found = compare_selections(pool, PairColumns(pool), "old", "new")
    assert found.groups.tolist() == [0, 0, 2, 1, -1, -1]
    assert found.names == ("only in old", "only in new", "in both")
    assert facts(found) == {"In both": "1", "Only in old": "2", "Only in new": "1", "Shared of all chosen": "25.0%"}
    assert found.differing.tolist() == [0, 1, 3]
    assert found.told[0].tolist() == ["in", "in", "in", "out", "out", "out"]
    assert sum(numbers[0] for _, numbers in found.table.lines) == 3
    assert sum(numbers[1] for _, numbers in found.table.lines) == 2


def test_columns_in_both__what_two_methods_compute_comes_before_what_one_does_and_neutral_last(pool):
    for mode in ("audit", "paper"):
        methods = {"learnability": f"chips_{mode}", "clipscore": "clipscore", "utility": f"chips_{mode}"}
        columns = [
            {"column": name, "method": method, "higher_is": "neutral" if name == "learnability" else "valuable"}
            for name, method in methods.items()
        ]
        table = pool.table("scores", "run")[["pair_id", "row"]].assign(**dict.fromkeys(methods, 1.0))
        pool.write_table("scores", mode, table, record={"columns": columns}, fingerprint=f"s-{mode}")
    assert list(columns_in_both(Pool.open(pool.path), "audit", "paper")) == ["utility", "clipscore", "learnability"]


def test_compare_runs__by_places_those_that_move_most_first(pool):
    first, then = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [6.0, 2.0, 3.0, 4.0, 5.0, 1.0]
    for name, values in (("first", first), ("later", then)):
        score(pool, name=name, scores={"delta_loss_if_removed": QUEUE, "queue": values, "peer_loss": QUEUE})
    pool = Pool.open(pool.path)
    pairs = PairColumns(pool)
    assert "queue" in columns_in_both(pool, "first", "later")
    found = compare_runs(pool, pairs, "first", "later", column="queue")
    assert found.change == pytest.approx([500 / 6, 0, 0, 0, 0, -500 / 6])
    assert facts(found)["Half move less than"] == "0.0 of 100 places"
    assert found.high_first is True
    assert compare_runs(pool, pairs, "first", "later", column="delta_loss_if_removed").high_first is False
    assert found.differing.tolist() == [0, 5]
    assert found.told[0].tolist() == ["1.00", "2.00", "3.00", "4.00", "5.00", "6.00"]
    assert facts(found)["Rank correlation"] == f"{1 - 6 * 50 / (6 * 35):.3f}"  # 1 - 6 Σd² / n(n² - 1)
    same = compare_runs(pool, pairs, "first", "later", column="peer_loss")
    assert facts(same)["Rank correlation"] == "1.000"
    assert len(same.differing) == 0
    with pytest.raises(InputError):
        compare_runs(pool, pairs, "first", "later", column="utility")
    with pytest.raises(InputError):
        columns_in_both(pool, "run", "nowhere")


def test_compare_reviewers__agree_differ_and_alone(pool):
    assert reviewers_of(pool) == ()
    with Review.open(pool.path) as review:
        for pair, one, other in (
            ("p0", "correct", "correct"),
            ("p1", "wrong pair", "correct"),
            ("p2", "wrong pair", "wrong pair"),
            ("p3", "correct", None),
            ("p4", None, "unsure"),
        ):
            for who, verdict in (("ann", one), ("ben", other)):
                if verdict:
                    review.add_verdict(pair_id=pair, verdict=verdict, reviewer=who)
    assert reviewers_of(pool) == ("ann", "ben")
    found = compare_reviewers(pool, PairColumns(pool), "ann", "ben")
    assert found.groups.tolist() == [2, 3, 2, 0, 1, -1]
    assert found.differing.tolist() == [1]
    assert facts(found)["Judged by both"] == "3"
    assert facts(found)["Agree"] == "66.7%"
    assert facts(found)["Cohen's kappa"] == "0.40"  # (2/3 - 4/9) / (1 - 4/9)
    assert found.table.lines == (("correct", (1.0, 0.0)), ("wrong pair", (1.0, 1.0)))


def test_kappa__by_hand():
    one = ["a", "a", "b", "b"]
    assert kappa(one, one) == 1
    assert kappa(one, ["a", "b", "a", "b"]) == 0
    assert kappa(one, ["b", "b", "a", "a"]) == -1
    assert kappa(["a", "a"], ["a", "a"]) == 1  # nothing else was ever said


def test_agreement__of_methods_turned_so_that_high_is_valuable(pool):
    found = agreement(pool, "run")
    assert found.correlation.diagonal() == pytest.approx(1)
    assert (found.correlation == found.correlation.T).all()
    assert found.pairs == 6
    assert len(found.titles) == len(found.correlation)
