"""The pool and the run that the session looks at: named in the address, checked before any page draws.

The browser drops the address's parameters when a person changes the page; so they are kept in the session as well and
put back, and a reload, a bookmark or another page shows the same pool and run.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from chips_core.store import Pool
from chips_core.store.manifest import Artifact
from chips_core.views.pools import PoolState, find_coming, find_pools, pool_state
from chips_core.views.runs import chosen_run
from pages.parts.cards import Card
from pages.parts.images import announce

POOL, RUN = "pool", "run"  # the query parameters
PAGES = Path(__file__).parents[1]
WAY_ON = {
    "none": ("Begin", "overview"),
    "coming": ("See its job", "runs"),
    "empty": ("See the reasons", "overview"),
    "not encoded": ("Encode and score", "runs"),
}


def open_wanted() -> PoolState:
    """Returns the state of the pool that the address names, else of the one that the app was started with."""
    pools = find_pools() | {name: path for name, path in find_coming().items() if name not in find_pools()}
    wanted, given = _kept(POOL), os.environ.get("CHIPS_POOL")
    folder = pools.get(wanted) or next(iter(find_pools().values()), Path(given) if given else None)
    if wanted and wanted not in pools:
        st.warning(
            "There is no pool of the name in the address; this is another one. Choose a pool on the Overview page."
        )
        forget(POOL)
    state = pool_state(folder)
    if state.pool is not None:
        announce(state.pool.id, state.folder)
    if st.session_state.get("pool_opened", state.folder) != state.folder:
        forget(RUN)  # a run belongs to its pool
    st.session_state["pool_opened"] = state.folder
    st.session_state["pool_state"] = state
    return state


def draw_picker() -> None:
    """Draws which pool this is; choosing another changes the address, and with it every page."""
    pools = find_pools()
    if not pools:
        return
    at = next((n for n, path in enumerate(pools.values()) if path == current().folder), None)
    st.selectbox("Pool", list(pools), index=at, key="pool_choice", on_change=_choose, label_visibility="collapsed")


def _choose() -> None:
    if st.session_state["pool_choice"]:
        choose(POOL, st.session_state["pool_choice"])


def choose(parameter: str, name: str) -> None:
    """Makes `name` the pool or the run that every page shows from now on."""
    st.query_params[parameter] = st.session_state[f"kept_{parameter}"] = name


def forget(parameter: str) -> None:
    """Goes back to the default pool or run."""
    st.session_state.pop(f"kept_{parameter}", None)
    if parameter in st.query_params:
        del st.query_params[parameter]


def current() -> PoolState:
    """Returns the state that the navigation found in this run of the script."""
    state: PoolState = st.session_state["pool_state"]
    return state


def current_run(pool: Pool) -> Artifact | None:
    """Returns the scoring run that the pages show, see `chosen_run`; None if there is none."""
    return chosen_run(pool, _kept(RUN))


def ready_pool(title: str, *, allow: tuple[str, ...] = ("ready",)) -> Pool:
    """Returns the pool; else says under the page's title what is the matter with it, shows the way on, and ends."""
    state = current()
    if state.pool is not None and state.condition in allow:
        return state.pool
    st.title(f"{title:s}")
    tell_condition(state)
    words, stem = WAY_ON.get(state.condition, ("", ""))
    if words and st.button(words, type="primary", key="way_on"):
        go_to(stem)
    return st.stop()


def tell_condition(state: PoolState) -> None:
    """Says in a sentence what condition the pool is in and what to do; texts are shown literally."""
    if state.condition == "ready":
        return
    show = st.error if state.condition in ("damaged", "newer") else st.info
    show(literal(f"{state.sentence} {state.next_step}"))


def has_page(stem: str) -> bool:
    """Whether there is a page of that file name."""
    return (PAGES / f"{stem}.py").is_file()


def go_to(stem: str, **parameters: str) -> None:
    """Opens another page on the same pool and run; ends this one."""
    kept = {name: st.session_state[f"kept_{name}"] for name in (POOL, RUN) if st.session_state.get(f"kept_{name}")}
    st.switch_page(f"{stem}.py", query_params={**kept, **parameters})


def open_pair(shown: Sequence[Card], picked: int | None) -> None:
    """Opens the own view of the card that was picked, if one was."""
    for card in shown:
        if card.row == picked:
            go_to("pair", pair=card.title)


def literal(text: str) -> str:
    """Returns `text` with everything escaped that Markdown would read as markup."""
    return "".join("\\" + c if c in "\\`*_{}[]()#+-.!|<>~$:" else c for c in text)


def _kept(parameter: str) -> str:
    """Returns the address's parameter, else the session's, put back into the address."""
    value = st.query_params.get(parameter) or st.session_state.get(f"kept_{parameter}", "")
    if value:
        st.session_state[f"kept_{parameter}"] = value
        if st.query_params.get(parameter) != value:
            st.query_params[parameter] = value
    return str(value)
