"""Prices of a simulated world: a handful of pairs, each going through one regime after the other.

In calm times a pair is quoted every few minutes, in a storm every second or so; 24 hours of a whole world are some
thousands of updates. Chance is used with the four basic operations only, so a seed gives the same prices everywhere.
"""

import enum
import heapq
import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Final

import msgspec

from smarttrade.adapters.market_data.recording import MILLISECOND, RecordedInstrument, Recording
from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind
from smarttrade.domain.money import ZERO, ceil_to, half_up_to
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote
from smarttrade.ports.market_data import MarketUpdate, Print
from smarttrade.simulation.chance import between, likely

SPOT_MARKET: Final = "binance"
LINEAR_MARKET: Final = "binance_futures"
MINUTE: Final[Instant] = 60 * SECOND


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that a world may list."""

    instrument: Instrument
    price: Decimal  # about where it begins, and what it wanders around
    follows: InstrumentKey  # whose recording it repeats in its recorded spells


D = Decimal
RECORDED_BTC: Final = InstrumentKey(SPOT_MARKET, "USDT_BTC")
RECORDED_ETH: Final = InstrumentKey(SPOT_MARKET, "USDT_ETH")
RECORDED_PERPETUAL: Final = InstrumentKey(LINEAR_MARKET, "USDT_BTCUSDT")


def _spot(base: str, quote: str, price: str, follows: InstrumentKey, **rules: str | FeeAsset | None) -> Listing:
    return _listing(InstrumentKey(SPOT_MARKET, f"{quote}_{base}"), MarketKind.SPOT, base, quote, price, follows, rules)


def _linear(base: str, quote: str, price: str, follows: InstrumentKey, **rules: str | FeeAsset | None) -> Listing:
    key = InstrumentKey(LINEAR_MARKET, f"{quote}_{base}{quote}")
    rules = {"maker_fee": "0.0002", "taker_fee": "0.0005", "fee_in": FeeAsset.QUOTE, **rules}
    return _listing(key, MarketKind.LINEAR, base, quote, price, follows, rules)


def _listing(
    key: InstrumentKey, kind: MarketKind, base: str, quote: str, price: str, follows: InstrumentKey,
    rules: Mapping[str, str | FeeAsset | None],
) -> Listing:  # fmt: skip
    described = {"key": key, "kind": kind, "base": base, "quote": quote, **rules}
    instrument = msgspec.convert(described, Instrument, from_attributes=True)
    return Listing(instrument=instrument, price=D(price), follows=follows)


BASE, QUOTE = FeeAsset.BASE, FeeAsset.QUOTE
LISTINGS: Final = (
    _spot("BTC", "USDT", "60000", RECORDED_BTC, tick="0.01", lot="0.00001", min_lot="0.00001", min_total="5",
          min_market_total="5", max_market_lot="0.03", max_lot="9000", max_price="1000000", fee_in=BASE),
    _spot("ETH", "USDT", "2600", RECORDED_ETH, tick="0.01", lot="0.0001", min_lot="0.0001", min_total="5",
          min_market_total="5", max_market_lot="1.5", max_total="9000000", fee_in=BASE),
    _spot("ETH", "BTC", "0.0432", RECORDED_ETH, tick="0.00001", lot="0.001", min_lot="0.001", min_total="0.0001",
          min_market_total="0.0001", max_market_lot="2", fee_in=BASE),
    _spot("DOGE", "USDT", "0.1034", RECORDED_ETH, tick="0.0001", lot="1", min_lot="1", min_total="10",
          min_market_total="10", max_market_lot="20000", max_price="1000", fee_in=QUOTE),
    _spot("ODD", "USDT", "7.15", RECORDED_BTC, tick="0.025", lot="0.7", min_lot="1.4", min_total="5",
          min_market_total="1", maker_fee="0", taker_fee="0.002", fee_in=BASE),
    _spot("FREE", "USDT", "19.6", RECORDED_ETH, tick="0.01", lot="0.1", min_lot="0.1", min_total="0",
          min_market_total="0", maker_fee="0", taker_fee="0", fee_in=QUOTE),
    _linear("BTC", "USDT", "60000", RECORDED_PERPETUAL, tick="0.1", lot="0.001", min_lot="0.001", min_total="100",
            min_market_total="100", max_market_lot="0.05", max_leverage="125", maintenance_rate="0.004"),
    _linear("ODD", "USDT", "0.714", RECORDED_PERPETUAL, tick="0.001", lot="3", min_lot="3", min_total="5",
            min_market_total="5", max_market_lot="3000", max_leverage="20", maintenance_rate="0.025"),
    _linear("WILD", "USDT", "31.7", RECORDED_ETH, tick="0.05", lot="0.1", min_lot="0.1", min_total="5",
            min_market_total="5", max_leverage="50", maintenance_rate="0.01"),
)  # fmt: skip
"""Real figures and invented ones. Largest market lots are small, so that big orders have to be split (EX-16); `ODD` has
steps that are no power of ten; `FREE` takes no commission and has no minimums."""

_BY_KEY: Final = {listing.instrument.key: listing for listing in LISTINGS}


def list_pairs(chance: random.Random) -> dict[InstrumentKey, Instrument]:
    """Four to six pairs, at least two of each market."""
    spot = [listing.instrument for listing in LISTINGS if not listing.instrument.is_linear]
    linear = [listing.instrument for listing in LISTINGS if listing.instrument.is_linear]
    chosen = chance.sample(spot, chance.randint(2, 4)) + chance.sample(linear, 2)
    return {instrument.key: instrument for instrument in chosen}


def opening_balances(market: str, instruments: Mapping[InstrumentKey, Instrument]) -> dict[str, Decimal]:
    """Coins for an account on `market`: enough for dozens of ordinary trades, not for the largest ones."""
    balances: dict[str, Decimal] = {}
    for key in _BY_KEY:
        if key.market != market or key not in instruments:
            continue
        instrument = instruments[key]
        balances[instrument.quote] = D(2) if instrument.quote == "BTC" else D(100_000)
    for key, listing in _BY_KEY.items():
        if key.market == market and key in instruments and not listing.instrument.is_linear:
            worth = D(2) if listing.instrument.quote == "BTC" else D(100_000)
            coins = ceil_to(worth / listing.price, instruments[key].lot)
            balances[listing.instrument.base] = max(balances.get(listing.instrument.base, ZERO), coins)
    return balances


class Regime(enum.StrEnum):
    """How a pair behaves for a spell."""

    CALM = "calm"  # small steps both ways, minutes apart
    FLAT = "flat"  # the same quote again and again
    TRENDING = "trending"  # small steps, mostly one way
    GAPPING = "gapping"  # quiet, with sudden jumps
    CRASHING = "crashing"  # seconds apart, far one way, then some way back
    WHIPSAW = "whipsaw"  # seconds apart, up and down around one price
    RECORDED = "recorded"  # what a real market did within some seconds


WEIGHTS: Final[Mapping[Regime, int]] = {
    Regime.CALM: 28,
    Regime.FLAT: 8,
    Regime.TRENDING: 20,
    Regime.GAPPING: 12,
    Regime.CRASHING: 7,
    Regime.WHIPSAW: 7,
    Regime.RECORDED: 6,
}

STEP: Final = 0.0035
"""Standard size of a step in calm times, as a fraction of the price: about 5 % in a day."""

LEAST_TICKS: Final = 60
"""A price is never below so many ticks, so that levels keep apart."""


class Move(msgspec.Struct, frozen=True):
    """One step of a pair."""

    after: Instant
    by: float  # fraction of the price


class PairPath:
    """The prices of one pair, from one spell to the next."""

    def __init__(self, chance: random.Random, instrument: Instrument, start: Instant) -> None:
        listing = _BY_KEY.get(instrument.key)
        self.instrument: Final = instrument
        self.regime: Regime = Regime.CALM
        self._chance: Final = chance
        self._follows: Final = RECORDED_BTC if listing is None else listing.follows
        usual = instrument.tick * 10_000 if listing is None else listing.price
        self._usual: Final = max(int(usual / instrument.tick), 2 * LEAST_TICKS)
        self._now = start
        self._bid = self._usual + round(self._usual * self._between(-0.05, 0.05))  # in ticks
        self._exact = float(self._bid)  # small steps add up, however coarse the tick
        self._last = self._price(self._bid)
        self._thin = False  # sizes are limited for the whole spell

    def updates(self) -> Iterator[MarketUpdate]:
        """One spell after the other, without end. The first quote is a plain one, at the start."""
        yield MarketUpdate(quote=self._quote(self._price(self._bid), self._price(self._bid + 1)))
        while True:
            self.regime = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            yield from self.spell(self.regime)

    def spell(self, regime: Regime) -> Iterator[MarketUpdate]:
        """One spell of `regime`, from where the price stands."""
        self._thin = self._likely(0.15)
        if regime is Regime.RECORDED:
            yield from self._recorded()
        elif regime is Regime.FLAT:
            yield from self._flat()
        else:
            for move in self._moves(regime):
                yield self._moved(move)
                if self._likely(0.008):
                    yield self._bad_quote()

    # how far and when

    def _moves(self, regime: Regime) -> Iterator[Move]:
        match regime:
            case Regime.CALM:
                return self._slow(drift=0.0, noise=STEP)
            case Regime.TRENDING:
                return self._slow(drift=self._direction() * self._between(0.0005, 0.0025), noise=STEP / 2)
            case Regime.GAPPING:
                return self._gapping()
            case Regime.CRASHING:
                return self._crashing()
            case _:
                return self._whipsaw()

    def _slow(self, drift: float, noise: float) -> Iterator[Move]:
        ends = self._now + int(self._between(20, 100) * MINUTE)
        while self._now < ends:
            yield Move(self._minutes(), drift + noise * self._bell())

    def _gapping(self) -> Iterator[Move]:
        ends = self._now + int(self._between(20, 60) * MINUTE)
        while self._now < ends:
            jump = self._direction() * self._between(0.005, 0.03) if self._likely(0.2) else 0.0
            yield Move(self._minutes(), jump + STEP / 4 * self._bell())

    def _crashing(self) -> Iterator[Move]:
        """One way by a few to twenty percent, then between a fifth and two thirds of it back."""
        steps, direction = self._chance.randint(15, 45), self._direction()
        size = self._between(0.001, 0.006)
        for _ in range(steps):
            yield Move(self._moment(), direction * size * self._between(-0.2, 2.2))
        back = size * self._between(0.2, 0.65)
        for _ in range(steps // 2):
            yield Move(self._moment(), -direction * back * self._between(-0.2, 2.2))

    def _whipsaw(self) -> Iterator[Move]:
        center, reach = self._bid, self._between(0.002, 0.015)
        for number in range(self._chance.randint(20, 60)):
            side = 1 if number % 2 else -1
            aim = center * (1 + side * reach * self._between(0.1, 1.0))
            yield Move(self._moment(), aim / self._bid - 1)

    def _direction(self) -> int:
        """Up or down; back towards the usual price when it is far from it."""
        up = min(max(0.5 + (self._usual - self._bid) / self._usual, 0.1), 0.9)
        return 1 if self._likely(up) else -1

    def _minutes(self) -> Instant:
        return int(self._between(60, 540) * SECOND)

    def _moment(self) -> Instant:
        return int(self._between(0.05, 2.5) * SECOND)

    # what is quoted

    def _moved(self, move: Move) -> MarketUpdate:
        self._now += move.after
        before = self._bid
        self._exact = max(float(LEAST_TICKS), self._exact * (1 + move.by))
        self._bid = round(self._exact)
        bid = self._price(self._bid)
        if self._likely(0.03):
            bid += self.instrument.tick / 2  # off the tick
        ask = bid + self._spread() * self.instrument.tick
        prints = self._prints(before) if self._likely(0.35) else ()
        self._trade_last(bid, ask, prints)
        return MarketUpdate(quote=self._quote(bid, ask), prints=prints)

    def _flat(self) -> Iterator[MarketUpdate]:
        bid, ends = self._price(self._bid), self._now + int(self._between(15, 60) * MINUTE)
        ask = bid + self._spread() * self.instrument.tick
        while self._now < ends:
            self._now += self._minutes()
            yield MarketUpdate(quote=self._quote(bid, ask))

    def _spread(self) -> int:
        """In ticks: mostly one to three, none now and then, at times a few tenths of a percent."""
        if self._likely(0.03):
            return 0
        if self._likely(0.06):
            return 1 + int(self._bid * self._between(0.0005, 0.005))
        return self._chance.randint(1, 3)

    def _quote(self, bid: Decimal, ask: Decimal) -> Quote:
        bid_size = ask_size = None
        if self._likely(0.7 if self._thin else 0.05):
            bid_size = self._size() if self._likely(0.8) else None
            ask_size = self._size() if self._likely(0.8) else None
        return Quote(
            key=self.instrument.key,
            bid=bid,
            ask=ask,
            last=self._last,
            at=self._now,
            bid_size=bid_size,
            ask_size=ask_size,
        )

    def _trade_last(self, bid: Decimal, ask: Decimal, prints: tuple[Print, ...]) -> None:
        """The last print counts; without one the last price stays behind, or somebody has traded at the quote."""
        if prints:
            self._last = prints[-1].price
        elif self._likely(0.5):
            self._last = bid if self._likely(0.5) else ask

    def _prints(self, before: int) -> tuple[Print, ...]:
        """Trades between the old price and the new one; now and then one that went far through it."""
        printed = []
        for _ in range(self._chance.randint(1, 3)):
            low, high = sorted((before, self._bid + 1))
            ticks = self._chance.randint(low, high)
            if self._likely(0.1):
                ticks = max(1, ticks + round(ticks * self._between(-0.012, 0.012)))
            maker = self._chance.choice((True, False, None))
            price, key = self._price(ticks), self.instrument.key
            printed.append(Print(key=key, price=price, quantity=self._size(), buyer_is_maker=maker))
        return tuple(printed)

    def _size(self) -> Decimal:
        """Base: from one lot, and rarely nothing, to a few times an ordinary order."""
        if self._likely(0.02):
            return ZERO
        most = int(self._worth() / (self._price(self._bid) * self.instrument.lot))
        share = self._between(0, 1)
        return max(1, int(most * share * share)) * self.instrument.lot

    def _worth(self) -> Decimal:
        return D("0.1") if self.instrument.quote == "BTC" else D(6000)

    def _bad_quote(self) -> MarketUpdate:
        """No market (TR-6): a crossed book, or a price that is zero."""
        self._now += self._moment()
        bid, ask, last = self._price(self._bid), self._price(self._bid + 1), self._last
        kind = self._chance.randrange(4)
        if kind == 0:
            bid, ask = ask + self.instrument.tick * self._chance.randint(0, 40), bid
        elif kind == 1:
            bid = ZERO
        elif kind == 2:
            bid = ask = ZERO
        else:
            last = ZERO
        return MarketUpdate(quote=Quote(key=self.instrument.key, bid=bid, ask=ask, last=last, at=self._now))

    # what was recorded

    def _recorded(self) -> Iterator[MarketUpdate]:
        """Some rows of the recording, scaled to the present price."""
        recorded = _recording().instruments[self._follows]
        self._now += self._moment()
        offset = self._chance.choice(recorded.quote_offsets[:-500])
        rows = recorded.updates(offset, self._now - offset * MILLISECOND)
        stride = self._chance.randint(1, 12)
        ratio = self._price(self._bid) / self._standing(recorded, offset)
        for _, update in islice(rows, 0, self._chance.randint(20, 60) * stride, stride):
            yield self._scaled(update, ratio)

    def _standing(self, recorded: RecordedInstrument, offset: int) -> Decimal:
        return recorded.standing(offset, self._now).bid

    def _scaled(self, update: MarketUpdate, ratio: Decimal) -> MarketUpdate:
        """Prices by `ratio` on our tick, sizes by worth on our lot."""
        quote = update.quote
        self._now = max(self._now, quote.at)
        bid = self._on_tick(quote.bid * ratio)
        ask = max(bid, self._on_tick(quote.ask * ratio))
        self._bid = int(bid / self.instrument.tick)
        self._exact = float(self._bid)
        self._last = self._on_tick(quote.last * ratio)
        prints = tuple(
            Print(
                key=self.instrument.key,
                price=self._on_tick(each.price * ratio),
                quantity=self._on_lot(each.quantity, ratio),
                buyer_is_maker=each.buyer_is_maker,
            )
            for each in update.prints
        )
        scaled = Quote(
            key=self.instrument.key,
            bid=bid,
            ask=ask,
            last=self._last,
            at=self._now,
            bid_size=None if quote.bid_size is None else self._on_lot(quote.bid_size, ratio),
            ask_size=None if quote.ask_size is None else self._on_lot(quote.ask_size, ratio),
        )
        return MarketUpdate(quote=scaled, prints=prints)

    def _on_tick(self, price: Decimal) -> Decimal:
        return max(half_up_to(price, self.instrument.tick), LEAST_TICKS * self.instrument.tick)

    def _on_lot(self, quantity: Decimal, ratio: Decimal) -> Decimal:
        return ceil_to(quantity / ratio, self.instrument.lot)

    # chance

    def _price(self, ticks: int) -> Decimal:
        return ticks * self.instrument.tick

    def _likely(self, probability: float) -> bool:
        return likely(self._chance, probability)

    def _between(self, low: float, high: float) -> float:
        return between(self._chance, low, high)

    def _bell(self) -> float:
        """About normally distributed, deviation 1, at most 3."""
        return sum(self._chance.random() for _ in range(12)) / 2 - 3 if self._likely(0.1) else self._between(-1.6, 1.6)


class PricePaths:
    """The prices of a world."""

    def __init__(self, chance: random.Random, instruments: Mapping[InstrumentKey, Instrument], start: Instant) -> None:
        self.instruments: Final = instruments
        self._paths: Final = [
            PairPath(random.Random(chance.random()), instrument, start)  # noqa: S311 - repeatable is the point
            for instrument in instruments.values()
        ]

    def updates(self) -> Iterator[MarketUpdate]:
        """All pairs on one time line, without end; to be called once."""
        return heapq.merge(*(path.updates() for path in self._paths), key=lambda update: update.quote.at)


@cache
def _recording() -> Recording:
    return Recording.shipped()
