"""The reviewer in the browser: a program that is sent once, and a silent feed that brings it one pair at a time."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from chips_core.views.verdicts import CHOICES

HERE = Path(__file__).parent
PROGRAM, FEED = "review_program", "review_feed"
SHORT = {"o": "modality/view", "p": "cites other", "h": "patient data"}  # on the buttons, so that they fit one row


def draw_program() -> None:
    """Draws the reviewer's place; call it outside the fragment, so that a verdict does not send the program again."""
    choices = [{"key": c.key, "word": SHORT.get(c.key, str(c.verdict)), "whole": str(c.verdict)} for c in CHOICES]
    _program()(key=PROGRAM, data={"choices": choices})


def draw_feed(data: Mapping[str, Any], *, on_act: Callable[[], None]) -> None:
    """Hands the reviewer what it shows; `on_act` is called when the person did something, before anything is drawn."""
    _feed()(key=FEED, data=dict(data), on_act_change=on_act)


def message() -> dict[str, Any]:
    """Returns what the person did, as the browser tells it; empty when that makes no sense."""
    state = st.session_state.get(FEED)
    found = state.get("act") if isinstance(state, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


@cache
def _program() -> Any:
    return st.components.v2.component("chips_lens_review", css=_text("review.css"), js=_text("review.js"))


@cache
def _feed() -> Any:
    return st.components.v2.component("chips_lens_review_feed", js=_text("feed.js"))


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
