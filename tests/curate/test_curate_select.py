"""Selections: budgets, ties, what never comes in, quotas, guards, the audit, mixtures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips_core.curate.audit import second_group
from chips_core.curate.candidates import Candidates, Embeddings, ScoreColumn, leaks
from chips_core.curate.recipe import Recipe, budget_in_words, chosen_count
from chips_core.curate.select import select
from chips_core.errors import UsageError

METHODS = ("random", "clipscore", "queue", "clipcov", "audit_then_select", "clipscore:2,random:1")


def candidates(count=24, *, seed=0, values=None, labels=None, barred=None, readable=None, order=None):
    """Pairs p000, p001, … of three classes; `order` lays the rows out differently, the pairs staying the same."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=count) if values is None else np.asarray(values, float)
    vectors = draw.normal(size=(2, count, 4))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    labels = np.array(labels if labels is not None else [("a", "b", "c")[i % 3] for i in range(count)], dtype=object)
    at = np.arange(count) if order is None else np.asarray(order)
    columns = {
        "clipscore": ScoreColumn(scores[at], "valuable"),
        "queue": ScoreColumn(-scores[at], "suspect"),
        "delta_loss_if_removed": ScoreColumn(scores[at] - 0.2, "valuable", signed=True),
        "learnability": ScoreColumn(np.ones(count), "neutral"),
        "relevance": ScoreColumn(np.ones(count), "valuable"),
    }
    return Candidates(
        ids=np.array([f"p{i:03d}" for i in at], dtype=object),
        readable=np.ones(count, bool) if readable is None else np.asarray(readable, bool)[at],
        names={"label": labels[at], "source": np.array(["s"] * count, dtype=object)},
        scores={"clipscore": columns["clipscore"], "queue": columns["queue"]},
        columns=columns,
        barred={"judged wrong": np.zeros(count, bool) if barred is None else np.asarray(barred, bool)[at]},
        confirmed=np.zeros(count, bool),
        embeddings=Embeddings(vectors[0][at], vectors[1][at]),
    )


@pytest.mark.parametrize("method", ["clipscore", "queue"])
def test_select__f1_all_equal_gives_the_lowest_ids_in_any_order_of_rows(method):
    order = np.random.default_rng(3).permutation(24)
    for at in (None, order):
        found = select(candidates(values=np.zeros(24), order=at), Recipe(method, "5"))
        assert found.ids == ("p000", "p001", "p002", "p003", "p004")


@pytest.mark.parametrize("method", METHODS)
def test_select__order_of_rows_does_not_matter(method):
    order = np.random.default_rng(1).permutation(24)
    assert select(candidates(), Recipe(method, "9")).ids == select(candidates(order=order), Recipe(method, "9")).ids


@pytest.mark.parametrize("method", METHODS)
def test_select__f2_none_all_and_too_many(method):
    assert select(candidates(), Recipe(method, "0")).ids == ()
    assert len(select(candidates(), Recipe("random", "24")).ids) == 24
    found = select(candidates(), Recipe("random", "25"))
    assert [(s.what, s.wanted, s.found) for s in found.shortages] == [("pairs in all", 25, 24)]


@pytest.mark.parametrize("budget", ["-1", "1.5", "-0.1", "nan", "", "a", "1e3"])
def test_chosen_count__f2_refuses_what_is_no_budget(budget):
    with pytest.raises(UsageError):
        chosen_count(budget, candidates=10)


@pytest.mark.parametrize(
    ("budget", "words"),
    [("0.3", "30% of the candidates"), ("1200", "1,200 pairs"), ("a.b", "a.b"), (".", "."), ("٣", "٣"), ("", "")],
)
def test_budget_in_words(budget, words):
    assert budget_in_words(budget) == words


def test_chosen_count__share_or_number():
    assert [chosen_count(b, candidates=10) for b in ("0.1", "1.0", "0.0", "1", "7")] == [1, 10, 0, 1, 7]


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_select__f3_broken_unscored_and_rejected_never_come_in(method, data):
    readable = data.draw(st.lists(st.booleans(), min_size=24, max_size=24))
    barred = data.draw(st.lists(st.booleans(), min_size=24, max_size=24))
    table = candidates(readable=readable, barred=barred)
    allowed = {f"p{i:03d}" for i in range(24) if readable[i] and not barred[i]}
    for recipe in (Recipe(method, "24"), Recipe(method, "24", at_least=2, pin_confirmed=True)):
        assert set(select(table, recipe).ids) <= allowed


def test_select__f3_a_pair_without_the_score_never_comes_in():
    values = np.arange(24.0)
    values[5] = np.nan
    for method in ("clipscore", "queue", "audit_then_select"):
        assert "p005" not in select(candidates(values=values), Recipe(method, "24")).ids


@pytest.mark.parametrize("method", METHODS)
def test_select__f4_fewer_pairs_begin_more(method):
    longest = select(candidates(), Recipe(method, "15")).ids
    assert len(longest) == 15
    for k in range(15):
        assert select(candidates(), Recipe(method, str(k))).ids == longest[:k]


def test_select__f5_impossible_quota_gives_shortages():
    found = select(candidates(), Recipe("clipscore", "12", quotas=("label=2",)))
    assert len(found.ids) == 6
    assert ("pairs in all", 12, 6) in [(s.what, s.wanted, s.found) for s in found.shortages]
    assert sum("held at its quota" in s.what for s in found.shortages) == 3


