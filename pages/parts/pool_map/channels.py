"""The bytes that go down to the browser, in four channels so that each change sends only what it changed.

`points` (4 bytes a pair) once, `colours` (1 byte a pair) when the colour changes, `masks` (2 bits a pair) when the
selection or the filter changes, `words` for the little else. Each is an element of its own: Streamlit sends an element
again only when its bytes changed, and the words name the fingerprints of the three that belong together.
"""

import hashlib
import json
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chips_core.insight.regions import Places, places_of
from pages.parts.pool_map.colours import Colouring

KEPT_LAYOUTS = 8  # layouts whose places stay in memory: image, text and joint maps of a few pools


@dataclass(frozen=True)
class Channel:
    """One message: its fingerprint and its bytes, header included."""

    fingerprint: str
    message: bytes


class _LayoutCache:
    """Places of the layouts seen last: found by the array itself, else by its contents."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Places] = OrderedDict()
        self._names: dict[int, tuple[weakref.ref[NDArray[np.floating]], str]] = {}

    def places(self, xy: NDArray[np.floating]) -> tuple[str, Places]:
        name = self._name(xy)
        found = self._kept.pop(name, None)
        places = places_of(xy) if found is None else found
        self._kept[name] = places
        while len(self._kept) > KEPT_LAYOUTS:
            self._kept.popitem(last=False)
        return name, places

    def _name(self, xy: NDArray[np.floating]) -> str:
        known = self._names.get(id(xy))
        if known is not None and known[0]() is xy:
            return known[1]
        name = digest(np.ascontiguousarray(xy))
        if not xy.flags.writeable:  # only what cannot change may be known by its identity
            self._names = {key: value for key, value in self._names.items() if value[0]() is not None}
            self._names[id(xy)] = (weakref.ref(xy), name)
        return name


_layouts = _LayoutCache()


def layout_places(xy: NDArray[np.floating]) -> tuple[str, Places]:
    """Returns a layout's fingerprint and its places, computed once; make `xy` read-only to skip even the hashing."""
    return _layouts.places(xy)


def points_channel(key: str, *, fingerprint: str, places: Places) -> Channel:
    """Returns the places as little-endian 16-bit pairs."""
    return _channel(key, "points", fingerprint, places.xy.astype("<u2", copy=False).tobytes())


def colours_channel(key: str, colouring: Colouring) -> Channel:
    """Returns the two palettes (768 bytes each) and one code a pair."""
    palette = colouring.palette
    body = palette.light.tobytes() + palette.dark.tobytes() + np.ascontiguousarray(colouring.codes).tobytes()
    return _channel(key, "colours", digest(np.frombuffer(body, np.uint8)), body)


def masks_channel(
    key: str, *, hidden: NDArray[np.bool_] | None, selected: NDArray[np.bool_] | None, pairs: int
) -> Channel:
    """Returns two bits a pair: first all that are filtered out, then all that are selected."""
    none = np.zeros(pairs, dtype=np.bool_)
    bits = [np.packbits(none if mask is None else mask, bitorder="little") for mask in (hidden, selected)]
    body = b"".join(part.tobytes() for part in bits)
    return _channel(key, "masks", f"{pairs}-{digest(np.frombuffer(body, np.uint8))}", body)


def words_channel(key: str, words: dict[str, Any]) -> Channel:
    """Returns strict JSON."""
    body = json.dumps(words, allow_nan=False).encode()
    return _channel(key, "words", digest(np.frombuffer(body, np.uint8)), body)


def digest(array: NDArray[np.generic]) -> str:
    """Returns the fingerprint of an array's bytes."""
    return hashlib.sha256(array.data if array.size else b"").hexdigest()[:16]


def _channel(key: str, name: str, fingerprint: str, body: bytes) -> Channel:
    header = json.dumps({"key": key, "channel": name, "fingerprint": fingerprint}).encode()
    header += b" " * (-(len(header) + 4) % 8)  # the body starts aligned
    return Channel(fingerprint, len(header).to_bytes(4, "little") + header + body)
