"""An exchange that is silent, refuses, forgets or is used by others too (behaviour 5.1, 5.2, 5.5, 5.6).

Time is the sandbox clock's, so pauses are tested to the millisecond and nothing here sleeps.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import ANY

import pytest
from harness import Account, Market, Server, Trade

SPOT, FUTURES = "spot", "linear"
both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])

STOPPED = {"status.type": "stop_loss_finished", "status.error": "absent"}
NO_EXITS: dict[str, Any] = {"take_profit": {"enabled": False}, "stop_loss": {"enabled": False}}


@pytest.fixture(autouse=True)
def _no_broken_rule(server: Server) -> Iterator[None]:
    """A trade that cannot take what happens to it stays as it was: the tests might not see that, the log does."""
    before = len(server.log())
    yield
    assert "broke a rule" not in (written := server.log()[before:]), written
    assert "could not take an event" not in written, written


def targets(*steps: tuple[str, str, int]) -> dict[str, Any]:
    """A take-profit group of (order type, bid, volume)."""
    return {
        "enabled": True,
        "steps": [
            {"order_type": kind, "volume": volume, "price": {"type": "bid", "value": price}}
            for kind, price, volume in steps
        ],
    }


def stop(level: str, limit: str | None = None, **more: Any) -> dict[str, Any]:
    """A stop at a bid, at market unless it has a limit price."""
    conditional = {"price": {"type": "bid", "value": level}}
    if limit is None:
        return {"enabled": True, "order_type": "market", "conditional": conditional, **more}
    return {"enabled": True, "order_type": "limit", "price": {"value": limit}, "conditional": conditional, **more}


def buy(units: str = "10", limit: str | None = None) -> dict[str, Any]:
    """A long entry, at market unless it has a price."""
    if limit is None:
        return {"type": "buy", "order_type": "market", "units": {"value": units}}
    return {"type": "buy", "order_type": "limit", "units": {"value": units}, "price": {"value": limit}}


class Scene(NamedTuple):
    """One trade on a pair and an account of its own."""

    market: Market
    account: Account
    trade: Trade

    def sold_at_market(self) -> list[str]:
        """Filled quantities of the market sells that were taken, oldest first."""
        return [
            order["filled_quantity"]
            for order in self.trade.orders()
            if (order["side"], order["type"]) == ("sell", "market") and order["status"] != "rejected"
        ]

    def refuse(self, on: str, text: str, kind: str, times: int = 1) -> None:
        """The exchange refuses the next calls."""
        self.account.fault(on, "reject", text=text, times=times, **{"class": kind})

    def attempts(self, since: datetime, purpose: str) -> list[tuple[float, str]]:
        """When orders of a purpose were sent, in seconds after `since`, and under which client order id."""
        steps = {each["id"] for each in self.trade.trades(purpose)}
        return [
            ((datetime.fromisoformat(order["created_at"]) - since).total_seconds(), order["client_order_id"])
            for order in self.trade.orders()
            if order["trade_id"] in steps
        ]


def stage(server: Server, kind: str = SPOT, price: str = "100") -> tuple[Market, Account]:
    """A pair at a price, and an account that can pay."""
    market = server.market(kind=kind)
    account = server.account(market, USDT=10_000)
    market.quote(price)
    return market, account


def begin(server: Server, kind: str = SPOT, **body: Any) -> Scene:
    """A trade of 10 units bought at 100, with one limit target at 110 and a stop at 90, unless told."""
    market, account = stage(server, kind)
    whole = {"position": buy(), "take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90"), **body}
    return Scene(market, account, account.create(market, **whole))


def times(attempts: list[tuple[float, str]]) -> list[float]:
    return [at for at, _ in attempts]


# --- a send without an answer (EX-31) -----------------------------------------------------------------------------


@both_kinds
def test_order_that_never_arrived_is_sent_again_under_its_id_after_ten_seconds_and_not_earlier_ex_31(
    server: Server, kind: str
) -> None:
    market, account = stage(server, kind)
    account.fault("submit", "timeout_before")
    trade = account.create(market, position=buy(limit="95"))

    server.advance("9.999")
    assert trade.orders() == []
    trade.expect({"status.type": "waiting_position", "status.error": "absent", "position.status.type": "to_process"})
    server.advance("0.001")

    (order,) = trade.orders()
    assert (order["status"], order["client_order_id"].rpartition("x")[2]) == ("open", "1")
    trade.expect({"position.status.type": "order_placed"})
    account.fill(order)
    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})


@both_kinds
def test_order_that_arrived_without_an_answer_is_found_and_not_sent_again_ex_31(server: Server, kind: str) -> None:
    market, account = stage(server, kind)
    account.fault("submit", "timeout_after")
    trade = account.create(market, position=buy(limit="95"))
    trade.expect({"position.status.type": "to_process"})

    server.advance(1)
    trade.expect({"position.status.type": "order_placed"})
    server.advance(120)

    assert [order["status"] for order in trade.orders()] == ["open"]


@both_kinds
def test_filled_order_whose_answer_and_reports_were_lost_is_found_by_a_query_ex_31(server: Server, kind: str) -> None:
    market, account = stage(server, kind)
    account.fault("submit", "timeout_after")
    account.fault("stream", "drop")
    trade = account.create(market, position=buy(), take_profit=targets(("limit", "110", 100)), stop_loss=stop("90"))
    trade.expect({"status.type": "waiting_position", "data.entered_amount": "0.0"})

    server.advance(1)

    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0", "data.entered_total": "1001.0"})
    assert [order["type"] for order in trade.orders()] == ["market", "limit"]


@pytest.mark.parametrize("lagging", [1, 2, 3])
def test_order_that_a_lagging_query_does_not_see_is_neither_written_off_nor_doubled_f6_f17(
    server: Server, lagging: int
) -> None:
    market, account = stage(server)
    account.fault("submit", "timeout_after")
    account.fault("query", "not_found", times=lagging)
    trade = account.create(market, position=buy(limit="95"))

    server.advance(120)

    assert [order["status"] for order in trade.orders()] == ["open"]
    trade.expect({"status.type": "waiting_position", "position.status.type": "order_placed"})


def test_order_that_queries_deny_too_long_meets_its_own_copy_and_is_adopted_f13_f14(server: Server) -> None:
    """The fourth denial proves the order lost; the exchange knows better, and says that it has it."""
    market, account = stage(server)
    account.fault("submit", "timeout_after")
    account.fault("query", "not_found", times=4)
    trade = account.create(market, position=buy(limit="95"))

    server.advance(120)

    assert [order["status"] for order in trade.orders()] == ["open"]
    trade.expect({"position.status.type": "order_placed"})
    account.fill(trade.order())
    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})


def test_queries_without_an_answer_never_count_as_unknown_f15(server: Server) -> None:
    market, account = stage(server)
    account.fault("submit", "timeout_before")
    account.fault("query", "timeout_before", times=100)
    trade = account.create(market, position=buy(limit="95"))

    server.advance(300)
    assert trade.orders() == []
    account.clear_faults()
    server.advance(120)

    assert [order["status"] for order in trade.orders()] == ["open"]


def test_unanswered_order_that_is_no_longer_wanted_is_not_sent_again_ex_31(server: Server) -> None:
    market, account = stage(server)
    account.fault("submit", "timeout_before")
    trade = account.create(market, position=buy(limit="95"))

    trade.cancel()
    trade.expect({"status.type": "cancellation_pending"})  # it may be there: not over before that is known
    server.advance(10)

    trade.expect({"status.type": "cancelled"})
    assert trade.orders() == []


def test_unanswered_order_that_is_found_after_a_cancel_is_cancelled_ex_31(server: Server) -> None:
    market, account = stage(server)
    account.fault("submit", "timeout_after")
    trade = account.create(market, position=buy(limit="95"))

    trade.cancel()
    server.advance(1)

    trade.expect({"status.type": "cancelled"})
    assert [order["status"] for order in trade.orders()] == ["cancelled"]


@both_kinds
def test_stop_whose_order_went_unanswered_sells_once_ex_31(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.account.fault("submit", "timeout_before")

    scene.market.quote(90)
    server.advance("9.999")
    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "absent"})
    server.advance("0.001")

    scene.trade.expect(STOPPED)
    assert scene.sold_at_market() == ["10.0"]


def test_refusal_as_duplicate_of_an_order_that_does_not_exist_is_looked_into_and_sent_again_f14(
    server: Server,
) -> None:
    market, account = stage(server)
    account.fault("submit", "duplicate_id")
    trade = account.create(market, position=buy(limit="95"))
    trade.expect({"status.type": "waiting_position", "status.error": "absent"})

    server.advance(60)

    assert [order["client_order_id"].rpartition("x")[2] for order in trade.orders()] == ["1"]
    trade.expect({"position.status.type": "order_placed"})


def test_resting_order_that_queries_deny_for_minutes_is_not_taken_for_cancelled_f6(server: Server) -> None:
    scene = begin(server)
    scene.account.fault("query", "not_found", times=12)

    scene.trade.force_process()
    server.advance(300)

    scene.trade.expect({"status.type": "waiting_targets", "take_profit.steps.*.status.type": ["order_placed"]})
    assert len(scene.trade.orders()) == 2, "the target was sent again"
    scene.account.fill(scene.trade.order())
    scene.trade.expect({"status.type": "finished"})


@both_kinds
def test_order_that_queries_deny_while_it_rests_is_cancelled_before_the_stop_sells_f6_f14(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind)
    scene.account.fault("query", "not_found", times=99)
    scene.trade.force_process()
    server.advance(12)

    scene.market.quote(90)
    server.advance(30)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.trade.orders("open") == []
    scene.account.clear_faults()


# --- passing refusals (EX-7, EX-13) -------------------------------------------------------------------------------


@both_kinds
def test_passing_refusal_repeats_the_same_order_with_growing_pauses_and_shows_no_error_ex_7(
    server: Server, kind: str
) -> None:
    market, account = stage(server, kind)
    account.fault("submit", "reject", text="Too many requests", times=8, **{"class": "transient"})
    since = server.now()
    scene = Scene(market, account, account.create(market, position=buy(limit="95")))

    server.advance(90)
    scene.trade.expect({"status.type": "waiting_position", "status.error": "absent"})  # EX-13
    server.advance(31)

    attempts = scene.attempts(since, "position")
    assert times(attempts) == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    assert len({order_id for _, order_id in attempts}) == 1
    assert [order["status"] for order in scene.trade.orders()] == ["rejected"] * 8 + ["open"]


def test_passing_refusal_ends_with_the_wish_for_the_order_ex_7(server: Server) -> None:
    market, account = stage(server)
    account.fault("submit", "reject", text="Too many requests", times=99, **{"class": "transient"})
    trade = account.create(market, position=buy(limit="95"))

    trade.cancel()
    server.advance(60)

    trade.expect({"status.type": "cancelled"})
    assert {order["status"] for order in trade.orders()} == {"rejected"}


def test_passing_refusal_of_a_stop_counts_as_blocked_after_two_minutes_ex_12(server: Server) -> None:
    scene = begin(server)
    scene.refuse("submit", "Server is busy", "transient", times=10)
    scene.market.quote(90)

    server.advance("119.999")
    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "absent"})
    server.advance(30)  # the longest pause between two attempts
    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "Server is busy"})
    server.advance(60)

    scene.trade.expect(STOPPED)
    assert len({order_id for _, order_id in scene.attempts(server.now(), "stop_loss")}) == 1


# --- refused entries (EX-8, EX-9) ---------------------------------------------------------------------------------


@both_kinds
def test_entry_that_cannot_be_paid_fails_with_the_words_of_the_exchange_ex_9(server: Server, kind: str) -> None:
    market, account = stage(server, kind)

    trade = account.create(market, position=buy("1000"), take_profit=targets(("limit", "110", 100)))

    assert trade.created["status"]["type"] == "created"
    text = "Account has insufficient balance for requested action."
    trade.expect(
        {
            "status.type": "failed",
            "status.error": text,
            "position.status.type": "failed",
            "position.status.error": text,
            "take_profit.steps": [],
            "data.finished": False,
        }
    )


# --- refused exits (EX-10 to EX-12) -------------------------------------------------------------------------------

BLOCKED = {"status.type": "stop_loss_in_progress", "status.error": "Filter failure: TEST"}


@both_kinds
def test_refused_stop_is_tried_anew_quickly_then_shown_as_blocked_and_never_given_up_ex_12(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind)
    since = server.now()
    scene.refuse("submit", "Filter failure: TEST", "recoverable", times=11)

    scene.market.quote(90)
    server.advance("119.999")
    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "absent"})  # EX-13
    server.advance("0.001")
    scene.trade.expect(BLOCKED | {"stop_loss.status.error": "Filter failure: TEST"})
    server.advance(240)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0", "stop_loss.status.error": "absent"})
    attempts = scene.attempts(since, "stop_loss")
    assert times(attempts)[:9] == [0, 1, 3, 7, 15, 31, 61, 91, 120]
    assert times(attempts)[9:] == [180, 240, 300]  # pauses have grown to a minute
    assert len({order_id for _, order_id in attempts}) == len(attempts)  # each a new attempt


def test_lasting_refusal_of_a_stop_is_shown_at_once_ex_12(server: Server) -> None:
    scene = begin(server)
    scene.refuse("submit", "Filter failure: TEST", "permanent")

    scene.market.quote(90)

    scene.trade.expect(BLOCKED)
    server.advance(1)
    scene.trade.expect(STOPPED)


def test_error_of_a_blocked_stop_disappears_when_an_attempt_is_accepted_ex_12(server: Server) -> None:
    scene = begin(server, stop_loss=stop("90", limit="89"))
    scene.refuse("submit", "Filter failure: TEST", "permanent")
    scene.market.quote(90)
    scene.trade.expect(BLOCKED | {"stop_loss.status.error": "Filter failure: TEST"})

    scene.market.quote(88)  # below the limit price: accepted, it rests
    server.advance(1)

    scene.trade.expect(
        {
            "status.type": "stop_loss_in_progress",
            "status.error": "absent",
            "stop_loss.status.type": "order_placed",
            "stop_loss.status.error": "absent",
        }
    )
    scene.market.quote(89)
    scene.trade.expect(STOPPED)


@both_kinds
@pytest.mark.parametrize("way", ["force_process", "close_by_market", "cancel"])
def test_blocked_stop_can_be_tried_at_once_closed_or_cancelled_ex_12(server: Server, kind: str, way: str) -> None:
    scene = begin(server, kind)
    scene.refuse("submit", "Filter failure: TEST", "permanent", times=4)
    scene.market.quote(90)
    server.advance(7)
    scene.trade.expect(BLOCKED)
    assert len(scene.attempts(server.now(), "stop_loss")) == 4

    getattr(scene.trade, way)()

    final = {"force_process": "stop_loss_finished", "close_by_market": "panic_sold", "cancel": "cancelled"}[way]
    scene.trade.expect({"status.type": final, "status.error": "absent"})
    assert scene.sold_at_market() == ([] if way == "cancel" else ["10.0"])


def test_blocked_market_close_stays_in_its_state_and_goes_on_ex_12(server: Server) -> None:
    scene = begin(server)
    scene.refuse("submit", "Filter failure: TEST", "permanent", times=2)

    scene.trade.close_by_market()

    shown = {"status.type": "panic_sell_in_progress", "status.error": "Filter failure: TEST"}
    scene.trade.expect(shown | {"market_close.status.error": "Filter failure: TEST"})
    server.advance(3)
    scene.trade.expect({"status.type": "panic_sold", "status.error": "absent", "data.closed_amount": "10.0"})


def test_stop_takes_over_from_a_blocked_market_target_and_its_error_goes_with_it_ex_12(server: Server) -> None:
    scene = begin(server, take_profit=targets(("market", "110", 100)), stop_loss=stop("90", limit="89"))
    scene.refuse("submit", "Filter failure: TEST", "permanent")
    scene.market.quote(110)
    scene.trade.expect({"status.type": "waiting_targets", "status.error": "Filter failure: TEST"})

    scene.market.quote(88)  # below the limit price: accepted, it rests

    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "absent"})
    assert scene.trade.order()["price"] == "89.0"
    scene.market.quote(89)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


@both_kinds
def test_refused_market_target_sells_in_the_end_ex_12(server: Server, kind: str) -> None:
    scene = begin(server, kind, take_profit=targets(("market", "110", 100)))
    scene.refuse("submit", "Filter failure: TEST", "recoverable", times=3)
    scene.market.quote(110)
    scene.market.quote(100)  # it has been reached: the price may go back (TR-4)

    server.advance(7)

    scene.trade.expect({"status.type": "finished", "status.error": "absent"})
    assert scene.sold_at_market() == ["10.0"]


def test_stop_sells_what_is_left_of_coins_that_were_spent_elsewhere_ex_10(server: Server) -> None:
    scene = begin(server, take_profit=targets(("limit", "110", 50), ("market", "120", 50)))
    scene.account.set_balance(scene.market.base, "1.2")  # 5 more are locked by the first target
    scene.trade.expect({"data.missing_funds_to_close": "3.8"})

    scene.market.quote(90)

    scene.trade.expect(STOPPED | {"data.entered_amount": "10.0", "data.closed_amount": "6.2"})
    assert scene.sold_at_market() == ["6.2"]


@pytest.mark.parametrize("close", ["stop", "close_by_market"])
def test_trade_whose_coins_are_all_spent_elsewhere_fails_and_says_so_ex_10(server: Server, close: str) -> None:
    scene = begin(server, take_profit=targets(("market", "120", 100)))
    scene.account.set_balance(scene.market.base, 0)

    if close == "stop":
        scene.market.quote(90)
    else:
        scene.trade.close_by_market()

    scene.trade.expect({"status.type": "failed", "status.error": "Insufficient funds", "data.closed_amount": "0.0"})


def test_market_target_sells_what_is_left_of_coins_that_were_spent_elsewhere_ex_10(server: Server) -> None:
    scene = begin(server, take_profit=targets(("market", "110", 100)))
    scene.account.set_balance(scene.market.base, 4)

    scene.market.quote(110)

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "4.0"})


def test_market_target_with_free_units_leaves_the_resting_ones_alone_ex_23(server: Server) -> None:
    scene = begin(server, take_profit=targets(("limit", "120", 50), ("market", "110", 50)))
    (resting,) = scene.trade.orders("open")

    scene.market.quote(110)

    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "5.0"})
    assert [order["client_order_id"] for order in scene.trade.orders("open")] == [resting["client_order_id"]]


def test_market_target_without_free_units_takes_them_from_the_resting_ones_ex_23(server: Server) -> None:
    scene = begin(server, take_profit=targets(("limit", "120", 50), ("market", "110", 50)))
    scene.account.set_balance(scene.market.base, 0)  # the five free ones were spent elsewhere

    scene.market.quote(110)

    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "5.0"})
    scene.account.set_balance(scene.market.base, 5)  # and come back
    scene.market.quote(90)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


@pytest.mark.parametrize("text", ["Too many open orders", "Price is outside the allowed band"])
def test_target_without_room_is_watched_and_offered_again_later_ex_11(server: Server, text: str) -> None:
    market, account = stage(server)
    scene = Scene(market, account, account.create(market, position=buy(limit="95")))
    scene.account.fill(scene.trade.order(), 3)
    scene.trade.edit(take_profit=targets(("limit", "110", 100)), stop_loss=stop("90"))
    scene.refuse("submit", text, "recoverable")

    scene.account.fill(scene.trade.order())
    scene.trade.expect(
        {
            "status.type": "waiting_targets",
            "status.error": "absent",
            "take_profit.steps.*.status.type": ["to_process"],
        }
    )
    server.advance(60)

    scene.trade.expect({"take_profit.steps.*.status.type": ["order_placed"]})
    assert scene.trade.order()["price"] == "110.0"


def crowded(server: Server) -> Scene:
    """A trade whose target the exchange had no room for."""
    market, account = stage(server)
    trade = account.create(
        market,
        position=buy(limit="95"),
        take_profit=targets(("limit", "110", 100)),
        stop_loss=stop("90"),
    )
    scene = Scene(market, account, trade)
    scene.refuse("submit", "Too many open orders", "recoverable")
    account.fill(trade.order())
    return scene


def test_target_without_room_goes_out_at_the_latest_when_it_is_reached_ex_11(server: Server) -> None:
    scene = crowded(server)

    scene.market.quote(111)

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})


def test_target_without_room_is_offered_again_by_force_process_ex_11(server: Server) -> None:
    scene = crowded(server)

    scene.trade.force_process()

    scene.trade.expect({"take_profit.steps.*.status.type": ["order_placed"]})


def test_stop_fires_for_a_target_without_room_too_ex_11(server: Server) -> None:
    scene = crowded(server)

    scene.market.quote(90)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


def armed_under_refusals(server: Server, refusals: int, **body: Any) -> Scene:
    """A trade whose targets are refused when they are armed, so many times."""
    market, account = stage(server)
    whole = {"take_profit": targets(("limit", "110", 50), ("limit", "120", 50)), "stop_loss": stop("90"), **body}
    trade = account.create(market, position=buy(limit="95"), **whole)
    scene = Scene(market, account, trade)
    scene.refuse("submit", "Filter failure: TEST", "recoverable", times=refusals)
    account.fill(trade.order())
    return scene


def test_refused_target_is_tried_once_more_ex_11(server: Server) -> None:
    scene = armed_under_refusals(server, 1)

    server.advance(60)

    scene.trade.expect({"status.error": "absent", "take_profit.steps.*.status.type": ["order_placed", "order_placed"]})


def test_target_refused_twice_fails_and_its_units_are_left_to_the_stop_ex_11_m_27(server: Server) -> None:
    scene = armed_under_refusals(server, 2, take_profit=targets(("limit", "110", 100)))
    server.advance(60)

    (target,) = scene.trade.trades("take_profit")
    assert target["status"] == "failed"
    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "0.0"})
    scene.market.quote(111)
    scene.trade.expect({"status.type": "waiting_targets"})
    scene.market.quote(90)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


def test_trade_whose_only_exit_was_refused_stays_open_and_shows_why_m_27(server: Server) -> None:
    scene = armed_under_refusals(server, 2, take_profit=targets(("limit", "110", 100)), stop_loss={"enabled": False})
    server.advance(60)

    scene.trade.expect({"status.type": "waiting_targets", "status.error": "Filter failure: TEST"})
    scene.trade.close_by_market()
    scene.trade.expect({"status.type": "panic_sold", "status.error": "absent", "data.closed_amount": "10.0"})


def test_error_of_a_trade_without_exits_goes_when_the_user_gives_it_one_m_27(server: Server) -> None:
    scene = armed_under_refusals(server, 2, take_profit=targets(("limit", "110", 100)), stop_loss={"enabled": False})

    scene.trade.edit(stop_loss=stop("90"))

    scene.trade.expect({"status.type": "waiting_targets", "status.error": "absent"})
    scene.market.quote(90)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


# --- orders cancelled by others (EX-30) ---------------------------------------------------------------------------


@both_kinds
def test_target_cancelled_outside_is_not_placed_again_and_leaves_its_units_uncovered_ex_30(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    first, _ = scene.trade.orders("open")

    scene.account.cancel_outside(first)
    server.advance(120)

    scene.trade.expect({"status.type": "waiting_targets", "take_profit.steps.*.status.type": ["order_placed"]})
    assert [order["quantity"] for order in scene.trade.orders("open")] == ["5.0"]
    assert [each["status"] for each in scene.trade.trades("take_profit")] == ["cancelled", "order_placed"]
    scene.market.quote(90)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


@both_kinds
def test_last_exit_cancelled_outside_cancels_the_trade_ex_30_s_30(server: Server, kind: str) -> None:
    scene = begin(server, kind, stop_loss={"enabled": False})

    scene.account.cancel_outside(scene.trade.order())

    scene.trade.expect({"status.type": "cancelled", "data.closed_amount": "0.0"})


@both_kinds
def test_closing_order_cancelled_outside_is_sent_again_ex_30(server: Server, kind: str) -> None:
    scene = begin(server, kind, stop_loss=stop("90", limit="89"))
    scene.market.quote(88)
    first = scene.trade.order()
    scene.account.fill(first, 2)

    scene.account.cancel_outside(first)

    scene.trade.expect({"status.type": "stop_loss_in_progress", "data.closed_amount": "2.0"})
    again = scene.trade.order()
    assert (again["price"], again["quantity"]) == ("89.0", "8.0")
    assert again["client_order_id"] != first["client_order_id"]
    scene.market.quote(89)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


@both_kinds
def test_entry_cancelled_outside_before_any_fill_cancels_the_trade_s_11(server: Server, kind: str) -> None:
    scene = begin(server, kind, position=buy(limit="95"))
    scene.trade.add_funds(5, price="94")

    entry = next(order for order in scene.trade.orders("open") if order["price"] == "95.0")
    scene.account.cancel_outside(entry)

    scene.trade.expect(
        {"status.type": "cancelled", "status.error": "Order was cancelled on the exchange", "data.closed_at": ANY}
    )
    assert scene.trade.orders("open") == []


@both_kinds
def test_entry_cancelled_outside_after_a_part_leaves_that_part_as_the_position_s_12(server: Server, kind: str) -> None:
    scene = begin(server, kind, position=buy(limit="95"))
    scene.account.fill(scene.trade.order(), 4)

    scene.account.cancel_outside(scene.trade.order())

    scene.trade.expect(
        {
            "status.type": "waiting_targets",
            "status.error": "absent",
            "position.status.type": "finished",
            "position.units.value": "4.0",
            "take_profit.steps.*.units.value": ["4.0"],
        }
    )
    scene.market.quote(110)
    scene.trade.expect({"status.type": "finished", "data.closed_amount": "4.0"})


def test_entry_cancelled_outside_after_a_part_too_small_to_sell_cancels_the_trade_s_11(server: Server) -> None:
    market = server.market(min_total=50)
    account = server.account(market, USDT=10_000)
    market.quote(100)
    trade = account.create(market, position=buy(limit="95"), stop_loss=stop("90"))
    account.fill(trade.order(), "0.4")

    account.cancel_outside(trade.order())

    trade.expect({"status.type": "cancelled", "data.entered_amount": "0.4"})
    assert len(trade.orders()) == 1


@both_kinds
def test_averaging_filled_before_the_entry_is_cancelled_outside_becomes_the_position_a_11(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind, position=buy(limit="95"))
    scene.trade.add_funds(5, price="94")
    entry, averaging = scene.trade.orders("open")
    scene.account.fill(averaging)

    scene.account.cancel_outside(entry)

    scene.trade.expect({"status.type": "waiting_targets", "data.entered_amount": "5.0"})
    assert scene.trade.order()["quantity"] == "5.0"


@both_kinds
def test_averaging_cancelled_outside_keeps_what_it_bought_and_is_not_placed_again_ex_30(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind)
    scene.trade.add_funds(5, price="95")
    averaging = next(order for order in scene.trade.orders("open") if order["side"] == "buy")
    scene.account.fill(averaging, 2)

    scene.account.cancel_outside(averaging)

    scene.trade.expect(
        {
            "status.type": "waiting_targets",
            "data.entered_amount": "12.0",
            "take_profit.steps.*.units.value": ["12.0"],
        }
    )
    assert [(order["side"], order["quantity"]) for order in scene.trade.orders("open")] == [("sell", "12.0")]


@both_kinds
def test_reduction_cancelled_outside_ends_and_its_units_go_back_to_the_target_ex_30(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.trade.reduce_funds(4, price="105")
    reduction = next(order for order in scene.trade.orders("open") if order["price"] == "105.0")
    scene.account.fill(reduction, 1)

    scene.account.cancel_outside(reduction)

    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "1.0"})
    assert [(order["price"], order["quantity"]) for order in scene.trade.orders("open")] == [("110.0", "9.0")]


# --- feeds (EX-34, EX-35, faults F53, F65) ------------------------------------------------------------------------


@both_kinds
def test_resting_target_fills_without_any_price_ex_34(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    server.advance(3600)
    scene.account.fill(scene.trade.order())

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})


@both_kinds
def test_stream_that_comes_back_brings_the_fills_it_lost_before_any_decision_ex_35(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.account.fault("stream", "drop", times=9)
    scene.account.fill(scene.trade.order())
    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "0.0"})

    scene.account.clear_faults()

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})
    scene.market.quote(80)
    assert scene.sold_at_market() == []


def test_every_live_order_of_the_account_is_asked_about_when_its_stream_comes_back_ex_35(server: Server) -> None:
    market, account = stage(server)
    trades = [
        account.create(market, position=buy("2", limit=str(price)), stop_loss=stop("50")) for price in (96, 97, 98)
    ]
    account.fault("stream", "drop", times=9)
    for trade in trades:
        account.fill(trade.order())

    account.clear_faults()

    assert [trade.status for trade in trades] == ["waiting_targets"] * 3


def test_breakeven_of_a_lost_fill_counts_for_the_first_price_after_the_outage_ex_35(server: Server) -> None:
    scene = begin(
        server,
        take_profit=targets(("limit", "110", 50), ("limit", "120", 50)),
        stop_loss=stop("90", breakeven=True),
    )
    first, _ = scene.trade.orders("open")
    scene.account.fault("stream", "drop", times=9)
    scene.account.fill(first)
    scene.market.quote(99)  # below what will be the new level, above the old one
    scene.trade.expect({"status.type": "waiting_targets"})

    scene.account.clear_faults()

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["5.0"]


@both_kinds
def test_lost_report_is_found_by_force_process_f55(server: Server, kind: str) -> None:
    """Q-33."""
    scene = begin(server, kind)
    scene.account.fault("stream", "drop")
    scene.account.fill(scene.trade.order(), 4)
    scene.trade.expect({"data.closed_amount": "0.0"})

    scene.trade.force_process()

    scene.trade.expect({"data.closed_amount": "4.0", "stop_loss.units.value": "6.0"})


@both_kinds
def test_lost_report_of_a_market_order_is_asked_for_after_a_second_f53(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.account.fault("stream", "drop")

    scene.market.quote(90)
    scene.trade.expect({"status.type": "stop_loss_in_progress", "data.closed_amount": "0.0"})
    server.advance(1)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]


def test_stop_that_finds_a_partly_filled_target_whose_report_was_lost_sells_only_the_rest_f24(
    server: Server,
) -> None:
    scene = begin(server)
    scene.account.fault("stream", "drop")
    scene.account.fill(scene.trade.order(), 4)

    scene.market.quote(90)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["6.0"]


# --- positions that go away (S-32, EX-27, EX-29) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "error", "closed"),
    [
        ("liquidation", "Position was liquidated on the exchange", "10.0"),
        ("outside", "Position was closed outside of this trade", "0.0"),
    ],
)
def test_position_that_the_exchange_reports_gone_fails_the_trade_s_32_ex_29(
    server: Server, reason: str, error: str, closed: str
) -> None:
    scene = begin(server, FUTURES)
    scene.trade.add_funds(5, price="95")

    scene.account.close_position(scene.market, reason)

    scene.trade.expect(
        {
            "status.type": "failed",
            "status.error": error,
            "data.closed_amount": closed,
            "data.finished": False,
            "take_profit.steps": [],
        }
    )
    assert scene.trade.orders("open") == []
    scene.market.quote(80)
    assert scene.sold_at_market() == []


def test_liquidation_by_the_price_ends_before_a_stop_beyond_it_s_32(server: Server) -> None:
    scene = begin(
        server,
        FUTURES,
        leverage={"enabled": True, "type": "isolated", "value": 10},
        stop_loss=stop("85"),
    )

    scene.market.quote(80)

    scene.trade.expect({"status.type": "failed", "status.error": "Position was liquidated on the exchange"})
    assert scene.sold_at_market() == []
    assert scene.account.positions() == []


def test_liquidated_position_of_several_trades_ends_each_of_them_and_nobody_elses_ex_27(server: Server) -> None:
    market, account = stage(server, FUTURES)
    plan = {"take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90")}
    sharing = [account.create(market, position=buy(units), **plan) for units in ("2", "3")]
    waiting = account.create(market, position=buy("4", limit="50"), **plan | {"stop_loss": {"enabled": False}})
    other = server.account(market, USDT=10_000)
    elsewhere = other.create(market, position=buy("5"), **plan)

    account.close_position(market, "liquidation")

    for trade, units in zip(sharing, ("2.0", "3.0"), strict=True):
        trade.expect({"status.type": "failed", "data.closed_amount": units})
    assert elsewhere.status == "waiting_targets"
    assert waiting.status in ("waiting_position", "cancelled")  # its order went with the position's others


def test_stop_closes_what_is_left_of_a_position_that_shrank_elsewhere_ex_27(server: Server) -> None:
    scene = begin(server, FUTURES, take_profit=targets(("market", "120", 100)))
    smaller = {"type": "sell", "order_type": "market", "units": {"value": "7"}}
    scene.account.create(scene.market, instant=True, position=smaller)

    scene.market.quote(90)

    scene.trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "3.0"})
    assert scene.account.positions() == []


def test_stop_that_finds_its_position_closed_elsewhere_fails_and_does_not_open_a_short_ex_27_f35(
    server: Server,
) -> None:
    scene = begin(server, FUTURES, take_profit=targets(("market", "120", 100)))
    away = {"type": "sell", "order_type": "market", "units": {"value": "10"}}
    scene.account.create(scene.market, instant=True, position=away)

    scene.market.quote(90)

    scene.trade.expect({"status.type": "failed", "status.error": "Position was closed outside of this trade"})
    assert scene.account.positions() == []


# --- partial entries (P-16, P-18) ---------------------------------------------------------------------------------


@both_kinds
def test_stop_protects_what_a_partial_entry_bought_and_ends_the_entry_p_18(server: Server, kind: str) -> None:
    scene = begin(server, kind, position=buy(limit="95"))
    scene.trade.add_funds(5, price="94")
    entry = scene.trade.orders("open")[0]
    scene.account.fill(entry, 4)
    scene.trade.expect(
        {
            "status.type": "waiting_position",
            "data.entered_amount": "4.0",
            "take_profit.steps.*.status.type": ["idle"],  # P-16
            "stop_loss.status.type": "to_process",
        }
    )

    scene.market.quote(90, 100)

    scene.trade.expect(STOPPED | {"data.entered_amount": "4.0", "data.closed_amount": "4.0"})
    assert scene.trade.orders("open") == []
    assert scene.sold_at_market() == ["4.0"]


def test_percent_stop_of_a_partial_entry_follows_the_average_p_18(server: Server) -> None:
    percent = {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "percent": "10"}}}
    scene = begin(server, position=buy(limit="96"), stop_loss=percent)
    scene.account.fill(scene.trade.order(), 5)
    scene.trade.expect({"stop_loss.conditional.price.value": "86.49"})  # 96.096 x 0.9 = 86.4864

    scene.market.quote("86.50", 100)
    scene.trade.expect({"status.type": "waiting_position"})
    scene.market.quote("86.49", 100)

    scene.trade.expect(STOPPED | {"data.closed_amount": "5.0"})


def test_nothing_is_protected_before_the_first_fill_p_18(server: Server) -> None:
    scene = begin(server, position=buy(limit="95"))

    scene.market.quote(80, 100)

    scene.trade.expect({"status.type": "waiting_position", "stop_loss.status.type": "idle"})


def test_partial_entry_is_left_alone_when_the_setting_says_so_p_18(tmp_path: Path) -> None:
    with Server(tmp_path / "strict", environment={"SMARTTRADE_PROTECT_PARTIAL_ENTRY": "false"}) as strict:
        scene = begin(strict, position=buy(limit="95"))
        scene.account.fill(scene.trade.order(), 4)

        scene.market.quote(90, 100)
        scene.trade.expect({"status.type": "waiting_position", "stop_loss.status.type": "idle"})
        scene.account.fill(scene.trade.order())

        scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})  # armed with the entry, and reached (AR-3)


# --- sizes (EX-5) -------------------------------------------------------------------------------------------------


def test_rest_of_an_entry_that_found_too_little_is_sent_three_times_then_the_part_is_the_position_ex_5(
    server: Server,
) -> None:
    market, account = stage(server)
    market.quote(100, ask_size="4")
    trade = account.create(market, position=buy(), take_profit=targets(("limit", "110", 100)))

    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "4.0", "position.units.value": "4.0"})
    bought = [(order["quantity"], order["filled_quantity"]) for order in trade.orders() if order["side"] == "buy"]
    assert bought == [("10.0", "4.0"), ("6.0", "0.0"), ("6.0", "0.0"), ("6.0", "0.0")]


def test_entry_that_found_nothing_fails_ex_5(server: Server) -> None:
    market, account = stage(server)
    market.quote(100, ask_size="0")

    trade = account.create(market, position=buy(), take_profit=targets(("limit", "110", 100)))

    trade.expect({"status.type": "failed", "data.entered_amount": "0.0"})
    assert len(trade.orders()) == 4


@both_kinds
def test_stop_that_found_too_few_buyers_goes_on_until_everything_is_sold_ex_5_ex_12(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    scene.market.quote(90, bid_size="3")
    scene.trade.expect({"status.type": "stop_loss_in_progress", "data.closed_amount": "3.0"})
    scene.market.quote(89, bid_size="5")
    server.advance(1)
    scene.trade.expect({"status.type": "stop_loss_in_progress", "data.closed_amount": "8.0"})
    scene.market.quote(88)
    server.advance(60)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    total = sum(Decimal(quantity) for quantity in scene.sold_at_market())
    assert total == 10


def test_limit_target_takes_what_a_size_offers_and_keeps_the_rest_in_the_book_tp_7(server: Server) -> None:
    scene = begin(server)

    scene.market.quote(110, bid_size="4")
    scene.trade.expect({"data.closed_amount": "4.0", "stop_loss.units.value": "6.0"})
    scene.market.quote(90)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["6.0"]
