"""What is chosen above the reviewer: the run, the order, which pairs, who looks. Choices live in the address."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from chips_core import fingerprint
from chips_core.store import Pool
from chips_core.views import queue as queues
from chips_core.views.map import Mask
from chips_core.views.queue import Filters, Ranking, Rows, Scored
from chips_core.views.selections import draft_name
from chips_core.views.verdicts import default_reviewer
from pages.parts.review.desk import Desk
from pages.parts.review.resources import ledger_of, nearby_for, run_of
from pages.parts.selections import chosen, settle

VIEW, ONE, LIST = "review_view", "One by one", "List"
FORMS = (ONE, LIST)
ONLY_CHOSEN = "only_chosen"  # of session and address: whether the queue holds only the pairs of the selection
LONGEST_NAME = 80
CHOICES_SHOWN = 2_000  # values of a column that a filter offers


@dataclass(frozen=True)
class Chosen:
    """The order and the filters that the person chose."""

    ranking: Ranking
    state: str
    filters: Filters


def draw_controls(pool: Pool, runs: tuple[str, ...]) -> tuple[Desk, str]:
    """Draws the row of choices and returns the desk that they make, and in which form it is wanted."""
    title, form, order, state, more = st.columns([6, 4, 5, 4, 3], vertical_alignment="bottom")
    title.title("Misaligned pairs")
    wanted_form = form.segmented_control("View", FORMS, default=ONE, key=VIEW, required=True)
    with more, st.popover(_filters_label(), width="stretch"):
        run = _run(runs)
        scored = run_of(pool, run)
        ranking = _ranking(order, scored)
        filters = _filters(scored, ranking)
        st.divider()
        hide = st.toggle("Hide scores until the verdict", key="hide_scores", bind="query-params")
        reviewer = _reviewer()
    mask = _only_chosen(pool, more)
    wanted = state.selectbox("Show", queues.STATES, key="show", format_func=str.capitalize, bind="query-params")
    queue, name = _queue(scored, Chosen(ranking, wanted, filters), mask=mask)
    ledger, nearby = ledger_of(pool), nearby_for(pool, scored.features)
    desk = Desk(pool, scored, ranking, queue, name, wanted, reviewer, hide, ledger, nearby)
    return desk, str(wanted_form)


def _filters_label() -> str:
    count = st.session_state.get("filters_on", 0)
    return f"Filters ({count:d})" if count else "Filters"


def _run(runs: tuple[str, ...]) -> str:
    if len(runs) == 1:
        return runs[0]
    return st.selectbox("Run", runs, key="run", help="The newest is first.", bind="query-params")


def _ranking(place: st.delta_generator.DeltaGenerator, scored: Scored) -> Ranking:
    by_column = {ranking.column: ranking for ranking in scored.rankings}
    column = place.selectbox(
        "Order",
        list(by_column),
        key=f"order_{scored.version}",
        format_func=lambda name: by_column[name].title,
    )
    return by_column[column]


def _filters(scored: Scored, ranking: Ranking) -> Filters:
    labels = _several("Class", "label", scored)
    sources = _several("Source", "source", scored)
    score = scored.scores[ranking.column]
    known = score[~np.isnan(score)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    asked = (low, high)
    if low < high:
        asked = st.slider(
            "Score",
            low,
            high,
            (low, high),
            step=(high - low) / 200,
            format="%.3g",
            key=f"range_{scored.version}_{ranking.column}",
        )
    margin = (high - low) / 400  # the slider rounds its ends
    filters = Filters(
        labels,
        sources,
        asked[0] if asked[0] > low + margin else None,
        asked[1] if asked[1] < high - margin else None,
    )
    st.session_state["filters_on"] = filters.count
    return filters


def _several(title: str, column: str, scored: Scored) -> tuple[str, ...]:
    """Returns the values chosen of a column; a column that says nothing is not offered."""
    values = scored.pairs[column].value_counts()
    offered = [str(value) for value in values.index if value][:CHOICES_SHOWN]
    if len(offered) < 2:
        return ()
    return tuple(st.multiselect(title, offered, key=f"filter_{column}_{scored.pool_id}", placeholder="all"))


def _reviewer() -> str:
    st.session_state.setdefault("reviewer_kept", default_reviewer())
    name = st.text_input(
        "Reviewing as",
        value=st.session_state["reviewer_kept"],
        max_chars=LONGEST_NAME,
        help="Goes with every verdict; undo takes back this name's verdicts only.",
    ).strip()
    st.session_state["reviewer_kept"] = name or default_reviewer()
    return str(st.session_state["reviewer_kept"])


def _only_chosen(pool: Pool, place: st.delta_generator.DeltaGenerator) -> Mask | None:
    """Returns the session's selection where the queue is to hold only that; a button gives the whole queue back."""
    if not (st.session_state.get(ONLY_CHOSEN) or st.query_params.get(ONLY_CHOSEN)):
        return None
    selection = chosen(pool)
    if place.button(f"Only {selection.count:,} chosen", icon=":material/close:", key="all_pairs", width="stretch"):
        st.session_state[ONLY_CHOSEN] = False
        st.query_params.pop(ONLY_CHOSEN, None)
        return None
    st.session_state[ONLY_CHOSEN] = True
    st.query_params[ONLY_CHOSEN] = "yes"
    settle(pool)  # a reload opens the same selection
    return selection.mask


def _queue(scored: Scored, wanted: Chosen, *, mask: Mask | None) -> tuple[Rows, str]:
    """Returns the queue and its name, computed once for a choice."""
    only = "" if mask is None else draft_name(mask)
    asked = [scored.pool_id, scored.version, wanted.ranking.column, vars(wanted.filters), wanted.state, only]
    name = fingerprint.of(asked)
    kept = st.session_state.get("review_queue")
    if kept is None or kept[0] != name:
        rows = queues.worklist(scored, wanted.ranking, wanted.filters)
        kept = (name, rows if mask is None else rows[mask[rows]])
        st.session_state["review_queue"] = kept
    return kept[1], name
