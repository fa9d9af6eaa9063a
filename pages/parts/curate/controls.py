"""What to try: the budget, up to three methods, and the rules that hold for all of them."""

from dataclasses import dataclass

import streamlit as st

from chips_core.curate.recipe import Recipe
from chips_core.views.curate import MOST_METHODS, Lab

SUGGESTED = ("audit_then_select", "random", "clipscore", "clipcov")


@dataclass(frozen=True)
class Rules:
    """The recipes to try side by side."""

    recipes: tuple[Recipe, ...]


def draw_controls(lab: Lab) -> Rules:
    """Draws the choices and returns them as recipes."""
    offers = lab.offers()
    usable = {offer.name: offer.title for offer in offers if not offer.why_not}
    left, right = st.columns([2, 3], gap="large")
    with left:
        percent = st.slider(
            "Budget", 1, 100, 30, format="%d %%", key="curate_budget", help="A share of the candidates."
        )
        st.text(f"{round(percent / 100 * lab.count):,} of {lab.count:,} candidates; {lab.eligible:,} may be chosen.")
    with right:
        chosen = st.multiselect(
            "Methods",
            list(usable),
            default=[name for name in SUGGESTED if name in usable][:2],
            max_selections=MOST_METHODS,
            format_func=lambda name: usable[name],
            key="curate_methods",
            help="Up to three, side by side at the same budget.",
        )
        missing = [f"{offer.title} {offer.why_not}" for offer in offers if offer.why_not]
        if missing:
            st.text("Not here: " + "; ".join(missing) + ".")
    with st.expander("Rules for all methods"):
        seed, at_least, pin = st.columns(3, vertical_alignment="bottom")
        number = seed.number_input("Seed", min_value=0, value=0, step=1, key="curate_seed")
        least = at_least.number_input(
            "At least, of every class", min_value=0, value=0, step=1, key="curate_least", help="The rare-class guard."
        )
        pinned = pin.checkbox("Pairs judged correct come in first", key="curate_pin")
        st.text("Pairs judged wrong never come in, nor those that share a patient or an image with target or test set.")
    budget = f"{percent / 100:.2f}"
    return Rules(
        tuple(
            Recipe(name, budget, seed=int(number), at_least=int(least), pin_confirmed=bool(pinned)) for name in chosen
        )
    )
