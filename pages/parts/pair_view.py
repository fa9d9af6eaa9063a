"""The parts of a pair's own page. Texts of the data set are shown literally."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from chips_core.numbers import number
from chips_core.store import Pool
from chips_core.views import pair as pairs
from chips_core.views.pair import Whole
from chips_core.views.queue import EVERY, Scored
from chips_core.views.verdicts import Ledger, default_reviewer
from pages.parts import charts
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.opened import current_run
from pages.parts.pair_place import draw_place
from pages.parts.review.component import draw_program
from pages.parts.review.desk import Desk
from pages.parts.review.resources import ledger_of, nearby_for, run_of, unscored_of
from pages.parts.review.reviewer import review

SUSPECT = {"high": "High is suspect.", "low": "Low is suspect.", "neither": ""}


def draw_pair(pool: Pool, whole: Whole) -> None:
    """Draws everything that is known about a pair."""
    if whole.row is None:
        _draw_not_kept(pool, whole)
        return
    run = current_run(pool)
    scored = unscored_of(pool) if run is None else run_of(pool, run.name)
    ledger, nearby = ledger_of(pool), nearby_for(pool, scored.features)
    desk = Desk(
        pool=pool,
        scored=scored,
        ranking=None,
        queue=np.array([whole.row], dtype=np.int64),
        name=f"pair {pool.id} {whole.pair_id}",
        state=EVERY,
        reviewer=str(st.session_state.get("reviewer_kept") or default_reviewer()),
        hide=False,
        ledger=ledger,
        nearby=nearby,
        stays=True,
    )
    draw_program()
    review(desk, below=lambda: _draw_history(ledger, whole))
    _draw_tables(pool, scored, whole)
    _draw_others(pool, scored, whole.row)


def _draw_not_kept(pool: Pool, whole: Whole) -> None:
    st.warning("This pair was not kept, so it has no scores and no verdict. Its outcome and reason are below.")
    left, right = st.columns([2, 3], gap="large")
    with left:
        shown = [Card(whole.input_row, image_url(pool.id, whole.input_row, size=384), whole.pair_id, "")]
        cards(shown, key="pair_image", label="The image of the pair", clickable=False, width=320)
    with right:
        st.text(whole.values["caption"] or "No caption.")
        st.dataframe(pairs.facts_table(whole), hide_index=True, height="content")


def _draw_history(ledger: Ledger, whole: Whole) -> None:
    table = pairs.history_table(ledger.history(whole.pair_id))
    st.subheader("Verdicts and notes so far")
    if not len(table):
        st.text("Nobody has judged this pair yet.")
        return
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        column_config={"when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
    )


def _draw_tables(pool: Pool, scored: Scored, whole: Whole) -> None:
    left, right = st.columns([3, 2], gap="large")
    with left:
        _draw_scores(scored, whole)
    with right:
        if whole.row is not None:
            draw_place(pool, row=whole.row, pair_id=whole.pair_id)
        st.subheader("From the source")
        st.dataframe(pairs.facts_table(whole), hide_index=True, height="content")


def _draw_scores(scored: Scored, whole: Whole) -> None:
    st.subheader("Scores")
    if not scored.rankings or whole.row is None:
        st.text("This pair has no score yet.")
        return
    st.text("Bars: the share of the scored pairs that are less suspect than this one; grey: that lie below it.")
    lines = [
        charts.Bar(
            line.score,
            number(line.value),
            line.share,
            f"{line.share:.1%}",
            hint=f"{line.meaning} {SUSPECT[line.suspect]}",
            quiet=line.suspect == "neither",
        )
        for line in pairs.score_table(scored, whole.row).itertuples()
    ]
    label = "Scores of the pair, and the share of pairs that are less suspect"
    charts.bars(lines, key="pair_scores", label=label, wide=True)


def _draw_others(pool: Pool, scored: Scored, row: int) -> None:
    nearby = nearby_for(pool, scored.features)
    near = nearby.of(row) if nearby else None
    same = pairs.same_image(scored.pairs, row)
    nearly = pairs.nearly_same_image(pool, scored.pairs, row, near=near, skip=same)
    patient = pairs.same_patient(scored.pairs, row)
    if same:
        st.subheader("The same image, in other pairs")
        _draw_cards("same", pool, scored, same)
    if nearly:
        st.subheader("Nearly the same image")
        _draw_cards("nearly", pool, scored, nearly)
    if patient:
        st.subheader("Other pairs of this patient")
        _draw_cards("patient", pool, scored, patient)


def _draw_cards(name: str, pool: Pool, scored: Scored, rows: Sequence[int]) -> None:
    lines = scored.pairs.iloc[list(rows)]
    shown = [
        Card(row, image_url(pool.id, int(line.input_row)), line.pair_id, line.caption, line.label)
        for row, line in zip(rows, lines.itertuples(), strict=True)
    ]
    picked = cards(shown, key=f"others_{name}", label="Other pairs")
    if picked is not None:
        st.query_params["pair"] = str(scored.ids[picked])
        st.rerun()
