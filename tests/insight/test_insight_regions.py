"""Places on the square, and what a drawn region holds, against the rule spelled out point by point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chips_core.errors import InputError
from chips_core.insight.regions import SIDE, places_of, points_in_polygon


def even_odd(point, polygon):
    """The rule as in a textbook: count the edges crossed by a ray to the right."""
    (x, y), odd = point, False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 <= y) != (y2 <= y) and x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)):
            odd = not odd
    return odd


def test_points_in_polygon__square():
    points = np.array([[1, 1], [3, 1], [1, 3], [0, 5], [2.5, 2.5]])
    square = [(0, 0), (2, 0), (2, 2), (0, 2)]
    assert points_in_polygon(points, square).tolist() == [True, False, False, False, False]


def test_points_in_polygon__hole_of_a_star_is_outside():
    star = [(0, 3), (2, -3), (-3, 1), (3, 1), (-2, -3)]  # its pentagon is wound around twice: outside by even-odd
    assert points_in_polygon(np.array([[0.0, 0.0], [0.0, 2.0]]), star).tolist() == [False, True]


@pytest.mark.parametrize("polygon", [[], [(0, 0)], [(0, 0), (1, 1)], [(0, 0), (1, 0), (2, 0)]])
def test_points_in_polygon__nothing_to_hold(polygon):
    assert not points_in_polygon(np.array([[0.5, 0.0], [0.2, 0.2]]), polygon).any()


def test_points_in_polygon__no_points():
    assert points_in_polygon(np.zeros((0, 2)), [(0, 0), (1, 0), (1, 1)]).shape == (0,)


@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(0, 40), st.just(2)), elements=st.integers(0, 60)),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=12),
)
def test_points_in_polygon__equals_the_textbook(points, polygon):
    expected = [even_odd((float(x), float(y)), polygon) for x, y in points]
    assert points_in_polygon(points, polygon).tolist() == expected


def test_points_in_polygon__many_slabs_equal_the_textbook():
    rng = np.random.default_rng(5)
    points = rng.integers(0, SIDE, size=(2000, 2)).astype(np.uint16)
    polygon = [tuple(corner) for corner in rng.uniform(0, SIDE, size=(40, 2)).tolist()]
    assert points_in_polygon(points, polygon).tolist() == [even_odd(map(float, point), polygon) for point in points]


def test_places_of__keeps_shape_and_way_back():
    layout = np.array([[10.0, 0.0], [14.0, 0.0], [12.0, 1.0]], dtype=np.float32)
    places = places_of(layout)
    unit = places.xy / SIDE
    assert unit[1, 0] - unit[0, 0] == pytest.approx(0.94, abs=1e-4)  # the wide axis fills the square but its margins
    assert unit[2, 1] - unit[0, 1] == pytest.approx(0.235, abs=1e-4)  # and the other has the same scale
    assert np.allclose(places.to_layout(unit.tolist()), layout, atol=1e-3)
    assert np.allclose(places.to_unit(places.to_layout([(0.2, 0.7)])), [(0.2, 0.7)])


def test_places_of__an_outlier_does_not_shrink_the_rest():
    layout = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    layout[7] = 1e6
    unit = places_of(layout).xy / SIDE
    assert unit[7].tolist() == [1.0, 1.0]
    assert np.ptp(unit[:7, 0]) > 0.1


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_places_of__few_and_equal(pairs):
    places = places_of(np.ones((pairs, 2), dtype=np.float32))
    assert places.xy.shape == (pairs, 2)
    assert not places.xy.flags.writeable
    assert places.inside([(0, 0), (1, 0), (1, 1), (0, 1)]).all()


@pytest.mark.parametrize("layout", [np.zeros((3, 3)), np.array([[0.0, np.nan]]), np.array([[np.inf, 0.0]])])
def test_places_of__refuses(layout):
    with pytest.raises(InputError):
        places_of(layout)
