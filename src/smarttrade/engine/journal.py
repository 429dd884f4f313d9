"""What is written down of every input of a trade, so that the trade can be proved from it (engine/replay.py)."""

from decimal import Decimal

import msgspec

from smarttrade.domain.commands import Command
from smarttrade.domain.events import TradeEvent
from smarttrade.domain.quote import Instant, Quote


class JournalledInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input of one trade with all that its outcome depended on: replaying it gives the same state."""

    trade_id: int
    number: int  # 1, 2, 3 ... within the trade: its revision after the input
    at: Instant
    input: Command | TradeEvent
    quote: Quote | None  # the market that the rules saw
    instrument_version: int  # the trading rules that the rules saw
    first_id: int  # next free step id before the input
    quote_is_fresh: bool = True  # young enough for a decision (TR-6)
    usd_rate: Decimal | None = None  # quote asset in USD, for a profit that is frozen (M-45)
    protect_partial_entry: bool = True  # settings then, for the input that creates a trade (P-18, BE-3)
    breakeven_covers_exit_fee: bool = False
