"""Curate: any methods side by side at one budget, the selections that were saved, and taking one out."""

import streamlit as st

from chips_core.errors import ChipsError
from pages.parts.curate.exports import draw_export
from pages.parts.curate.kept import draw_kept
from pages.parts.curate.lab import draw_lab
from pages.parts.curate.places import EXPORT, KEPT, LAB, place
from pages.parts.opened import draw_picker, literal, ready_pool
from pages.parts.runs.jobs import draw_job

pool = ready_pool("Curate", allow=("ready", "not encoded"))
name, picker = st.columns([3, 1], vertical_alignment="bottom")
name.title("Curate")
with picker:
    draw_picker()
draw_job(pool.path, about=("measure", "export", "pretrain"))
DRAW = {LAB: draw_lab, KEPT: draw_kept, EXPORT: draw_export}
try:
    DRAW[place()](pool)
except ChipsError as error:
    st.error(literal(str(error)))
