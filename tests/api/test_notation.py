"""Figures and instants on the wire (entities.md section 0)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrade.api.notation import decimal_text, parse_instant, timestamp


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("4", "4.0"),
        ("0", "0.0"),
        ("-0.0", "0.0"),
        ("0E-30", "0.0"),
        ("0.00000280", "0.0000028"),
        ("1E+3", "1000.0"),
        ("-1.1E-19", "-0.00000000000000000011"),
        ("100.00", "100.0"),
        ("28.819532219570405727923627685", "28.819532219570405727923627685"),
    ],
)
def test_decimals_are_plain_and_keep_one_digit_after_the_point(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


@settings(max_examples=150)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_no_decimal_changes_value_on_its_way_out(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert "." in text
    assert not text.startswith("-0.0") or value != 0


def test_timestamps_are_cut_to_milliseconds() -> None:
    assert timestamp(parse_instant("2024-08-12T16:24:38.384999Z")) == "2024-08-12T16:24:38.384Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2025-08-04T17:07:14Z", "2025-08-04T17:07:14.000Z"),
        ("2022-01-01T00:00:00.000Z", "2022-01-01T00:00:00.000Z"),
        ("2024-08-12", "2024-08-12T00:00:00.000Z"),
        ("2024-08-12T16:24", "2024-08-12T16:24:00.000Z"),
        ("2024-08-12T16:24:38+02:00", "2024-08-12T14:24:38.000Z"),
        ("2024-08-12T16:24:38 02:00", "2024-08-12T14:24:38.000Z"),  # an unescaped `+` in a query
        ("2024-08-12T16:24:38-0130", "2024-08-12T17:54:38.000Z"),
    ],
)
def test_dates_are_read_in_every_form_of_iso_8601_that_clients_send(text: str, shown: str) -> None:
    assert timestamp(parse_instant(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["1722510000", "1754327234000", "20240812", "2024-13-01", "2024-08-12T25:00", "2024-W33-1", "", "٢٠٢٤-08-12"],
)
def test_anything_but_an_iso_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO|month|hour"):
        parse_instant(text)


@settings(max_examples=150)
@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_survives_the_way_out_and_in_to_the_millisecond(moment: datetime) -> None:
    assert timestamp(parse_instant(moment.isoformat())) == timestamp(
        parse_instant(timestamp(parse_instant(moment.isoformat())))
    )
