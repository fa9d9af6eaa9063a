"""Selections as data: named ones in the review database, the unsaved one beside it, so that neither is ever lost.

An address names a selection: its own name, or `unsaved-` and the fingerprint of its pairs. The same pairs have the same
address, whoever chose them.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chips_core import atomic, fingerprint
from chips_core.errors import ChipsError, InputError, PoolDamaged
from chips_core.store.review import UNSAVED, NamedSelection, Review, selection_name
from chips_core.views.map import Mask, PairColumns
from chips_core.views.verdicts import Answer

DRAFTS = "drafts"  # a folder of the pool: unsaved selections by fingerprint, one bit a pair
KEPT_DRAFTS = 50


@dataclass(frozen=True, eq=False)
class Selection:
    """Some pairs of a pool.

    Attributes:
        mask: (N,) over the kept pairs, read-only.
        name: the named selection that these pairs are, "" when they are not saved.
        recipe: how they were chosen.
    """

    mask: Mask
    name: str = ""
    recipe: Mapping[str, Any] | None = None

    @property
    def count(self) -> int:
        """How many pairs."""
        return int(np.count_nonzero(self.mask))

    @property
    def address(self) -> str:
        """What names it in a page's address; "" for nothing."""
        if self.name:
            return self.name
        return UNSAVED + draft_name(self.mask) if self.count else ""


def nothing(pairs: int) -> Selection:
    """Returns the empty selection."""
    return Selection(read_only(np.zeros(pairs, dtype=np.bool_)))


def read_only(mask: Mask) -> Mask:
    """Returns the mask, not to be changed any more."""
    mask.setflags(write=False)
    return mask


def draft_name(mask: Mask) -> str:
    """Returns the fingerprint of the pairs chosen."""
    return fingerprint.of_bytes(np.packbits(mask).tobytes())[:12]


class Shelf:
    """The selections of one pool; safe for several sessions at a time."""

    def __init__(self, folder: Path, pairs: PairColumns) -> None:
        self._folder, self._pairs = folder, pairs
        self._review = Review.open(folder)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Closes the database."""
        self._review.close()

    def named(self) -> list[NamedSelection]:
        """Returns the saved selections, the newest first."""
        return list(reversed(self._review.selections()))

    def opened(self, address: str) -> Selection:
        """Returns the selection that an address names; says what is wrong when there is none."""
        if address.startswith(UNSAVED):
            return Selection(self._draft(address.removeprefix(UNSAVED)))
        mask = np.zeros(len(self._pairs), dtype=np.bool_)
        mask[self._pairs.rows_of(self._review.selection_pairs(address))] = True
        recipe = next((found.recipe for found in self._review.selections() if found.name == address), None)
        return Selection(read_only(mask), address, recipe)

    def keep(self, selection: Selection) -> None:
        """Writes an unsaved selection to the pool's folder, so that its address can be opened again."""
        if selection.name or not selection.count:
            return
        folder = self._folder / DRAFTS
        path = folder / f"{draft_name(selection.mask)}.npy"
        with self._lock:
            if path.is_file():
                return
            atomic.make_folder(folder)
            atomic.write_array(path, np.packbits(selection.mask))
            _forget_oldest(folder)

    def name_it(self, selection: Selection, *, name: str, reviewer: str) -> tuple[Answer, Selection]:
        """Saves a selection under a name; returns what to say, and the selection as it is now called."""
        try:
            title = selection_name(name)
            rows = np.flatnonzero(selection.mask).astype(np.int64)
            self._review.create_selection(
                name=title, pair_ids=self._pairs.pair_ids(rows), reviewer=reviewer, recipe=selection.recipe
            )
        except ChipsError as error:
            return _refused(error), selection
        words = f"Saved: {selection.count:,} pairs under the name '{title}'."
        return Answer(True, words), Selection(selection.mask, title, selection.recipe)

    def rename(self, name: str, *, to: str, reviewer: str) -> Answer:
        """Gives a saved selection another name."""
        try:
            self._review.rename_selection(name=name, new_name=selection_name(to), reviewer=reviewer)
        except ChipsError as error:
            return _refused(error)
        return Answer(True, f"Renamed to '{to.strip()}'.")

    def delete(self, name: str, *, reviewer: str) -> Answer:
        """Deletes a saved selection; `undo` brings it back."""
        try:
            self._review.delete_selection(name=name, reviewer=reviewer)
        except ChipsError as error:
            return _refused(error)
        return Answer(True, f"Deleted '{name}'. It can be taken back.")

    def undo(self, reviewer: str) -> Answer:
        """Takes back this reviewer's last saving, renaming or deleting of a selection that still holds."""
        kinds = ("selection created", "selection renamed", "selection deleted")
        try:
            undone = self._review.undo_last(reviewer=reviewer, kinds=kinds)
        except ChipsError as error:
            return _refused(error)
        if undone is None:
            return Answer(False, "There is nothing to take back.")
        return Answer(True, f"Taken back: {undone.kind}.")

    def _draft(self, name: str) -> Mask:
        path = self._folder / DRAFTS / f"{name}.npy"
        if not name.isalnum() or not path.is_file():
            raise InputError("That unsaved selection is no longer there.", fix="choose the pairs again, and save them.")
        try:
            bits = atomic.read_array(path)
        except PoolDamaged as error:
            raise InputError("That unsaved selection cannot be read.", fix="choose the pairs again.") from error
        if bits.dtype != np.uint8 or bits.shape != (-(-len(self._pairs) // 8),):
            raise InputError("That unsaved selection is of another pool.", fix="choose the pairs again.")
        mask = read_only(np.unpackbits(bits, count=len(self._pairs)).astype(np.bool_))
        if draft_name(mask) != name:  # its name is the fingerprint of its pairs
            raise InputError("That unsaved selection was damaged on the disk.", fix="choose the pairs again.")
        return mask


def _refused(error: ChipsError) -> Answer:
    return Answer(False, f"Not done: {error.what} Do this: {error.fix}")


def _forget_oldest(folder: Path) -> None:
    drafts = sorted(folder.glob("*.npy"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    for path in drafts[:-KEPT_DRAFTS]:
        atomic.remove(path)
