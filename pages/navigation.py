"""Which pages there are: only those that work."""

from pathlib import Path

import streamlit as st

from pages.parts.errors import errors_shown
from pages.parts.look import dress
from pages.parts.opened import open_wanted

ICON = Path(__file__).parents[1] / "assets" / "icon.png"  # our own file: a symbol would be fetched from the network

st.set_page_config(page_title="CHIPS Lens", page_icon=str(ICON), layout="wide")
dress()
open_wanted()
PAGES = [
    st.Page("overview.py", title="Overview", icon=":material/dashboard:", default=True),
    st.Page("map.py", title="Map", icon=":material/scatter_plot:", url_path="map"),
    st.Page("misaligned.py", title="Misaligned pairs", icon=":material/rule:", url_path="misaligned"),
    st.Page("mispredictions.py", title="Mispredictions", icon=":material/troubleshoot:", url_path="mispredictions"),
    st.Page("curate.py", title="Curate", icon=":material/checklist:", url_path="curate"),
    st.Page("compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
    st.Page("runs.py", title="Runs", icon=":material/play_circle:", url_path="runs"),
    st.Page("pair.py", title="Pair", url_path="pair", visibility="hidden"),
]
page = st.navigation(PAGES, position="top")
with errors_shown():
    page.run()