def test_select__quota_holds_and_best_of_each_come_in():
    found = select(candidates(values=np.arange(24.0)), Recipe("clipscore", "6", quotas=("label=2",)))
    assert found.ids == ("p023", "p022", "p021", "p020", "p019", "p018")
    assert not found.shortages


def test_select__at_least_keeps_a_rare_class():
    labels = ["a"] * 22 + ["rare"] * 2
    values = np.r_[np.full(22, 1.0), -1.0, -2.0]
    assert select(candidates(values=values, labels=labels), Recipe("clipscore", "5")).lost_classes == ("rare",)
    kept = select(candidates(values=values, labels=labels), Recipe("clipscore", "5", at_least=1))
    assert "p022" in kept.ids and not kept.lost_classes  # noqa: PT018 -- one fact: kept
    short = select(candidates(values=values, labels=labels), Recipe("clipscore", "9", at_least=3))
    assert [(s.what, s.wanted, s.found) for s in short.shortages] == [("label rare", 3, 2)]


def test_select__pinned_pairs_come_first_even_when_the_audit_drops_them():
    table = candidates(values=np.arange(24.0))
    table.confirmed[[0, 4]] = True  # p000 is the most suspect
    plain = select(table, Recipe("audit_then_select", "6", drop="0.3"))
    pinned = select(table, Recipe("audit_then_select", "6", drop="0.3", pin_confirmed=True))
    assert "p000" not in plain.ids
    assert pinned.ids[:2] == ("p000", "p004")
    assert len(set(pinned.ids)) == 6


def test_leaks__f6_patient_image_and_near_image_of_held_out_pairs():
    found = leaks(
        groups=np.array(["g", "g", "", "h", ""], object),
        hashes=np.array(["1", "2", "1", "", ""], object),
        held_out=np.array([True, False, False, False, True]),
        near=np.array([-1, -1, -1, 7, 7]),
    )
    assert [mask.tolist() for mask in found.values()] == [
        [False, True, False, False, False],
        [False, False, True, False, False],
        [False, False, False, True, False],
    ]


def test_leaks__empty_values_are_not_shared():
    empty = np.array(["", ""], object)
    found = leaks(groups=empty, hashes=empty, held_out=np.array([True, False]))
    assert not any(mask.any() for mask in found.values())


def test_audit__drops_the_most_suspect():
    table = candidates(values=np.arange(24.0))
    found = select(table, Recipe("audit_then_select", "6", drop="0.25"))
    assert found.kept_out["dropped by the audit"] == 6
    assert set(select(table, Recipe("audit_then_select", "18", drop="0.25")).ids) == {f"p{i:03d}" for i in range(6, 24)}


@pytest.mark.parametrize("features", [True, False])
def test_audit__sources_keep_their_shares(features):
    table = candidates(40, values=np.arange(40.0))
    sources = np.array(["big"] * 30 + ["small"] * 10, dtype=object)
    table = replace(table, names={**table.names, "source": sources}, embeddings=table.embeddings if features else None)
    found = select(table, Recipe("audit_then_select", "8", drop="0.0"))
    assert sum(sources[row] == "small" for row in found.rows) == 2
    assert any("at random" in note for note in found.notes) != features


def test_audit__no_class_loses_more_than_half():
    labels = ["rare"] * 4 + ["a"] * 20
    found = select(candidates(values=np.arange(24.0), labels=labels), Recipe("audit_then_select", "18", drop="0.25"))
    assert sum(i in found.ids for i in ("p000", "p001", "p002", "p003")) == 2


def test_audit__says_how_the_share_was_estimated():
    found = select(candidates(60), Recipe("audit_then_select", "5"))
    assert any("mirror fit" in note for note in found.notes)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3])
def test_second_group__finds_a_planted_share(share):
    draw = np.random.default_rng(0)
    wrong = draw.random(20_000) < share
    assert second_group(draw.normal(size=20_000) + 5 * wrong) == pytest.approx(share, abs=0.04)


def test_second_group__nothing_to_see():
    assert second_group(np.zeros(100)) == 0
    assert second_group(np.arange(5.0)) == 0
    assert second_group(np.linspace(-1, 1, 101)) < 0.02


def test_select__mixture_takes_in_proportion():
    table = candidates(values=np.arange(24.0))
    by_score = select(table, Recipe("clipscore", "4")).ids
    found = select(table, Recipe("clipscore:1,queue:1", "6"))
    assert set(by_score) <= set(found.ids)  # the queue ranks the same way here
    lone = select(table, Recipe("clipscore:3,random:1", "8"))
    assert sum(i in lone.ids for i in ("p023", "p022", "p021", "p020", "p019", "p018")) == 6


@pytest.mark.parametrize("method", ["", "a b", "random:0", "random,random", "nothing", "DROP TABLE"])
def test_select__unknown_methods_are_refused(method):
    with pytest.raises(UsageError):
        select(candidates(), Recipe(method, "3"))


@pytest.mark.parametrize("quota", ["label", "label=-1", "caption=3", "label=1.5"])
def test_recipe__quotas_are_checked(quota):
    with pytest.raises(UsageError):
        select(candidates(), Recipe("random", "3", quotas=(quota,)))


def test_select__warns_where_the_method_itself_says_harmful():
    table = candidates(values=np.linspace(-1, 1, 24))
    signed = {"ecif": table.columns["delta_loss_if_removed"]}
    found = select(replace(table, scores=signed), Recipe("ecif", "20"))
    assert any("below zero" in words for words in found.warnings)


def test_select__random_is_seeded():
    one, same, other = (select(candidates(), Recipe("random", "9", seed=s)).ids for s in (1, 1, 2))
    assert one == same != other
