"""Where there is no pool to show: the demo, or a data set of one's own."""

import streamlit as st

from chips_core.views.planning import PlannedStep
from chips_core.views.pools import PoolState, pools_home
from pages.parts.opened import POOL, choose, go_to, tell_condition
from pages.parts.runs.jobs import draw_job, start


def draw_welcome(state: PoolState) -> None:
    """Says what to do where there is no pool to show."""
    if state.condition == "coming":
        draw_job(state.folder)
        return
    if state.condition != "none":
        tell_condition(state)
        return
    st.text("There is no pool yet. A pool is a data set of images and captions, with its scores and verdicts.")
    demo, own = st.columns(2, border=True)
    demo.subheader("Try the demo")
    demo.text("3,000 synthetic images with planted errors, and a small CLIP to judge them. No real patient is in it.")
    if demo.button("Build the demo", key="build_demo"):
        home = pools_home()
        if home is None:
            st.error("None of the app's folders can be written to.")
        elif start(home / "demo", [PlannedStep("demo", {"pool": str(home / "demo")})]):
            choose(POOL, "demo")
            go_to("runs", do="pool")
    own.subheader("Bring in your own pairs")
    own.text("A table of images and captions, a folder of images, DICOM, shards or COCO. Nothing leaves this machine.")
    if own.button("Bring in a data set", type="primary", key="bring_in"):
        go_to("runs", do="new")
