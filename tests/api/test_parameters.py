"""Typed reading with the documented keys and messages (auth.md 5.3, 6.1)."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrade.api.parameters import (
    MAX_ELEMENTS,
    MAX_INTEGER,
    InvalidParameters,
    MalformedJson,
    Parameters,
    exact_number,
    parse_json,
    positive,
)

COLOURS = {"red": 1, "blue": 2}


def errors(params: Parameters) -> dict[str, list[str]]:
    with pytest.raises(InvalidParameters) as refused:
        params.finish()
    return dict(refused.value.attributes)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        (1, True),
        (0, False),
        ("1", True),
    ],
)
def test_booleans_are_read_in_every_documented_form(given_value: Any, expected: bool) -> None:
    params = Parameters({"flag": given_value})
    assert params.boolean("flag", default=not expected) is expected
    params.finish()


@pytest.mark.parametrize("given_value", ["yes", 2, Decimal("1.0"), [], {}, "true|false"])
def test_other_booleans_are_invalid(given_value: Any) -> None:
    params = Parameters({"flag": given_value})
    params.boolean("flag")
    assert errors(params) == {"flag": ["is invalid"]}


@pytest.mark.parametrize("given_value", [1, "1", Decimal("1.0"), "1.0", "+1", "1e0"])
def test_whole_numbers_are_integers_however_written(given_value: Any) -> None:
    assert Parameters({"id": given_value}).integer("id") == 1


@pytest.mark.parametrize("given_value", ["1.5", "one", True, MAX_INTEGER + 1, [1], {"0": 1}, "1_0", " 1"])
def test_other_integers_are_invalid(given_value: Any) -> None:
    params = Parameters({"id": given_value})
    assert params.integer("id") is None
    assert errors(params) == {"id": ["is invalid"]}


def test_an_integer_out_of_range_does_not_have_a_valid_value() -> None:
    params = Parameters({"page": 0, "per_page": "101"})
    params.integer("page", least=1)
    params.integer("per_page", most=100)
    assert errors(params) == {"page": ["does not have a valid value"], "per_page": ["does not have a valid value"]}


@pytest.mark.parametrize(
    ("raw", "exact"),
    [
        (b"0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        (b"10000", "10000"),
        (b'"0.00000280"', "0.0000028"),
        (b"1e-8", "0.00000001"),
        (b'"1E-8"', "0.00000001"),
        (b'"-.5"', "-0.5"),
        (b"999999999999999999999", "999999999999999999999"),
    ],
)
def test_numbers_keep_every_digit_that_was_sent(raw: bytes, exact: str) -> None:
    assert exact_number(parse_json(b'{"x":' + raw + b"}")["x"]) == Decimal(exact)


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-inf", "1,5", "1_000", " 1", "0x10", "", ".", "1e", "1e1000000000", "1" * 200, "٣", True, None,
     10**21, "1e21", Decimal("1e21"), "0." + "0" * 40 + "1", "1." + "1" * 50, Decimal("NaN"),
     Decimal("-Infinity"), 1.5],
)  # fmt: skip
def test_what_is_no_figure_of_money_is_no_number(value: Any) -> None:
    assert exact_number(value) is None


def test_zeros_at_the_end_do_not_count_as_digits() -> None:
    assert exact_number("1." + "0" * 100) == 1
    assert exact_number("0." + "0" * 60) == 0
    assert str(exact_number(Decimal("0E-999"))) == "0"


@settings(max_examples=200)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_a_figure_means_the_same_as_number_text_or_json(figure: Decimal) -> None:
    text = format(figure, "f")
    in_json = exact_number(parse_json(f'{{"x":{text}}}'.encode())["x"])
    assert exact_number(text) == exact_number(figure) == in_json == figure


@settings(max_examples=150)
@given(st.text(max_size=30) | st.text("0123456789.eE+-", max_size=30))
def test_no_text_makes_number_reading_raise(text: str) -> None:
    figure = exact_number(text)
    assert figure is None or (figure.is_finite() and abs(figure) < Decimal("1e21"))


@settings(max_examples=150)
@given(st.binary(max_size=40) | st.text('{}[]",:0eE.-a\\u', max_size=30).map(lambda text: b'{"a":' + text.encode()))
def test_no_bytes_make_json_reading_raise_anything_else(raw: bytes) -> None:
    with suppress(MalformedJson):
        assert isinstance(parse_json(raw), dict)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"1", b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 5000, b'{"a":1}x', b'{"a":"\xff"}'],
)
def test_a_body_that_is_not_one_json_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json(raw)


def test_a_number_too_large_for_any_decimal_is_invalid_and_not_a_crash() -> None:
    params = Parameters(parse_json(b'{"x":1e99999999999999999999}'))
    params.number("x")
    assert errors(params) == {"x": ["is invalid"]}


def test_text_may_come_as_a_number_but_not_as_anything_else() -> None:
    assert Parameters({"note": 5}).text("note") == "5"
    assert Parameters({"note": Decimal("0.10")}).text("note") == "0.10"
    params = Parameters({"a": True, "b": [], "c": "nul\x00", "d": "\ud800"})
    for name in "abcd":
        params.text(name)
    assert errors(params) == {name: ["is invalid"] for name in "abcd"}


def test_null_and_empty_text_count_as_absent() -> None:
    params = Parameters({"a": None, "b": ""})
    assert not params.has("a")
    assert params.number("b") is None
    params.required_text("a")
    params.required_number("b", positive)
    assert errors(params) == {"a": ["is missing"], "b": ["is missing"]}


def test_a_missing_choice_has_two_messages_unless_something_else_requires_it() -> None:
    params = Parameters({"c": "RED", "d": 1})
    params.required_choice("a", COLOURS)
    params.required_choice("b", COLOURS, always=False)
    params.choice("c", COLOURS)
    params.choice("d", COLOURS)
    assert errors(params) == {
        "a": ["is missing", "does not have a valid value"],
        "b": ["is missing"],
        "c": ["does not have a valid value"],
        "d": ["does not have a valid value"],
    }
    assert Parameters({"c": "RED"}).choice("c", COLOURS, any_case=True) == 1


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (None, {"units": ["is missing"], "units[value]": ["is missing"]}),
        ({}, {"units[value]": ["is missing"]}),
        ([{"value": 1}], {"units": ["is invalid"], "units[value]": ["is missing", "is invalid"]}),
        ("5", {"units": ["is invalid"], "units[value]": ["is missing"]}),
        ({"value": "x"}, {"units[value]": ["is invalid"]}),
        ({"value": -1}, {"units[value]": ["does not have a valid value"]}),
    ],
)
def test_an_object_that_is_missing_or_wrong_reports_its_members_too(units: Any, expected: dict[str, list[str]]) -> None:
    params = Parameters({"units": units})
    params.group("units", required=True).required_number("value", positive)
    assert errors(params) == expected


def test_elements_of_a_list_are_named_by_their_index() -> None:
    params = Parameters({"take_profit": {"steps": [{"volume": 1}, "x", {"volume": 0}]}})
    for step in params.group("take_profit").groups("steps"):
        step.required_number("volume", positive)
    assert errors(params) == {
        "take_profit[steps][1]": ["is invalid"],
        "take_profit[steps][2][volume]": ["does not have a valid value"],
    }


def test_a_list_that_is_absent_empty_or_none_is_refused_and_a_long_one_is_cut() -> None:
    for given_list, message in [(None, "is missing"), ([], "is empty"), ({"a": 1}, "is invalid")]:
        params = Parameters({"steps": given_list})
        assert params.groups("steps") == []
        assert errors(params) == {"steps": [message]}
    assert len(Parameters({"steps": [{}] * 5000}).groups("steps")) == MAX_ELEMENTS


def test_exactly_one_of_two_is_reported_under_both_keys() -> None:
    for given_price, message in [
        ({}, "are missing, exactly one parameter must be provided"),
        ({"value": 1, "percent": 1}, "are mutually exclusive"),
    ]:
        params = Parameters({"price": given_price})
        params.group("price").exactly_one("value", "percent")
        assert errors(params) == {"price[value],price[percent]": [message]}
