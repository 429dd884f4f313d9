"""The four worked scenarios of the behaviour page (section 8), row by row and figure by figure, over HTTP."""

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from harness import Account, Market, Server, Trade


def decimals(numerator: str, denominator: str, places: int) -> str:
    """A quotient as the wire shows it: at most so many decimals, half up."""
    with localcontext(prec=200):
        quotient = Decimal(numerator) / Decimal(denominator)
        return f"{quotient.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP).normalize():f}"


def market_price_after(account: Account, market: Market, trigger: str, filled: str) -> None:
    """`trigger` fires a market order that the exchange, too busy for a second, fills at `filled` (EX-7).

    Both are bid and ask at once.
    """
    account.fault("submit", "reject", text="Server is busy.", **{"class": "transient"})
    market.quote(trigger)
    market.quote(filled)
    account.server.advance(1)


# --- 8.1 --------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_breakeven(server: Server) -> tuple[Market, Account, Trade]:
    """Scenario 8.1 after row 1: limit buy 10 at 100, two limit targets, a stop with breakeven."""
    market = server.market(tick="0.01", lot="0.1", min_total=5, fee_in="base")
    account = server.account(market, USDT=1000)
    market.quote("100.50", "101")
    trade = account.create(
        market,
        position={"type": "buy", "order_type": "limit", "units": {"value": "10"}, "price": {"value": "100"}},
        take_profit={
            "enabled": True,
            "steps": [
                {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": "110"}},
                {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": "120"}},
            ],
        },
        stop_loss={
            "enabled": True,
            "breakeven": True,
            "order_type": "market",
            "conditional": {"price": {"type": "bid", "value": "90"}},
        },
    )
    return market, account, trade


def test_long_with_two_limit_targets_and_breakeven_8_1(with_breakeven: tuple[Market, Account, Trade]) -> None:
    market, account, trade = with_breakeven

    assert trade.created["status"]["type"] == "created"  # 1: S-1, S-4
    trade.expect(
        {
            "status.type": "waiting_position",
            "position.status.type": "order_placed",
            "take_profit.steps.*.status.type": ["idle", "idle"],
            "take_profit.steps.*.units.value": [None, None],
            "stop_loss.status.type": "idle",
        }
    )

    market.quote("99.90", "100")
    trade.expect(
        {  # 2: M-2, M-10
            "status.type": "waiting_targets",
            "data.entered_amount": "9.99",
            "data.entered_total": "1000.0",
            "data.average_enter_price": "100.1",
            "data.average_enter_price_without_commission": "100.0",
            "position.price.value": "100.1",
            "position.price.value_without_commission": "100.0",
            # 3: M-20, SL-14
            "take_profit.steps.*.units.value": ["5.0", "4.9"],
            "take_profit.steps.*.total": ["550.0", "588.0"],
            "take_profit.steps.*.status.type": ["order_placed", "order_placed"],
            "stop_loss.status.type": "to_process",
            "stop_loss.units.value": "9.9",
            "stop_loss.total.value": "891.0",
        }
    )

    market.quote("105")
    trade.expect({"profit.volume": "47.90105", "profit.percent": "4.79"})  # 4: M-40, M-41

    market.quote("110")
    entity = trade.expect(
        {  # 5: M-15, BE-2, S-36
            "status.type": "waiting_targets",
            "take_profit.steps.*.status.type": ["finished", "order_placed"],
            "data.closed_amount": "5.0",
            "data.closed_total": "549.45",
            "stop_loss.conditional.price.value": "100.11",
            "stop_loss.units.value": "4.9",
            "data.closed_at": "absent",
        }
    )
    assert entity["take_profit"]["steps"][0]["closed_at"] is not None

    market.quote("108")
    trade.expect({"profit.volume": "87.83108", "profit.percent": "8.78"})  # 6

    market.quote("100.12")  # 7
    trade.expect({"status.type": "waiting_targets"})
    account.fault("cancel", "hold")
    market.quote("100.11")
    trade.expect({"status.type": "stop_loss_in_progress", "take_profit.steps.*.status.type": ["finished"]})
    assert [step["status"] for step in trade.trades("take_profit")] == ["finished", "pending_cancellation"]
    assert [order["type"] for order in trade.orders()] == ["limit"] * 3  # nothing is sold before the confirmation

    market.quote("100.05")
    account.release()
    trade.expect(
        {  # 8: EX-20, M-16, M-45
            "status.type": "stop_loss_finished",
            "data.closed_amount": "9.9",
            "data.closed_total": "1039.204755",
            "data.average_close_price": "104.97",
            "data.average_close_price_without_commission": "105.07",
            "profit.volume": "48.213764" + "009" * 10,  # 1039.204755 - 1000 x 9.9 / 9.99
            "profit.percent": "4.87",
        }
    )
    closing = trade.orders()[-1]
    assert (closing["side"], closing["type"], closing["filled_quantity"]) == ("sell", "market", "4.9")
    assert account.balances()[market.base] == ("0.09", "0.0")  # dust stays on the account


def test_target_filled_before_its_cancellation_leaves_nothing_to_stop_8_1_r_1(
    with_breakeven: tuple[Market, Account, Trade],
) -> None:
    market, account, trade = with_breakeven
    for bid in ("99.90", "110", "108"):
        market.quote(bid, "100" if bid == "99.90" else bid)
    account.fault("cancel", "hold")
    market.quote("100.11")
    trade.expect({"status.type": "stop_loss_in_progress"})

    account.fill(trade.order())  # another buyer takes the second target
    account.release()

    trade.expect(
        {
            "status.type": "finished",
            "take_profit.steps.*.status.type": ["finished", "finished"],
            "stop_loss.status.type": "cancelled",
            "data.closed_amount": "9.9",
        }
    )
    assert [order["type"] for order in trade.orders()] == ["limit"] * 3


def test_breakeven_is_tested_against_the_price_that_filled_the_target_not_the_one_before_8_1(
    with_breakeven: tuple[Market, Account, Trade],
) -> None:
    market, _, trade = with_breakeven
    market.quote("99.90", "100")  # below what is going to be the entry price with commission

    market.quote("110")

    trade.expect({"status.type": "waiting_targets", "stop_loss.conditional.price.value": "100.11"})  # TR-5, AR-3


# --- 8.2 --------------------------------------------------------------------------------------------------------


def test_short_on_own_coins_with_trailing_target_and_timeout_8_2(server: Server) -> None:
    market = server.market(tick="0.01", lot="0.1", fee_in="quote")
    account = server.account(market, BASE=10)
    market.quote("100")
    trade = account.create(
        market,
        position={"type": "sell", "order_type": "market", "units": {"value": "10"}},
        take_profit={
            "enabled": True,
            "steps": [
                {
                    "order_type": "market",
                    "volume": 100,
                    "price": {"type": "ask", "value": "90"},
                    "trailing": {"enabled": True, "percent": "2"},
                }
            ],
        },
        stop_loss={
            "enabled": True,
            "order_type": "market",
            "conditional": {"price": {"type": "ask", "value": "110"}},
            "timeout": {"enabled": True, "value": 30},
        },
    )
    trade.expect(
        {  # 1: M-4, M-10
            "status.type": "waiting_targets",
            "data.entered_amount": "10.0",
            "data.entered_total": "999.0",
            "data.average_enter_price": "99.9",
            "data.average_enter_price_without_commission": "100.0",
        }
    )

    start = server.now()
    for second, ask in ((0, "110"), (20, "111"), (25, "109.99"), (60, "112"), (90, "109")):
        market.quote("100", ask, at=start + timedelta(seconds=second))
        trade.expect({"status.type": "waiting_targets", "stop_loss.status.type": "to_process"})  # 2: TR-60 to TR-62
    server.advance(60)
    assert len(trade.orders()) == 1, "the stop has sent something"

    market.quote("90")
    trade.expect({"take_profit.steps.*.status.type": ["trailing_activated"]})  # 3: TR-42
    assert trade.trades("take_profit")[0]["trigger_price"] == "91.8"

    market.quote("85")  # 4
    assert trade.trades("take_profit")[0]["trigger_price"] == "86.7"
    market.quote("86.69")
    trade.expect({"take_profit.steps.*.status.type": ["trailing_activated"]})
    market_price_after(account, market, "86.70", filled="86.72")

    trade.expect(
        {  # 5
            "status.type": "finished",
            "data.closed_amount": "10.0",
            "data.closed_total": "868.0672",
            "profit.volume": "130.9328",
            "profit.percent": "13.11",
            "data.average_close_price": "86.8",
            "data.average_close_price_without_commission": "86.72",
        }
    )


# --- 8.3 --------------------------------------------------------------------------------------------------------


def test_long_with_trailing_entry_percent_exits_and_trailing_stop_8_3(server: Server) -> None:
    market = server.market(tick="0.01", lot="0.1", fee_in="quote")
    account = server.account(market, USDT=5000)
    market.quote("420")
    trade = account.create(
        market,
        position={
            "type": "buy",
            "order_type": "conditional",
            "units": {"value": "10"},
            "conditional": {
                "price": {"type": "ask", "value": "400"},
                "order_type": "market",
                "trailing": {"enabled": True, "percent": "10"},
            },
        },
        take_profit={
            "enabled": True,
            "steps": [{"order_type": "market", "volume": 100, "price": {"type": "bid", "percent": "5"}}],
        },
        stop_loss={
            "enabled": True,
            "order_type": "market",
            "conditional": {"price": {"type": "bid", "percent": "6"}, "trailing": {"enabled": True}},
        },
    )

    for ask, line in (("400", "440.0"), ("350", "385.0"), ("384.99", "385.0")):  # 1: TR-20 to TR-22, TR-32
        market.quote("340", ask)
        trade.expect(
            {
                "status.type": "waiting_position",
                "position.status.type": "trailing_activated",
                "take_profit.price_type": "percentage",
                "take_profit.steps.*.price": [{"type": "bid", "value": None, "percent": "5.0"}],
                "stop_loss.price_type": "percentage",
                "stop_loss.conditional.price": {"type": "bid", "value": None, "percent": "6.0"},
            }
        )
        assert trade.trades("position")[0]["trigger_price"] == line

    market.quote("384.90", "385")
    trade.expect(
        {  # 2, 3: TR-30, TR-32
            "status.type": "waiting_targets",
            "data.entered_total": "3853.85",
            "data.average_enter_price_without_commission": "385.0",
            "take_profit.price_type": "value",
            "take_profit.steps.*.price": [{"type": "bid", "value": "404.65", "percent": "5.0"}],
            "stop_loss.price_type": "value",
            "stop_loss.conditional.price": {"type": "bid", "value": "362.26", "percent": "6.0"},
        }
    )

    for bid, level in (("400", "376.4718"), ("404.64", "380.8388")):  # 4, 5: TR-50, TR-52
        market.quote(bid)
        trade.expect({"status.type": "waiting_targets", "stop_loss.conditional.price.value": "362.26"})
        (stop,) = trade.trades("stop_loss")
        exact = decimals(f"{Decimal(bid) * Decimal('362.26')}", "384.90", 10)
        assert exact.startswith(level)
        assert stop["trigger_price"] == exact
        assert Decimal(stop["trailing_last_price"]) == Decimal(bid)

    market_price_after(account, market, "380.80", filled="380.75")
    trade.expect(
        {  # 6
            "status.type": "stop_loss_finished",
            "data.closed_total": "3803.6925",
            "profit.volume": "-50.1575",
            "profit.percent": "-1.3",
        }
    )


# --- 8.4 --------------------------------------------------------------------------------------------------------


def test_leveraged_long_with_added_and_reduced_funds_8_4(server: Server) -> None:
    market = server.market(kind="linear", tick="0.01", lot="0.1", maker_fee="0.0005", taker_fee="0.0005")
    account = server.account(market, USDT=10_000)
    market.quote("100")
    trade = account.create(
        market,
        leverage={"enabled": True, "type": "isolated", "value": 4},
        position={"type": "buy", "order_type": "market", "units": {"value": "10"}},
        take_profit={
            "enabled": True,
            "steps": [{"order_type": "limit", "volume": 100, "price": {"type": "bid", "percent": "5"}}],
        },
        stop_loss={
            "enabled": True,
            "order_type": "market",
            "conditional": {"price": {"type": "bid", "value": "80"}},
        },
    )
    trade.expect({"data.entered_total": "1000.5", "take_profit.steps.*.price.value": ["105.05"]})  # 1
    assert (trade.order()["price"], trade.order()["reduce_only"]) == ("105.05", True)

    market.quote("90")
    trade.add_funds(10)
    trade.expect(
        {  # 2: TR-31
            "data.entered_amount": "20.0",
            "data.entered_total": "1900.95",
            "data.average_enter_price": "95.04",
            "data.average_enter_price_without_commission": "95.0",
            "take_profit.steps.*.price.value": ["99.8"],
            "take_profit.steps.*.units.value": ["20.0"],
            "stop_loss.conditional.price.value": "80.0",
        }
    )
    assert (trade.order()["price"], trade.order()["quantity"]) == ("99.8", "20.0")

    market.quote("92")
    trade.expect(
        {  # 3: M-43, M-50
            "profit.volume": "-61.87",
            "profit.percent": "-3.25",
            "profit.roe": "-13.0",
            "margin.amount": "5.0",
            "margin.total": "475.2",
        }
    )
    assert trade.max_reduce() == "19.9375"  # 4: M-30

    account.fault("cancel", "hold")
    assert trade.reduce_funds(5)["status"]["type"] == "pending_reduce_funds"  # 5
    trade.expect({"status.type": "reduce_funds_in_progress", "data.closed_amount": "0.0"})
    account.release()
    trade.expect(
        {
            "status.type": "waiting_targets",
            "data.closed_amount": "5.0",
            "data.closed_total": "459.77",
            "take_profit.steps.*.units.value": ["15.0"],
        }
    )
    assert (trade.order()["quantity"], trade.order()["reduce_only"]) == ("15.0", True)

    market.quote("79.50")
    trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "20.0"})  # 6
    closing = trade.orders()[-1]
    assert (closing["side"], closing["type"], closing["quantity"], closing["reduce_only"]) == (
        "sell",
        "market",
        "15.0",
        True,
    )
    assert trade.orders("open") == []
