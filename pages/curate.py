"""Curate: methods side by side at one budget, what each keeps and loses, saving the best, and taking it out."""

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.views.curate import lab_of
from pages.parts.curate.controls import draw_controls
from pages.parts.curate.keeping import draw_export, draw_save
from pages.parts.curate.results import draw_coverage, draw_overlap, draw_trials
from pages.parts.opened import draw_picker, literal, ready_pool
from pages.parts.runs.jobs import draw_job

pool = ready_pool(allow=("ready", "not encoded"))
name, picker = st.columns([3, 1], vertical_alignment="bottom")
name.title("Curate")
with picker:
    draw_picker()
draw_job(pool.path)
try:
    with st.spinner("Reading the candidates …"):
        lab = lab_of(pool)
    if not lab.count:
        st.info("Every pair of this pool is of the target or the test set: there is nothing to choose from.")
        st.stop()
    if not lab.runs:
        st.info("This pool has no scores yet, so only methods that need none are here. Score it on the Runs page.")
    rules = draw_controls(lab)
    if rules.recipes:
        with st.spinner("Choosing …"):
            trials = [lab.attempt(recipe) for recipe in rules.recipes]
        draw_trials(trials)
        draw_coverage(lab, trials)
        draw_overlap(trials)
        draw_save(pool, rules, trials)
    else:
        st.text("Choose a method.")
    draw_export(pool)
except ChipsError as error:
    st.error(literal(str(error)))
