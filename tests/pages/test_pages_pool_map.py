"""The pool map from Python's side: colours, the bytes that go down, the messages that come up, and a page with it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from chips_core.insight.regions import places_of
from pages.parts.pool_map import MapEvent, colour_values
from pages.parts.pool_map.channels import (
    colours_channel,
    layout_places,
    masks_channel,
    points_channel,
    words_channel,
)
from pages.parts.pool_map.colours import MISSING, TOP
from pages.parts.pool_map.events import event_from
from pages.parts.pool_map_plotly import clickable_rows, painted

CORNERS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
ALL = [[0, 0], [1, 0], [1, 1], [0, 1]]
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


def opened(message):
    """A channel's header and body, read as the browser reads it."""
    size = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + size]), message[4 + size :]


def test_colour_values__sequential_runs_between_the_clipped_ends():
    values = np.arange(101, dtype=np.float64)
    codes, _, legend = colour_values(values, "sequential", title="score")
    assert (legend.low, legend.high) == (1.0, 99.0)
    assert codes[0] == codes[1] == 0
    assert codes[100] == codes[99] == TOP
    assert codes[50] == 127
    assert sum(legend.bars) == 101


def test_colour_values__diverging_puts_zero_in_the_middle():
    codes, palette, legend = colour_values([-1.0, 0.0, 10.0], "diverging")
    assert codes[1] == 127
    assert legend.low == -legend.high
    assert np.ptp(palette.light[127].astype(int)) < 15  # grey: zero is no news


def test_colour_values__orange_is_the_side_to_look_at():
    values = [-1.0, 0.0, 1.0, np.nan]
    for ground in ("light", "dark"):
        high, low = (colour_values(values, "diverging", high_first=first) for first in (True, False))
        there, turned = (getattr(found.palette, ground)[found.codes].tolist() for found in (high, low))
        assert there[2][0] > there[2][2]  # orange: more red than blue
        assert turned == [there[2], there[1], there[0], there[3]]
    one, other = (colour_values(values, "sequential", high_first=first).palette.light for first in (True, False))
    assert (one == other).all()


def test_colour_values__missing_and_constant():
    codes, _, legend = colour_values([np.nan, 2.0, np.inf, 2.0], "sequential")
    assert codes.tolist() == [MISSING, 127, MISSING, 127]
    assert legend.missing == 2
    assert colour_values([], "sequential").codes.shape == (0,)
    assert colour_values([0.0, 0.0], "diverging").codes.tolist() == [127, 127]


def test_colour_values__categories_by_count_then_name():
    codes, _, legend = colour_values(["b", "a", "b", None, "", "c"], "categorical")
    assert [(c.name, c.code, c.count) for c in legend.categories] == [("b", 0, 2), ("a", 1, 1), ("c", 2, 1)]
    assert codes.tolist() == [0, 1, 0, MISSING, MISSING, 2]
    assert legend.missing == 2


def test_colour_values__many_categories_share_grey():
    names = [f"n{number:02}" for number in range(12)]
    codes, palette, legend = colour_values(names, "categorical")
    assert len(legend.categories) == 8
    assert (legend.categories[-1].name, legend.categories[-1].count) == ("5 others", 5)
    assert palette.light[codes[11]].tolist() == palette.light[MISSING].tolist()
    assert len({tuple(ink) for ink in palette.light[codes[:7]]}) == 7


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50), st.sampled_from(["sequential", "diverging"])
)
def test_colour_values__every_number_gets_a_code_in_order(values, kind):
    codes, palette, legend = colour_values(values, kind)
    known = np.isfinite(values)
    assert (codes[known] <= TOP).all()
    assert (codes[~known] == MISSING).all()
    assert (np.diff(codes[known][np.argsort(np.array(values)[known], kind="stable")].astype(int)) >= 0).all()
    assert palette.light.shape == palette.dark.shape == (256, 3)
    json.dumps([legend.low, legend.high], allow_nan=False)


def test_channels__carry_what_the_browser_reads():
    places = places_of(CORNERS)
    header, body = opened(points_channel("m", fingerprint="f", places=places).message)
    assert header == {"key": "m", "channel": "points", "fingerprint": "f"}
    assert np.frombuffer(body, "<u2").reshape(-1, 2).tolist() == places.xy.tolist()
    colouring = colour_values(["a", "b", "a", "a"], "categorical")
    _, body = opened(colours_channel("m", colouring).message)
    assert body[:768] == colouring.palette.light.tobytes()
    assert list(body[1536:]) == [0, 1, 0, 0]
    selected = np.array([False, True, False, False])
    _, body = opened(masks_channel("m", hidden=None, selected=selected, pairs=4).message)
    assert list(body) == [0, 0b0010]


def test_channels__bodies_start_aligned():
    for key in ("m", "map", "a key of some length"):
        message = words_channel(key, {"a": 1}).message
        assert (4 + int.from_bytes(message[:4], "little")) % 8 == 0


def test_channels__fingerprints_follow_contents_alone():
    none = masks_channel("a", hidden=None, selected=None, pairs=9).fingerprint
    assert none == masks_channel("b", hidden=np.zeros(9, bool), selected=None, pairs=9).fingerprint
    assert none != masks_channel("a", hidden=None, selected=None, pairs=10).fingerprint
    assert none != masks_channel("a", hidden=None, selected=np.ones(9, bool), pairs=9).fingerprint


def test_layout_places__computed_once_for_equal_contents():
    first, second = CORNERS.copy(), CORNERS.copy()
    first.setflags(write=False)
    assert layout_places(first)[1] is layout_places(first)[1]
    assert layout_places(first)[1] is layout_places(second)[1]
    second[0] = 0.5  # a writeable array is looked at again
    assert layout_places(second)[0] != layout_places(first)[0]


