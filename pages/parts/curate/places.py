"""The three places of the Curate page, in the order of the work; the address names the one that is open."""

import streamlit as st

LAB, KEPT, EXPORT = "lab", "saved", "export"
TITLES = {LAB: "Choose", KEPT: "Saved selections", EXPORT: "Export"}
KEY, WANTED = "step", "curate_step_wanted"


def place() -> str:
    """Draws the way through the page and returns where it is."""
    wanted = st.session_state.pop(WANTED, None)
    if wanted is not None:
        st.session_state[KEY] = wanted
    found: str | None = st.segmented_control(
        "Step",
        list(TITLES),
        default=LAB if KEY not in st.session_state else None,
        required=True,
        format_func=TITLES.__getitem__,
        key=KEY,
        bind="query-params",
        label_visibility="collapsed",
    )
    return found or LAB


def go(where: str) -> None:
    """Opens another place."""
    st.session_state[WANTED] = where
    st.rerun()
