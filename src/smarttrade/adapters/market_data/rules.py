"""Trading rules: those of the exchanges, shipped with the package, and those of a pair that nobody has described.

`data/market_rules.csv` holds the rules of Binance spot (market `binance`) and of its USD-M perpetuals (market
`binance_futures`). Where the figures come from is in `data/README.md`.
"""

import csv
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

import msgspec

from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind
from smarttrade.domain.money import ONE, ZERO, floor_to
from smarttrade.domain.quote import InstrumentKey

RULES_FILE: Final = "market_rules.csv"

LINEAR_SUFFIX: Final = "_futures"
"""Markets that end so trade perpetuals unless the caller says otherwise."""

FINEST_STEP: Final = Decimal("0.00000001")
"""Tick and lot of a pair without rules of its own: fine enough to stay out of the way."""


@cache
def load_rules() -> Mapping[InstrumentKey, Instrument]:
    """The shipped rules of every pair. Read once; about 20 ms."""
    lines = resources.files("smarttrade.data").joinpath(RULES_FILE).read_text(encoding="utf-8").splitlines()
    instruments = [_instrument(row) for row in csv.DictReader(lines)]
    return MappingProxyType({instrument.key: instrument for instrument in instruments})


def _instrument(row: Mapping[str, str]) -> Instrument:
    cells: dict[str, object] = {name: text for name, text in row.items() if text}
    cells["key"] = {"market": row["market"], "pair": row["pair"]}
    return msgspec.convert(cells, Instrument)


def undescribed(key: InstrumentKey, kind: MarketKind | None = None) -> Instrument:
    """Rules for a pair that has none: no limits, the finest steps, Binance's ordinary fees.

    `kind` None: linear on a market whose code ends in `_futures`, else spot. Raises ValueError for a pair that is not
    QUOTE_BASE (V-9).
    """
    if kind is None:
        kind = MarketKind.LINEAR if key.market.endswith(LINEAR_SUFFIX) else MarketKind.SPOT
    linear = kind is MarketKind.LINEAR
    quote, _, base = key.pair.partition("_")
    if linear and base != quote:
        base = base.removesuffix(quote)  # USDT_BTCUSDT is a perpetual on BTC
    if not quote or not base:
        raise ValueError(f"{key.pair} is not a pair: write the quote currency, an underscore and the base currency")
    return Instrument(
        key=key,
        kind=kind,
        base=base,
        quote=quote,
        tick=FINEST_STEP,
        lot=FINEST_STEP,
        min_lot=FINEST_STEP,
        min_total=ZERO,
        min_market_total=ZERO,
        maker_fee=Decimal("0.0002") if linear else Decimal("0.001"),
        taker_fee=Decimal("0.0005") if linear else Decimal("0.001"),
        fee_in=FeeAsset.QUOTE if linear else FeeAsset.BASE,
        max_leverage=Decimal(20) if linear else ONE,
        maintenance_rate=Decimal("0.005") if linear else ZERO,
    )


def middle_price(bid: Decimal, ask: Decimal, tick: Decimal) -> Decimal:
    """The last price where nobody has traded: the middle rounded down to the tick, or the bid if that is zero."""
    middle = floor_to((bid + ask) / 2, tick)
    return middle if middle > 0 else bid
