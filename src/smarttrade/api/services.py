"""What the routes work with: the running system, seen from the API. Made by `app.py`, handed to every route table."""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal

import msgspec

from smarttrade.adapters.exchanges.paper.exchange import PaperMarket
from smarttrade.adapters.market_data.sandbox import SandboxMarket
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.ports.directory import Directory
from smarttrade.ports.exchange import Exchange
from smarttrade.ports.market_data import MarketData
from smarttrade.ports.storage import TradeStore
from smarttrade.runtime.runner import Runner
from smarttrade.runtime.view import View


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether stops can fire: what is decided has to be stored, and decided by a price."""

    stores: bool  # False: the last attempt to store failed; nothing is answered or sent until one works
    hears_prices: bool  # False: the source of prices has broken, and is started again soon
    pairs_without_price: int  # of those that somebody watches


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The running system."""

    runner: Runner
    view: View
    store: TradeStore
    directory: Directory
    market: MarketData  # prices, and the instruments that have them
    rules: Callable[[], Mapping[InstrumentKey, Instrument]]  # every pair that is listed, with a price or without
    usd_rate: Callable[[str, str], Decimal | None]  # (market, currency) -> USD (M-42)
    exchange_of: Callable[[Account], Awaitable[Exchange]]  # connects an account on first use
    open_paper_account: Callable[[int, str | None, str, Mapping[str, Decimal]], Awaitable[Account]]
    # (user id, name or None, market, opening balances); an empty mapping: the configured ones
    close_account: Callable[[Account], Awaitable[None]]
    ensure_instrument: Callable[[InstrumentKey], Awaitable[Instrument | None]]
    # makes sure that the engine knows the pair's rules in a stored version; None: unknown pair
    rules_of: Callable[[InstrumentKey], Instrument | None]  # as the engine has them
    encode_trade: Callable[[SmartTrade, Account], bytes]  # the JSON that a read of a trade answers now
    health: Callable[[], Health]
    now: Callable[[], Instant]
    digest: Callable[[], str]  # of all open trades, equal after a restart
    paper: PaperMarket
    sandbox: SandboxMarket | None = None  # only with --market sandbox
