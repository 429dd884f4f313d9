"""The real engine on the real paper exchange's books, in memory, and what a client would read of a trade.

Reports come before the answer of the call that caused them, and before the price that caused them, as in the running
server. What is seen is read from the wire entities, as exact fractions and under the names that the model uses.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from driver import LINEAR, SPOT, START, Number, Story, number
from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.books import Books, Report
from smarttrade.adapters.exchanges.paper.rows import PaperAccount
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.api.entities import Surroundings, live_members, smart_trade_entity
from smarttrade.api.sub_trade_entities import sub_trade_entities
from smarttrade.domain.account import PAPER_TRADING, Account
from smarttrade.domain.commands import CancelStep, CloseStepAtMarket
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import Side
from smarttrade.domain.order import OrderIntent, OrderType
from smarttrade.domain.plan import SmartTradePlan
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import Quote
from smarttrade.engine.inputs import EngineInput, MarketMoved, PositionLost, QuoteReceived
from smarttrade.ports.exchange import PositionClosed
from smarttrade.ports.market_data import MarketUpdate

RICH = Decimal(10) ** 9
Seen = dict[str, Any]
LEG_PURPOSES = ("position", "take_profit", "stop_loss", "reduce_funds", "market_close")


class PaperStory(Story):
    """A story whose exchange is the paper exchange; `quote` may bring sizes."""

    def __init__(self, bid: Number, ask: Number, last: Number, *, futures: bool = False, **rules: Any) -> None:
        self.state = State()
        self.books = Books(self.state, lambda key: self.instrument if key == self.instrument.key else None, self._clock)
        self.now = START
        base = LINEAR if futures else SPOT
        self.state.accounts.put(PaperAccount(account_id=1, market=base.key.market))
        for coin in (base.base, base.quote):
            self.state.receive(1, coin, RICH)
        super().__init__(on=base, bid=bid, ask=ask, audit=False, **rules)
        self.quote(bid, ask, last)
        self.account = Account(
            id=1, user_id=1, name="paper", type=PAPER_TRADING, market=base.key.market, created_at=0, updated_at=0
        )

    def _clock(self) -> int:
        return self.now

    def hold(self, units: Decimal) -> None:
        """Open a futures position outside of any trade (V-7); short negative."""
        side = Side.BUY if units > 0 else Side.SELL
        intent = OrderIntent(
            client_order_id="outside",
            account_id=1,
            key=self.instrument.key,
            side=side,
            type=OrderType.MARKET,
            quantity=abs(units),
            price=None,
            reduce_only=False,
        )
        self.books.submit(intent)
        self.books.news.clear()

    def begin(self, wanted: SmartTradePlan, held: Decimal | None = None) -> None:
        self.create(wanted, held)

    def quote(
        self,
        bid: Number,
        ask: Number | None = None,
        last: Number | None = None,
        age: int = 0,
        sizes: tuple[Number | None, Number | None] = (None, None),
    ) -> "PaperStory":
        self.bid = number(bid)
        self.ask = self.bid if ask is None else number(ask)
        self.last = self.bid if last is None else number(last)
        bid_size, ask_size = (None if size is None else number(size) for size in sizes)
        quote = Quote(
            key=self.instrument.key,
            bid=self.bid,
            ask=self.ask,
            last=self.last,
            at=self.now,
            bid_size=bid_size,
            ask_size=ask_size,
        )
        self.engine.handle(MarketMoved(quote), self.now)
        self.books.apply(MarketUpdate(quote=quote))
        for told in self._told():
            self.engine.handle(told, self.now)
        self._tell(QuoteReceived(quote))
        return self

    # the exchange

    def _told(self) -> Iterator[EngineInput]:
        news, self.books.news = self.books.news, []
        for _, report in news:
            yield self._translated(report)

    def _translated(self, report: Report) -> EngineInput:
        if isinstance(report, PositionClosed):
            return PositionLost(
                account_id=1,
                key=report.key,
                liquidated=report.liquidated,
                quantity=report.quantity,
                fills=report.fills,
            )
        return report

    def _submit(self, intent: OrderIntent) -> Iterator[EngineInput]:
        answer = self.books.submit(intent)
        yield from self._told()
        yield answer

    def _cancel(self, order_id: str) -> Iterator[EngineInput]:
        order = self.books.live_order(1, order_id)
        if order is None:
            yield CancelRefused(client_order_id=order_id, text="Unknown order sent.")
        else:
            yield self.books.cancel(order)

    def _query(self, order_id: str) -> Iterator[EngineInput]:
        report = self.books.find(1, order_id)
        assert report is not None, "the engine asks about an order that never arrived"
        yield replace(report, answers_query=True)

    # what is seen

    def entities(self) -> tuple[Seen, list[Seen]]:
        """The SmartTrade entity and its Trade entities."""
        quote = self.engine.markets[self.instrument.key].quote
        around = Surroundings(quote, statistics=None, usd_rate=Decimal(1), missing_funds=Decimal(0), position=None)
        sums = Sums.of(self.trade)
        live = live_members(self.trade, sums, self.instrument, around)
        whole = smart_trade_entity(self.trade, sums, self.account, self.instrument, live)
        return whole, sub_trade_entities(self.trade, instrument=self.instrument, extreme_of=self._extreme_of)

    def close_step(self, step_id: int) -> Story:
        return self.command(CloseStepAtMarket(trade_id=self.trade_id, step_id=step_id))

    def cancel_step(self, step_id: int) -> Story:
        return self.command(CancelStep(trade_id=self.trade_id, step_id=step_id))

    def _extreme_of(self, group: int) -> tuple[Decimal, int] | None:
        extreme = self.engine.extreme_of(self.instrument.key, group)
        return None if extreme is None else (extreme, 0)

    def serials(self) -> dict[int, int]:
        """Step id -> serial number of the leg within its trade, 1 for the first that was made."""
        ids = sorted(step.id for step in self.trade.steps)
        return {step_id: serial for serial, step_id in enumerate(ids, start=1)}

    def seen(self) -> Seen:
        """What `SmartTrade.seen` of the model shows, read from the entities."""
        whole, legs = self.entities()
        data, serials = whole["data"], self.serials()
        by_id = {leg["id"]: leg for leg in legs}
        stop = whole["stop_loss"]
        stops = [leg for leg in legs if leg["trade_purpose"] == "stop_loss"]
        margin = whole["margin"]
        names = (
            *("entered_amount", "entered_total", "closed_amount", "closed_total"),
            *("average_enter_price", "average_enter_price_without_commission"),
            *("average_close_price", "average_close_price_without_commission"),
        )
        return {
            "status": whole["status"]["type"],
            **{name: exact(data[name]) for name in names},
            "profit": exact(whole["profit"]["volume"]),
            "percent": exact(whole["profit"]["percent"]),
            "roe": exact(whole["profit"]["roe"]),
            "margin": None if margin["amount"] is None else (exact(margin["amount"]), exact(margin["total"])),
            "flags": {
                name: data[name]
                for name in (
                    *("editable", "panic_sell_available", "add_funds_available", "reduce_funds_available"),
                    *("force_start_available", "force_process_available", "cancel_available"),
                )
            },
            "position": {
                "status": whole["position"]["status"]["type"],
                "units": exact(whole["position"]["units"]["value"]),
                "price": exact(whole["position"]["price"]["value"]),
                "total": exact(whole["position"]["total"]["value"]),
            },
            "take_profit_enabled": whole["take_profit"]["enabled"],
            "legs": sorted(
                (serials[leg["id"]], leg["trade_purpose"], leg["status"], self._filled(leg["id"])) for leg in legs
            ),
            "targets": [self._target(step, by_id[step["id"]]) for step in whole["take_profit"]["steps"]],
            "stop": self._stop(stop, stops[-1]) if stop["enabled"] else None,
            "orders": sorted(
                (order.side.value, exact(order.price), exact(order.quantity), exact(order.filled_quantity))
                for order in self.state.live_orders(1)
            ),
        }

    def _filled(self, step_id: int) -> Fraction:
        """Gross quantity that the orders of a leg have executed, as the exchange knows it."""
        step = next(step for step in self.trade.steps if step.id == step_id)
        orders = [self.state.order(order.client_order_id) for order in step.orders]
        return Fraction(sum((order.filled_quantity for order in orders if order is not None), Decimal(0)))

    def _target(self, step: Seen, leg: Seen) -> Seen:
        trailed, failed = (step["status"]["type"] == status for status in ("trailing_activated", "failed"))
        return {
            "serial": self.serials()[step["id"]],
            "position": step["position"],
            "status": step["status"]["type"],
            "volume": exact(step["volume"]),
            "units": None if failed else exact(step["units"]["value"]),  # what failed has no figures of meaning
            "price": exact(step["price"]["value"]),
            "total": None if failed else exact(step["total"]),
            "filled": exact(step["filled"]["units"]) if "filled" in step else Fraction(0),
            "extreme": exact(leg["trailing_last_price"]) if trailed else None,
        }

    def _stop(self, stop: Seen, leg: Seen) -> Seen:
        status = stop["status"]["type"]
        watched = status in ("to_process", "trailing_activated")
        limit = stop["price"]["value"]
        if limit is not None:  # shown as given until it is sent
            limit = self.instrument.order_price(Decimal(limit), self.trade.exit_side)
        return {
            "status": status,
            "level": exact(stop["conditional"]["price"]["value"]),
            "limit": exact(limit),
            "units": exact(stop["units"]["value"]),
            "extreme": exact(leg["trailing_last_price"]) if status == "trailing_activated" else None,
            "trigger": exact(leg["trigger_price"]) if watched else None,
        }


def exact(text: str | Decimal | None) -> Fraction | None:
    return None if text is None else Fraction(text)
