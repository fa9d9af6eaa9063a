"""Selections as data: saved, opened, renamed, deleted and taken back; unsaved ones found again by their address."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from review_pools import plain_pool

from chips_core.errors import InputError
from chips_core.store import Pool
from chips_core.views.map import PairColumns
from chips_core.views.selections import DRAFTS, KEPT_DRAFTS, UNSAVED, Selection, Shelf, nothing


def chosen(*rows, name=""):
    mask = np.zeros(6, dtype=bool)
    mask[list(rows)] = True
    return Selection(mask, name, {"by": "lasso"})


@pytest.fixture
def shelf(tmp_path):
    pool = plain_pool(tmp_path / "pool")
    shelf = Shelf(pool.path, PairColumns(pool))
    yield shelf
    shelf.close()


def again(tmp_path):
    """Another process's shelf on the same pool."""
    return Shelf(tmp_path / "pool", PairColumns(Pool.open(tmp_path / "pool")))


def test_name_it__is_there_after_a_restart(shelf, tmp_path):
    answer, saved = shelf.name_it(chosen(1, 4), name="  odd ones ", reviewer="ann")
    assert answer.saved
    assert saved.address == "odd ones"
    opened = again(tmp_path).opened("odd ones")
    assert opened.mask.tolist() == chosen(1, 4).mask.tolist()
    assert (opened.name, opened.recipe) == ("odd ones", {"by": "lasso"})
    assert [found.name for found in shelf.named()] == ["odd ones"]


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 81, UNSAVED + "1", "all"])
def test_name_it__refuses_what_is_no_name(shelf, name):
    answer, kept = shelf.name_it(chosen(1), name=name, reviewer="ann")
    assert not answer.saved
    assert kept.name == ""
    assert shelf.named() == []


def test_name_it__a_taken_name_is_never_overwritten(shelf):
    shelf.name_it(chosen(1), name="mine", reviewer="ann")
    answer, _ = shelf.name_it(chosen(2), name="mine", reviewer="bob")
    assert not answer.saved
    assert shelf.opened("mine").mask.tolist() == chosen(1).mask.tolist()


def test_rename_delete_and_undo(shelf):
    shelf.name_it(chosen(0, 5), name="first", reviewer="ann")
    assert shelf.rename("first", to="second", reviewer="ann").saved
    assert shelf.delete("second", reviewer="ann").saved
    with pytest.raises(InputError):
        shelf.opened("second")
    assert shelf.undo("ann").saved
    assert shelf.opened("second").count == 2
    assert shelf.undo("ann").saved
    assert shelf.opened("first").count == 2
    assert not shelf.undo("bob").saved  # not theirs to take back
    assert not shelf.rename("gone", to="x", reviewer="ann").saved
    assert not shelf.delete("gone", reviewer="ann").saved


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.sets(st.integers(0, 5), min_size=1))
def test_keep__an_unsaved_selection_is_found_by_its_address(shelf, rows):
    selection = chosen(*rows)
    shelf.keep(selection)
    assert selection.address.startswith(UNSAVED)
    assert shelf.opened(selection.address).mask.tolist() == selection.mask.tolist()


def test_keep__nothing_and_saved_ones_are_not_drafts(shelf, tmp_path):
    shelf.keep(nothing(6))
    shelf.keep(chosen(1, name="saved"))
    assert not (tmp_path / "pool" / DRAFTS).exists()
    assert nothing(6).address == ""


def test_keep__old_drafts_are_forgotten(shelf, tmp_path):
    subsets = [[bit for bit in range(6) if number >> bit & 1] for number in range(1, 64)]
    for rows in subsets:
        shelf.keep(chosen(*rows))
    assert len(list((tmp_path / "pool" / DRAFTS).iterdir())) == KEPT_DRAFTS
    assert shelf.opened(chosen(*subsets[-1]).address).count == 6


@pytest.mark.parametrize("address", ["unsaved-", "unsaved-../../pool", "unsaved-abc", "unsaved-a/b", "unknown", ""])
def test_opened__junk_is_told(shelf, address):
    with pytest.raises(InputError):
        shelf.opened(address)


def test_opened__a_torn_or_foreign_draft_is_told(shelf, tmp_path):
    folder = tmp_path / "pool" / DRAFTS
    folder.mkdir()
    (folder / "torn.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "foreign.npy", np.zeros(9, dtype=np.uint8))
    for name in ("torn", "foreign"):
        with pytest.raises(InputError):
            shelf.opened(UNSAVED + name)


def test_m1__a_flipped_bit_in_a_draft_never_opens_as_other_pairs(shelf, tmp_path):
    kept = chosen(1, 4)
    shelf.keep(kept)
    path = next((tmp_path / "pool" / DRAFTS).iterdir())
    whole = path.read_bytes()
    refused = 0
    for bit in range(len(whole) * 8):
        path.write_bytes(bytes(b ^ (1 << bit % 8) if i == bit // 8 else b for i, b in enumerate(whole)))
        try:
            assert shelf.opened(kept.address).mask.tolist() == kept.mask.tolist()  # a bit that says nothing
        except InputError:
            refused += 1
    assert refused >= 6, "at least the bits of the six pairs"
