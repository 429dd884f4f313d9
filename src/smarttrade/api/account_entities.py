"""Accounts, their balances, markets and rates in wire form (entities.md 3, api.md D3 and D4).

Amounts are decimal strings, except where the published entities have JSON numbers (pie chart, table): those are for
display, and nothing here computes with them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from smarttrade.api.legs import text
from smarttrade.api.markets import MARKETS, Market, market_name
from smarttrade.api.notation import decimal_text, timestamp
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import Instrument, MarketKind
from smarttrade.domain.money import HUNDRED, ONE, ZERO, half_up
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import Quote
from smarttrade.ports.exchange import Balance

Entity = dict[str, Any]
RateOf = Callable[[str], Decimal | None]
"""USD per unit of a currency; None when unknown."""

DISPLAY_CURRENCY: Final = "USD"
SUMMARY: Final = "summary"
BITCOIN: Final = "BTC"
BTC_PLACES: Final = 8
USD_PLACES: Final = 2
QUOTIENT_PLACES: Final = 36
AUTO_BALANCE_HOURS: Final = 12

CURRENCY_NAMES: Final[Mapping[str, str]] = {
    "1INCH": "1inch Network",
    "ADA": "Cardano",
    "BNB": "BNB",
    "BTC": "Bitcoin",
    "BUSD": "Binance USD",
    "DOGE": "Dogecoin",
    "ETH": "Ethereum",
    "LTC": "Litecoin",
    "SOL": "Solana",
    "TRX": "TRON",
    "USDC": "USD Coin",
    "USDT": "Tether USDt",
    "XRP": "XRP",
}
"""Names that pie and table show; an unlisted currency is shown by its code."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One currency of an account, valued. Unknown rates count as nothing."""

    currency: str
    free: Decimal
    locked: Decimal
    usd_rate: Decimal
    usd: Decimal
    btc: Decimal

    @property
    def amount(self) -> Decimal:
        return self.free + self.locked


def holdings(balances: Mapping[str, Balance], rate_of: RateOf) -> list[Holding]:
    """The currencies that an account holds, most valuable first."""
    bitcoin = rate_of(BITCOIN)
    found = []
    for currency, balance in balances.items():
        if balance.total == 0:
            continue
        rate = rate_of(currency)
        usd = ZERO if rate is None else balance.total * rate
        found.append(
            Holding(
                currency=currency,
                free=balance.free,
                locked=balance.locked,
                usd_rate=ZERO if rate is None else rate,
                usd=usd,
                btc=_in_bitcoin(currency, balance.total, usd, bitcoin),
            )
        )
    return sorted(found, key=lambda holding: (-holding.usd, holding.currency))


def _in_bitcoin(currency: str, amount: Decimal, usd: Decimal, bitcoin: Decimal | None) -> Decimal:
    """`amount` of a currency, worth `usd`, in BTC at `bitcoin` USD each; nothing when that rate is unknown."""
    if currency == BITCOIN:
        return amount
    return ZERO if bitcoin is None or bitcoin == 0 else half_up(usd / bitcoin, QUOTIENT_PLACES)


# --- account ----------------------------------------------------------------------------------------------------


def account_entity(account: Account, held: Iterable[Holding], *, key_invalid: bool = False) -> Entity:
    """The Account entity (entities.md 3). `held`: from `holdings`; `key_invalid`: the exchange refuses the keys."""
    market = MARKETS.get(account.type)
    usd, btc = _totals(held)
    identity = {
        "id": account.id,
        "name": account.name,
        "market_code": account.type,
        "exchange_name": market_name(account.type),
        "pretty_display_type": account.type if market is None else market.class_name,
        "market_icon": "" if market is None else market.icon,
        "created_at": timestamp(account.created_at),
        "updated_at": timestamp(account.updated_at),
        "api_keys_state": "expired" if key_invalid else "ok",
        "api_key_invalid": key_invalid,
        "include_in_summary": account.include_in_summary,
        "hedge_mode_available": False,
        "hedge_mode_enabled": False,
        "supported_market_types": ["futures" if "futures" in account.market else "spot"],
    }
    return {**identity, **_CAPABILITIES, **_UNTRACKED, **_amounts(usd, btc)}


def summary_entity(accounts: Sequence[Account], held: Iterable[Holding]) -> Entity:
    """The aggregate of all accounts that are included in it, in the shape of an account (api.md D3.2)."""
    usd, btc = _totals(held)
    first = min((account.created_at for account in accounts), default=0)
    last = max((account.updated_at for account in accounts), default=0)
    identity = {
        "id": 0,
        "name": "Summary",
        "market_code": SUMMARY,
        "exchange_name": SUMMARY,
        "pretty_display_type": SUMMARY,
        "market_icon": "",
        "created_at": timestamp(first),
        "updated_at": timestamp(last),
        "api_keys_state": "ok",
        "api_key_invalid": False,
        "include_in_summary": True,
        "hedge_mode_available": False,
        "hedge_mode_enabled": False,
        "supported_market_types": ["spot"],
    }
    return {**identity, **_CAPABILITIES, **_UNTRACKED, **_amounts(usd, btc)}


