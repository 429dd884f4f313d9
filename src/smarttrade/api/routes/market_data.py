"""What can be traded, and at which prices (api.md D4). Nobody has to sign for it.

Accounts show the market code `paper_trading` whatever market they simulate, and clients ask with the code that they
read there: it stands for all markets together, the default one first.
"""

from collections.abc import Sequence
from typing import Final

from smarttrade.api.account_entities import currency_rates, currency_rates_with_leverage_data, market_list
from smarttrade.api.errors import unknown_pair
from smarttrade.api.markets import MARKETS
from smarttrade.api.parameters import Parameters
from smarttrade.api.routing import Answer, Call, RouteTable, Security
from smarttrade.api.services import Services
from smarttrade.domain.account import PAPER_TRADING
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import InstrumentKey, Quote

TAG: Final = "Market data"

DEFAULT_MARKET: Final = "binance"
"""Market that a paper account simulates unless its owner chooses another."""

CONNECTABLE: Final = {PAPER_TRADING: PAPER_TRADING}
"""Types of accounts that this installation can trade."""

LIMIT_TYPES: Final = {"bot": "bot", "smart_trade": "smart_trade"}


class MarketData:
    """Handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def markets(self, _: Call) -> Answer:
        """D4.1."""
        return Answer(market_list(CONNECTABLE))

    def pairs(self, call: Call) -> Answer:
        """D4.2."""
        params = Parameters(call.params)
        if not params.has("market_code") and params.has("pretty_display_type"):
            classes = {MARKETS[code].class_name: code for code in self._codes() if code in MARKETS}
            code = params.required_choice("pretty_display_type", classes)
        else:
            code = self._code(params)
        params.finish()
        markets = frozenset(self._markets(code))
        return Answer(sorted({key.pair for key in self._services.rules() if key.market in markets}))

    def rates(self, call: Call) -> Answer:
        """D4.3."""
        return Answer(currency_rates(*self._priced(call)))

    def rates_with_leverage(self, call: Call) -> Answer:
        """D4.4."""
        return Answer(currency_rates_with_leverage_data(*self._priced(call)))

    def _priced(self, call: Call) -> tuple[Instrument, Quote]:
        """Rules and price of the pair that is asked for. Raises ApiError (404) when either is unknown."""
        params = Parameters(call.params)
        code = self._code(params)
        pair = params.required_text("pair")
        params.choice("limit_type", LIMIT_TYPES)  # bots and SmartTrades have the same limits here
        params.finish()
        rules = self._services.rules()
        for market in self._markets(code):
            key = InstrumentKey(market, pair)
            quote = self._services.market.latest(key) if key in rules else None
            if quote is not None:
                return rules[key], quote
        raise unknown_pair()

    def _code(self, params: Parameters) -> str:
        return params.required_choice("market_code", {code: code for code in self._codes()})

    def _codes(self) -> Sequence[str]:
        return (*markets(self._services), PAPER_TRADING)

    def _markets(self, code: str) -> Sequence[str]:
        return markets(self._services) if code == PAPER_TRADING else (code,)


def markets(services: Services) -> Sequence[str]:
    """Codes of the markets that list pairs, the default one first."""
    listed = {key.market for key in services.rules()}
    return sorted(listed, key=lambda code: (code != DEFAULT_MARKET, code))


def routes(services: Services) -> RouteTable:
    """The routes of section D4."""
    table, data = RouteTable("/public/api"), MarketData(services)
    for path, handler, summary, asks, answers, errors in (
        ("/ver1/accounts/market_list", data.markets, "Types of accounts that can be opened", None, "MarketList", ()),
        ("/ver1/accounts/market_pairs", data.pairs, "Pairs of a market", "MarketQuery", "PairList", (400,)),
        ("/v2/accounts/market_pairs", data.pairs, "Pairs of a market (older path)", "MarketQuery", "PairList", (400,)),
        (
            "/ver1/accounts/currency_rates",
            data.rates,
            "Prices and limits of a pair",
            "RatesQuery",
            "CurrencyRates",
            (400, 404),
        ),
        (
            "/ver1/accounts/currency_rates_with_leverage_data",
            data.rates_with_leverage,
            "Prices, limits and leverage of a pair",
            "RatesQuery",
            "CurrencyRatesWithLeverage",
            (400, 404),
        ),
    ):
        table.route(
            "GET",
            path,
            security=Security.NONE,
            tag=TAG,
            summary=summary,
            request_schema=asks,
            response_schema=answers,
            error_statuses=errors,
        )(handler)
    return table
