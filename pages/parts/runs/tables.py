"""What was computed: the scoring runs, one of which the pages show, and the maps."""

import streamlit as st

from chips_core.store import Pool
from chips_core.views import runs
from pages.parts.opened import RUN, choose, current_run


def draw_runs(pool: Pool) -> None:
    """Draws the table of scoring runs; the marked one is what the pages show."""
    table = runs.run_table(pool)
    if table.empty:
        st.text("The pairs are not scored yet.")
        return
    shown = current_run(pool)
    names = table["run"].tolist()
    at = names.index(shown.name) if shown else 0
    event = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [at]}},
        key=f"runs_{pool.id}_{len(table):d}",
        column_config={
            "methods": st.column_config.TextColumn(width="large"),
            "pairs": st.column_config.NumberColumn(format="localized"),
        },
        alt="Scoring runs; the chosen one is what the pages show",
    )
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(names) and names[rows[0]] != names[at]:
        choose(RUN, names[rows[0]])
        st.rerun()
    if shown is not None:
        st.text(
            "The marked run is what the pages show. Curate and its data card take each score from the newest run "
            "that has it, in audit mode where there is one."
        )
        with st.expander("Its settings"):
            st.dataframe(runs.settings_table(shown), hide_index=True, alt="Settings of the chosen run")


def draw_maps(pool: Pool) -> None:
    """Draws the table of maps."""
    table = runs.map_table(pool)
    if table.empty:
        st.text("There is no map yet.")
        return
    st.dataframe(table, hide_index=True, alt="Maps of this pool")
