"""A story of the domain's driver with an auditor listening: it hears both sides as it would in a simulated world.

A test plays a story as far as it likes and then lets something happen that the server does not take part in: a price
that it sleeps through (`market_alone`), a state that it ought not to store (`stores`, `spoils`), an order that nobody
meant (`sends`).
"""

from collections.abc import Callable
from typing import Any

import msgspec
from driver import D, Number, Story, number

from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.errors import Denied
from smarttrade.domain.instrument import FeeAsset
from smarttrade.domain.order import ReportedState
from smarttrade.domain.quote import SECOND
from smarttrade.engine.inputs import EngineInput, PositionLost, QuoteReceived
from smarttrade.simulation.auditor import Auditor
from smarttrade.simulation.observer import PairRules, SeenFill, SeenOrder

CLEAR = {"on_query": "tell", "on_search": "tell", "on_quote": "tell", "on_leverage": "take"}
OPENING = {"USDT": D(1_000_000), "XYZ": D(1_000)}


class ListeningStory(Story):
    """Plays one trade; `auditor` hears it."""

    def __init__(self, *args: Any, **members: Any) -> None:
        age: int | None = members.get("max_quote_age")
        self.auditor = Auditor(None if age is None else age * SECOND)
        self._told_of: dict[str, tuple[int, bool]] = {}  # what was told of an order: fills, whether it ended
        self.rows: dict[int, dict[str, Any]] = {}
        self.spoils: Callable[[dict[str, Any]], object] = lambda row: None  # changes what is stored from now on
        self.in_trouble = False
        self.lost_reports = False
        self._opened = False
        super().__init__(*args, **members)

    # --- what the world tells on its own --------------------------------------------------------------------------

    def market_alone(self, bid: Number, ask: Number | None = None, last: Number | None = None, age: Number = 0) -> None:
        """The server is told of a price, so many seconds old, and does nothing."""
        bid = number(bid)
        ask, last = bid if ask is None else number(ask), bid if last is None else number(last)
        self.auditor.price_moved(self.now, *self.pair, bid, ask, last, int(number(age) * SECOND))

    def rests(self, seconds: Number = 0) -> None:
        """Time passes without the server; it says that it is done with everything."""
        self.now += int(number(seconds) * SECOND)
        self.auditor.at_rest(self.now)

    def stores(self, row: dict[str, Any]) -> None:
        """A state becomes durable."""
        self.rows[row["id"]] = row
        self.auditor.trade_committed(self.now, row)

    @property
    def row(self) -> dict[str, Any]:
        """The last stored state of the trade, to be changed at will."""
        return msgspec.json.decode(msgspec.json.encode(self.rows[self.trade_id]))

    def sends(self, leg: str, quantity: Number, price: Number | None = None, **changes: Any) -> SeenOrder:
        """An order that looks like the next attempt of a leg reaches the exchange."""
        step, exit_side = self.leg(leg), self.trade.exit_side.value
        entry = self.trade.entry_side.value
        order = {
            "account_id": 1,
            "market": self.instrument.key.market,
            "pair": self.instrument.key.pair,
            "client_order_id": f"sttest{self.trade_id}x{step.id}x{step.attempts + 1}",
            "side": entry if leg.startswith(("entry", "avg")) else exit_side,
            "type": "market" if price is None else "limit",
            "quantity": number(quantity),
            "price": None if price is None else number(price),
            "reduce_only": self.instrument.is_linear and not leg.startswith(("entry", "avg")),
        }
        seen = SeenOrder(**{**order, **changes})
        self.auditor.order_taken(self.now, seen)
        return seen

    def fills_unseen_by_server(
        self, leg: str, quantity: Number, price: Number, fee: Number = 0, name: str = ""
    ) -> None:
        self.auditor.order_filled(
            self.now,
            SeenFill(
                client_order_id=self.id_of(leg),
                fill_id=f"x{quantity}",
                price=number(price),
                quantity=number(quantity),
                fee=D(0),
                fee_asset="USDT",
            ),
        )

    # --- the story, overheard -------------------------------------------------------------------------------------

    @property
    def pair(self) -> tuple[str, str]:
        return self.instrument.key.market, self.instrument.key.pair

    def _tell_rules(self, rules: Any) -> None:
        self.auditor.pair_listed(
            self.now,
            PairRules(
                market=rules.key.market, pair=rules.key.pair, base=rules.base, quote=rules.quote,
                linear=rules.is_linear, tick=rules.tick, lot=rules.lot, min_lot=rules.min_lot,
                min_total=rules.min_total, min_market_total=rules.min_market_total,
                max_market_lot=rules.max_market_lot, taker_fee=rules.taker_fee,
                fee_in_base=rules.fee_in is FeeAsset.BASE,
            ),
        )  # fmt: skip
        if not self._opened:
            self._opened = True
            self.auditor.account_opened(self.now, 1, rules.key.market, OPENING)
        super()._tell_rules(rules)

    def _tell(self, given: EngineInput) -> None:
        if isinstance(given, QuoteReceived):
            quote = given.quote
            age = self.now - quote.at
            self.auditor.price_moved(self.now, *self.pair, quote.bid, quote.ask, quote.last, age)
        if isinstance(given, PositionLost):
            self._overhear_exchange()
            self.auditor.position_taken(self.now, 1, *self.pair, given.quantity, given.liquidated)
        trade_id = getattr(given, "trade_id", None)
        command = type(given).__name__ if trade_id is not None and hasattr(type(given), "__struct_fields__") else ""
        try:
            super()._tell(given)
        except Denied as denied:
            self.auditor.command_answered(self.now, trade_id, command, denied.problems[0].code.value)
            raise
        if isinstance(given, CreateTrade):
            self.auditor.command_answered(self.now, self.trade_id, "CreateTrade", None)
        elif type(given).__module__.endswith("domain.commands"):
            self.auditor.command_answered(self.now, trade_id, command, None)
        self._at_rest()

    def wait(self, seconds: Number) -> "ListeningStory":
        super().wait(seconds)
        self._at_rest()
        return self

    def fill_unheard(self, leg: str, quantity: Number | None = None) -> "ListeningStory":
        self.lost_reports = True
        super().fill_unheard(leg, quantity)
        return self

    def forgotten(self, leg: str) -> "ListeningStory":
        self.lost_reports = True
        self.auditor.order_ended(self.now, self.id_of(leg), "canceled")
        super().forgotten(leg)
        return self

    def restart(self) -> "ListeningStory":
        self._overhear_exchange()
        self.auditor.process_died(self.now)
        super().restart()
        self.auditor.process_started(self.now)
        return self

    def _at_rest(self) -> None:
        trouble = self.lost_reports or bool(self.answers) or any(getattr(self, n) != v for n, v in CLEAR.items())
        if trouble is not self.in_trouble:
            self.in_trouble = trouble
            change = self.auditor.trouble_began if trouble else self.auditor.trouble_ended
            change(self.now, 1, "calls")
        self._overhear_exchange()
        self.auditor.at_rest(self.now)

    def _effects(self) -> Any:
        engine = self.engine
        take = type(engine).take

        def overheard() -> Any:
            changes = take(engine)
            self._overhear_exchange()
            for trade in changes.trades.values():
                self.rows[trade.id] = msgspec.json.decode(msgspec.json.encode(trade))
                self.spoils(self.rows[trade.id])
                self.auditor.trade_committed(self.now, self.rows[trade.id])
            return changes

        engine.take = overheard  # type: ignore[method-assign]
        yield from super()._effects()

    def _overhear_exchange(self) -> None:
        """Tell what happened at the exchange since the last look."""
        for name, order in self.orders.items():
            intent = order.intent
            if name not in self._told_of:
                self._told_of[name] = (0, False)
                self.auditor.order_taken(
                    order.taken_at,
                    SeenOrder(
                        account_id=1, market=intent.key.market, pair=intent.key.pair, client_order_id=name,
                        side=intent.side.value, type=intent.type.value, quantity=intent.quantity, price=intent.price,
                        reduce_only=intent.reduce_only,
                    ),
                )  # fmt: skip
            count, ended = self._told_of[name]
            for fill in order.fills[count:]:
                fee = fill.fee
                assert fee is not None
                self.auditor.order_filled(
                    self.now,
                    SeenFill(
                        client_order_id=name, fill_id=fill.fill_id, price=fill.price, quantity=fill.quantity,
                        fee=fee.amount, fee_asset=fee.asset,
                    ),
                )  # fmt: skip
            over = order.state is not ReportedState.OPEN
            if over and not ended:
                self.auditor.order_ended(self.now, name, order.state.value)
            self._told_of[name] = (len(order.fills), over)
