"""Races between the engine and an exchange that is a moment ahead of it (behaviour 5.4, R-1 to R-12; EX-20 to EX-33).

Cancellations are held, others trade with the orders meanwhile, then the cancellations are let through. Every race is
played on coins and on contracts; the two differ only in what may go out before a cancellation is confirmed (EX-22).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest
from harness import Account, Answer, Market, Refused, Server, Trade

SPOT, FUTURES = "spot", "linear"
both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])

STOPPED = {"status.type": "stop_loss_finished", "data.finished": True}


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


def stop(level: str, price_type: str = "bid", **more: Any) -> dict[str, Any]:
    """A market stop."""
    price = {"type": price_type, "value": level}
    return {"enabled": True, "order_type": "market", "conditional": {"price": price}, **more}


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
        """Filled quantities of the market sells, oldest first."""
        orders = self.trade.orders()
        return [each["filled_quantity"] for each in orders if (each["side"], each["type"]) == ("sell", "market")]

    @contextmanager
    def cancellation_held(self) -> Iterator[None]:
        """What happens inside comes before the exchange carries out the next cancellation."""
        self.account.fault("cancel", "hold")
        yield
        self.account.release()


def begin(server: Server, kind: str, **body: Any) -> Scene:
    """A trade of 10 units at 100: bought at market with one limit target at 110 and a stop at 90, unless told."""
    market = server.market(kind=kind)
    account = server.account(market, USDT=10_000)
    market.quote(100)
    whole = {"position": buy(), "take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90"), **body}
    return Scene(market, account, account.create(market, **whole))


# --- the table ---------------------------------------------------------------------------------------------------


@both_kinds
def test_target_filled_before_its_cancellation_leaves_the_stop_nothing_to_sell_r_1(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.market.quote(90)
        scene.trade.expect({"status.type": "stop_loss_in_progress"})
        scene.account.fill(scene.trade.order())

    scene.trade.expect(
        {
            "status.type": "finished",
            "stop_loss.status.type": "cancelled",
            "take_profit.steps.*.status.type": ["finished"],
            "data.closed_amount": "10.0",
        }
    )
    assert scene.sold_at_market() == []


@both_kinds
def test_stop_sells_what_a_target_left_when_its_cancellation_came_late_r_2(server: Server, kind: str) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 60), ("limit", "120", 40)))
    first, _ = scene.trade.orders("open")

    scene.account.fault("cancel", "hold")
    with scene.cancellation_held():
        scene.market.quote(90)
        scene.account.fill(first, 4)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0", "stop_loss.status.type": "finished"})
    assert scene.sold_at_market() == ["6.0"]


@both_kinds
def test_market_close_that_finds_everything_sold_by_the_target_stays_empty_r_3(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        assert scene.trade.close_by_market()["status"]["type"] == "panic_sell_pending"
        scene.account.fill(scene.trade.order())

    scene.trade.expect({"status.type": "finished", "market_close": {}, "data.closed_amount": "10.0"})
    assert scene.sold_at_market() == []


@both_kinds
def test_market_close_sells_only_what_the_target_left_s_23(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.trade.close_by_market()
        scene.account.fill(scene.trade.order(), "3.5")

    scene.trade.expect({"status.type": "panic_sold", "data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["6.5"]


@both_kinds
@pytest.mark.parametrize(
    ("filled", "position"),
    [pytest.param("4", "cancelled", id="R-4"), pytest.param("10", "finished", id="R-5")],
)
def test_cancel_overtaken_by_the_entry_keeps_what_was_bought_and_sells_nothing_r_4_r_5(
    server: Server, kind: str, filled: str, position: str
) -> None:
    scene = begin(server, kind, position=buy(limit="95"))

    with scene.cancellation_held():
        scene.trade.cancel()
        scene.trade.expect({"status.type": "cancellation_in_progress"})  # not over before it is confirmed
        scene.account.fill(scene.trade.order(), filled)

    scene.trade.expect(
        {
            "status.type": "cancelled",
            "data.entered_amount": f"{filled}.0",
            "data.closed_amount": "0.0",
            "position.status.type": position,
            "take_profit.steps": [],
            "data.finished": False,
        }
    )
    assert len(scene.trade.orders()) == 1, "an exit was sent"
    scene.market.quote(80)
    assert len(scene.trade.orders()) == 1, "the stop was still armed"
    if kind == SPOT:
        assert scene.account.balances()[scene.market.base] == (f"{filled}.0", "0.0")
    else:
        assert [each["quantity"] for each in scene.account.positions()] == [f"{filled}.0"]


@both_kinds
@pytest.mark.parametrize(("filled", "bought"), [("10", ["limit"]), ("4", ["limit", "market"])])
def test_forced_start_buys_only_what_the_limit_order_did_not_r_6(
    server: Server, kind: str, filled: str, bought: list[str]
) -> None:
    scene = begin(server, kind, position=buy(limit="95"))

    with scene.cancellation_held():
        scene.trade.force_start()
        scene.trade.expect({"position.status.type": "panic_sell_pending"})
        scene.account.fill(scene.trade.order(), filled)

    scene.trade.expect(
        {"status.type": "waiting_targets", "position.status.type": "finished", "data.entered_amount": "10.0"}
    )
    assert [order["type"] for order in scene.trade.orders() if order["side"] == "buy"] == bought


def moved(scene: Scene, price: str) -> dict[str, Any]:
    """The take-profit group as read, with the first step moved to `price`."""
    steps = [
        {
            "id": step["id"],
            "order_type": "limit",
            "volume": step["volume"],
            "price": {"type": "bid", "value": step["price"]["value"]},
        }
        for step in scene.trade.get()["take_profit"]["steps"]
    ]
    steps[0]["price"]["value"] = price
    return {"enabled": True, "steps": steps}


@both_kinds
def test_step_filled_before_an_edit_could_move_it_is_finished_at_its_old_price_r_7(server: Server, kind: str) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    old, _ = scene.trade.orders("open")

    with scene.cancellation_held():
        scene.trade.edit(take_profit=moved(scene, "115"))
        scene.account.fill(old)

    scene.trade.expect(
        {
            "status.type": "waiting_targets",
            "take_profit.steps.*.status.type": ["finished", "order_placed"],
            "take_profit.steps.*.price.value": ["110.0", "120.0"],
            "take_profit.steps.*.units.value": ["5.0", "5.0"],
            "data.closed_amount": "5.0",
        }
    )
    assert [order["price"] for order in scene.trade.orders("open")] == ["120.0"]


@both_kinds
def test_step_partly_filled_before_an_edit_could_move_it_is_placed_anew_for_the_rest_e_26(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    old, _ = scene.trade.orders("open")

    with scene.cancellation_held():
        scene.trade.edit(take_profit=moved(scene, "115"))
        scene.account.fill(old, 2)

    resting = {order["price"]: order["quantity"] for order in scene.trade.orders("open")}
    assert resting == {"115.0": "3.0", "120.0": "5.0"}
    scene.market.quote(120)
    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})


@both_kinds
def test_step_that_fills_while_it_is_being_cancelled_is_finished_and_shown_again_r_8(server: Server, kind: str) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 30), ("limit", "120", 70)))
    first, _ = scene.trade.orders("open")

    with scene.cancellation_held():
        scene.trade.cancel_trade(first["trade_id"])
        assert len(scene.trade.get()["take_profit"]["steps"]) == 1
        scene.account.fill(first)

    scene.trade.expect(
        {
            "take_profit.steps.*.status.type": ["finished", "order_placed"],
            "take_profit.steps.*.units.value": ["3.0", "7.0"],
            "data.closed_amount": "3.0",
        }
    )
    scene.market.quote(120)
    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})


@both_kinds
def test_stop_wins_over_a_market_target_satisfied_by_the_same_price_r_9(server: Server, kind: str) -> None:
    scene = begin(server, kind, take_profit=targets(("market", "110", 100)), stop_loss=stop("90", "last"))

    scene.market.quote(110, last="90")

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]
    assert [each["status"] for each in scene.trade.trades("take_profit")] == ["cancelled"]


@both_kinds
@pytest.mark.parametrize(("filled", "sold"), [("5", "15.0"), ("1.2", "11.2")])
def test_averaging_that_fills_while_the_stop_cancels_it_is_sold_with_the_rest_r_10(
    server: Server, kind: str, filled: str, sold: str
) -> None:
    scene = begin(server, kind, take_profit={"enabled": False})
    scene.trade.add_funds(5, price="95")

    with scene.cancellation_held():
        scene.market.quote(90, 100)
        scene.trade.expect({"status.type": "stop_loss_in_progress"})
        scene.account.fill(scene.trade.order(), filled)

    scene.trade.expect(STOPPED | {"data.entered_amount": sold, "data.closed_amount": sold})
    assert scene.sold_at_market() == [sold]


@both_kinds
def test_only_one_of_many_clients_closes_a_trade_r_11(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    def close(_: int) -> Answer:
        with closing(server.client()) as client:
            return client.call("POST", scene.trade.path("/close_by_market"))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(close, range(8)))

    granted = [answer for answer in answers if answer.status < 300]
    refused = [answer for answer in answers if answer.status == 400]
    assert (len(granted), len(refused)) == (1, 7)
    assert {answer.body["error_description"] for answer in refused} == {
        "Close by market is not allowed in the current status"
    }
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_second_market_close_is_refused_while_the_first_waits_for_a_cancellation_r_11(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.trade.close_by_market()
        with pytest.raises(Refused) as refused:
            scene.trade.close_by_market()

    assert refused.value.answer.status == 400
    scene.trade.expect({"status.type": "panic_sold"})
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_fill_told_twice_by_the_stream_and_again_by_a_query_is_booked_once_r_12(server: Server, kind: str) -> None:
    market = server.market(kind=kind)
    account = server.account(market, USDT=10_000)
    market.quote(100)
    account.fault("stream", "duplicate", times=4)
    trade = account.create(market, position=buy(), take_profit=targets(("limit", "110", 100)), stop_loss=stop("90"))
    account.fill(trade.order(), 4)

    trade.force_process()

    trade.expect({"data.entered_amount": "10.0", "data.entered_total": "1001.0", "data.closed_amount": "4.0"})
    account.fill(trade.order())
    trade.expect({"status.type": "finished", "data.closed_amount": "10.0", "data.closed_total": "1098.9"})


# --- cancel first, then close (EX-20 to EX-24) --------------------------------------------------------------------


def test_stop_on_coins_waits_for_every_cancellation_however_long_it_takes_ex_22(server: Server) -> None:
    scene = begin(server, SPOT)

    with scene.cancellation_held():
        scene.market.quote(90)
        for _ in range(4):
            server.advance(60)
            scene.trade.expect({"status.type": "stop_loss_in_progress"})
            assert scene.sold_at_market() == []

    scene.trade.expect(STOPPED)
    assert scene.sold_at_market() == ["10.0"]


def test_stop_on_contracts_goes_out_reduce_only_after_five_seconds_of_silence_ex_22(server: Server) -> None:
    scene = begin(server, FUTURES)
    scene.account.fault("cancel", "timeout_before", times=9)

    scene.market.quote(90)
    server.advance("4.999")
    assert scene.sold_at_market() == []
    server.advance("0.001")

    (closing,) = [order for order in scene.trade.orders() if order["type"] == "market" and order["side"] == "sell"]
    assert (closing["quantity"], closing["reduce_only"]) == ("10.0", True)
    assert scene.account.positions() == []
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.trade.orders("open") == []


def test_market_close_on_contracts_goes_out_reduce_only_after_five_seconds_of_silence_ex_22(server: Server) -> None:
    scene = begin(server, FUTURES)

    scene.account.fault("cancel", "hold")
    scene.trade.close_by_market()
    server.advance("4.999")
    assert scene.sold_at_market() == []
    server.advance("0.001")

    assert scene.sold_at_market() == ["10.0"]
    scene.trade.expect({"status.type": "panic_sold", "data.closed_amount": "10.0"})


def test_trade_on_contracts_is_final_only_when_the_doubtful_cancellation_is_settled_ex_22(server: Server) -> None:
    """The entry is not reduce-only, so the exchange does not end it with the position (P-18)."""
    scene = begin(server, FUTURES, position=buy(limit="95"))
    scene.account.fill(scene.trade.order(), 4)

    with scene.cancellation_held():
        scene.market.quote(90, 100)
        server.advance(5)
        assert scene.sold_at_market() == ["4.0"]
        scene.trade.expect({"status.type": "stop_loss_in_progress", "data.closed_amount": "4.0"})

    scene.trade.expect(STOPPED | {"data.entered_amount": "4.0", "data.closed_amount": "4.0"})


def test_entry_that_fills_after_an_early_close_on_contracts_is_closed_as_well_ex_22(server: Server) -> None:
    scene = begin(server, FUTURES, position=buy(limit="95"))
    scene.account.fill(scene.trade.order(), 4)

    with scene.cancellation_held():
        scene.market.quote(90, 100)
        server.advance(5)
        scene.account.fill(scene.trade.order(), 3)

    scene.trade.expect(STOPPED | {"data.entered_amount": "7.0", "data.closed_amount": "7.0"})
    assert scene.sold_at_market() == ["4.0", "3.0"]
    assert scene.account.positions() == []


@both_kinds
def test_cancellation_that_was_lost_is_repeated_after_a_query_ex_22(server: Server, kind: str) -> None:
    scene = begin(server, kind, position=buy(limit="95"))
    scene.account.fault("cancel", "timeout_before")

    scene.trade.cancel()
    server.advance("4.999")
    scene.trade.expect({"status.type": "cancellation_in_progress"})
    server.advance("0.001")

    scene.trade.expect({"status.type": "cancelled"})
    assert [order["status"] for order in scene.trade.orders()] == ["cancelled"]


@both_kinds
def test_cancellation_whose_answer_was_lost_is_found_out_by_a_query_ex_22(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.account.fault("cancel", "timeout_after")

    scene.market.quote(90)
    assert scene.trade.orders("open") == []  # it is out, and nobody knows
    assert scene.sold_at_market() == []
    server.advance(5)

    scene.trade.expect(STOPPED)
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
@pytest.mark.parametrize("told", [True, False], ids=["told", "report lost"])
def test_refused_cancellation_is_decided_by_a_query_ex_21(server: Server, kind: str, told: bool) -> None:
    scene = begin(server, kind)
    if not told:
        scene.account.fault("stream", "drop")
        scene.account.fill(scene.trade.order())
    else:
        scene.account.fault("cancel", "reject", text="Unknown order sent.")

    scene.market.quote(90)

    if told:  # it was open all the time: asked for again
        server.advance(5)
        scene.trade.expect(STOPPED)
        assert scene.sold_at_market() == ["10.0"]
    else:  # it was filled: nothing is left to sell (S-17)
        scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})
        assert scene.sold_at_market() == []


@both_kinds
def test_recovery_of_the_price_does_not_call_a_fired_stop_back_ex_24(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.market.quote(90)
        scene.market.quote(105)
        scene.trade.expect({"status.type": "stop_loss_in_progress"})

    scene.trade.expect(STOPPED)
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_market_close_takes_over_from_a_stop_that_still_waits_s_22(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.market.quote(90)
        scene.trade.close_by_market()
        scene.trade.expect({"status.type": "panic_sell_pending"})

    scene.trade.expect({"status.type": "panic_sold", "data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_cancel_takes_over_from_a_stop_that_still_waits_and_sells_nothing_s_26(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.market.quote(90)
        scene.trade.cancel()

    scene.trade.expect({"status.type": "cancelled", "data.closed_amount": "0.0"})
    assert scene.sold_at_market() == []


# --- other races of the same kind ---------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(
    ("filled", "status", "sold"), [("5", "finished", []), ("2", "panic_sold", ["3.0"]), (None, "panic_sold", ["5.0"])]
)
def test_step_closed_by_hand_sells_only_what_its_resting_order_did_not_tp_9_tp_10(
    server: Server, kind: str, filled: str | None, status: str, sold: list[str]
) -> None:
    scene = begin(server, kind, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    first, _ = scene.trade.orders("open")

    with scene.cancellation_held():
        scene.trade.close_trade(first["trade_id"])
        if filled is not None:
            scene.account.fill(first, filled)

    scene.trade.expect(
        {
            "status.type": "waiting_targets",
            "take_profit.steps.*.status.type": [status, "order_placed"],
            "data.closed_amount": "5.0",
        }
    )
    assert scene.sold_at_market() == sold


@both_kinds
def test_averaging_closed_by_hand_buys_only_what_its_resting_order_did_not_a_6(server: Server, kind: str) -> None:
    scene = begin(server, kind)
    scene.trade.add_funds(5, price="95")
    averaging = next(order for order in scene.trade.orders("open") if order["side"] == "buy")

    with scene.cancellation_held():
        scene.trade.close_trade(averaging["trade_id"])
        scene.account.fill(averaging, 2)

    scene.trade.expect({"status.type": "waiting_targets", "data.entered_amount": "15.0"})
    assert [order["quantity"] for order in scene.trade.orders("open")] == ["15.0"]


@both_kinds
@pytest.mark.parametrize(("filled", "reduced"), [("2", "4.0"), ("7", "2.9"), ("9.9", None)])
def test_reduction_that_targets_overtake_shrinks_to_what_is_allowed_rf_7(
    server: Server, kind: str, filled: str, reduced: str | None
) -> None:
    """What remains must still be closable by the stop: 5 / 90 of a coin (M-30)."""
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.trade.reduce_funds(4)
        scene.account.fill(scene.trade.order(), filled)

    assert scene.sold_at_market() == ([] if reduced is None else [reduced])
    scene.market.quote(90)
    scene.trade.expect({"data.closed_amount": "10.0", "data.finished": True})


@both_kinds
def test_stop_that_fires_while_a_reduction_clears_the_book_sells_everything_rf_9(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.trade.reduce_funds(4)
        scene.market.quote(90)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_limit_entry_that_fills_before_an_edit_could_move_it_is_the_entry_e_14(server: Server, kind: str) -> None:
    scene = begin(server, kind, position=buy(limit="95"))

    with scene.cancellation_held():
        scene.trade.edit(position=buy(limit="96"))
        scene.account.fill(scene.trade.order(), 4)

    assert [(order["price"], order["quantity"]) for order in scene.trade.orders("open")] == [("96.0", "6.0")]
    scene.account.fill(scene.trade.order())
    scene.trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})


@both_kinds
def test_last_target_that_fills_while_a_cancel_waits_finishes_the_trade_s_29(server: Server, kind: str) -> None:
    scene = begin(server, kind)

    with scene.cancellation_held():
        scene.trade.cancel()
        scene.account.fill(scene.trade.order())

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0", "data.finished": True})


@both_kinds
def test_averaging_that_fills_while_the_last_target_ends_the_trade_keeps_its_stop_s_14(
    server: Server, kind: str
) -> None:
    scene = begin(server, kind)
    scene.trade.add_funds(5, price="95")
    averaging, target = sorted(scene.trade.orders("open"), key=lambda order: str(order["side"]))

    with scene.cancellation_held():
        scene.account.fill(target)
        scene.account.fill(averaging, 3)

    scene.trade.expect({"data.entered_amount": "13.0", "data.closed_amount": "10.0"})
    scene.market.quote(90, 100)
    scene.trade.expect({"data.closed_amount": "13.0", "data.finished": True})
    assert scene.trade.orders("open") == []


# --- late fills (EX-32, EX-33) ------------------------------------------------------------------------------------


def test_entry_fill_after_a_cancel_is_counted_noted_and_starts_nothing_ex_33(server: Server) -> None:
    scene = begin(server, SPOT, position=buy(limit="95"))
    entry = scene.trade.order()
    scene.trade.cancel()
    scene.trade.expect({"status.type": "cancelled", "data.entered_amount": "0.0", "status.error": "absent"})

    scene.account.fill(entry, 4, late=True)

    scene.trade.expect(
        {
            "status.type": "cancelled",
            "status.error": "Position was filled after cancellation",
            "data.entered_amount": "4.0",
        }
    )
    assert len(scene.trade.orders()) == 1


def test_target_fill_after_the_stop_has_ended_the_trade_corrects_amounts_and_profit_ex_33(server: Server) -> None:
    scene = begin(server, SPOT, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    scene.trade.cancel_trade(scene.trade.orders("open")[1]["trade_id"])
    first = scene.trade.order()
    with scene.cancellation_held():
        scene.market.quote(90)
        scene.account.set_balance(scene.market.base, 2)  # somebody took three of the five that were free
    scene.trade.expect(
        STOPPED | {"data.closed_amount": "7.0", "data.closed_total": "629.37", "profit.volume": "-71.33"}
    )
    scene.account.set_balance(scene.market.base, 2)

    scene.account.fill(first, 2, late=True)

    scene.trade.expect(  # 629.37 + 2 x 110 x 0.999 - 1001 x 9 / 10
        STOPPED | {"data.closed_amount": "9.0", "data.closed_total": "849.15", "profit.volume": "-51.75"}
    )
    assert scene.trade.orders("open") == []


def test_late_fill_told_twice_is_counted_once_ex_32(server: Server) -> None:
    scene = begin(server, SPOT, position=buy(limit="95"))
    entry = scene.trade.order()
    scene.trade.cancel()
    scene.account.fault("stream", "duplicate")

    scene.account.fill(entry, 4, late=True)

    scene.trade.expect({"data.entered_amount": "4.0"})
