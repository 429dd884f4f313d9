"""Market data: pairs, prices and limits, without a key (api.md D4)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Got, Server, running

UNKNOWN = Got(404, {"error": "Unknown pair"})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as started:
        quotes = [
            {"market": "binance", "pair": "USDT_BTC", "bid": "100", "ask": "101", "last": "100.5"},
            {"market": "binance_futures", "pair": "USDT_BTCUSDT", "bid": "99", "ask": "99"},
        ]
        assert started.sandbox("POST", "/quotes", {"quotes": quotes}).status == 201
        yield started


def test_only_types_that_can_be_traded_are_offered(server: Server) -> None:
    offered = server.unsigned("/ver1/accounts/market_list")
    assert offered.status == 200
    assert [each["market_code"] for each in offered.body] == ["paper_trading"]


@pytest.mark.parametrize("path", ["/ver1/accounts/market_pairs", "/v2/accounts/market_pairs"])
def test_pairs_are_those_of_the_market(server: Server, path: str) -> None:
    spot = server.unsigned(f"{path}?market_code=binance").body
    futures = server.unsigned(f"{path}?market_code=binance_futures").body
    assert "USDT_BTC" in spot
    assert "USDT_BTCUSDT" in futures
    assert not set(spot) & {"USDT_BTCUSDT"}
    assert spot == sorted(set(spot))
    assert server.unsigned(f"{path}?pretty_display_type=Binance").body == spot


def test_the_code_that_accounts_show_stands_for_all_markets(server: Server) -> None:
    pairs = server.unsigned("/ver1/accounts/market_pairs?market_code=paper_trading").body
    assert {"USDT_BTC", "USDT_BTCUSDT"} <= set(pairs)
    for pair, bid in (("USDT_BTC", "100.0"), ("USDT_BTCUSDT", "99.0")):
        rates = server.unsigned(f"/ver1/accounts/currency_rates?market_code=paper_trading&pair={pair}")
        assert rates.body["bid"] == bid


def test_a_new_pair_is_listed_at_once(server: Server) -> None:
    server.sandbox("POST", "/markets", {"market": "lab", "pair": "USDT_LAB"})
    assert server.unsigned("/ver1/accounts/market_pairs?market_code=lab").body == ["USDT_LAB"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", {"market_code": ["is missing", "does not have a valid value"]}),
        ("?market_code=nowhere", {"market_code": ["does not have a valid value"]}),
        ("?pretty_display_type=Nowhere", {"pretty_display_type": ["does not have a valid value"]}),
    ],
)
def test_an_unknown_market_is_refused(server: Server, query: str, said: dict[str, list[str]]) -> None:
    got = server.unsigned(f"/ver1/accounts/market_pairs{query}")
    assert (got.status, got.body["error_attributes"]) == (400, said)


def test_rates_are_prices_and_limits(server: Server) -> None:
    """C-3."""
    got = server.unsigned("/ver1/accounts/currency_rates?market_code=binance&pair=USDT_BTC&limit_type=smart_trade")
    assert got.status == 200
    assert {name: got.body[name] for name in ("bid", "ask", "last", "instrumentKind", "priceStep")} == {
        "bid": "100.0",
        "ask": "101.0",
        "last": "100.5",
        "instrumentKind": "spot",
        "priceStep": "0.01",
    }
    assert "leverage_data" not in got.body


def test_rates_with_leverage_say_what_a_contract_allows(server: Server) -> None:
    path = "/ver1/accounts/currency_rates_with_leverage_data"
    got = server.unsigned(f"{path}?market_code=binance_futures&pair=USDT_BTCUSDT").body
    assert got["instrumentKind"] == "linear_futures"
    assert [each["code"] for each in got["leverage_data"]] == ["none", "cross", "isolated"]
    assert server.unsigned(f"{path}?market_code=binance&pair=USDT_BTC").body["leverage_data"] == []


def test_a_pair_that_is_not_listed_or_has_no_price_is_unknown(server: Server) -> None:
    for pair in ("USDT_NOTHING", "USDT_ETH", "usdt_btc"):
        assert server.unsigned(f"/ver1/accounts/currency_rates?market_code=binance&pair={pair}") == UNKNOWN


def test_rates_need_market_and_pair(server: Server) -> None:
    got = server.unsigned("/ver1/accounts/currency_rates?limit_type=x")
    assert (got.status, got.body["error_attributes"]) == (
        400,
        {
            "market_code": ["is missing", "does not have a valid value"],
            "pair": ["is missing"],
            "limit_type": ["does not have a valid value"],
        },
    )
