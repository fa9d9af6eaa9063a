"""Distributions over several sets on the same bars."""

import numpy as np
import pytest

from chips_core.curate.distribution import distribution


def test_distribution__shares_of_each_set_by_hand():
    values = np.array([0.0, 1.0, 2.0, 3.0, np.nan, 50.0])
    among = np.array([True, True, True, True, True, False])
    found = distribution(values, among=among, sets=[np.array([0, 0, 0, 1, 1, 1], bool)], bins=3)
    assert found.edges[0] == pytest.approx(0.03)
    assert found.before == (0.5, 0.0, 0.5)  # bars end at 1.01 and 1.99
    assert found.after == ((0.0, 0.0, 1.0),)  # 50 is beyond the end and counts in the last bar
    assert found.middle == (1.5, 26.5)
    assert found.zero is None


def test_distribution__zero_between_the_ends():
    found = distribution(np.linspace(-1, 3, 401), among=np.ones(401, bool), sets=[])
    assert found.zero == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("values", [[np.nan, np.nan], [2.0, 2.0], []])
def test_distribution__nothing_to_tell_apart(values):
    values = np.array(values, dtype=float)
    found = distribution(values, among=np.ones(len(values), bool), sets=[np.zeros(len(values), bool)])
    assert np.isfinite(found.edges).all()
    assert found.middle[1] == 0
