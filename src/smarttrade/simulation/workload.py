"""The users of a simulated world: what they wish, to which trade, and when.

They see what is committed, so a wish may come too late. Most wishes can be granted; some are nonsense that has to be
denied, and some come in pairs at the same moment, where the second knows nothing of what the first has done.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from smarttrade.domain import permissions
from smarttrade.domain.commands import (
    AddFunds,
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    Command,
    CreateTrade,
    EditTrade,
    ForceProcess,
    ForceStart,
    ReduceFunds,
    SetNote,
    TradeWish,
)
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ONE, ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType, Leverage, MarginMode, SmartTradePlan, TargetPlan, TradeKind
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, PriceType, Quote
from smarttrade.domain.rules import MAX_NOTE, MAX_STEPS
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.simulation.chance import between, likely
from smarttrade.simulation.edits import EditDrawer, repeated
from smarttrade.simulation.plans import PlanDrawer

QuoteOf = Callable[[InstrumentKey], Quote | None]
PositionOf = Callable[[int, InstrumentKey], Decimal]
"""Net futures position of an account in a pair; short is negative."""

KIND_WEIGHTS: Final[Mapping[TradeKind, int]] = {
    TradeKind.SMART_TRADE: 34,
    TradeKind.SMART_COVER: 20,
    TradeKind.SMART_SELL: 14,
    TradeKind.SMART_BUY: 12,
    TradeKind.SIMPLE_BUY: 8,
    TradeKind.SIMPLE_SELL: 8,
}

MIRRORED: Final[Mapping[TradeKind, TradeKind]] = {
    TradeKind.SMART_TRADE: TradeKind.SMART_COVER,
    TradeKind.SMART_COVER: TradeKind.SMART_TRADE,
    TradeKind.SMART_SELL: TradeKind.SMART_BUY,
    TradeKind.SMART_BUY: TradeKind.SMART_SELL,
    TradeKind.SIMPLE_BUY: TradeKind.SIMPLE_SELL,
    TradeKind.SIMPLE_SELL: TradeKind.SIMPLE_BUY,
}
WITH_ENTRY: Final[Mapping[TradeKind, TradeKind]] = {
    TradeKind.SMART_SELL: TradeKind.SMART_TRADE,
    TradeKind.SMART_BUY: TradeKind.SMART_COVER,
}

WISH_WEIGHTS: Final[Mapping[type[TradeWish], int]] = {
    EditTrade: 34,
    AddFunds: 9,
    ReduceFunds: 9,
    CloseAtMarket: 5,
    CancelTrade: 4,
    ForceStart: 5,
    ForceProcess: 5,
    SetNote: 3,
    CloseStepAtMarket: 5,
    CancelStep: 4,
}

BURSTS: Final[Sequence[tuple[type[TradeWish], type[TradeWish]]]] = (
    (CloseAtMarket, EditTrade),
    (EditTrade, CloseAtMarket),
    (CancelTrade, ForceStart),
    (ForceStart, CancelTrade),
    (ForceStart, EditTrade),
    (CloseAtMarket, CancelTrade),
    (EditTrade, EditTrade),
    (EditTrade, CancelTrade),
    (AddFunds, CloseAtMarket),
    (AddFunds, ReduceFunds),
    (AddFunds, AddFunds),
    (ReduceFunds, EditTrade),
    (ReduceFunds, CancelTrade),
    (CloseStepAtMarket, CloseAtMarket),
    (CloseStepAtMarket, EditTrade),
    (CancelStep, CloseStepAtMarket),
    (CloseStepAtMarket, CloseStepAtMarket),
    (ForceProcess, ForceProcess),
)
"""Wishes to one trade at the same moment."""

UNKNOWN_ID: Final = 1_000_000_000

DAY: Final = (2.0, 12.0)
"""Hours for which users wish something every few minutes."""

NIGHT: Final = (4.0, 20.0)
"""Hours between two such days. Trades that nobody looks at are what a server is for: stops that wait, trails that
follow and processes that die have all the time in which no command would set right what was forgotten."""


class Workload:
    """Draws what the users of one world do."""

    def __init__(
        self,
        chance: random.Random,
        accounts: Sequence[tuple[int, str]],
        instruments: Mapping[InstrumentKey, Instrument],
    ) -> None:
        """accounts  id and market of each"""
        self._chance: Final = chance
        self._accounts: Final = accounts
        self._instruments: Final = instruments
        self._plans: Final = PlanDrawer(chance)
        self._edits: Final = EditDrawer(chance, self._plans)
        self._busy: Final = chance.randint(3, 12)  # trades that are open at a time, about
        self._haste: Final = between(chance, 0.5, 1.6)
        self._awake: Instant = self._hours(DAY)  # for so long yet
        self._at_once: deque[Command] = deque()
        self._follows_at_once = False
        self._usual_leverage: dict[tuple[int, InstrumentKey], Leverage | None] = {}

    def pause(self) -> Instant:
        """Time until the next wish: none within a burst, unless the wish before this could not be heard; or a night."""
        if self._follows_at_once:
            self._follows_at_once = False
            return 0
        longest = 60 if likely(self._chance, 0.3) else 540
        pause = int(between(self._chance, longest / 60, longest) * self._haste * SECOND)
        self._awake -= pause
        if self._awake > 0:
            return pause
        self._awake = self._hours(DAY)
        return self._hours(NIGHT)

    def _hours(self, span: tuple[float, float]) -> Instant:
        return int(between(self._chance, *span) * 3600 * SECOND)

    def next_wish(self, trades: Mapping[int, SmartTrade], quote_of: QuoteOf, position_of: PositionOf) -> Command | None:
        """The next wish; None when nothing can be wished now.

        trades  committed ones, by id: those that are open, and some that are over
        """
        if self._at_once:
            return self._first()
        if likely(self._chance, 0.05):
            return self._nonsense(trades, quote_of)
        is_open = [trade for _, trade in sorted(trades.items()) if not trade.status.is_final]
        if not is_open or (len(is_open) < self._busy and likely(self._chance, 0.4)):
            return self._create(quote_of, position_of)
        if likely(self._chance, 0.04):
            is_open = [trade for _, trade in sorted(trades.items())]
        trade = self._chance.choice(is_open)
        quote = self._market(trade.key, quote_of)
        if quote is None:
            return None
        if likely(self._chance, 0.1):
            self._at_once.extend(self._burst(trade, quote))
        elif (wish := self._wish(trade, quote)) is not None:
            self._at_once.append(wish)
        return self._first() if self._at_once else None

    def _first(self) -> Command:
        first = self._at_once.popleft()
        self._follows_at_once = bool(self._at_once)
        return first

    @staticmethod
    def _market(key: InstrumentKey, quote_of: QuoteOf) -> Quote | None:
        quote = quote_of(key)
        return quote if quote is not None and quote.is_usable else None

    # creating

    def _create(self, quote_of: QuoteOf, position_of: PositionOf) -> CreateTrade | None:
        account_id, instrument, quote = self._where(quote_of)
        if quote is None:
            return None
        held = position_of(account_id, instrument.key) if instrument.is_linear else ZERO
        kind = self._kind(instrument, held)
        plan = self._plans.plan(kind, instrument, quote, held)
        if likely(self._chance, 0.96):
            plan = replace(plan, leverage=self._usual(account_id, instrument, plan.leverage))
        position = held if instrument.is_linear and kind.is_own_funds else None
        return CreateTrade(account_id=account_id, key=instrument.key, plan=plan, held_position=position)

    def _usual(self, account_id: int, instrument: Instrument, drawn: Leverage | None) -> Leverage | None:
        """What the account has used in this pair before: an exchange does not let it change beside a position."""
        return self._usual_leverage.setdefault((account_id, instrument.key), drawn)

    def _where(self, quote_of: QuoteOf) -> tuple[int, Instrument, Quote | None]:
        account_id, market = self._chance.choice(self._accounts)
        listed = [instrument for key, instrument in self._instruments.items() if key.market == market]
        instrument = self._chance.choice(listed)
        return account_id, instrument, self._market(instrument.key, quote_of)

    def _kind(self, instrument: Instrument, held: Decimal) -> TradeKind:
        """On contracts own funds need a position, and most users do not trade against the one they have."""
        kind = self._chance.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
        if not instrument.is_linear or likely(self._chance, 0.05):
            return kind
        if held == ZERO:
            return WITH_ENTRY.get(kind, kind)
        against = (kind.entry_side is Side.BUY) is not (held > ZERO)
        return MIRRORED[kind] if against and (kind.is_own_funds or likely(self._chance, 0.7)) else kind

    # wishes to a trade

    def _wish(self, trade: SmartTrade, quote: Quote) -> TradeWish | None:
        kinds = list(WISH_WEIGHTS)
        if not likely(self._chance, 0.05):
            kinds = [kind for kind in kinds if is_granted(kind, trade)]
        if not kinds:
            return None
        return self._draw(self._chance.choices(kinds, [WISH_WEIGHTS[kind] for kind in kinds])[0], trade, quote)

    def _burst(self, trade: SmartTrade, quote: Quote) -> Iterable[TradeWish]:
        """Two wishes of which at least the first can be granted as the trade stands."""
        pairs = [pair for pair in BURSTS if is_granted(pair[0], trade)]
        drawn = [self._draw(kind, trade, quote) for kind in self._chance.choice(pairs)] if pairs else []
        return (wish for wish in drawn if wish is not None)

    def _draw(self, kind: type[TradeWish], trade: SmartTrade, quote: Quote) -> TradeWish | None:
        instrument = self._instruments[trade.key]
        if kind is EditTrade:
            return EditTrade(trade_id=trade.id, edit=self._edits.edit(trade, instrument, quote))
        if kind is AddFunds:
            return self._add(trade, instrument, quote)
        if kind is ReduceFunds:
            return self._reduce(trade, instrument, quote)
        if kind is SetNote:
            return SetNote(trade_id=trade.id, note=f"note {self._chance.randrange(1000)}")
        if kind is CloseStepAtMarket or kind is CancelStep:
            fits = permissions.step_closable if kind is CloseStepAtMarket else permissions.step_cancelable
            steps = [step for step in trade.steps if fits(trade, step)] or list(trade.steps)
            return kind(trade_id=trade.id, step_id=self._chance.choice(steps).id)
        return kind(trade_id=trade.id)  # type: ignore[call-arg]  # nothing but the trade

    def _add(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> AddFunds:
        """Between a tenth and all of the first entry again, at market or by limit."""
        market = quote.ask if trade.is_long else quote.bid
        smallest = max(instrument.min_total, instrument.min_market_total) * Decimal("1.1") / market
        units = max(trade.position.plan.units * self._plans.share(10, 100), smallest) + instrument.lot
        price = self._limit(instrument, market, better=not trade.is_long)
        return AddFunds(
            trade_id=trade.id,
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            units=instrument.floor_lot(units),
            price=price,
        )

    def _reduce(self, trade: SmartTrade, instrument: Instrument, quote: Quote) -> ReduceFunds:
        """A part of what is open; both parts can mostly still be ordered."""
        market = quote.bid if trade.is_long else quote.ask
        smallest = max(instrument.min_total, instrument.min_market_total) * Decimal("1.1") / market + instrument.lot
        units = max(trade.open_amount * self._plans.share(5, 70), smallest)
        if trade.open_amount - units < smallest and likely(self._chance, 0.9):
            units = trade.open_amount
        price = self._limit(instrument, market, better=trade.is_long)
        return ReduceFunds(
            trade_id=trade.id,
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            units=max(instrument.floor_lot(units), instrument.lot),
            price=price,
        )

    def _limit(self, instrument: Instrument, market: Decimal, *, better: bool) -> Decimal | None:
        """A limit price above (`better`) or below the market, at times beyond it; None: at market."""
        if likely(self._chance, 0.5):
            return None
        return self._plans.near(instrument, market, up=better if likely(self._chance, 0.85) else not better)

    # nonsense

    def _nonsense(self, trades: Mapping[int, SmartTrade], quote_of: QuoteOf) -> Command | None:
        """A wish that has the right form and must be denied."""
        account_id, instrument, quote = self._where(quote_of)
        number = self._chance.randrange(12)
        if number < 3 or not trades or quote is None:
            unknown = self._chance.choice((CloseAtMarket, CancelTrade, ForceStart, ForceProcess))
            return unknown(trade_id=UNKNOWN_ID)
        if number < 6:
            return self._lost_wish(trades[self._chance.choice(sorted(trades))], trades)
        plan = self._broken_plan(number, instrument, quote)
        key = InstrumentKey(instrument.key.market, "USDT_NOWHERE") if number == 11 else instrument.key
        return CreateTrade(account_id=account_id, key=key, plan=plan)

    def _lost_wish(self, trade: SmartTrade, trades: Mapping[int, SmartTrade]) -> TradeWish:
        """A leg that is not this trade's, or an edit that adds up to nothing."""
        foreign = [step.id for other in trades.values() if other.id != trade.id for step in other.targets]
        step_id = self._chance.choice([*foreign, UNKNOWN_ID])
        match self._chance.randrange(3):
            case 0:
                return CloseStepAtMarket(trade_id=trade.id, step_id=step_id)
            case 1:
                return CancelStep(trade_id=trade.id, step_id=step_id)
        target = TargetPlan(
            order_type=OrderType.LIMIT,
            volume=Decimal(37),
            price_type=PriceType.LAST,
            percent=ONE,
            step_id=step_id,
        )
        edit = replace(repeated(trade), take_profit_enabled=True, targets=(target, replace(target, step_id=None)))
        return EditTrade(trade_id=trade.id, edit=edit)

    def _broken_plan(self, number: int, instrument: Instrument, quote: Quote) -> SmartTradePlan:
        """A plan that breaks one rule."""
        kind = self._chance.choice((TradeKind.SMART_TRADE, TradeKind.SMART_COVER))
        plan = self._plans.plan(kind, instrument, quote, ZERO)
        price = quote.ask
        target = self._plans.target(instrument, price, ONE, Decimal(50), long=plan.kind.entry_side is Side.BUY)
        match number:
            case 6:
                return replace(plan, take_profit_enabled=True, targets=(target,))  # half of it without a target
            case 7:
                return replace(plan, take_profit_enabled=True, targets=(target,) * (MAX_STEPS + 1))
            case 8:
                return replace(
                    plan, take_profit_enabled=True, targets=(self._plans.trailed(target), target), note="trails early"
                )
            case 9:
                return replace(plan, kind=TradeKind.SIMPLE_BUY, take_profit_enabled=True, targets=(target, target))
            case 10 if instrument.is_linear:
                return replace(plan, leverage=Leverage(MarginMode.CROSS, instrument.max_leverage + ONE))
            case 10:
                return replace(plan, note="x" * (MAX_NOTE + 1))
        return replace(plan, entry=replace(plan.entry, type=EntryType.MARKET, condition=None, units=instrument.lot / 2))


def is_granted(kind: type[TradeWish], trade: SmartTrade) -> bool:
    """Whether the trade takes such a command as it stands."""
    if kind is SetNote:
        return True
    if kind is CloseStepAtMarket:
        return any(permissions.step_closable(trade, step) for step in trade.steps)
    if kind is CancelStep:
        return any(permissions.step_cancelable(trade, step) for step in trade.steps)
    return _PERMISSIONS[kind](trade)


_PERMISSIONS: Final[Mapping[type[TradeWish], Callable[[SmartTrade], bool]]] = {
    EditTrade: permissions.editable,
    AddFunds: permissions.add_funds_available,
    ReduceFunds: permissions.reduce_funds_available,
    CloseAtMarket: permissions.close_available,
    CancelTrade: permissions.cancel_available,
    ForceStart: permissions.force_start_available,
    ForceProcess: permissions.force_process_available,
}
