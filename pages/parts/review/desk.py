"""The desk: what is reviewed, by whom, in which order, and where the person is in it."""

from dataclasses import dataclass

import streamlit as st

from chips_core.store import Pool
from chips_core.views import queue as queues
from chips_core.views.nearby import Nearby
from chips_core.views.queue import Codes, Ranking, Rows, Scored
from chips_core.views.verdicts import Held, Ledger
from chips_core.views.walk import Walk, begun

WALK = "review_walk"


@dataclass(frozen=True, eq=False)
class Desk:
    """What is reviewed and how.

    Attributes:
        pool: the pool.
        scored: the run.
        ranking: the order.
        queue: the rows in that order.
        name: names the queue: another name is another queue, begun from its start.
        state: which places are open, one of queue.STATES.
        reviewer: who looks.
        hide: whether scores stay hidden until the verdict.
        ledger: the verdicts.
        nearby: neighbours of a pair; None when the pool is not encoded.
        stays: whether a verdict leaves the pair on screen: a pair's own view.
    """

    pool: Pool
    scored: Scored
    ranking: Ranking | None
    queue: Rows
    name: str
    state: str
    reviewer: str
    hide: bool
    ledger: Ledger
    nearby: Nearby | None
    stays: bool = False

    def codes(self) -> Codes:
        """Returns the verdicts as they are now."""
        return queues.codes_of(self.scored, self.ledger.held())

    def given(self, row: int) -> tuple[Held, ...]:
        """Returns every reviewer's verdict on a pair, the last first."""
        return self.ledger.given(str(self.scored.ids[row]))


def walk_of(desk: Desk, codes: Codes) -> Walk:
    """Returns where the person is in this queue; a queue that they come to anew begins at its first open place."""
    name, walk = st.session_state.get(WALK, ("", None))
    if walk is None or name != desk.name:
        walk = begun(desk.queue, queues.open_places(codes, desk.queue, desk.state))
        keep(desk, walk)
    return walk


def keep(desk: Desk, walk: Walk) -> None:
    """Remembers where the person is."""
    st.session_state[WALK] = (desk.name, walk)
