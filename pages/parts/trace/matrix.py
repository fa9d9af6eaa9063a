"""The confusion matrix, its cells to be chosen by a click or from a table, and the errors behind a cell."""

from typing import TYPE_CHECKING

import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.opened import literal
from pages.parts.review.resources import unscored_of
from pages.parts.trace.confusion import LEAST_HEIGHT, MANY, figure_of, height_of
from pages.parts.trace.quality import draw_quality
from pages.parts.trace.resources import accuracy_of, errors_of

if TYPE_CHECKING:
    import pandas as pd

    from chips_core.jobs.trace_pool import Prepared

SHOWN = 60
BOTH, TWO_LINES = "truth → taken for", 61  # pixels: over 4 rem, names that are too long go on below


def draw_errors(pool: Pool, ready: "Prepared") -> None:
    """Draws how good the model is, the matrix, and the errors of the cell that is chosen."""
    st.text(views.accuracy_in_words(accuracy_of(ready)))
    if not ready.wrong.any():
        if (ready.test.labels >= 0).any():
            st.success("No test image is predicted wrongly, so there is nothing to trace.")
        draw_quality(pool, ready)
        return
    cell = _draw_matrix(ready)
    title, button = st.columns([4, 1], vertical_alignment="center")
    errors = errors_of(ready)
    if cell is not None:
        errors = errors[(errors["label"] == cell[0]) & (errors["predicted"] == cell[1])]
        title.subheader(literal(f"{cell[0]} taken for {cell[1]}: {len(errors):,} errors, the surest first"))
        if len(errors) and button.button("Trace all of them", key="trace_cell", type="primary", width="stretch"):
            st.query_params.update({"truth": cell[0], "guess": cell[1]})
            st.rerun()
    else:
        title.subheader("All errors, the surest first: click one to see the training pairs behind it")
    _draw_gallery(pool, errors, chosen=cell is not None)
    draw_quality(pool, ready)


def _draw_matrix(ready: "Prepared") -> tuple[str, str] | None:
    """Draws the matrix and the table of its cells; returns the cell that is chosen (truth, taken for)."""
    counts = views.confusion(ready.test.labels, ready.predicted, classes=len(ready.classes))
    table = views.cells_table(counts, ready.classes)
    table["share"] *= 100
    table[BOTH] = table["truth"] + " → " + table["taken for"]
    many = len(ready.classes) > MANY
    left, right = (st.container(), st.container()) if many else st.columns([5, 4], gap="medium")
    with left:
        event = st.plotly_chart(figure_of(counts, ready.classes), key="confusion", on_select="rerun", theme="streamlit")
    with right:
        chosen = st.dataframe(
            table,
            hide_index=True,
            key="cells",
            height=LEAST_HEIGHT if many else height_of(ready.classes),
            on_select="rerun",
            selection_mode="single-row",
            row_height=None if many else TWO_LINES,
            column_config={
                "images": st.column_config.NumberColumn(width=54),
                "share": st.column_config.NumberColumn("of class", format="%.0f%%", width=62),
                BOTH: st.column_config.TextColumn(width=800 if many else 300),
            },
            column_order=["images", "share", BOTH],
            alt="The cells of the matrix that hold errors",
        )
    rows = chosen["selection"]["rows"]
    if rows and rows[0] < len(table):
        line = table.iloc[rows[0]]
        return str(line["truth"]), str(line["taken for"])
    points = event["selection"]["points"]
    if not points:
        return None
    guess, truth = int(points[0]["x"]), int(points[0]["y"])
    known = range(len(ready.classes))
    return (ready.classes[truth], ready.classes[guess]) if truth in known and guess in known else None


def _draw_gallery(pool: Pool, errors: "pd.DataFrame", *, chosen: bool) -> None:
    """Draws the errors; a click opens the trace."""
    inputs = unscored_of(pool).pairs["input_row"].to_numpy()
    shown = [
        Card(
            int(line.row),
            image_url(pool.id, int(inputs[line.row])),
            str(line.pair_id),
            f"{line.label} taken for {line.predicted}",
            f"{line.confidence:.1%} sure" + " · leak" * bool(line.also_in_training),
            warn=bool(line.also_in_training),
        )
        for line in errors.head(SHOWN).itertuples()
    ]
    empty = "The images of this cell are predicted rightly." if chosen else "No test image is predicted wrongly."
    picked = cards(shown, key="error_cards", label="Wrong predictions", lines=4, empty=empty)
    if len(errors) > SHOWN:
        st.text(f"The first {SHOWN} of {len(errors):,}. Choose a cell of the matrix to see fewer.")
    if picked is not None:
        st.query_params["image"] = str(errors.loc[errors["row"] == picked, "pair_id"].iloc[0])
        st.rerun()
