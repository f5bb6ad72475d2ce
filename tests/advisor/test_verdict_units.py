"""Numbers and foreign texts as people read them."""

import math

import pytest

from whichever.advisor import _units as units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (2.1e-7, "210 ns"),
        (9.9996e-4, "1.00 ms"),
        (3.14e-5, "31.4 µs"),
        (0.152, "152 ms"),
        (0.99951, "1.00 s"),
        (16.24, "16.2 s"),
        (299.4, "299 s"),
        (750.0, "12.5 min"),
        (25_200.0, "7.00 h"),
        (math.inf, "unknown"),
        (None, "-"),
    ],
)
def test_seconds_are_said_with_three_digits_in_a_unit_people_read(seconds, text):
    assert units.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("speedup", "text"),
    [
        (1.87, "1.9x faster"),
        (47.2, "47x faster"),
        (9.97, "10x faster"),
        (1 / 2037, "2,037x slower"),
        (0.11, "9.1x slower"),
        (0.98, "as fast"),
        (1.04, "as fast"),
        (0.0, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_a_speedup_below_one_is_called_slower(speedup, text):
    assert units.speedup_text(speedup) == text


def test_both_ends_of_an_interval_share_one_unit():
    assert units.interval_text(0.95, 1.31) == "0.95\N{EN DASH}1.31 s"
    assert units.interval_text(0.0, 0.0) == "0 s"
    assert units.interval_text(1.0, math.inf) == "unknown"


def test_a_small_share_keeps_a_digit():
    assert [units.percent_text(share) for share in (0.0, 0.006, 0.0096, 0.712)] == [
        "0 %",
        "0.6 %",
        "1 %",
        "71 %",
    ]


def test_bytes_are_said_in_decimal_units():
    assert [units.bytes_text(n) for n in (412, 8_400, 24_300_000, None)] == [
        "412 B",
        "8.40 kB",
        "24.3 MB",
        "does not pickle",
    ]


def test_a_repr_is_short_whatever_the_object():
    class Broken:
        def __repr__(self):
            raise ValueError

    assert units.short_repr(Broken()).startswith("<Broken instance at 0x")
    assert len(units.short_repr("x" * 10_000)) <= units.LONGEST_REPR
    assert units.short_repr(list(range(10**6))) == "[0, 1, 2, 3, 4, 5, ...]"
    assert units.short_repr(10**5000).startswith("<int ")  # too long for Python to spell out


def test_cleaned_text_has_no_control_characters_and_no_lines():
    assert units.clean("a\x1b[31mb\n c\u202ed\udcff") == "a\\x1b[31mb c\\u202ed\\udcff"
