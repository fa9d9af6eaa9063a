"""What a person did on the map, checked before anything believes it: the browser is not to be trusted."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from chips_core.insight.regions import Places

Kind = Literal["lasso", "box", "pick", "clear", "hover", "colour", "range", "category", "no-webgl"]
Mode = Literal["replace", "add", "remove"]

MOST_CORNERS = 2000


def _no_rows() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class MapEvent:
    """One thing that a person did.

    Attributes:
        kind: `lasso`, `box` and `pick` carry rows; `clear` asks for an empty selection; `colour` carries `number`;
            `range` and `category` carry what the legend was brushed to; `no-webgl` says that the browser cannot draw.
        rows: which pairs are meant, as positions in the layout, ascending.
        polygon: the region drawn, in the layout's coordinates.
        mode: what the rows do to the selection.
        number: the colour key that was pressed, 1 to 9.
        range: the values brushed; None at an end means open; None as a whole means the brush was removed.
        codes: the colour codes of the categories that are switched off.
    """

    kind: Kind
    rows: NDArray[np.int64] = field(default_factory=_no_rows)
    polygon: tuple[tuple[float, float], ...] = ()
    mode: Mode = "replace"
    number: int = 0
    range: tuple[float | None, float | None] | None = None
    codes: tuple[int, ...] = ()

    def applied_to(self, selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns the selection (N,) after this event."""
        if self.kind == "clear":
            return np.zeros_like(selected)
        if self.kind not in ("lasso", "box", "pick"):
            return selected
        changed = np.zeros_like(selected) if self.mode == "replace" else selected.copy()
        changed[self.rows] = self.mode != "remove"
        return changed


def event_from(message: Any, places: Places, *, visible: NDArray[np.bool_] | None = None) -> MapEvent | None:
    """Returns the event in a browser's message, or None when the message is not one that the map sends."""
    if not isinstance(message, dict):
        return None
    kind = message.get("kind")
    mode = message.get("mode") if message.get("mode") in ("add", "remove") else "replace"
    if kind in ("lasso", "box"):
        return _region(MapEvent(kind, mode=cast(Mode, mode)), message.get("polygon"), places, visible=visible)
    if kind in ("pick", "hover"):
        row = message.get("row")
        known = isinstance(row, int) and not isinstance(row, bool) and 0 <= row < len(places.xy)
        return MapEvent(kind, rows=np.array([row], dtype=np.int64), mode=cast(Mode, mode)) if known else None
    if kind in ("clear", "no-webgl"):
        return MapEvent(kind)
    if kind == "colour":
        number = message.get("number")
        return MapEvent("colour", number=number) if isinstance(number, int) and 1 <= number <= 9 else None
    return _legend_event(kind, message)


def _region(event: MapEvent, corners: Any, places: Places, *, visible: NDArray[np.bool_] | None) -> MapEvent | None:
    """Returns the event with its polygon and the visible pairs inside it."""
    if not isinstance(corners, list) or not 3 <= len(corners) <= MOST_CORNERS:
        return None
    polygon = [_corner(corner) for corner in corners]
    if any(corner is None for corner in polygon):
        return None
    unit = cast("list[tuple[float, float]]", polygon)
    inside = places.inside(unit)
    rows = np.flatnonzero(inside if visible is None else inside & visible).astype(np.int64)
    return replace(event, rows=rows, polygon=tuple(places.to_layout(unit)))


def _corner(corner: Any) -> tuple[float, float] | None:
    if not isinstance(corner, list) or len(corner) != 2 or not all(_number(value) for value in corner):
        return None
    return float(corner[0]), float(corner[1])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _legend_event(kind: Any, message: dict[str, Any]) -> MapEvent | None:
    if kind == "category":
        codes = message.get("codes")
        if not isinstance(codes, list) or not all(type(code) is int and 0 <= code <= 255 for code in codes):
            return None
        return MapEvent("category", codes=tuple(sorted(set(codes))))
    if kind != "range":
        return None
    ends = message.get("range")
    if ends is None:
        return MapEvent("range")
    if not isinstance(ends, list) or len(ends) != 2 or not all(end is None or _number(end) for end in ends):
        return None
    return MapEvent("range", range=(ends[0], ends[1]))
