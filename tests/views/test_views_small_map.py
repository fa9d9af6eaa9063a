"""Small maps: two masks of the same places, up is up, what is not chosen is not in the second."""

import base64
import io

import numpy as np
from PIL import Image

from chips_core.insight.regions import places_of
from chips_core.views.small_map import PIXELS, small_map


def opacity(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))[..., 1]


def test_small_map__chosen_pairs_only_and_up_is_up():
    xy = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 0.0]])
    found = small_map(places_of(xy), np.array([False, True, False]))
    every, chosen = opacity(found.every), opacity(found.chosen)
    assert every.shape == (PIXELS, PIXELS)
    assert (every > 0).sum() == 27  # three dots of three by three
    rows, columns = np.nonzero(chosen)
    assert len(rows) == 9
    assert rows.mean() < PIXELS / 2  # high y is at the top
    assert columns.mean() < PIXELS / 2
    assert (every[chosen > 0] > 0).all()


def test_small_map__nothing_chosen():
    found = small_map(places_of(np.array([[0.0, 0.0], [1.0, 1.0]])), np.array([False, False]))
    assert not opacity(found.chosen).any()
