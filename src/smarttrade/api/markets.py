"""The market codes of this installation, as clients see them: names, icons, forms (entities.md 3 and 5.6, D4.1)."""

from collections.abc import Mapping
from typing import Final

import msgspec

from smarttrade.domain.account import PAPER_TRADING


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One market code."""

    code: str
    name: str  # `exchange_name`, `account.market`
    class_name: str  # `pretty_display_type`
    url: str
    icon: str
    needs_keys: bool = True  # an API key and its secret connect an account


MARKETS: Final[Mapping[str, Market]] = {
    market.code: market
    for market in (
        Market(
            code="binance",
            name="Binance Spot",
            class_name="Binance",
            url="https://www.binance.com",
            icon="https://3commas.io/img/exchanges/binance.png",
        ),
        Market(
            code="binance_futures",
            name="Binance Futures USDT-M",
            class_name="BinanceFutures",
            url="https://www.binance.com/en/futures",
            icon="https://3commas.io/img/exchanges/binance.png",
        ),
        Market(
            code=PAPER_TRADING,
            name="Paper trading account",
            class_name="PaperTrading",
            url="",
            icon="https://3commas.io/img/exchanges/paper_trading.png",
            needs_keys=False,
        ),
    )
}


def market_name(code: str) -> str:
    """Display name of a market or account code; an unknown code is shown as it is."""
    market = MARKETS.get(code)
    return code if market is None else market.name
