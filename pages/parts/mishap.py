"""What the browser shows when the app has a bug: one sentence and an id; the traceback goes to the log only."""

import logging
import secrets

import streamlit as st

LOG = logging.getLogger("chips_lens")


def say_mishap(error: Exception) -> bool:
    """Logs the error's place under a short id and shows the id; the error's text may quote a patient and stays out."""
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