_CAPABILITIES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(
        (
            "smart_trading_supported",
            "smart_selling_supported",
            "trading_supported",
            "stats_supported",
            "market_buy_supported",
            "market_sell_supported",
            "conditional_buy_supported",
            "available_include_in_summary",
        ),
        True,
    ),
    **dict.fromkeys(
        (
            "bots_allowed",
            "bots_ttp_allowed",
            "bots_tsl_allowed",
            "gordon_bots_available",
            "multi_bots_allowed",
            "grid_bots_allowed",
            "fast_convert_available",
            "deposit_enabled",
            "is_locked",
            "autobalance_enabled",
        ),
        False,
    ),
    "available_for_trading": {},
    "auto_balance_period": AUTO_BALANCE_HOURS,
}
_UNTRACKED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(
        (
            "lock_reason",
            "auto_balance_portfolio_id",
            "auto_balance_portfolio",
            "auto_balance_currency_change_limit",
            "auto_balance_method",
            "auto_balance_error",
            "last_auto_balance",
            "customer_id",
            "subaccount_name",
        )
    ),
    **dict.fromkeys(
        (
            "day_profit_btc",
            "day_profit_usd",
            "day_profit_btc_percentage",
            "day_profit_usd_percentage",
            "btc_profit",
            "usd_profit",
            "btc_profit_percentage",
            "usd_profit_percentage",
            "total_btc_profit",
            "total_usd_profit",
        ),
        "0.0",
    ),
    **{
        key: {"currency": DISPLAY_CURRENCY, "amount": "0.0"}
        for key in (
            "primary_display_currency_profit",
            "primary_display_currency_profit_percentage",
            "day_profit_primary_display_currency",
            "day_profit_primary_display_currency_percentage",
        )
    },
    "total_primary_display_currency_profit": {"currency": DISPLAY_CURRENCY, "amount": 0.0},
}
"""What this server does not track: profits over time, portfolios."""


def _amounts(usd: Decimal, btc: Decimal) -> Entity:
    return {
        "usd_amount": decimal_text(usd),
        "btc_amount": decimal_text(btc),
        "primary_display_currency_amount": {"currency": DISPLAY_CURRENCY, "amount": decimal_text(usd)},
    }


def _totals(held: Iterable[Holding]) -> tuple[Decimal, Decimal]:
    usd = btc = ZERO
    for holding in held:
        usd += holding.usd
        btc += holding.btc
    return usd, btc


# --- balances ---------------------------------------------------------------------------------------------------


def pie_chart(account_id: int, held: Sequence[Holding]) -> list[Entity]:
    """Elements of entities.md 3.1, largest first."""
    total, _ = _totals(held)
    return [_slice(account_id, holding, _share(holding, total)) for holding in held]


def _slice(account_id: int, holding: Holding, share: Decimal) -> Entity:
    percentage = float(half_up(share, USD_PLACES))
    return {
        "code": holding.currency,
        "coinmarketcapid": "",
        "name": f"{currency_name(holding.currency)} ({holding.currency})",
        "y": percentage,
        "percentage": percentage,
        "amount": float(holding.amount),
        "btc_value": decimal_text(half_up(holding.btc, BTC_PLACES)),
        "usd_value": decimal_text(half_up(holding.usd, USD_PLACES)),
        "primary_display_currency": {"currency": DISPLAY_CURRENCY, "amount": decimal_text(holding.usd)},
        "account_id": account_id,
    }


def account_table(
    account_id: int, held: Sequence[Holding], rate_of: RateOf, change_of: Callable[[str], Decimal | None]
) -> list[Entity]:
    """Elements of entities.md 3.2. `change_of`: day change of a currency against USD in percent; None: unknown."""
    total, _ = _totals(held)
    bitcoin = rate_of(BITCOIN)
    return [_row(account_id, holding, _share(holding, total), bitcoin, change_of(holding.currency)) for holding in held]


