"""The confusion matrix, its cells to be chosen by a click or from a table, and the errors behind a cell."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from chips_core.store import Pool
from chips_core.views import trace as views
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.review.resources import unscored_of
from pages.parts.trace.quality import draw_quality
from pages.parts.trace.resources import accuracy_of, errors_of

if TYPE_CHECKING:
    import pandas as pd

    from chips_core.jobs.trace_pool import Prepared

LONGEST_NAME, SHORT_NAME, SHOWN = 28, 24, 60
BOTH, TWO_LINES = "truth → taken for", 61  # pixels: over 4 rem, names that are too long go on below
LEAST_HEIGHT, OF_A_CLASS, OF_THE_NAMES, NARROWEST = 320, 17, 170, 440  # pixels


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
        title.subheader(f"Errors of the chosen cell: {len(errors):,}, the surest first")
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
    left, right = st.columns([5, 4], gap="medium")
    with left:
        event = st.plotly_chart(_figure(counts, ready.classes), key="confusion", on_select="rerun", theme="streamlit")
    with right:
        chosen = st.dataframe(
            table,
            hide_index=True,
            key="cells",
            height=_height(ready.classes),
            on_select="rerun",
            selection_mode="single-row",
            row_height=TWO_LINES,
            column_config={
                "images": st.column_config.NumberColumn(width=54),
                "share": st.column_config.NumberColumn("of class", format="%.0f%%", width=62),
                BOTH: st.column_config.TextColumn(width=300),
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
            f"{line.confidence:.0%} sure" + " · leak" * bool(line.also_in_training),
            warn=bool(line.also_in_training),
        )
        for line in errors.head(SHOWN).itertuples()
    ]
    empty = "The images of this cell are predicted rightly." if chosen else "No test image is predicted wrongly."
    picked = cards(shown, key="error_cards", label="Wrong predictions", empty=empty)
    if len(errors) > SHOWN:
        st.text(f"The first {SHOWN} of {len(errors):,}. Choose a cell of the matrix to see fewer.")
    if picked is not None:
        st.query_params["image"] = str(errors.loc[errors["row"] == picked, "pair_id"].iloc[0])
        st.rerun()


def _height(classes: tuple[str, ...]) -> int:
    return max(LEAST_HEIGHT, OF_A_CLASS * len(classes) + OF_THE_NAMES)


def _figure(counts: "np.ndarray", classes: tuple[str, ...]) -> go.Figure:
    """Returns the matrix as squares that can be clicked; names are shortened, tags in them mean nothing."""
    names = [_plain(name, most=LONGEST_NAME) for name in classes]
    below = [_plain(name, most=SHORT_NAME) for name in classes]
    truth, guess = np.nonzero(counts)
    values = counts[truth, guess]
    wrong = truth != guess
    quiet = "#b4bac0" if st.context.theme.type == "dark" else "#565c63"
    ink = {"color": quiet}  # the grey of the chart's own theme is too pale to read
    height = _height(classes)
    size = 0.9 * min((height - OF_THE_NAMES), NARROWEST) / max(len(classes), 10)
    heat = np.where(wrong, np.sqrt(values / max(1, values[wrong].max() if wrong.any() else 1)), 0.0)
    marker = {
        "symbol": "square",
        "size": size,
        "color": heat,
        "colorscale": [[0, "rgba(128,128,128,0.25)"], [0.01, "#f6d6c4"], [1, "#b03a1c"]],
        "cmin": 0,
        "cmax": 1,
    }
    points = go.Scatter(
        x=guess,
        y=truth,
        mode="markers+text",
        marker=marker,
        text=values,
        textfont={
            "size": max(8, min(13, size * 0.55)),
            "color": np.where(heat > 0.6, "#ffffff", np.where(wrong, "#3b1206", quiet)).tolist(),
        },
        hovertext=[f"{names[t]} taken for {names[g]}: {n:,}" for t, g, n in zip(truth, guess, values, strict=True)],
        hoverinfo="text",
        unselected={"marker": {"opacity": 0.55}, "textfont": ink},
    )
    axis = {"tickfont": ink, "tickvals": list(range(len(names))), "ticktext": names, "range": [-0.6, len(names) - 0.4]}
    figure = go.Figure(points)
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={**axis, "ticktext": below, "title": {"text": "taken for", "font": ink}, "tickangle": -60},
        yaxis={**axis, "title": {"text": "truth", "font": ink}, "range": [len(names) - 0.4, -0.6]},
    )
    return figure


def _plain(name: str, *, most: int) -> str:
    """Returns a class name for a chart, where `<` begins a tag and `$` a formula, on one line."""
    name = " ".join(name.split())
    short = views.shortened(name, most=most)
    return "".join({"<": "‹", ">": "›", "$": "＄", "&": "＆"}.get(c, c) for c in short)