def test_event_from__region_holds_visible_rows():
    places = places_of(CORNERS)
    event = event_from({"kind": "lasso", "polygon": LEFT, "mode": "add"}, places)
    assert event is not None
    assert event.rows.tolist() == [0, 2]
    assert event.mode == "add"
    assert places.inside(places.to_unit(event.polygon)).nonzero()[0].tolist() == [0, 2]
    visible = np.array([False, True, True, True])
    event = event_from({"kind": "box", "polygon": LEFT}, places, visible=visible)
    assert event is not None
    assert event.rows.tolist() == [2]


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"kind": "explode"},
        {"kind": "lasso"},
        {"kind": "lasso", "polygon": [[0, 0], [1, 1]]},
        {"kind": "lasso", "polygon": [[0, 0], [1, 1], [float("nan"), 0]]},
        {"kind": "lasso", "polygon": [[0, 0], [1, 1], ["1", 0]]},
        {"kind": "lasso", "polygon": ALL * 600},
        {"kind": "pick", "row": 4},
        {"kind": "pick", "row": -1},
        {"kind": "pick", "row": True},
        {"kind": "colour", "number": 10},
        {"kind": "range", "range": [1]},
        {"kind": "range", "range": ["a", 2]},
        {"kind": "category", "codes": [300]},
        {"kind": "category", "codes": "abc"},
    ],
)
def test_event_from__believes_nothing_malformed(message):
    assert event_from(message, places_of(CORNERS)) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["kind", "polygon", "row", "range", "codes", "number", "mode"]), inner)
        ),
        max_leaves=12,
    ),
    st.sampled_from(["lasso", "pick", "range", "category", "colour", "clear"]),
)
def test_event_from__never_raises(junk, kind):
    event_from(junk, places_of(CORNERS))
    if isinstance(junk, dict):
        event_from(junk | {"kind": kind}, places_of(CORNERS))


def test_applied_to__modes():
    selected = np.array([True, True, False, False])
    rows = np.array([1, 2])
    outcome = {
        mode: MapEvent("lasso", rows=rows, mode=mode).applied_to(selected) for mode in ("replace", "add", "remove")
    }
    assert outcome["replace"].tolist() == [False, True, True, False]
    assert outcome["add"].tolist() == [True, True, True, False]
    assert outcome["remove"].tolist() == [True, False, False, False]
    assert MapEvent("clear").applied_to(selected).sum() == 0
    assert MapEvent("hover", rows=rows).applied_to(selected) is selected
    assert selected.tolist() == [True, True, False, False]


def test_painted__ordinary_selected_and_filtered_out():
    places, colouring = places_of(CORNERS), colour_values(["a", "a", "b", "b"], "categorical")
    plain = painted(places, colouring, selected=None, visible=None, dark=False)
    assert np.count_nonzero(plain[..., 3]) == 4
    inks = {tuple(ink) for ink in plain[plain[..., 3] > 0][:, :3].tolist()}
    assert inks == {tuple(colouring.palette.light[0].tolist()), tuple(colouring.palette.light[1].tolist())}
    chosen = painted(
        places,
        colouring,
        selected=np.array([True, False, False, False]),
        visible=np.array([True, True, True, False]),
        dark=False,
    )
    strengths = sorted(chosen[..., 3][chosen[..., 3] > 0].tolist())
    assert len(strengths) == 4  # greyed, never hidden
    assert strengths[-1] > 2 * strengths[-2]


def test_clickable_rows__spread_and_bounded():
    assert clickable_rows(5).tolist() == [0, 1, 2, 3, 4]
    rows = clickable_rows(1_000_000)
    assert (rows[0], rows[-1], len(rows)) == (0, 999_999, 2000)
    assert len(set(rows.tolist())) == 2000


def page():
    import numpy as np
    import streamlit as st

    from pages.parts.pool_map import colour_values, pool_map, take_event

    xy = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
    st.session_state.setdefault("chosen", np.zeros(4, bool))
    event = take_event(key="map", xy=xy)
    if event is not None:
        st.session_state.chosen = event.applied_to(st.session_state.chosen)
    again = pool_map(
        xy=xy, colouring=colour_values([1, 2, 3, 4], "sequential"), key="map", selected=st.session_state.chosen
    )
    st.text(f"{event.kind if event else 'nothing'} {st.session_state.chosen.tolist()} {again}")


def test_pool_map__page_answers_each_event_once():
    at = AppTest.from_function(page, default_timeout=60).run()
    assert not at.exception
    assert at.text[0].value.startswith("nothing [False, False")
    at.session_state["map"] = {"event": {"id": "e1", "kind": "lasso", "polygon": LEFT, "mode": "replace"}}
    at.run()
    assert at.text[0].value == "lasso [True, False, True, False] None"
    at.run()
    assert at.text[0].value == "nothing [True, False, True, False] None"


def test_pool_map__without_webgl_the_simple_map_takes_over():
    at = AppTest.from_function(page, default_timeout=60).run()
    at.session_state["map"] = {"event": {"id": "e1", "kind": "no-webgl"}}
    at.run()
    assert not at.exception
    assert "simple map" in at.text[0].value
    assert "0 of 4 pairs selected" in at.text[0].value
    at.session_state["map-plotly"] = {
        "selection": {"lasso": [{"x": [0, 0.5, 0.5, 0], "y": [0, 0, 1, 1]}], "points": []}
    }
    at.run()
    assert at.text[1].value.startswith("lasso [True, False, True, False]")
    assert "2 of 4 pairs selected" in at.text[0].value
