"""The trace of one wrong prediction, or of all errors of a cell: who is to blame, and what their removal does."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from chips_core.views.queue import Scored
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.review.resources import unscored_of
from pages.parts.trace.acts import draw_acts
from pages.parts.trace.honesty import draw_honesty
from pages.parts.trace.pairs import REALLY, draw_pairs
from pages.parts.trace.resources import facts_of, recall_for, removal, traced_table

if TYPE_CHECKING:
    from chips_core.jobs.trace_pool import Prepared
    from chips_core.verify.trace_search import Mode, Way

Option = TypeVar("Option", bound=str)
RELATIVE: "Mode" = "relative"
PLAIN: "Mode" = "plain"
WAY, MODE = "way", "influence"  # of the address: how pairs are measured, and what ranks them
MEANINGS = {
    RELATIVE: "How much a pair moved this prediction, for its size. Below zero: it pushed towards the error.",
    PLAIN: "The predicted change of the loss if the pair is removed. Below zero: it pushed towards the error.",
}
CLASS_WIDTH, NUMBER_WIDTH = 150, 66  # so that before, predicted and retrained fit beside the class
LONGEST_CLASS = 21
BESIDE = """<style>
[data-testid='stColumn']:has(.st-key-trace_side) { align-self: start; position: sticky; top: 4rem; }
.st-key-trace_side { max-height: calc(100vh - 5rem); overflow-y: auto; scrollbar-width: thin; }
</style>"""  # what follows from the ticks stays in view while the pairs are looked through
SEVERAL, ALONE = 9, 260  # images of a cell that are shown, and how wide one by itself is


def draw_trace(pool: Pool, ready: "Prepared", places: tuple[int, ...]) -> None:
    """Draws the test image or images beside the pairs that explain them."""
    scored = unscored_of(pool)
    if any(facts_of(ready, place)["also_in_training"] for place in places):
        which = "this test image is" if len(places) == 1 else "some of these test images are"
        st.error(f"Leak: {which} in the training pairs too, so what is measured on it means little.")
    left, right = st.columns([1, 2], gap="large")
    with right:
        mode, way = _draw_choices(ready)
        table = traced_table(ready.name, places, mode, way, _ready=ready)
        ticked = draw_pairs(pool, scored, table, ids=ready.pair_ids)
    st.html(BESIDE)
    with left, st.container(key="trace_side"):
        _draw_images(pool, ready, scored, places)
        chosen = table[table["place"].isin(ticked)]
        known = way == views.FIT and len(chosen) == len(ticked)  # a pair of another list was not followed
        change = float(chosen["delta_loss_if_removed"].sum()) if known else None
        _draw_removal(ready, places, ticked, through_fit=change)
        draw_acts(pool, scored, chosen)
        draw_honesty(pool, ready)


def _draw_choices(ready: "Prepared") -> "tuple[Mode, Way]":
    """Draws what ranks the pairs and how they are measured; returns both."""
    large, found = recall_for(ready)
    ways: tuple[Way, ...] = (views.QUICK, views.EXACT) if large else (views.EXACT, views.FIT)
    names = views.WAYS | {views.EXACT: "Every pair"} if large else views.WAYS
    with st.container(horizontal=True, gap="large"):
        way: Way = _choice("Measured", ways, name=WAY, words=names)
        mode: Mode = PLAIN
        if ready.sizes is not None and way != views.FIT:
            mode = _choice("Influence", (RELATIVE, PLAIN), name=MODE, words={RELATIVE: "Relative", PLAIN: "Plain"})
    st.text(f"{MEANINGS[mode]} {views.way_in_words(way, honesty=ready.honesty, recall=found)}")
    return mode, way


def _choice(label: str, options: Sequence[Option], *, name: str, words: Mapping[Option, str]) -> Option:
    """Draws one choice among a few, the first unless the address says otherwise; it stands there."""
    key = f"trace_{name}"
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(name)
        st.session_state[key] = next((option for option in options if option == asked), options[0])
    chosen = st.segmented_control(label, options, key=key, required=True, format_func=words.__getitem__)
    found = next((option for option in options if option == chosen), options[0])
    if found == options[0]:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = found
    return found


def _draw_images(pool: Pool, ready: "Prepared", scored: Scored, places: tuple[int, ...]) -> None:
    inputs = scored.pairs["input_row"].to_numpy()
    alone, shown = len(places) == 1, []
    for place in places[:SEVERAL]:
        facts = facts_of(ready, place)
        url = image_url(pool.id, int(inputs[ready.test.rows[place]]), size=384 if alone else 192)
        words, note = views.taken_for(facts, question=ready.question) if alone else ("", "")
        shown.append(Card(place, url, facts["pair_id"], words, note=note))
    if not alone:
        facts = facts_of(ready, places[0])
        some = f"; the first {SEVERAL} are here" if len(places) > SEVERAL else ""
        st.text(f"{len(places):,} images of {facts['label']} taken for {facts['predicted']}{some}")
    with st.container(width=ALONE if alone else "stretch"):
        cards(shown, key="test_card", label="Test image", clickable=False, width=ALONE if alone else 90)


def _draw_removal(
    ready: "Prepared", places: tuple[int, ...], ticked: tuple[int, ...], *, through_fit: float | None
) -> None:
    """Draws the probabilities: before, as predicted without the ticked pairs, and really retrained."""
    words = f"Exclude {len(ticked):,} and really retrain" if ticked else "Exclude and really retrain"
    really = bool(ticked) and REALLY in st.query_params
    if st.button(words, key="retrain", type="primary", width="stretch", disabled=really or not ticked):
        st.query_params[REALLY] = "1"
        st.rerun()
    found = removal(ready.name, places, ticked, retrain=really, _ready=ready)
    table = views.outcome_table(found if ticked else {"before": found["before"]})
    if ready.question == views.CLASS:
        truths = {ready.classes[code] for code in ready.test.labels[list(places)]}
        marks = ["✓ " * (name in truths) for name in table["class"]]
        table["class"] = [
            mark + views.shortened(name, most=LONGEST_CLASS - len(mark))
            for mark, name in zip(marks, table["class"], strict=True)
        ]
    named = st.column_config.TextColumn(ready.question, width=CLASS_WIDTH, help="✓ the truth")
    percent: dict[str, Any] = {"class": named}
    for name in table.columns[1:]:
        table[name] *= 100
        percent[name] = st.column_config.NumberColumn(views.SHORT[name], format="%.2f%%", help=name, width=NUMBER_WIDTH)
    st.dataframe(table, hide_index=True, column_config=percent, alt="Probabilities of the answers")
    if not ticked:
        st.text("Tick pairs to see what follows.")
        return
    st.text(views.removal_in_words(found, images=len(places), through_fit=through_fit))
