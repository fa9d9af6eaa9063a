"""What to compute: model, target set, mode, methods, maps; what cannot be computed is shown with the reason."""

from pathlib import Path

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.views.catalogue import Catalogue, MethodEntry, catalogue
from chips_core.views.planning import OF_MODE, Choice, Facts, Mode, Target, is_suggested, offered, why_not
from chips_core.views.pools import allowed_path
from chips_core.views.runs import WORDS_OF_SPACE
from pages.parts.errors import show_error
from pages.parts.opened import literal

DEMO, CHECKPOINT, DESCRIPTION = "demo", "a checkpoint file …", "a description of one's own (JSON) …"
DEMO_TITLE = "Demo model — small, ships with CHIPS Lens, knows phantoms only"
MODES: tuple[Mode, ...] = ("audit", "paper")


def draw_plan(facts: Facts, *, key: str) -> Choice | None:
    """Draws the choices and returns them; None while something is missing, which is then said."""
    with st.spinner("Listing the methods and the models of this machine …"):
        try:
            listed = catalogue()
        except ChipsError as error:
            show_error(error)
            return None
    left, right = st.columns([2, 3], gap="large")
    with left:
        model = _draw_model(facts, listed, key=key)
        target = _draw_target(facts, key=key)
        mode = _draw_mode(key=key)
        spaces = _draw_maps(facts, key=key)
        near = _draw_near(facts, key=key)
    with right:
        methods = _draw_methods(facts, listed, target=target, mode=mode, key=key)
    if model is None:
        return None
    name = target.name if target else None
    return Choice(model[0], model[1], name, mode, tuple(methods), tuple(spaces), near)


def _draw_model(facts: Facts, listed: Catalogue, *, key: str) -> tuple[str, str | None] | None:
    """Returns the model's name and weights; None while they are not named."""
    if facts.encoder is not None:
        st.text_input(
            "Encoder", facts.encoder, disabled=True, key=f"{key}_encoder", help="The pairs are encoded with it."
        )
        return facts.encoder, None
    titles = {DEMO: DEMO_TITLE} | {entry.title: entry.title for entry in listed.models}
    options = [DEMO, *[entry.title for entry in listed.models], CHECKPOINT, DESCRIPTION]
    chosen = st.selectbox(
        "Model",
        options,
        format_func=lambda option: titles.get(option, option.capitalize()),
        key=f"{key}_model",
        help="The frozen CLIP. Listed are those whose weights are on this machine; nothing is fetched.",
    )
    if chosen == CHECKPOINT:
        name = st.text_input("Architecture", key=f"{key}_architecture", placeholder="ViT-B-16, as open_clip names it")
        weights = _typed_path("Checkpoint", key=f"{key}_checkpoint")
        return (name.strip(), str(weights)) if name.strip() and weights else None
    if chosen == DESCRIPTION:
        described = _typed_path("Description", key=f"{key}_description")
        return (str(described), None) if described else None
    known = {entry.title: (entry.name, entry.weights) for entry in listed.models}
    return known.get(chosen, (DEMO, None))


def _typed_path(label: str, *, key: str) -> Path | None:
    given = st.text_input(label, key=key, placeholder="path on this machine")
    if not given:
        return None
    try:
        return allowed_path(given)
    except ChipsError as error:
        show_error(error)
        return None


def _draw_target(facts: Facts, *, key: str) -> Target | None:
    help_text = (
        "The pairs that say what the model should be good at. They are not scored, and the test split is neither. "
        "Best is a split that you trust; held-out is drawn from the pool, errors and all."
    )
    if not facts.targets:
        st.info("There are too few pairs to set some aside as the target set, so there is nothing to score yet.")
        return None
    chosen = st.selectbox(
        "Target set", facts.targets, format_func=lambda target: target.words, key=f"{key}_target", help=help_text
    )
    if not facts.whole:
        st.text(f"Counted in the first {facts.pairs:,} rows.")
    return chosen


def _draw_mode(*, key: str) -> Mode:
    chosen = st.radio("Mode", MODES, format_func=str.capitalize, horizontal=True, key=f"{key}_mode")
    mode: Mode = "paper" if chosen == "paper" else "audit"
    st.text(OF_MODE[mode])
    return mode


def _draw_maps(facts: Facts, *, key: str) -> list[str]:
    left = [space for space in WORDS_OF_SPACE if space not in facts.spaces]
    if not left:
        st.text("The maps by images, by captions and by both are there.")
        return []
    default = ["image"] if "image" in left else []
    return st.pills(
        "Maps",
        left,
        selection_mode="multi",
        default=default,
        format_func=WORDS_OF_SPACE.__getitem__,
        key=f"{key}_maps",
        help="A picture of the features (UMAP); never an input to a score.",
    )


def _draw_near(facts: Facts, *, key: str) -> bool:
    if facts.near_known:
        return False
    return st.checkbox(
        "Look for near duplicates",
        value=True,
        key=f"{key}_near",
        help="Opens every image once and finds pictures that were saved, cropped or annotated anew.",
    )


def _draw_methods(facts: Facts, listed: Catalogue, *, target: Target | None, mode: Mode, key: str) -> list[str]:
    entries = offered(listed.methods, mode=mode)
    st.text("Methods")
    chosen = [
        entry.name
        for entry in entries
        if is_suggested(entry) and _draw_method(entry, facts, target=target, mode=mode, key=key)
    ]
    with st.expander("More methods, to compare with"):
        chosen += [
            entry.name
            for entry in entries
            if not is_suggested(entry) and _draw_method(entry, facts, target=target, mode=mode, key=key)
        ]
    return chosen


def _draw_method(entry: MethodEntry, facts: Facts, *, target: Target | None, mode: Mode, key: str) -> bool:
    reason = why_not(entry, facts, target=target, mode=mode)
    below = f"  \n:small[*{literal(reason)}*]" if reason else ""
    wanted = st.checkbox(
        f"{literal(entry.title)}  \n:small[{literal(entry.meaning)}]{below}",
        value=is_suggested(entry) and not reason,
        key=f"{key}_method_{entry.name}_{bool(reason):d}",
        disabled=bool(reason),
        help=literal(entry.citation),
    )
    return wanted and not reason
