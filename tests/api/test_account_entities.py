"""Accounts, balances, markets and rates against the published entities (entities.md 3, api.md D3 and D4)."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from published import instrument, published

from smarttrade.api.account_entities import (
    account_entity,
    account_table,
    currency_rates,
    currency_rates_with_leverage_data,
    holdings,
    leverage_data,
    market_list,
    pie_chart,
    summary_entity,
)
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import MarketKind
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.exchange import Balance

D = Decimal
PAPER = Account(
    id=5,
    user_id=1,
    name="Paper Account 5",
    type="paper_trading",
    market="binance",
    created_at=0,
    updated_at=1_000,
)
RATES = {"BTC": D(80000), "USDT": D(1), "DOGE": D("0.2")}
HELD = holdings(
    {
        "USDT": Balance(D(900), D(100)),
        "BTC": Balance(D("0.05"), D(0)),
        "DOGE": Balance(D(0), D(3)),
        "ETH": Balance(D(0), D(0)),
        "XYZ": Balance(D(7), D(0)),
    },
    RATES.get,
)


def kinds(body: Any) -> Any:
    """The JSON type of every member, numbers taken as one."""
    if isinstance(body, dict):
        return {key: kinds(value) for key, value in body.items()}
    return "number" if type(body) in (int, float) else type(body).__name__


def test_the_account_has_the_61_published_keys_with_their_types() -> None:
    entity, page = account_entity(PAPER, HELD), published("account")
    assert set(entity) == set(page)
    assert len(entity) == 61
    assert kinds(entity) == kinds(page)


def test_the_amounts_of_an_account_are_its_balances_at_known_rates() -> None:
    """A currency without a rate counts as nothing."""
    entity = account_entity(PAPER, HELD)
    assert entity["usd_amount"] == "5000.6"
    assert entity["btc_amount"] == "0.0625075"
    assert entity["primary_display_currency_amount"] == {"currency": "USD", "amount": "5000.6"}


def test_a_paper_account_says_so() -> None:
    entity = account_entity(PAPER, HELD)
    assert entity["market_code"] == "paper_trading"
    assert entity["exchange_name"] == "Paper trading account"
    assert entity["pretty_display_type"] == "PaperTrading"
    assert entity["market_icon"].endswith("paper_trading.png")
    assert entity["fast_convert_available"] is False
    assert entity["smart_trading_supported"] is True


def test_invalid_keys_are_visible() -> None:
    entity = account_entity(PAPER, HELD, key_invalid=True)
    assert (entity["api_keys_state"], entity["api_key_invalid"]) == ("expired", True)


def test_the_summary_has_the_shape_of_an_account() -> None:
    """api.md D3.2."""
    entity = summary_entity([PAPER], [*HELD, *HELD])
    assert set(entity) == set(account_entity(PAPER, HELD))
    assert (entity["id"], entity["name"], entity["market_code"]) == (0, "Summary", "summary")
    assert entity["usd_amount"] == "10001.2"


def test_the_pie_chart_is_sorted_and_shaped_as_published() -> None:
    slices = pie_chart(5, HELD)
    assert [part["code"] for part in slices] == ["BTC", "USDT", "DOGE", "XYZ"]
    assert kinds(slices[0]) == kinds(published("pie_chart")[0])
    assert slices[0]["percentage"] == slices[0]["y"] == 79.99
    assert slices[1]["amount"] == 1000.0
    assert slices[2]["btc_value"] == "0.0000075"
    assert slices[2]["name"] == "Dogecoin (DOGE)"
    assert slices[3]["usd_value"] == "0.0"


def test_the_table_is_shaped_as_published() -> None:
    rows = account_table(5, HELD, RATES.get, {"DOGE": D("-4.886")}.get)
    assert kinds(rows[0]) == kinds(published("account_table")[0])
    dollar = rows[1]
    assert (dollar["position"], dollar["position_available"], dollar["on_orders"]) == (1000.0, 900.0, 100.0)
    assert dollar["current_price"] == 0.0000125
    assert rows[2]["day_change_percent_usd"] == -4.886
    assert rows[0]["current_price"] == 1.0


def test_an_account_without_rates_is_worth_nothing_and_divides_by_nothing() -> None:
    held = holdings({"DOGE": Balance(D(3), D(0))}, {}.get)
    assert account_entity(PAPER, held)["btc_amount"] == "0.0"
    assert pie_chart(5, held)[0]["percentage"] == 0.0
    assert account_table(5, held, {}.get, {}.get)[0]["current_price"] == 0.0


def test_the_market_list_is_shaped_as_published_and_asks_keys_only_for_exchanges() -> None:
    """api.md D4.1."""
    listed = market_list(["binance", "binance_futures", "paper_trading", "unknown"])
    assert [market["market_code"] for market in listed] == ["binance", "binance_futures", "paper_trading"]
    page = published("market_list")[0]
    assert kinds(listed[0]) == kinds(page)
    assert listed[0]["form_fields"] == page["form_fields"]
    assert listed[2]["form_fields"]["required"] == []


QUOTE = Quote(key=InstrumentKey("binance", "USDT_BTC"), bid=D("63802.44"), ask=D("63802.45"), last=D("63802.44"), at=0)


def test_currency_rates_repeat_the_published_figures() -> None:
    """D4.3; multipliers of the price band are limits that this server does not know."""
    rules = instrument(
        "USDT_BTC",
        "0.01",
        "0.00001",
        min_total=D(5),
        min_market_total=D(5),
        max_total=D(9000000),
        max_lot=D(9000),
        max_market_lot=D("121.22278732"),
        min_price=D("0.01"),
        max_price=D(1000000),
    )
    page = {key: value for key, value in published("currency_rates").items() if "Multiplier" not in key}
    assert currency_rates(rules, QUOTE) == page


def test_limits_that_a_market_lacks_are_absent() -> None:
    rates = currency_rates(instrument("USDT_BTC", "0.01", "0.00001"), QUOTE)
    assert not {"minPrice", "maxPrice", "maxLotSize", "maxMarketBuyAmount", "maxMarketSellAmount", "maxTotal"} & set(
        rates
    )
    assert None not in rates.values()


def test_leverage_data_is_shaped_as_published() -> None:
    """D3.12."""
    perpetual = instrument("USDT_BTCUSDT", "0.01", kind=MarketKind.LINEAR, max_leverage=D(25))
    entries = leverage_data(perpetual)
    page = published("leverage_data")
    assert [(entry["code"], entry["name"]) for entry in entries] == [(entry["code"], entry["name"]) for entry in page]
    assert entries[0] == page[0]
    assert entries[1] == {**page[1], "max_leverage": "25.0", "valid": {"min": "1.0", "max": "25.0"}}
    assert leverage_data(instrument("USDT_BTC", "0.01")) == []


def test_rates_with_leverage_show_the_least_as_a_number() -> None:
    """D4.4."""
    perpetual = instrument("USDT_BTCUSDT", "0.01", kind=MarketKind.LINEAR, max_leverage=D(25))
    rates = currency_rates_with_leverage_data(perpetual, QUOTE)
    page = published("currency_rates_with_leverage_data")
    assert rates["instrumentKind"] == "linear_futures"
    assert page["leverage_data"][0] in rates["leverage_data"]
    assert {"minMarketBuyAmount", "minMarketSellAmount"} <= set(rates)


@pytest.mark.parametrize("body", [account_entity(PAPER, HELD), pie_chart(5, HELD), market_list(["binance"])])
def test_account_entities_can_be_written_as_json_at_once(body: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(body)) == body
