"""What lies on the Map page's desk in one run, and what the session remembers of the person's choices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from chips_core.insight.vectors import Space
from chips_core.store import Pool
from chips_core.store.manifest import Artifact
from chips_core.views.map import (
    SPACES,
    VERDICT,
    Choice,
    Layout,
    Mask,
    PairColumns,
    Values,
    colour_choices,
    load_layout,
    maps_of,
)
from chips_core.views.map_filters import Filters, lit
from chips_core.views.search import Hits
from chips_core.views.selections import Selection
from chips_core.views.verdicts import Ledger, default_reviewer
from pages.parts.opened import current_run
from pages.parts.pool_map import Colouring, colour_values
from pages.parts.review.resources import ledger_of
from pages.parts.selections import choose, chosen, pairs_of

SELECTED, MATCHING, PAIR = "Selected", "Matching", "Pair"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Desk:
    """What one run of the page works with; nothing here changes while it is drawn.

    Attributes:
        pool: the pool.
        run: the scoring run, if there is one.
        pairs: the columns of its kept pairs.
        ledger: its verdicts.
        values: numbers and names of every pair.
        choices: what can colour them; the first nine have keys.
    """

    pool: Pool
    run: Artifact | None
    pairs: PairColumns
    ledger: Ledger
    values: Values
    choices: tuple[Choice, ...]

    @property
    def scores(self) -> tuple[Choice, ...]:
        """The choices that are numbers."""
        return tuple(choice for choice in self.choices if choice.kind != "categorical")

    @property
    def selection(self) -> Selection:
        """The selection as it is now."""
        return chosen(self.pool)

    @property
    def filters(self) -> Filters:
        """The filters as they are now."""
        found: Filters = recall(self, "filters", Filters())
        return found

    @property
    def hits(self) -> Hits | None:
        """What the search found, while it is on."""
        found: Hits | None = recall(self, "hits", None)
        return found

    @property
    def colour(self) -> Choice:
        """What the map is coloured by: what was chosen, else the first."""
        wanted = recall(self, "colour", "")
        return next((choice for choice in self.choices if choice.key == wanted), self.choices[0])

    @property
    def looked_at(self) -> int | None:
        """The row of the pair that the panel shows; None while it shows several."""
        row = recall(self, "pair", None) if recall(self, "view", MATCHING) == PAIR else None
        return row if isinstance(row, int) and 0 <= row < len(self.pairs) else None

    def look_at(self, row: int) -> None:
        """Shows one pair in the panel, and where it lies on the map."""
        remember(self, "pair", row)
        remember(self, "view", PAIR)

    def lit(self) -> Mask:
        """Returns (N,) the pairs that filters and search leave, worked out anew only when these changed."""
        hits, run = self.hits, self.run.name if self.run else ""
        held = self.ledger.held() if VERDICT in self.filters.off else None
        key = (self.filters, hits, run, held)
        rows = hits.rows if hits is not None else None
        return memo(
            self, "lit", key, lambda: lit(self.filters, self.values, self.choices, pairs=len(self.pairs), hits=rows)
        )

    def colouring(self, layout: Layout) -> Colouring:
        """Returns the colours of a map, worked out anew only when something of it changed."""
        choice = self.colour
        held = self.ledger.held() if choice.key == VERDICT else None
        key = (layout.name, self.run.name if self.run else "", choice.key, held)
        return memo(self, "colouring", key, lambda: _coloured(self.values, choice, layout))

    def select(self, mask: Mask, *, how: str) -> None:
        """Makes other pairs the selection, and shows them."""
        choose(self.pool, mask, how=how)
        remember(self, "view", SELECTED if self.selection.count else MATCHING)


def look_at_wanted(desk: Desk) -> None:
    """Looks at the pair that the address names, once: the name leaves the address, for another pair may come next."""
    wanted = st.query_params.pop("pair", "")
    rows = desk.pairs.rows_of([wanted]) if wanted else ()
    if len(rows):
        desk.look_at(int(rows[0]))


def desk_of(pool: Pool) -> Desk:
    """Returns the desk for this run of the page."""
    run, pairs, ledger = current_run(pool), pairs_of(pool), ledger_of(pool)
    name = run.name if run is not None else None
    verdicts = {pair_id: held.verdict for pair_id, held in ledger.held().items()}
    values = Values(pool, pairs, run=name, verdicts=verdicts)
    return Desk(pool, run, pairs, ledger, values, colour_choices(pool, pairs, run=name))


def layout_of(desk: Desk) -> tuple[Space, Layout | None]:
    """Returns the space that was chosen, and its map if there is one."""
    maps = maps_of(desk.pool)
    first: Space = next(iter(maps), "image")
    wanted = recall(desk, "space", first)
    space: Space = wanted if wanted in SPACES else first
    return space, load_layout(desk.pool, maps[space]) if space in maps else None


def recall(desk: Desk, name: str, default: Any) -> Any:
    """Returns what the session remembers for this pool."""
    return st.session_state.get(f"map-{desk.pool.id}-{name}", default)


def remember(desk: Desk, name: str, value: Any) -> None:
    """Remembers something for this pool as long as the session lives."""
    st.session_state[f"map-{desk.pool.id}-{name}"] = value


def memo(desk: Desk, name: str, key: Any, make: Callable[[], T]) -> T:
    """Returns what was made last for the same key, else makes it."""
    held = recall(desk, f"memo-{name}", None)
    if held is None or held[0] != key:
        held = (key, make())
        remember(desk, f"memo-{name}", held)
    made: T = held[1]
    return made


def reviewer() -> str:
    """Returns the name that verdicts and selections go under."""
    return str(st.session_state.setdefault("reviewer_kept", default_reviewer()))


def _coloured(values: Values, choice: Choice, layout: Layout) -> Colouring:
    if choice.kind != "categorical":
        numbers = values.numbers(choice)[layout.rows]
        return colour_values(numbers, choice.kind, title=choice.title, high_first=choice.high_first)
    named = values.names(choice)
    names = pd.Categorical.from_codes(named.codes[layout.rows], pd.Index(named.names))
    return colour_values(names, "categorical", title=choice.title)
