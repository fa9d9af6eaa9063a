"""What to try: the budget, the methods and mixtures of them, and the rules that hold for all."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from chips_core.curate.recipe import AUDIT, CLIPCOV, RANDOM, Recipe, title_of_method
from chips_core.views.curate import Lab

SUGGESTED = (AUDIT, RANDOM, "clipscore", CLIPCOV)
MOST_METHODS = 8
MIXTURES = "curate_mixtures"


@dataclass(frozen=True)
class Rules:
    """The recipes to try side by side."""

    recipes: tuple[Recipe, ...]


def draw_controls(lab: Lab) -> Rules:
    """Draws the choices and returns them as recipes."""
    offers = lab.offers()
    usable = {offer.name: offer.title for offer in offers if not offer.why_not}
    usable |= {mixture: title_of_method(mixture) for mixture in st.session_state.get(MIXTURES, [])}
    left, right = st.columns([2, 3], gap="large")
    with left:
        percent = st.slider("Budget", 1, 100, 30, format="%d%%", key="curate_budget", help="A share of the candidates.")
        st.text(f"{round(percent / 100 * lab.count):,} of {lab.count:,} candidates; {lab.eligible:,} may be chosen.")
    with right:
        chosen = st.multiselect(
            "Methods",
            list(usable),
            default=[name for name in SUGGESTED if name in usable][:3],
            max_selections=MOST_METHODS,
            format_func=lambda name: usable.get(name, name),
            key="curate_methods",
            help="Any of them, side by side at the same budget.",
        )
        missing = [f"{offer.title} {offer.why_not}" for offer in offers if offer.why_not]
        if missing:
            st.text("Not here: " + "; ".join(missing) + ".")
    rules, mix = st.columns(2)
    with rules, st.popover("Rules for all methods", icon=":material/tune:", width="stretch"):
        asked = _draw_rules(lab)
    with mix, st.popover("Mix methods", icon=":material/blender:", width="stretch"):
        _draw_mixture({name: title for name, title in usable.items() if "," not in name})
    return Rules(tuple(Recipe(name, f"{percent / 100:.2f}", **asked) for name in chosen if name in usable))


def _draw_rules(lab: Lab) -> dict[str, object]:
    """Draws what holds for every method and returns it as parts of a recipe."""
    least, pin = st.columns(2, vertical_alignment="bottom")
    number = least.number_input(
        "At least, of every class", min_value=0, value=0, step=1, key="curate_least", help="The rare-class guard."
    )
    pinned = pin.checkbox(
        f"Confirmed pairs first ({lab.confirmed:,})", key="curate_pin", help="Pairs that a person judged correct."
    )
    st.text("At most, of each value; 0 sets no limit")
    columns = lab.columns()
    quotas = []
    for place, (column, title) in zip(st.columns(max(len(columns), 1)), columns.items(), strict=False):
        most = place.number_input(title, min_value=0, value=0, step=1, key=f"curate_most_{column}")
        quotas += [f"{column}={int(most)}"] if most else []
    drop, share, seed = st.columns(3, vertical_alignment="bottom")
    fixed = drop.toggle("Set what the audit drops", key="curate_fixed", disabled=lab.drop is None)
    percent = 0
    if fixed:
        percent = share.number_input("Drop, %", 0, 95, round(100 * (lab.drop or 0)), key="curate_drop")
    elif lab.drop is not None:
        share.text(f"It drops {lab.drop:.1%}, by its estimate.")
    chance = seed.number_input("Seed", min_value=0, value=0, step=1, key="curate_seed")
    released = st.checkbox("ClipCov as its authors released it", key="curate_released")
    st.text("Pairs judged wrong never come in, nor those that share a patient or an image with target or test set.")
    return {
        "seed": int(chance),
        "quotas": tuple(quotas),
        "at_least": int(number),
        "pin_confirmed": bool(pinned),
        "drop": f"{percent / 100:.2f}" if fixed else "estimated",
        "released": bool(released),
    }


def _draw_mixture(usable: Mapping[str, str]) -> None:
    """Draws the parts of a mixture and the button that puts it beside the methods."""
    st.text("Two methods or more, each for its share of the budget.")
    parts = st.multiselect(
        "Methods to mix", list(usable), format_func=usable.__getitem__, key="curate_mix", max_selections=4
    )
    weights = [
        st.number_input(usable[name], 1, 100, 1, key=f"curate_weight_{name}", help="Its share of the pairs.")
        for name in parts
    ]
    st.button(
        "Add the mixture",
        key="curate_add_mixture",
        disabled=len(parts) < 2,
        on_click=_add,
        args=(",".join(f"{name}:{weight}" for name, weight in zip(parts, weights, strict=True)),),
        width="stretch",
    )


def _add(mixture: str) -> None:
    """Adds a mixture to what can be tried, and to what is tried."""
    known = st.session_state.setdefault(MIXTURES, [])
    if mixture not in known:
        known.append(mixture)
    chosen = st.session_state.get("curate_methods", [])
    if mixture not in chosen:
        st.session_state["curate_methods"] = [*chosen, mixture][-MOST_METHODS:]
