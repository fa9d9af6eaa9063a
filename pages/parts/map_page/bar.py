"""The selection in one line: how many, and what can be done with it. Everything can be taken back."""

import numpy as np
import streamlit as st

from chips_core.store.review import LONGEST_NAME
from chips_core.views.verdicts import BY_KEY, CHOICES, Answer, tally
from pages.parts.cards import Card, cards
from pages.parts.images import image_url
from pages.parts.map_page.desk import Desk, recall, remember, reviewer
from pages.parts.opened import literal
from pages.parts.selections import can_step_back, open_saved, rename_chosen, shelf_of, step_back, tell, told

PREVIEWED = 8
LABELS_TOLD = 6
SHORT_NAME = 20


def draw_bar(desk: Desk) -> None:
    """Draws the count, always, and the acts on the selection."""
    selection = desk.selection
    with st.container(horizontal=True, vertical_alignment="center", key="selection_bar", gap="small"):
        with st.popover("Selection"):
            _draw_changes(desk)
        with st.popover(f"Saved as {_short(selection.name)}" if selection.name else "Saved"):
            _draw_saved(desk)
        if st.button("Verdict…", key="selection_verdict", disabled=not selection.count):
            judge_selection(desk)
        st.button(
            "",
            key="selection_back",
            icon=":material/undo:",
            disabled=not can_step_back(desk.pool),
            on_click=step_back,
            args=(desk.pool,),
            help="Goes back to the selection before the last change.",
        )
    _draw_told(desk)


def _draw_changes(desk: Desk) -> None:
    lit, mask = desk.lit(), desk.selection.mask
    count = int(lit.sum())
    acts = (
        ("all", f"Select all {count:,} that match", lit),
        ("add", f"Add the {count:,} that match", mask | lit),
        ("drop", "Remove those that match", mask & ~lit),
        ("only", "Keep only those that match", mask & lit),
        ("invert", "Invert", ~mask),
        ("clear", "Clear", mask & False),
    )
    for name, words, changed in acts:
        if st.button(words, key=f"selection_{name}", width="stretch", disabled=bool((changed == mask).all())):
            desk.select(changed, how=name)
            st.rerun()


def _draw_saved(desk: Desk) -> None:
    shelf, selection = shelf_of(desk.pool), desk.selection
    with st.form("selection_save", border=False, clear_on_submit=True):
        name = st.text_input("Name for this selection", max_chars=LONGEST_NAME, key="selection_name")
        if st.form_submit_button("Save", type="primary", disabled=not selection.count) and name:
            answer, saved = shelf.name_it(selection, name=name, reviewer=reviewer())
            rename_chosen(desk.pool, saved)
            _answered(desk, answer)
    names = {found.name: found.count for found in shelf.named()}
    if not names:
        st.text("No selection is saved yet.")
    else:
        listed = [*names]
        at = listed.index(selection.name) if selection.name in names else 0
        chosen = st.selectbox("Saved ones", listed, index=at, format_func=lambda n: f"{n} ({names[n]:,})")
        opening, deleting = st.columns(2)
        opening.button(
            "Open", key="selection_open", width="stretch", on_click=open_saved, args=(desk.pool, str(chosen))
        )
        if deleting.button("Delete", key="selection_delete", width="stretch"):
            answer = shelf.delete(str(chosen), reviewer=reviewer())
            if answer.saved and selection.name == chosen:
                rename_chosen(desk.pool, type(selection)(selection.mask))  # the pairs stay selected
            _answered(desk, answer)
        new = st.text_input("New name", max_chars=LONGEST_NAME, key="selection_new_name")
        if st.button("Rename", key="selection_rename", disabled=not new.strip(), width="stretch"):
            answer = shelf.rename(str(chosen), to=new, reviewer=reviewer())
            if answer.saved and selection.name == chosen:
                rename_chosen(desk.pool, type(selection)(selection.mask, new.strip(), selection.recipe))
            _answered(desk, answer)
    if st.button("Take back the last change here", key="selection_undo", type="tertiary"):
        _answered(desk, shelf.undo(reviewer()))


def _short(name: str) -> str:
    return literal(name if len(name) <= SHORT_NAME else name[:SHORT_NAME] + "…")


def _answered(desk: Desk, answer: Answer) -> None:
    tell(desk.pool, answer)
    st.rerun()


def _draw_told(desk: Desk) -> None:
    answer = told(desk.pool)
    if answer is not None and answer.saved:
        st.toast(literal(answer.text))
    elif answer is not None:
        st.error(literal(answer.text))
    judged = recall(desk, "judged", "")
    if judged:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(judged)
            if st.button("Take it back", key="judged_undo", type="tertiary"):
                taken = desk.ledger.undo(reviewer())
                remember(desk, "judged", "")
                _answered(desk, taken)


@st.dialog("One verdict on all selected pairs", width="large")
def judge_selection(desk: Desk) -> None:
    """Shows what a verdict on the selection would do, and saves it when it is confirmed."""
    rows = np.flatnonzero(desk.selection.mask)
    label = desk.pairs.named("label")
    labels: dict[str, int] = {}
    for code in label.codes[rows]:
        labels[label.names[code] or "no label"] = labels.get(label.names[code] or "no label", 0) + 1
    most = sorted(labels.items(), key=lambda found: (-found[1], found[0]))
    told_labels = ", ".join(f"{name} {count:,}" for name, count in most[:LABELS_TOLD])
    more = f" and {len(most) - LABELS_TOLD:,} other labels" if len(most) > LABELS_TOLD else ""
    st.text(f"{len(rows):,} pairs: {told_labels}{more}.")
    held = desk.ledger.held()
    ids = desk.pairs.pair_ids(rows)
    judged = tally(held[pair_id].verdict for pair_id in ids if pair_id in held)
    if judged:
        st.text("Already judged, and replaced by this: " + ", ".join(f"{word} {count:,}" for word, count in judged))
    shown = [
        Card(card.input_row, image_url(desk.pool.id, card.input_row), card.pair_id, card.caption)
        for card in desk.pairs.cards(rows[:: max(1, len(rows) // PREVIEWED)][:PREVIEWED])
    ]
    cards(shown, key="judge_cards", label="Some of the selected pairs", clickable=False, width=120, lines=2)
    words = {choice.key: str(choice.verdict) for choice in CHOICES}
    key = st.selectbox("Verdict", list(words), format_func=words.__getitem__, index=None, key="judge_verdict")
    note = st.text_input("Note", key="judge_note", max_chars=1000)
    sure = st.checkbox(f"Yes, on all {len(rows):,} pairs", key="judge_sure")
    if st.button("Save", type="primary", key="judge_save", disabled=key is None or not sure):
        answer = desk.ledger.judge_all(
            BY_KEY[str(key)],
            pair_ids=ids,
            reviewer=reviewer(),
            note=note,
            score_version=desk.run.fingerprint if desk.run else None,
            content_hashes=desk.pairs.content_hashes(rows),
        )
        if not answer.saved:
            st.error(literal(answer.text))
            return
        remember(desk, "judged", f"Saved: {BY_KEY[str(key)].verdict} on {len(rows):,} pairs.")
        st.rerun()
