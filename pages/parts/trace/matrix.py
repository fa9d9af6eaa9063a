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
from pages.parts.trace.resources import errors_of

if TYPE_CHECKING:
    import pandas as pd

    from chips_core.jobs.trace import Prepared

LONGEST_NAME, SHOWN = 28, 60


def draw_matrix(ready: "Prepared") -> tuple[str, str] | None:
    """Draws the matrix and the table of its cells; returns the cell that is chosen (truth, taken for)."""
    counts = views.confusion(ready.test.labels, ready.predicted, classes=len(ready.classes))
    table = views.cells_table(counts, ready.classes)
    left, right = st.columns([3, 2], gap="large")
    with left:
        event = st.plotly_chart(_figure(counts, ready.classes), key="confusion", on_select="rerun", theme="streamlit")
    with right:
        chosen = st.dataframe(
            table,
            hide_index=True,
            key="cells",
            height=420,
            on_select="rerun",
            selection_mode="single-row",
            column_config={"share": st.column_config.NumberColumn("of the class", format="percent")},
        )
    rows = chosen["selection"]["rows"]
    if rows and rows[0] < len(table):
        line = table.iloc[rows[0]]
        return str(line["truth"]), str(line["taken for"])
    points = event["selection"]["points"]
    if points and "customdata" in points[0]:
        truth, guess = (int(value) for value in points[0]["customdata"][:2])
        return ready.classes[truth], ready.classes[guess]
    return None


def draw_gallery(pool: Pool, ready: "Prepared", cell: tuple[str, str] | None) -> "pd.DataFrame":
    """Draws the errors of a cell, or all, the surest first; a click opens the trace. Returns the errors shown."""
    errors = errors_of(ready)
    if cell is not None:
        errors = errors[(errors["label"] == cell[0]) & (errors["predicted"] == cell[1])]
    inputs = unscored_of(pool).pairs["input_row"].to_numpy()
    shown = [
        Card(
            int(line.row),
            image_url(pool.id, int(inputs[line.row])),
            str(line.pair_id),
            f"{line.label} taken for {line.predicted}",
            f"{line.confidence:.0%} sure",
            warn=bool(line.also_in_training),
        )
        for line in errors.head(SHOWN).itertuples()
    ]
    empty = "No test image of this cell is predicted wrongly." if cell else "No test image is predicted wrongly."
    picked = cards(shown, key="error_cards", label="Wrong predictions", empty=empty)
    if picked is not None:
        st.query_params["image"] = str(errors.loc[errors["row"] == picked, "pair_id"].iloc[0])
        st.rerun()
    return errors


def _figure(counts: "np.ndarray", classes: tuple[str, ...]) -> go.Figure:
    """Returns the matrix as squares that can be clicked; names are shortened, tags in them mean nothing."""
    names = [_plain(name) for name in classes]
    truth, guess = np.nonzero(counts)
    values = counts[truth, guess]
    wrong = truth != guess
    size = 420 / max(len(classes), 6)
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
        mode="markers+text" if len(classes) <= 30 else "markers",
        marker=marker,
        text=values,
        textfont={
            "size": max(8, min(13, size * 0.55)),
            "color": np.where(heat > 0.6, "#ffffff", np.where(wrong, "#3b1206", "#808080")).tolist(),
        },
        customdata=np.stack([truth, guess], axis=1),
        hovertext=[f"{names[t]} taken for {names[g]}: {n:,}" for t, g, n in zip(truth, guess, values, strict=True)],
        hoverinfo="text",
    )
    axis = {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.6, len(names) - 0.4]}
    figure = go.Figure(points)
    figure.update_layout(
        height=560,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={**axis, "title": "taken for", "tickangle": -50},
        yaxis={**axis, "title": "truth", "range": [len(names) - 0.4, -0.6]},
    )
    return figure


def _plain(name: str) -> str:
    """Returns a class name for a chart, where `<` begins a tag and `$` a formula."""
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return "".join({"<": "‹", ">": "›", "$": "＄", "&": "＆"}.get(c, c) for c in short)
