"""The app: `streamlit run app.py`, or `make app`. Joins the navigation (pages/navigation.py) to the server.

It adds two routes, the pairs' images by number and the exports' data cards by name, and turns every unexpected error
into one sentence with an error id.
"""

import streamlit as st

import pages.parts.health  # noqa: F401 - with it all that the first page needs: read before anybody waits for it
from pages.parts.card_route import card_route
from pages.parts.images import image_route
from pages.parts.mishap import say_mishap

app = st.App("pages/navigation.py", routes=[image_route(), card_route()], on_script_error=say_mishap)
