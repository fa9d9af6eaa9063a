"""What the Map page shows: layouts against rows, choices of colour, filters, orders, tables."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from map_pools import PLACED, lay_out, mapped_pool
from review_pools import QUEUE, plain_pool

from chips_core.errors import InputError
from chips_core.views.map import (
    VERDICT,
    Choice,
    PairColumns,
    Values,
    colour_choices,
    load_layout,
    maps_of,
    ordered,
    score_table,
    table_of,
)
from chips_core.views.map_filters import Filters, lit

QUEUE_CHOICE = Choice("score.queue", "Queue", "sequential")
LABEL = Choice("pair.label", "Label", "categorical")
NOTHING_GIVEN: dict[str, str] = {}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return mapped_pool(tmp_path_factory.mktemp("map") / "pool")


@pytest.fixture
def pairs(pool):
    return PairColumns(pool)


@pytest.fixture
def values(pool, pairs):
    return Values(pool, pairs, run="run", verdicts={"p1": "correct", "p4": "wrong pair", "gone": "correct"})


def mask(*rows):
    held = np.zeros(6, dtype=bool)
    held[list(rows)] = True
    return held


def test_pair_columns__rows_are_kept_rows_and_input_rows_address_images(pairs):
    assert len(pairs) == 6
    assert pairs.input_rows.tolist() == [1, 2, 3, 4, 5, 6]  # a broken row stands before them
    card = pairs.card(2)
    assert (card.row, card.input_row, card.pair_id, card.caption, card.label) == (2, 3, "p2", "ring", "a")
    assert pairs.rows_of(["p5", "no such", "p0"]).tolist() == [5, 0]
    assert pairs.pair_ids(np.array([3, 1])) == ["p3", "p1"]
    assert pairs.named("label").counts == {"a": 3, "b": 2, "": 1}


def test_load_layout__knows_who_has_a_place(pool):
    assert maps_of(pool) == {"image": "image-1"}
    layout = load_layout(pool, "image-1")
    assert layout.rows.tolist() == list(PLACED)
    assert load_layout(pool, "image-1") is layout  # the same array: nothing is computed twice
    assert not layout.xy.flags.writeable
    assert layout.placed(mask(4, 5)).tolist() == [False, False, False, False, True]
    assert layout.unplaced(mask(4, 5)) == 1
    spread = layout.spread(np.array([True, False, False, False, False]), mask(4, 5))
    assert [layout.place_of(row) for row in (0, 5, 4, None)] == [0, 4, None, None]
    assert spread.tolist() == mask(0, 4).tolist()  # p4 has no place: what is drawn does not touch it


def test_load_layout__unknown(pool):
    with pytest.raises(InputError):
        load_layout(pool, "image-2")


def test_maps_of__the_newest_of_each_space(tmp_path):
    pool = mapped_pool(tmp_path / "pool")
    lay_out(pool, space="text")
    assert maps_of(pool) == {"image": "image-1", "text": "text-1"}


def test_colour_choices__leading_scores_then_columns_that_say_something(pool, pairs):
    choices = colour_choices(pool, pairs, run="run")
    keys = [choice.key for choice in choices]
    leading = ["score.queue", "score.delta_loss_if_removed", "pair.label", "pair.source", "verdict"]
    assert keys == [*leading, "score.peer_loss"]  # nothing says modality or split here
    assert not choices[1].high_first  # harm is below zero
    assert [choice.key for choice in colour_choices(pool, pairs, run=None)] == ["pair.label", "pair.source", "verdict"]


def test_values__numbers_names_and_verdicts_by_row(values):
    assert values.numbers(QUEUE_CHOICE).tolist() == np.array(QUEUE, dtype=np.float32).tolist()
    given = values.names(Choice(VERDICT, "Verdict", "categorical"))
    assert [given.names[code] for code in given.codes] == ["", "correct", "", "", "wrong pair", ""]


def test_lit__every_filter_must_agree(values, pairs):
    choices = (QUEUE_CHOICE, LABEL, Choice(VERDICT, "Verdict", "categorical"))

    def kept(filters, hits=None):
        return np.flatnonzero(lit(filters, values, choices, pairs=len(pairs), hits=hits)).tolist()

    assert kept(Filters()) == [0, 1, 2, 3, 4, 5]
    assert kept(Filters().without("pair.label", ["a"])) == [3, 4, 5]
    assert kept(Filters().only("pair.label", among=["a", "b", ""], wanted=["b"])) == [3, 4]
    assert kept(Filters().within("score.queue", (0.2, None))) == [1, 2, 3, 4]
    assert kept(Filters().within("score.queue", (0.15, 0.5)).without("pair.label", ["b"])) == [1]
    assert kept(Filters().without(VERDICT, [""])) == [1, 4]
    assert kept(Filters().within("score.queue", (0.2, None)), hits=np.array([5, 4, 0])) == [4]
    assert kept(Filters().within("score.other", (9.0, None))) == [0, 1, 2, 3, 4, 5]  # a score of another run


def test_filters__the_same_column_twice_is_one_filter():
    filters = Filters().without("pair.label", ["a"]).without("pair.label", ["b"])
    assert filters.off == {"pair.label": frozenset({"b"})}
    assert filters.chosen("pair.label", among=["a", "b"]) == ["a"]
    assert filters.without("pair.label", []).count == 0
    assert filters.only("pair.label", among=["a", "b"], wanted=[]).count == 0
    assert Filters().within("score.queue", (0.0, 1.0)).within("score.queue", (None, None)).count == 0


def test_ordered__ties_by_row_and_no_score_last():
    numbers = np.array([1.0, np.nan, 3.0, 3.0, -1.0], dtype=np.float32)
    rows = np.arange(5)
    assert ordered(rows, numbers, high_first=True).tolist() == [2, 3, 0, 4, 1]
    assert ordered(rows, numbers, high_first=False).tolist() == [4, 0, 2, 3, 1]
    assert ordered(rows[::-1], None, high_first=True).tolist() == [4, 3, 2, 1, 0]


def test_table_of__some_rows_in_their_order(values, pairs):
    table = table_of(pairs, values, np.array([4, 1]), score=QUEUE_CHOICE)
    assert table["pair"].tolist() == ["p4", "p1"]
    assert table["verdict"].tolist() == ["wrong pair", "correct"]
    assert table["score"].tolist() == pytest.approx([0.9, 0.2])
    assert "score" not in table_of(pairs, values, np.array([4]), score=None)


def test_score_table__share_of_pairs_below(values):
    table = score_table(values, (QUEUE_CHOICE, LABEL), 3)
    assert table["value"].tolist() == pytest.approx([0.4])
    assert table["above"].tolist() == [0.5]  # 0.0, 0.1 and 0.2 of six


def test_values__pool_without_scores(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    pairs = PairColumns(pool)
    table = table_of(pairs, Values(pool, pairs, run=None, verdicts=NOTHING_GIVEN), np.array([0]), score=None)
    assert table["caption"].tolist() == ["disc"]
