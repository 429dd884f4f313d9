"""The proof: a trade's stored inputs, worked in again, give the stored trade to the last bit (architecture 3)."""

import hashlib
from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from smarttrade.domain.draft import Context
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.machine import handle
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.journal import JournalledInput


def replay(
    inputs: Iterable[JournalledInput], instrument_of: Callable[[int], Instrument], instance: str
) -> SmartTrade | None:
    """The trade that `inputs`, oldest first, lead to; None without any.

    instrument_of  trading rules by stored version
    instance       the four letters of the installation, as in its client order ids
    """
    trade: SmartTrade | None = None
    for given in inputs:
        context = Context(
            now=given.at,
            instrument=instrument_of(given.instrument_version),
            quote=given.quote,
            quote_is_fresh=given.quote_is_fresh,
            usd_rate=given.usd_rate,
            instance=instance,
            first_id=given.first_id,
            protect_partial_entry=given.protect_partial_entry,
            breakeven_covers_exit_fee=given.breakeven_covers_exit_fee,
        )
        trade = handle(trade, given.input, context, given.trade_id).trade
    return trade


_encode = msgspec.json.Encoder(order="deterministic").encode


def digest(trade: SmartTrade) -> str:
    """SHA-256 over everything that a trade is, but for the number of inputs that it took, as hexadecimal digits."""
    return hashlib.sha256(_encode(replace(trade, revision=0))).hexdigest()


def digest_of_all(trades: Iterable[SmartTrade]) -> str:
    """SHA-256 over the digests of trades in the order of their ids."""
    whole = hashlib.sha256()
    for trade in sorted(trades, key=lambda trade: trade.id):
        whole.update(f"{trade.id}:{digest(trade)};".encode())
    return whole.hexdigest()
