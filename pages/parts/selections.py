"""The selection that a session works on: kept through recolouring and page switches, named in the address, undoable.

`chosen` gives it, `choose` changes it, `settle` writes it down; the address then opens it again after a reload or a
restart, here or in another browser.
"""

from pathlib import Path

import streamlit as st

from chips_core.errors import ChipsError
from chips_core.store import Pool
from chips_core.views.map import Mask, PairColumns
from chips_core.views.selections import Selection, Shelf, nothing, read_only
from chips_core.views.verdicts import Answer
from pages.parts.errors import in_words

PARAMETER = "selection"  # of the address
KEPT_STEPS = 20


def pairs_of(pool: Pool) -> PairColumns:
    """Returns the columns of a pool's kept pairs, the same object for all sessions."""
    return _pairs(str(pool.path), pool.fingerprint)


def shelf_of(pool: Pool) -> Shelf:
    """Returns the saved and unsaved selections of a pool."""
    return _shelf(str(pool.path), pool.fingerprint, pool.id)


def chosen(pool: Pool) -> Selection:
    """Returns the selection of this session; the first time, or when the address names another, that of the address."""
    state, key = st.session_state, f"selection-{pool.id}"
    wanted = st.query_params.get(PARAMETER, "")
    if wanted and wanted != state.get(f"{key}-address", ""):
        state[f"{key}-address"] = wanted
        try:
            return _set(pool, shelf_of(pool).opened(wanted))
        except ChipsError as error:
            state[f"{key}-told"] = Answer(False, in_words(error))
    selection: Selection = state.setdefault(key, nothing(len(pairs_of(pool))))
    return selection


def choose(pool: Pool, mask: Mask, *, how: str) -> Selection:
    """Makes other pairs the selection; the one before can be stepped back to.

    Args:
        pool: whose pairs.
        mask: (N,) over the kept pairs.
        how: a word of ours for how they were chosen.
    """
    before = chosen(pool)
    if (before.mask == mask).all():
        return before
    recipe = {"by": how, **({"from": before.name} if before.name else {})}
    return _set(pool, Selection(read_only(mask.copy()), recipe=recipe))


def step_back(pool: Pool) -> None:
    """Returns to the selection before the last change."""
    past = _past(pool)
    if past:
        st.session_state[f"selection-{pool.id}"] = past.pop()


def can_step_back(pool: Pool) -> bool:
    """Whether there is a selection to return to."""
    return bool(_past(pool))


def settle(pool: Pool) -> None:
    """Writes the selection down and puts it into the address."""
    selection, key = chosen(pool), f"selection-{pool.id}"
    try:
        shelf_of(pool).keep(selection)
    except ChipsError as error:
        st.session_state[f"{key}-told"] = Answer(False, f"The selection lives in this window only. {error.what}")
        return
    address = selection.address
    st.session_state[f"{key}-address"] = address
    if address and st.query_params.get(PARAMETER) != address:
        st.query_params[PARAMETER] = address
    elif not address and PARAMETER in st.query_params:
        del st.query_params[PARAMETER]


def told(pool: Pool) -> Answer | None:
    """Returns what became of the last act, once."""
    answer: Answer | None = st.session_state.pop(f"selection-{pool.id}-told", None)
    return answer


def tell(pool: Pool, answer: Answer) -> None:
    """Keeps what became of an act for the next drawing."""
    st.session_state[f"selection-{pool.id}-told"] = answer


def rename_chosen(pool: Pool, selection: Selection) -> None:
    """Replaces the selection by the same pairs under another name, which is no step to go back from."""
    st.session_state[f"selection-{pool.id}"] = selection


def open_saved(pool: Pool, name: str) -> None:
    """Makes a saved selection the one to work on."""
    try:
        _set(pool, shelf_of(pool).opened(name))
    except ChipsError as error:
        tell(pool, Answer(False, in_words(error)))


def _set(pool: Pool, selection: Selection) -> Selection:
    key = f"selection-{pool.id}"
    before = st.session_state.get(key)
    if before is not None:
        past = _past(pool)
        past.append(before)
        del past[:-KEPT_STEPS]
    st.session_state[key] = selection
    return selection


def _past(pool: Pool) -> list[Selection]:
    past: list[Selection] = st.session_state.setdefault(f"selection-{pool.id}-past", [])
    return past


@st.cache_resource(max_entries=4, show_spinner="Reading the pairs…")
def _pairs(folder: str, fingerprint: str) -> PairColumns:  # noqa: ARG001 - part of the key
    return PairColumns(Pool.open(Path(folder)))


@st.cache_resource(max_entries=4, show_spinner=False)
def _shelf(folder: str, fingerprint: str, pool_id: str) -> Shelf:  # noqa: ARG001 - part of the key
    return Shelf(Path(folder), _pairs(folder, fingerprint))
