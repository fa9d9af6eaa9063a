"""Errors that a person can do something about, on the page: what is the matter and what to do, shown literally."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from chips_core.errors import ChipsError
from pages.parts.opened import literal


def in_words(error: ChipsError) -> str:
    """Returns what is the matter and what to do, as two sentences."""
    return f"{error.what} {error.fix[:1].upper()}{error.fix[1:]}"


def show_error(error: ChipsError, *, before: str = "") -> None:
    """Shows an error in its place; `before` says what could not be done because of it."""
    st.error(literal(f"{before} {in_words(error)}".strip()))


@contextmanager
def errors_shown(*, before: str = "") -> Iterator[None]:
    """Shows an error of the block where the block would have drawn; the rest of the page goes on."""
    try:
        yield
    except ChipsError as error:
        show_error(error, before=before)
