"""What the browser shows when a script ends by an error: what to do, or one sentence and an id that the log knows."""

import logging
import secrets

import streamlit as st

from chips_core.errors import ChipsError
from pages.parts.errors import show_error

LOG = logging.getLogger("chips_lens")


def say_mishap(error: Exception) -> bool:
    """Logs the error's place under a short id and shows the id; the error's text may quote a patient and stays out."""
    if isinstance(error, ChipsError):  # raised in a fragment: a page's own are shown by the navigation
        show_error(error)
        return True
    name = secrets.token_hex(3)
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    LOG.error("error %s: %s at %s", name, type(error).__name__, " < ".join(reversed(places[-8:])))
    st.error(
        f"Something went wrong here; nothing was lost. Error {name:s} is in the app's log. Reload the page to go on."
    )
    return True
