"""The health of a pool on the page: a list of findings, and the pairs behind the one that is chosen."""

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.store import Pool
from chips_core.views.health import finding_table, health_of, pairs_of
from chips_core.views.planning import PlannedStep
from pages.parts.cards import Card, cards
from pages.parts.errors import show_error
from pages.parts.images import image_url
from pages.parts.opened import open_pair
from pages.parts.runs.jobs import alive_job, start

A_PAGE = 18  # full lines of cards on a narrow and on a wide screen


@st.fragment
def draw_health(pool: Pool) -> None:
    """Draws the findings; one of them is chosen, and its pairs stand below."""
    st.subheader("Health")
    try:
        health = health_of(pool)
    except ChipsError as error:
        show_error(error)
        return
    if not health.findings:
        st.text("Nothing odd was found: no copies, no leaks between splits, no missing captions.")
    else:
        event = st.dataframe(
            finding_table(health),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row-required",
            key=f"health_{pool.id}",
            height="content",
            column_config={
                "finding": st.column_config.TextColumn(width=220),
                "pairs": st.column_config.NumberColumn(format="localized", width=80),
                "groups": st.column_config.TextColumn(width=80, alignment="right"),
            },
            alt="What is odd about the pairs of this pool; choosing a line shows its pairs",
        )
        rows = event["selection"]["rows"] or [0]
        _draw_pairs(pool, min(rows[0], len(health.findings) - 1))
    if not health.near_known and alive_job(pool.path) is None:
        _draw_look(pool)


def _draw_pairs(pool: Pool, number: int) -> None:
    finding = health_of(pool).findings[number]
    st.text(finding.meaning)
    pages = -(-len(finding.rows) // A_PAGE)
    page = 1
    if pages > 1:
        page = st.pagination(pages, key=f"health_page_{pool.id}_{finding.key}")
    shown = pairs_of(pool, finding, first=(page - 1) * A_PAGE, count=A_PAGE)
    drawn = [
        Card(pair.row, image_url(pool.id, pair.row), pair.pair_id, pair.caption, badge=pair.remark) for pair in shown
    ]
    open_pair(drawn, cards(drawn, key="health_cards", label=finding.title))


def _draw_look(pool: Pool) -> None:
    st.text("Nearly equal images are not looked for yet: every image is opened once for that.")
    if st.button("Look for near duplicates", key="look_near") and start(
        pool.path, [PlannedStep("duplicates", {"pool": str(pool.path)})]
    ):
        st.rerun()
