"""What every exchange adapter promises (ports/exchange.py). An adapter's test module subclasses `ExchangeContract`."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Protocol

import pytest

from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, OrderType, RefusalKind, ReportedState
from smarttrade.domain.quote import InstrumentKey
from smarttrade.ports.exchange import Exchange, PositionClosed

D = Decimal


class Venue(Protocol):
    """An account with 10000 of the quote currency and 100 of the base, on a market that the test moves."""

    exchange: Exchange
    key: InstrumentKey
    account_id: int

    async def move_market(self, bid: Decimal, ask: Decimal) -> None:
        """Unlimited sizes; tick 0.01, lot 0.1. Returns when the exchange has matched and told."""


class ExchangeContract:
    """Tests; give a fixture `venue`."""

    @pytest.fixture
    def venue(self) -> Venue:
        raise NotImplementedError

    @pytest.fixture
    def reports(self, venue: Venue) -> list[OrderReport | PositionClosed]:
        heard: list[OrderReport | PositionClosed] = []
        venue.exchange.listen(heard.append)
        return heard

    def intent(self, venue: Venue, order_id: str, side: Side, quantity: str, price: str | None = None) -> OrderIntent:
        return OrderIntent(
            client_order_id=order_id,
            account_id=venue.account_id,
            key=venue.key,
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=D(quantity),
            price=None if price is None else D(price),
        )

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await story()

        asyncio.run(run())

    def test_the_answer_to_a_send_only_acknowledges_and_fills_come_through_the_stream(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            answer = await venue.exchange.submit_order(self.intent(venue, "a", Side.BUY, "2"))
            assert isinstance(answer, OrderReport)
            assert (answer.client_order_id, answer.state, answer.fills) == ("a", ReportedState.OPEN, ())
            assert answer.venue_order_id
            (report,) = reports
            assert (report.client_order_id, report.state, report.filled_quantity) == ("a", ReportedState.FILLED, D(2))
            assert [(fill.price, fill.quantity) for fill in report.fills] == [(D(100), D(2))]
            assert report.venue_order_id == answer.venue_order_id

        self.play(story)

    def test_a_query_carries_every_fill_and_an_unknown_order_is_none(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            await venue.exchange.submit_order(self.intent(venue, "a", Side.SELL, "3"))
            found = await venue.exchange.find_order(venue.key, "a")
            assert found is not None
            assert (found.state, found.filled_quantity) == (ReportedState.FILLED, D(3))
            assert found.fills == tuple(fill for report in reports for fill in report.fills)
            assert await venue.exchange.find_order(venue.key, "never sent") is None

        self.play(story)

    def test_a_search_finds_what_rests_and_what_was_executed_and_nothing_else(self, venue, reports):
        """EX-31, faults F6: the second source about an order that queries deny."""

        async def story() -> None:
            await venue.move_market(D(99), D(100))
            await venue.exchange.submit_order(self.intent(venue, "done", Side.SELL, "3"))
            await venue.exchange.submit_order(self.intent(venue, "rests", Side.SELL, "3", "120"))
            done = await venue.exchange.search_order(venue.key, "done", since=0)
            rests = await venue.exchange.search_order(venue.key, "rests", since=0)
            assert done is not None
            assert rests is not None
            assert (done.filled_quantity, [fill.quantity for fill in done.fills]) == (D(3), [D(3)])
            assert (rests.state, rests.filled_quantity) == (ReportedState.OPEN, ZERO)
            assert await venue.exchange.search_order(venue.key, "never sent", since=0) is None

        self.play(story)

    def test_the_list_of_open_orders_has_what_rests_and_what_of_it_was_executed(self, venue, reports):
        """Faults F53, F55: what the stream kept to itself is found by comparing."""

        async def story() -> None:
            await venue.move_market(D(99), D(100))
            assert await venue.exchange.open_orders() == {}
            await venue.exchange.submit_order(self.intent(venue, "done", Side.SELL, "3"))
            await venue.exchange.submit_order(self.intent(venue, "gone", Side.SELL, "3", "120"))
            await venue.exchange.submit_order(self.intent(venue, "rests", Side.SELL, "3", "120"))
            await venue.exchange.cancel_order(venue.key, "gone")
            assert await venue.exchange.open_orders() == {"rests": ZERO}

        self.play(story)

    def test_a_resting_order_is_open_until_the_market_reaches_it(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            await venue.exchange.submit_order(self.intent(venue, "a", Side.BUY, "1", "98"))
            await venue.move_market(D("98.5"), D("98.01"))
            found = await venue.exchange.find_order(venue.key, "a")
            assert found is not None
            assert (found.state, reports) == (ReportedState.OPEN, [])
            await venue.move_market(D("97.9"), D(98))
            assert [(report.state, report.filled_quantity) for report in reports] == [(ReportedState.FILLED, D(1))]

        self.play(story)

    def test_a_cancel_answers_with_where_the_order_ended(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            await venue.exchange.submit_order(self.intent(venue, "a", Side.BUY, "1", "98"))
            answer = await venue.exchange.cancel_order(venue.key, "a")
            assert isinstance(answer, OrderReport)
            assert (answer.state, answer.filled_quantity, answer.fills) == (ReportedState.CANCELED, ZERO, ())
            assert await venue.exchange.find_order(venue.key, "a") == answer

        self.play(story)

    def test_cancelling_what_is_over_or_unknown_is_refused_ex_21(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            await venue.exchange.submit_order(self.intent(venue, "a", Side.BUY, "1"))
            for order_id in ("a", "never sent"):
                answer = await venue.exchange.cancel_order(venue.key, order_id)
                assert isinstance(answer, CancelRefused)
                assert answer.client_order_id == order_id

        self.play(story)

    def test_a_known_client_id_is_refused_even_after_its_order_is_over(self, venue, reports):
        async def story() -> None:
            if not venue.exchange.refuses_duplicate_ids:
                pytest.skip("this exchange takes an id again")
            await venue.move_market(D(99), D(100))
            intent = self.intent(venue, "a", Side.BUY, "1", "98")
            for _ in ("while it rests", "when it is over"):
                await venue.exchange.submit_order(intent)
                again = await venue.exchange.submit_order(intent)
                assert isinstance(again, OrderRefused)
                assert again.kind is RefusalKind.DUPLICATE_ID
                await venue.exchange.cancel_order(venue.key, "a")

        self.play(story)

    @pytest.mark.parametrize(
        ("side", "quantity", "price", "kind"),
        [
            (Side.BUY, "1000", None, RefusalKind.INSUFFICIENT_FUNDS),
            (Side.BUY, "1000", "98", RefusalKind.INSUFFICIENT_FUNDS),
            (Side.SELL, "100.1", "101", RefusalKind.INSUFFICIENT_FUNDS),
            (Side.BUY, "0.15", "98", RefusalKind.RECOVERABLE),
            (Side.BUY, "1", "98.001", RefusalKind.RECOVERABLE),
        ],
    )
    def test_a_refused_order_says_why_and_is_not_known_afterwards(self, venue, reports, side, quantity, price, kind):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            answer = await venue.exchange.submit_order(self.intent(venue, "a", side, quantity, price))
            assert isinstance(answer, OrderRefused)
            assert (answer.client_order_id, answer.kind) == ("a", kind)
            assert answer.text
            assert (await venue.exchange.find_order(venue.key, "a"), reports) == (None, [])

        self.play(story)

    def test_a_pair_that_is_not_traded_is_refused_for_good_ex_6(self, venue):
        async def story() -> None:
            venue.key = InstrumentKey(venue.key.market, "NO_SUCH")
            answer = await venue.exchange.submit_order(self.intent(venue, "a", Side.BUY, "1", "98"))
            assert isinstance(answer, OrderRefused)
            assert answer.kind is RefusalKind.PERMANENT

        self.play(story)

    def test_a_resting_order_locks_its_funds_until_it_is_cancelled(self, venue):
        async def story() -> None:
            rules = (await venue.exchange.instruments())[venue.key]
            await venue.move_market(D(99), D(100))
            before = await venue.exchange.balances()
            await venue.exchange.submit_order(self.intent(venue, "a", Side.SELL, "2", "120"))
            resting = await venue.exchange.balances()
            assert resting[rules.base].locked - before[rules.base].locked == 2
            assert resting[rules.base].total == before[rules.base].total
            await venue.exchange.cancel_order(venue.key, "a")
            assert await venue.exchange.balances() == before

        self.play(story)

    def test_what_the_stream_says_of_an_order_only_grows(self, venue, reports):
        async def story() -> None:
            await venue.move_market(D(99), D(100))
            for number in range(5):
                await venue.exchange.submit_order(self.intent(venue, f"s{number}", Side.BUY, "1", f"{98 - number}"))
            await venue.move_market(D(95), D(96))
            await venue.move_market(D(93), D(94))
            assert [report.client_order_id for report in reports] == ["s0", "s1", "s2", "s3", "s4"]
            fills = [fill.fill_id for report in reports for fill in report.fills]
            assert len(set(fills)) == len(fills) == 5

        self.play(story)
