"""The trace of one wrong prediction, or of all errors of a cell: who is to blame, and what their removal does."""

from typing import TYPE_CHECKING

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from chips_core.views.planning import PlannedStep
from chips_core.views.queue import Scored
from chips_core.views.verdicts import CHOICES, default_reviewer
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.opened import go_to
from pages.parts.review.resources import ledger_of, unscored_of
from pages.parts.runs.jobs import start
from pages.parts.trace.resources import removal, traced_table

if TYPE_CHECKING:
    import pandas as pd

    from chips_core.jobs.trace import Mode, Prepared

TOP = 12
RELATIVE, PLAIN = "relative", "plain"
MEANINGS = {
    RELATIVE: "Relative influence: how much a pair moved this prediction, for its size. Minus made the error.",
    PLAIN: "Influence: the predicted change of this image's loss if the pair is removed. Minus made the error.",
}


def draw_trace(pool: Pool, ready: "Prepared", places: tuple[int, ...]) -> None:
    """Draws the test image or images beside the pairs that explain them."""
    scored = unscored_of(pool)
    left, right = st.columns([2, 5], gap="large")
    with right:
        table = traced_table(ready.name, places, _mode(ready), _ready=ready)
        ticked = _draw_pairs(pool, scored, table, name="_".join(map(str, places[:4])))
    with left:
        _draw_image(pool, ready, scored, places)
        _draw_removal(ready, places, ticked)
        _draw_verdicts(pool, scored, table[table["place"].isin(ticked)])
        _draw_honesty(pool, ready)


def _mode(ready: "Prepared") -> "Mode":
    offered = (RELATIVE, PLAIN) if ready.sizes is not None else (PLAIN,)
    wanted = st.segmented_control("Influence", offered, default=offered[0], key="trace_mode", required=True)
    chosen: Mode = PLAIN if wanted == PLAIN else RELATIVE
    st.text(MEANINGS[chosen])
    return chosen


def _draw_pairs(pool: Pool, scored: Scored, table: "pd.DataFrame", *, name: str) -> tuple[int, ...]:
    """Draws the harmful and the helpful pairs; a click ticks one. Returns the places that are ticked."""
    key = f"ticked_{pool.id}_{name}"
    ticked: set[int] = set(st.session_state.get(key, ()))
    harmful, helpful = table[table["influence"] < 0].head(TOP), table[table["influence"] > 0].iloc[::-1].head(TOP)
    buttons = st.columns(2)
    if buttons[0].button("Tick all harmful ones", key="tick_all", width="stretch"):
        ticked |= {int(place) for place in harmful["place"]}
    if buttons[1].button("Untick all", key="untick_all", width="stretch"):
        ticked = set()
    st.session_state[key] = tuple(sorted(ticked))
    inputs = scored.pairs["input_row"].to_numpy()
    for title, some in (("harmful", harmful), ("helpful", helpful)):
        st.subheader("Made the error" if title == "harmful" else "Held against it")
        shown = [
            Card(
                int(line.place),
                image_url(pool.id, int(inputs[line.row])),
                views.marks(line),
                f"{line.caption} — Role: {line.role}.",
                str(line.label),
                warn=bool(line.same_image or line.same_patient),
                chosen=int(line.place) in ticked,
            )
            for line in some.itertuples()
        ]
        picked = cards(shown, key=f"{title}_cards", label=f"Pairs that are {title}", lines=5, width=190)
        if picked is not None:
            st.session_state[key] = tuple(sorted(ticked ^ {picked}))
            st.rerun()
    return tuple(sorted(ticked))


def _draw_image(pool: Pool, ready: "Prepared", scored: Scored, places: tuple[int, ...]) -> None:
    from chips_core.jobs.trace import image_facts

    inputs = scored.pairs["input_row"].to_numpy()
    shown = []
    for place in places[:9]:
        facts = image_facts(ready, place)
        if facts["also_in_training"]:
            st.error("Leak: this test image is in the training pairs too, so what it measures means little.")
        url = image_url(pool.id, int(inputs[ready.test.rows[place]]), size=384 if len(places) == 1 else 192)
        words = f"{facts['label']} taken for {facts['predicted']}"
        shown.append(Card(place, url, facts["pair_id"], words))
    cards(shown, key="test_card", label="Test image", clickable=False, width=300 if len(places) == 1 else 110)


def _draw_removal(ready: "Prepared", places: tuple[int, ...], ticked: tuple[int, ...]) -> None:
    """Draws the probabilities: before, as predicted without the ticked pairs, and really retrained."""
    asked = st.session_state.get("really", ())
    if ticked and st.button("Really retrain without them", key="retrain", type="primary", width="stretch"):
        asked = st.session_state["really"] = (places, ticked)
    found = removal(ready.name, places, ticked, retrain=asked == (places, ticked), _ready=ready)
    table = views.outcome_table(found if ticked else {"before": found["before"]})
    percent = {name: st.column_config.NumberColumn(format="percent") for name in table.columns if name != "class"}
    st.dataframe(table, hide_index=True, column_config=percent, alt="Probabilities of the classes")
    if not ticked:
        st.text("Tick pairs to see what the model would say without them.")
    elif "retrained" in found:
        right = found["retrained"]["right"]
        st.text(f"Really retrained without {found['removed']:,}: {right:,} of {len(places):,} right.")


def _draw_verdicts(pool: Pool, scored: Scored, chosen: "pd.DataFrame") -> None:
    """Offers one verdict for the ticked pairs, saved at once, and shows what they have."""
    ledger = ledger_of(pool)
    if not len(chosen):
        return
    names = [str(choice.verdict) for choice in CHOICES]
    wanted = st.selectbox("Verdict on the ticked pairs", names, index=1, key="trace_verdict")
    if st.button(f"Save it on {len(chosen):,}", key="save_verdict", width="stretch"):
        answer = ledger.judge_all(
            CHOICES[names.index(wanted)],
            pair_ids=chosen["pair_id"].tolist(),
            reviewer=str(st.session_state.get("reviewer_kept") or default_reviewer()),
            content_hashes=scored.content_hashes(chosen["row"].to_numpy()),
        )
        st.text(answer.text)
    held = ledger.held()
    judged = [held[pair].verdict for pair in chosen["pair_id"] if pair in held]
    st.text(f"{len(judged):,} of {len(chosen):,} have a verdict: {', '.join(sorted(set(judged))) or 'none yet'}.")


def _draw_honesty(pool: Pool, ready: "Prepared") -> None:
    """Says how far predictions can be believed on this pool, as measured, or how to measure it."""
    found = ready.honesty
    st.subheader("How far to believe the prediction")
    if found is not None:
        st.text(
            f"Measured on this pool: {found.removals:,} times {found.removed:,} random pairs were left out and the "
            f"model fitted again. Predicted and real change of {found.images:,} wrong predictions: rank correlation "
            f"{found.spearman:.2f}, real = {found.slope:.1f} × predicted."
        )
        return
    st.text("Not measured on this pool yet; relative influence waits for the same job. It takes a minute or two.")
    pressed = st.button("Measure it", key="measure_honesty", width="stretch")
    if pressed and start(pool.path, [PlannedStep("trace", {"pool": str(pool.path)})]):
        go_to("runs")
