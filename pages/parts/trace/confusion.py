"""The confusion matrix as a chart: one square a cell, which can be clicked."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import streamlit as st

from chips_core.views import trace as views

MANY = 20  # classes: from there on the matrix has the whole width of the page
LONGEST_NAME, SHORT_NAME = 28, 24
LEAST_HEIGHT, OF_A_CLASS, OF_THE_NAMES, NARROWEST, WIDEST = 320, 19, 170, 440, 880  # pixels
HEAT = [[0, "rgba(128,128,128,0.25)"], [0.01, "#f6d6c4"], [1, "#b03a1c"]]
DARK = {"quiet": "#b4bac0", "on a faint cell": "#f2e6e0", "faint": 0.35}
LIGHT = {"quiet": "#565c63", "on a faint cell": "#3b1206", "faint": 0.55}


def height_of(classes: Sequence[str]) -> int:
    """Returns the height of the chart in pixels."""
    return max(LEAST_HEIGHT, OF_A_CLASS * len(classes) + OF_THE_NAMES)


def figure_of(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> go.Figure:
    """Returns the matrix of truth (line) and prediction (column); names are shortened, tags in them mean nothing."""
    inks = DARK if st.context.theme.type == "dark" else LIGHT
    quiet = {"color": inks["quiet"]}  # the grey of the chart's own theme is too pale to read
    names, below = ([_plain(name, most=most) for name in classes] for most in (LONGEST_NAME, SHORT_NAME))
    axis = {"tickfont": quiet, "tickvals": list(range(len(names)))}
    truth, guess = ({"text": words, "font": quiet} for words in ("truth", "taken for"))
    ends, across = [-0.6, len(names) - 0.4], {"tickangle": -90, "ticklabeloverflow": "allow"}
    figure = go.Figure(_squares(counts, names, inks=inks))
    figure.update_layout(
        height=height_of(classes),
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={**axis, **across, "ticktext": below, "title": guess, "range": ends},
        yaxis={**axis, "ticktext": names, "title": truth, "range": ends[::-1]},
    )
    return figure


def _squares(counts: npt.NDArray[np.int64], names: Sequence[str], *, inks: dict[str, object]) -> go.Scatter:
    truth, guess = np.nonzero(counts)
    values, wrong = counts[truth, guess], truth != guess
    size = 0.9 * min(height_of(names) - OF_THE_NAMES, WIDEST if len(names) > MANY else NARROWEST) / max(len(names), 10)
    heat = np.where(wrong, np.sqrt(values / max(1, values[wrong].max() if wrong.any() else 1)), 0.0)
    return go.Scatter(
        x=guess,
        y=truth,
        mode="markers+text",
        marker={"symbol": "square", "size": size, "color": heat, "colorscale": HEAT, "cmin": 0, "cmax": 1},
        text=values,
        textfont={
            "size": max(8, min(13, size * 0.6)),
            "color": np.where(heat > 0.6, "#ffffff", np.where(wrong, "#3b1206", inks["quiet"])).tolist(),
        },
        hovertext=[f"{names[t]} taken for {names[g]}: {n:,}" for t, g, n in zip(truth, guess, values, strict=True)],
        hoverinfo="text",
        unselected={"marker": {"opacity": inks["faint"]}, "textfont": {"color": inks["on a faint cell"]}},
    )


def _plain(name: str, *, most: int) -> str:
    """Returns a class name for a chart, where `<` begins a tag and `$` a formula, on one line."""
    short = views.shortened(" ".join(name.split()), most=most)
    return "".join({"<": "‹", ">": "›", "$": "＄", "&": "＆"}.get(c, c) for c in short)
