"""The few rules of style that the theme has no setting for."""

import streamlit as st

STYLE = """<style>
[data-testid='stMainBlockContainer'] { padding-top: 4.5rem; padding-bottom: 3rem; }
[data-testid='stButtonGroup'] button[role='radio'] { min-height: 2.5rem; }
[data-testid='stButtonGroup'] button[role='radio'][aria-checked='true']:hover { color: inherit; }
[data-testid='stTopNavLink']:focus-visible { outline: 2px solid; outline-offset: -2px; }
</style>"""  # the choices of a row stand on one line with its boxes; the focus of a page's name was a faint grey
DARK = """<style>
[data-testid='stBaseButton-primary'], [data-testid='stBaseButton-primary']:hover,
[data-testid='stBaseButton-primary']:active, [data-testid='stBaseButton-primary']:focus,
[data-testid='stMultiSelect'] [data-tag], [data-testid='stMultiSelect'] [data-tag] button { color: #0b1216; }
</style>"""  # white on the bright accent of the dark theme would miss 4.5 to 1


def dress() -> None:
    """Adds the rules to the page."""
    st.html(STYLE)
    if st.context.theme.type == "dark":
        st.html(DARK)