def _row(account_id: int, holding: Holding, share: Decimal, bitcoin: Decimal | None, change: Decimal | None) -> Entity:
    day_change = 0.0 if change is None else float(change)
    return {
        "currency_code": holding.currency,
        "currency_name": currency_name(holding.currency),
        "currency_icon": "",
        "currency_slug": currency_name(holding.currency).lower().replace(" ", "-"),
        "percentage": float(share),
        "position": float(holding.amount),
        "position_available": float(holding.free),
        "position_type": 0,
        "borrowed": 0,
        "on_orders": float(holding.locked),
        "on_orders_with_leverage": 0,
        "on_orders_long": 0,
        "on_orders_short": 0,
        "equity": float(holding.amount),
        "current_price": float(_in_bitcoin(holding.currency, ONE, holding.usd_rate, bitcoin)),
        "current_price_usd": float(holding.usd_rate),
        "day_change_percent": day_change,
        "day_change_percent_btc": 0.0,
        "day_change_percent_usd": day_change,
        "btc_value": float(holding.btc),
        "usd_value": float(holding.usd),
        "available_long": 0,
        "available_short": 0,
        "available_with_leverage_long": 0,
        "available_with_leverage_short": 0,
        "account_id": account_id,
        "is_wallet": False,
    }


def _share(holding: Holding, total: Decimal) -> Decimal:
    return ZERO if total == 0 else holding.usd / total * HUNDRED


def currency_name(code: str) -> str:
    return CURRENCY_NAMES.get(code, code)


# --- markets and rates ------------------------------------------------------------------------------------------


def market_list(codes: Iterable[str]) -> list[Entity]:
    """The markets that this installation offers, by code (api.md D4.1); unknown codes are left out."""
    return [_market(MARKETS[code]) for code in codes if code in MARKETS]


def _market(market: Market) -> Entity:
    fields = [
        {"field": "secret", "localized_name": "API Secret:"},
        {"field": "api_key", "localized_name": "API Key:"},
    ]
    return {
        "market_name": market.name,
        "market_url": market.url,
        "market_icon": market.icon,
        "help_link": "",
        "market_code": market.code,
        "form_fields": {"required": fields if market.needs_keys else [], "optional": []},
        "available_connection_flows": ["form"],
        "third_party_allowed": False,
        "trusted_ips": [],
        "trusted_ips_input_type": "inline",
        "fast_connect_action_name": market.code,
    }


def currency_rates(instrument: Instrument, quote: Quote) -> Entity:
    """Prices and limits of a pair (api.md D4.3). Limits that the market lacks are absent."""
    entity = {
        **_prices(quote),
        "orderbook_price_currency": instrument.quote,
        "strategy_name": "orderbook_price",
        "contract_strategy_name": "orderbook_price",
        "instrumentKind": "linear_futures" if instrument.is_linear else "spot",
        "priceStep": decimal_text(instrument.tick),
        "minLotSize": decimal_text(instrument.min_lot),
        "lotStep": decimal_text(instrument.lot),
        "minTotal": decimal_text(instrument.min_total),
        "minMarketTotal": decimal_text(instrument.min_market_total),
    }
    limits = {
        "minPrice": instrument.min_price,
        "maxPrice": instrument.max_price,
        "maxLotSize": instrument.max_lot,
        "maxMarketBuyAmount": instrument.max_market_lot,
        "maxMarketSellAmount": instrument.max_market_lot,
        "maxTotal": instrument.max_total,
    }
    return {**entity, **{key: text(value) for key, value in limits.items() if value is not None}}


def currency_rates_with_leverage_data(instrument: Instrument, quote: Quote) -> Entity:
    """`currency_rates`, the leverage that the pair allows, and the least of a market order (api.md D4.4)."""
    least = decimal_text(instrument.min_lot)
    return {
        **currency_rates(instrument, quote),
        "leverage_data": [_leverage_with_rates(entry) for entry in leverage_data(instrument)],
        "minMarketBuyAmount": least,
        "minMarketSellAmount": least,
    }


def _prices(quote: Quote) -> Entity:
    last, bid, ask = decimal_text(quote.last), decimal_text(quote.bid), decimal_text(quote.ask)
    return {
        "last": last,
        "bid": bid,
        "ask": ask,
        "orderbook_ask": ask,
        "orderbook_bid": bid,
        "orderbook_last": last,
    }


def leverage_data(instrument: Instrument) -> list[Entity]:
    """Margin modes of a pair and their leverage (api.md D3.12); none on spot."""
    if instrument.kind is not MarketKind.LINEAR:
        return []
    most = decimal_text(instrument.max_leverage)
    modes = [(mode.value, mode.value.capitalize()) for mode in (MarginMode.CROSS, MarginMode.ISOLATED)]
    return [
        _leverage("none", "Not specified", None),
        *(_leverage(code, name, most) for code, name in modes),
    ]


def _leverage(code: str, name: str, most: str | None) -> Entity:
    return {
        "code": code,
        "name": name,
        "can_set_leverage_value": most is not None,
        "max_leverage": most,
        "available_leverage_values": [],
        "valid": {} if most is None else {"min": "1.0", "max": most},
    }


def _leverage_with_rates(entry: Entity) -> Entity:
    """Beside the rates, the least leverage is a JSON number (api.md D4.4)."""
    return {**entry, "valid": {**entry["valid"], "min": 1}} if entry["valid"] else entry
