"""The queue: order, filters, open places, where to go next, and how it stands."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_pools import QUEUE, plain_pool, score, scored_pool

from chips_core.errors import InputError
from chips_core.store.review import content_hash
from chips_core.views import queue as queues
from chips_core.views.queue import EVERY, OPEN, Filters, load_run, next_place, runs_of, worklist
from chips_core.views.verdicts import Held
from chips_core.views.walk import Walk, at, backward, begun, onward, place_of


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scored_pool(tmp_path_factory.mktemp("queue") / "pool")


@pytest.fixture(scope="module")
def scored(pool):
    return load_run(pool, "run")


def held(**verdicts):
    return {pair: Held(verdict, "ann", 1) for pair, verdict in verdicts.items()}


def test_load_run__keeps_rows_and_input_rows_apart(scored):
    assert scored.pairs["pair_id"].tolist() == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert scored.pairs["input_row"].tolist() == [1, 2, 3, 4, 5, 6]  # row 0 is broken
    assert scored.row_of("p3") == 3
    assert scored.row_of("b0") is None


def test_load_run__unknown_is_said(pool):
    with pytest.raises(InputError, match="no run of that name"):
        load_run(pool, "other")


def test_runs_of__newest_first(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    assert runs_of(pool) == ()
    score(pool, name="one")
    score(pool, name="two")
    assert runs_of(pool) == ("two", "one")


def test_rankings__the_queue_first_then_influence(scored):
    assert [r.column for r in scored.rankings] == ["queue", "delta_loss_if_removed", "peer_loss"]
    assert [r.high_first for r in scored.rankings] == [True, False, True]


def test_worklist__most_suspect_first_ties_by_pair_id(scored):
    queue, influence, _ = scored.rankings
    assert worklist(scored, queue, Filters()).tolist() == [2, 4, 3, 1, 0, 5]
    assert worklist(scored, influence, Filters()).tolist() == [2, 1, 3, 4, 5, 0]


def test_worklist__ties_by_pair_id_whatever_the_order_of_rows(scored):
    ids = ["p5", "p4", "p3", "p2", "p1", "p0"]
    fields = {name: getattr(scored, name) for name in type(scored).__dataclass_fields__}
    turned = type(scored)(**fields | {"pairs": scored.pairs.assign(pair_id=ids)})
    assert worklist(turned, turned.rankings[0], Filters()).tolist() == [4, 2, 3, 1, 0, 5]  # p1 before p3


def test_worklist__pairs_without_a_score_are_left_out(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    table = pd.DataFrame({"pair_id": [f"p{i}" for i in range(5)], "queue": QUEUE[:5]})
    pool.write_table("scores", "run", table, record={}, fingerprint="s")
    scored = load_run(pool, "run")
    assert 5 not in worklist(scored, scored.rankings[0], Filters()).tolist()
    assert scored.standing("queue", 5) is None


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (Filters(labels=("a",)), [2, 1, 0]),
        (Filters(labels=("a", "b"), low=0.3), [2, 4, 3]),
        (Filters(sources=("s",), high=0.1), [0, 5]),
        (Filters(sources=("none",)), []),
    ],
)
def test_worklist__filters(scored, filters, rows):
    assert worklist(scored, scored.rankings[0], filters).tolist() == rows


def test_standing__is_the_share_below_ties_halved(scored):
    assert scored.standing("queue", 5) == pytest.approx(0.5 / 6)
    assert scored.standing("queue", 2) == scored.standing("queue", 4) == pytest.approx(5 / 6)
    assert not scored.is_constant("queue")


def test_codes_of__by_place_and_only_of_pairs_that_are_there(scored):
    verdicts = held(p1="wrong pair", gone="correct") | {"p2": Held("correct", "bob", 2)}
    codes = queues.codes_of(scored, verdicts)
    assert codes.tolist() == [-1, 1, 0, -1, -1, -1]


def test_open_places__by_state(scored):
    queue = worklist(scored, scored.rankings[0], Filters())
    codes = queues.codes_of(scored, held(p2="correct", p3="wrong pair"))
    assert queue[queues.open_places(codes, queue, OPEN)].tolist() == [4, 1, 0, 5]
    assert queue[queues.open_places(codes, queue, "wrong pair")].tolist() == [3]
    assert queues.open_places(codes, queue, EVERY).all()


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(-1, 11), st.booleans())
def test_next_place__is_the_nearest_open_one(is_open, after, wrap):
    after = min(after, len(is_open) - 1)
    found = next_place(np.array(is_open), after, wrap=wrap)
    ahead = [place for place, is_it in enumerate(is_open) if is_it and place > after]
    others = [place for place, is_it in enumerate(is_open) if is_it and place != after]
    expected = ahead or (others if wrap else [])
    assert found == (expected[0] if expected else None)


def test_precisions__by_the_order_of_the_queue(scored):
    queue = worklist(scored, scored.rankings[0], Filters())
    codes = queues.codes_of(scored, held(p2="wrong pair", p3="correct", p5="negation"))
    found = queues.precisions(queue, codes, places=(2, None))
    assert [(one.decided, one.wrong) for one in found] == [(1, 1), (3, 2)]


def test_listed__a_page_of_the_queue(scored):
    queue = worklist(scored, scored.rankings[0], Filters())
    table = queues.listed(scored, scored.rankings[0], queue, places=[1, 2], held=held(p4="unsure"))
    assert table["place"].tolist() == [2, 3]
    assert table["pair"].tolist() == ["p4", "p3"]
    assert table["verdict"].tolist() == ["unsure", ""]
    assert table["by"].tolist() == ["ann", ""]


def test_content_hashes__of_image_and_caption(scored):
    assert scored.content_hashes([2]) == [content_hash(image_sha256="h1", caption="ring")]


def test_walk__forward_back_and_around():
    queue, is_open = np.array([7, 3, 5, 1]), np.array([False, True, True, False])
    walk = begun(queue, is_open)
    assert walk == Walk(3)
    walk = onward(walk, queue, is_open, wrap=True)
    assert walk == Walk(5, (3,))
    assert onward(walk, queue, is_open, wrap=False).row is None
    assert onward(walk, queue, is_open, wrap=True).row == 3  # passed over before: it comes again
    walk = at(walk, 1)
    assert backward(walk, queue, is_open) == Walk(5, (3,))
    assert backward(backward(walk, queue, is_open), queue, is_open) == Walk(3)
    assert backward(Walk(3), queue, is_open) == Walk(3)


def test_walk__back_to_the_last_pair_when_the_queue_is_finished():
    queue = np.array([7, 3])
    walk = onward(Walk(3, (7,)), queue, np.array([False, False]), wrap=True)
    assert walk == Walk(None, (7, 3))
    assert backward(walk, queue, np.array([False, False])) == Walk(3, (7,))


def test_place_of__outside_the_queue():
    assert place_of(np.array([4, 2]), 2) == 1
    assert place_of(np.array([4, 2]), 9) is None
    assert place_of(np.array([4, 2]), None) is None
