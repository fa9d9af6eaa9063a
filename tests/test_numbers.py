"""Numbers as a person reads them, and one format for a column of them."""

import pytest

from chips_core.numbers import column_format, number, points


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (29.78, "29.8"),
        (-0.000428, "−4.3e−4"),
        (-0.0252, "−0.0252"),
        (27.0, "27.0"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (2.5e6, "2.5e6"),
    ],
)
def test_number__few_digits_and_a_true_minus(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ((0.017, -0.011, 0.046), "+1.7 (−1.1 to +4.6)"),
        ((-0.056, -0.138, 0.0004), "−5.6 (−13.8 to 0.0)"),
        ((-0.0001, None, None), "0.0"),
        ((0.25, 0.1, None), "+25.0"),
    ],
)
def test_points__with_the_ends_where_both_are_known_and_no_sign_before_zero(shares, text):
    assert points(*shares) == text


def test_number__signed_says_plus_of_what_is_above_zero_only():
    assert [number(value, signed=True) for value in (0.5, 0.0, -0.5)] == ["+0.500", "0", "−0.500"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([29.78, 27.0, float("nan")], ["29.8", "27.0", "nan"]),
        ([0.91, 0.5], ["0.910", "0.500"]),
        ([-0.0015, 0.0002], ["-0.0015", "0.0002"]),
        ([4.2e-4, -1e-5], ["4.2e-04", "-1.0e-05"]),
        ([12_345.0, 7.0], ["12345", "7"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_column_format__the_points_of_a_column_stand_below_each_other(values, shown):
    assert [column_format(values) % value for value in values] == shown
