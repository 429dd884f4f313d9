"""Nested keys in queries and forms (auth.md 5.2, wire-quirks 2)."""

from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrade.api.form import MAX_DEPTH, MAX_PAIRS, MalformedForm, merge, parse_form


def test_bracketed_keys_become_objects() -> None:
    assert parse_form(b"position[units][value]=0.01&position[type]=buy") == {
        "position": {"units": {"value": "0.01"}, "type": "buy"}
    }


def test_encoded_brackets_and_both_forms_of_a_space_are_equal_to_raw_ones() -> None:
    assert parse_form(b"a%5Bb%5D=x+y%20z") == parse_form(b"a[b]=x%20y+z") == {"a": {"b": "x y z"}}


def test_an_encoded_separator_stays_part_of_the_value() -> None:
    assert parse_form(b"note=a%26b%3Dc") == {"note": "a&b=c"}


def test_empty_brackets_collect_a_list() -> None:
    assert parse_form(b"types_to_create[]=a&types_to_create[]=b") == {"types_to_create": ["a", "b"]}


def test_a_new_element_begins_when_a_key_comes_again() -> None:
    body = b"&".join(
        b"take_profit[steps][][" + key + b"]=" + value
        for key, value in [
            (b"order_type", b"limit"),
            (b"volume", b"50"),
            (b"price][value", b"10"),
            (b"price][type", b"bid"),
            (b"order_type", b"market"),
            (b"volume", b"50"),
            (b"price][value", b"11"),
            (b"price][type", b"bid"),
        ]
    )
    assert parse_form(body)["take_profit"]["steps"] == [
        {"order_type": "limit", "volume": "50", "price": {"value": "10", "type": "bid"}},
        {"order_type": "market", "volume": "50", "price": {"value": "11", "type": "bid"}},
    ]


def test_a_deeper_key_that_comes_again_begins_a_new_element_too() -> None:
    assert parse_form(b"s[][price][value]=1&s[][price][type]=bid&s[][price][value]=2") == {
        "s": [{"price": {"value": "1", "type": "bid"}}, {"price": {"value": "2"}}]
    }


def test_keys_grouped_by_name_do_not_make_whole_elements() -> None:
    # as in Rack: the second `a` begins element two, so both `b` end there and in a third
    assert parse_form(b"s[][a]=1&s[][a]=2&s[][b]=3&s[][b]=4") == {"s": [{"a": "1"}, {"a": "2", "b": "3"}, {"b": "4"}]}


def test_indices_make_a_list_in_numeric_order() -> None:
    assert parse_form(b"s[10][a]=3&s[2][a]=2&s[0][a]=1") == {"s": [{"a": "1"}, {"a": "2"}, {"a": "3"}]}


def test_the_last_of_repeated_scalars_wins() -> None:
    assert parse_form(b"a=1&a=2") == {"a": "2"}


@pytest.mark.parametrize("raw", [b"a[b=1", b"a]b=1", b"[a]=1", b"a[b]c=1"])
def test_broken_brackets_are_part_of_a_plain_name(raw: bytes) -> None:
    assert list(parse_form(raw).values()) == ["1"]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"units=5&units[value]=1", "units"),
        (b"a[b]=1&a[b][c]=2", "a[b]"),
        (b"s[]=1&s[x]=2", "s"),
        (b"s[0][a]=1&s[][a]=2", "s"),
        (b"note=%ff", "note"),
        (b"a" + b"[x]" * MAX_DEPTH + b"=1", "a"),
    ],
)
def test_keys_that_contradict_each_other_are_refused_by_name(raw: bytes, key: str) -> None:
    with pytest.raises(MalformedForm) as refused:
        parse_form(raw)
    assert refused.value.key == key


def test_a_form_with_too_many_pairs_is_refused() -> None:
    assert len(parse_form(b"&".join(b"k%d=" % n for n in range(MAX_PAIRS)))) == MAX_PAIRS
    with pytest.raises(MalformedForm):
        parse_form(b"&".join(b"k%d=" % n for n in range(MAX_PAIRS + 1)))


def test_the_winning_side_of_a_merge_wins_leaf_by_leaf_and_lists_whole() -> None:
    body = {"position": {"units": {"value": "1"}, "type": "buy"}, "steps": [1, 2]}
    query = {"position": {"units": {"value": "2"}}, "steps": [3]}
    assert merge(body, query) == {"position": {"units": {"value": "2"}, "type": "buy"}, "steps": [3]}
    assert body["steps"] == [1, 2]


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text("ab[]=&%01+", max_size=40).map(str.encode))
def test_no_bytes_make_the_parser_raise_anything_else(raw: bytes) -> None:
    try:
        parsed = parse_form(raw)
    except MalformedForm:
        return
    assert isinstance(parsed, dict)


names = st.text("abcdefgh_", min_size=1, max_size=4)
leaves = st.text("ab1 &=+%[];ü€\n", max_size=6)
rows = st.fixed_dictionaries({"id": leaves}, optional={"price": st.fixed_dictionaries({"value": leaves}), "x": leaves})
values = st.recursive(
    leaves | st.lists(leaves, min_size=1, max_size=3) | st.lists(rows, min_size=1, max_size=3),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=8,
)


# Members in one order throughout: an element must begin with a key that its predecessor has.
def _flat(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [
            pair
            for name, member in sorted(value.items())
            for pair in _flat(member, f"{path}[{name}]" if path else name)
        ]
    if isinstance(value, list):
        return [pair for element in value for pair in _flat(element, f"{path}[]")]
    return [(path, value)]


@settings(max_examples=150)
@given(st.dictionaries(names, values, max_size=4), st.sampled_from([quote, quote_plus]), st.booleans())
def test_what_a_client_flattens_is_what_the_server_reads(
    params: dict[str, Any], escape: Any, raw_brackets: bool
) -> None:
    safe = "[]" if raw_brackets else ""
    form = "&".join(f"{escape(key, safe=safe)}={escape(value, safe='')}" for key, value in _flat(params, ""))
    assert parse_form(form.encode()) == params
