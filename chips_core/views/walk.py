"""The way of a person through a queue: where they are, where they came from, where they go next."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chips_core.views.queue import Rows, next_place

REMEMBERED = 500  # steps back


@dataclass(frozen=True)
class Walk:
    """The row on screen (None: the queue has no open place left) and the rows that were on screen before it."""

    row: int | None
    trail: tuple[int, ...] = ()


def begun(queue: Rows, is_open: NDArray[np.bool_]) -> Walk:
    """Returns the walk at the first open place."""
    place = next_place(is_open, -1)
    return Walk(None if place is None else int(queue[place]))


def onward(walk: Walk, queue: Rows, is_open: NDArray[np.bool_], *, wrap: bool) -> Walk:
    """Returns the walk at the next open place; with `wrap` what was passed over comes again after the end."""
    place = place_of(queue, walk.row)
    ahead = next_place(is_open, -1 if place is None else place, wrap=wrap)
    return at(walk, None if ahead is None else int(queue[ahead]))


def backward(walk: Walk, queue: Rows, is_open: NDArray[np.bool_]) -> Walk:
    """Returns the walk at the pair that was on screen before, else at the open place before, else where it is."""
    if walk.trail:
        return Walk(walk.trail[-1], walk.trail[:-1])
    place = place_of(queue, walk.row)
    before = next_place(is_open, len(queue) if place is None else place, step=-1)
    return walk if before is None else replace(walk, row=int(queue[before]))


def at(walk: Walk, row: int | None) -> Walk:
    """Returns the walk at a row, which can be stepped back from."""
    if row == walk.row:
        return walk
    left = () if walk.row is None else (walk.row,)
    return Walk(row, (*walk.trail, *left)[-REMEMBERED:])


def place_of(queue: Rows, row: int | None) -> int | None:
    """Returns the place of a row in the queue; None when it is not in it."""
    if row is None:
        return None
    found = np.flatnonzero(queue == row)
    return int(found[0]) if len(found) else None
