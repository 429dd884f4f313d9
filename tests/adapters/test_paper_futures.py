"""The paper exchange on linear contracts: net positions, margin, reduce-only, liquidation (sandbox.md, 4.6, 5.5)."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from paper_world import LINEAR, D, PaperWorld

from smarttrade.adapters.exchanges.paper.exchange import CloseReason, ScriptError
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO, Money
from smarttrade.domain.order import OrderReport, RefusalKind, ReportedState
from smarttrade.domain.plan import MarginMode
from smarttrade.domain.quote import InstrumentKey
from smarttrade.ports.exchange import Balance, FuturesPosition, LeverageRejected, PositionClosed

CANCELED, FILLED, OPEN = ReportedState.CANCELED, ReportedState.FILLED, ReportedState.OPEN
OTHER = replace(LINEAR, key=InstrumentKey("binance_futures", "USDT_ETHUSDT"), base="ETH")


@pytest.fixture
def world() -> PaperWorld:
    world = PaperWorld(LINEAR, {"USDT": "10000"})
    world.rules[OTHER.key] = OTHER
    world.quote("100", "100")
    return world


def leverage(world: PaperWorld, mode: MarginMode, value: str, account_id: int = 1) -> None:
    asyncio.run(world.market.exchange(account_id).set_leverage(world.key, mode, D(value)))


def position(world: PaperWorld, account_id: int = 1) -> FuturesPosition | None:
    return world.market.positions(account_id).get(world.key)


def size(world: PaperWorld, account_id: int = 1) -> Decimal:
    found = position(world, account_id)
    return ZERO if found is None else found.quantity


def ends(reports: list) -> list[tuple]:
    return [
        (each.client_order_id, each.state, each.filled_quantity) if isinstance(each, OrderReport) else each
        for each in reports
    ]


# positions


def test_opening_reserves_the_margin_and_pays_the_commission(world):
    world.buy("a", "10")
    assert position(world) == FuturesPosition(
        key=world.key, quantity=D(10), entry_price=D(100), mode=MarginMode.CROSS, leverage=D(1), margin=D(1000),
        liquidation_price=None,
    )  # fmt: skip
    assert world.balance("USDT") == Balance(D(8999), D(1000))


def test_holding_a_position_costs_nothing_however_long(world):
    """M-7: no funding is paid or received."""
    world.buy("a", "10")
    before = (position(world), world.balance("USDT"))
    world.now += 30 * 86400 * 1_000_000
    world.quote("100", "100")
    assert (position(world), world.balance("USDT")) == before


def test_orders_on_one_side_average_the_entry(world):
    world.sell("a", "1")
    world.quote("103", "103")
    world.sell("b", "2")
    assert (size(world), position(world).entry_price, position(world).margin) == (-3, 102, 306)


def test_reducing_gives_back_its_part_of_the_margin_and_realises_its_part_of_the_profit(world):
    world.buy("a", "10")
    world.quote("110", "111")
    world.sell("b", "4")
    assert (size(world), position(world).entry_price, position(world).margin) == (6, 100, 600)
    assert world.balance("USDT").total == 10000 - 1 + 40 - D("0.44")
    world.quote("90", "90")
    world.sell("c", "6")
    assert position(world) is None
    assert world.balance("USDT") == Balance(10000 - 1 + 40 - D("0.44") - 60 - D("0.54"), ZERO)


def test_a_larger_order_turns_the_position_through_zero(world):
    """V-8."""
    world.buy("a", "10")
    world.quote("110", "110")
    world.sell("b", "15")
    assert (size(world), position(world).entry_price, position(world).margin) == (-5, 110, 550)
    assert world.balance("USDT").total == 10000 - 1 + 100 - D("1.65")


def test_turning_may_use_the_margin_that_closing_gives_back(world):
    asyncio.run(world.market.set_balance(1, "USDT", D("1003")))
    world.buy("a", "10")
    assert isinstance(world.sell("b", "20"), OrderReport)
    assert size(world) == -10


def test_an_order_beyond_the_margin_and_its_commission_is_refused(world):
    leverage(world, MarginMode.ISOLATED, "10")
    asyncio.run(world.market.set_balance(1, "USDT", D("100.999")))
    assert world.buy("a", "10").kind is RefusalKind.INSUFFICIENT_FUNDS
    asyncio.run(world.market.set_balance(1, "USDT", D("101")))
    assert isinstance(world.buy("a", "10"), OrderReport)
    assert world.balance("USDT").free == 0


def test_an_order_that_only_reduces_needs_no_free_margin(world):
    asyncio.run(world.market.set_balance(1, "USDT", D("1001")))
    world.buy("a", "10")
    assert world.balance("USDT").free == 0
    assert isinstance(world.sell("tp", "10", "110"), OrderReport)
    assert world.balance("USDT").locked == 1000
    world.quote("110", "110")
    assert position(world) is None


def test_a_resting_order_locks_margin_and_commission_until_it_trades_or_ends(world):
    leverage(world, MarginMode.CROSS, "4")
    world.buy("a", "10", "80")
    assert world.balance("USDT").locked == 10 * (D(20) + D("0.08"))
    world.cancel("a")
    assert world.balance("USDT") == Balance(D(10000), ZERO)


def test_two_orders_may_lean_on_one_position_but_the_second_ends_if_it_cannot_pay_for_opening(world):
    asyncio.run(world.market.set_balance(1, "USDT", D("1001")))
    world.buy("a", "10")
    world.sell("s1", "10", "101")
    world.sell("s2", "10", "102")
    asyncio.run(world.market.set_balance(1, "USDT", ZERO))
    world.quote("101", "101")
    asyncio.run(world.market.set_balance(1, "USDT", D(5)))
    assert ends(world.quote("102", "102")) == [("s2", CANCELED, 0)]
    assert position(world) is None


# reduce-only


def test_a_reduce_only_order_that_would_not_reduce_is_refused_ex_26(world):
    world.buy("a", "10")
    for answer in (world.buy("b", "1", reduce_only=True), world.buy("c", "1", "90", reduce_only=True)):
        assert (answer.kind, answer.text) == (RefusalKind.REDUCE_ONLY, "ReduceOnly Order is rejected.")


def test_a_reduce_only_market_order_is_cut_to_the_position(world):
    world.buy("a", "10")
    world.news()
    world.sell("b", "15", reduce_only=True)
    assert ends(world.news()) == [("b", CANCELED, D(10))]
    assert position(world) is None


def test_a_resting_reduce_only_order_is_cut_when_it_trades_and_ends_with_the_position(world):
    world.buy("a", "10")
    world.sell("tp", "10", "110", reduce_only=True)
    world.sell("b", "7")
    world.news()
    assert ends(world.quote("110", "110")) == [("tp", OPEN, D(3)), ("tp", CANCELED, D(3))]
    assert position(world) is None


def test_resting_reduce_only_orders_end_when_another_order_closes_or_turns_the_position(world):
    world.buy("a", "10")
    world.sell("tp1", "5", "110", reduce_only=True)
    world.sell("tp2", "5", "120", reduce_only=True)
    world.sell("plain", "5", "120")
    world.news()
    world.sell("turn", "12")
    assert ends(world.news()) == [("turn", FILLED, D(12)), ("tp1", CANCELED, ZERO), ("tp2", CANCELED, ZERO)]
    assert world.find("plain").state is OPEN


# leverage


def test_leverage_outside_the_limits_is_refused_m_55(world):
    for value in ("0.5", "21"):
        with pytest.raises(LeverageRejected, match=f"Leverage {value} is not valid"):
            leverage(world, MarginMode.ISOLATED, value)


def test_the_mode_cannot_change_under_a_position_or_an_order_ex_28(world):
    world.buy("resting", "1", "90")
    with pytest.raises(LeverageRejected, match="Margin type cannot be changed if there exists open orders"):
        leverage(world, MarginMode.ISOLATED, "1")
    world.buy("a", "1")
    with pytest.raises(LeverageRejected, match="Margin type cannot be changed if there exists position"):
        leverage(world, MarginMode.ISOLATED, "1")
    leverage(world, MarginMode.CROSS, "1")  # already so


def test_a_new_cross_leverage_changes_the_margin_of_an_open_position(world):
    world.buy("a", "10")
    leverage(world, MarginMode.CROSS, "4")
    assert (position(world).margin, world.balance("USDT").locked) == (250, 250)
    asyncio.run(world.market.set_balance(1, "USDT", D(100)))
    with pytest.raises(LeverageRejected, match="Margin is insufficient"):
        leverage(world, MarginMode.CROSS, "2")


def test_isolated_leverage_cannot_be_lowered_under_a_position(world):
    leverage(world, MarginMode.ISOLATED, "4")
    world.buy("a", "10")
    with pytest.raises(LeverageRejected, match="Leverage reduction is not supported"):
        leverage(world, MarginMode.ISOLATED, "2")
    leverage(world, MarginMode.ISOLATED, "5")
    assert position(world).margin == 250


def test_leverage_survives_a_kill(world):
    leverage(world, MarginMode.ISOLATED, "4")
    world.kill_and_restart()
    world.buy("a", "10")
    assert (position(world).mode, position(world).leverage, position(world).margin) == (MarginMode.ISOLATED, 4, 250)


# liquidation


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "90.5"), (Side.SELL, "109.5")])
def test_the_liquidation_price_of_an_isolated_position_is_that_of_m_51(world, side, price):
    leverage(world, MarginMode.ISOLATED, "10")
    world.submit("a", side, "10")
    assert position(world).liquidation_price == D(price)


def test_the_cross_liquidation_price_is_where_the_balance_is_down_to_the_maintenance(world):
    asyncio.run(world.market.set_balance(1, "USDT", D(200)))
    leverage(world, MarginMode.CROSS, "10")
    world.buy("a", "10")
    assert position(world).liquidation_price == D("80.6")  # 100 - (199 - 5) / 10
    assert world.quote("80.61", "81", last="80.61") == []
    (closed,) = world.quote("80.6", "81", last="80.6")
    assert closed.liquidated
    assert world.balance("USDT") == Balance(199 - 194 - D("0.806"), ZERO)


def test_the_last_price_is_the_mark_and_the_position_leaves_at_the_quote(world):
    leverage(world, MarginMode.ISOLATED, "10")
    world.sell("a", "10")
    assert world.quote("120", "121", last="109.49") == []
    told = world.quote("108", "109.6", last="109.5")
    assert told == [PositionClosed(account_id=1, key=world.key, liquidated=True, quantity=D(-10), fills=told[0].fills)]
    (fill,) = told[0].fills
    assert (fill.price, fill.quantity, fill.fee) == (D("109.6"), 10, Money("USDT", D("1.096")))
    assert world.balance("USDT") == Balance(10000 - 1 - 96 - D("1.096"), ZERO)
    assert position(world) is None


def test_an_isolated_position_never_loses_more_than_its_margin(world):
    leverage(world, MarginMode.ISOLATED, "10")
    world.buy("a", "10")
    world.quote("50", "51", last="50")
    assert world.balance("USDT") == Balance(D(10000) - 1 - 100, ZERO)


def test_a_cross_loss_beyond_everything_leaves_zero_not_less(world):
    asyncio.run(world.market.set_balance(1, "USDT", D(200)))
    leverage(world, MarginMode.CROSS, "10")
    world.buy("a", "10")
    world.quote("10", "11", last="10")
    assert world.balance("USDT") == Balance(ZERO, ZERO)


def test_a_liquidation_is_told_before_the_ends_of_the_orders_it_takes_along(world):
    leverage(world, MarginMode.ISOLATED, "10")
    world.buy("a", "10")
    world.sell("tp", "10", "120", reduce_only=True)
    world.buy("more", "1", "50")
    world.news()
    closed, *rest = world.quote("90", "91", last="90")
    assert isinstance(closed, PositionClosed)
    assert ends(rest) == [("tp", CANCELED, ZERO), ("more", CANCELED, ZERO)]
    assert world.news() == [closed, *rest]


def test_a_liquidation_touches_only_the_account_and_the_position_that_is_due_f51(world):
    world.add_account(2, {"USDT": "10000"})
    for account_id in (1, 2):
        leverage(world, MarginMode.ISOLATED, "10" if account_id == 1 else "5", account_id)
        world.buy(f"a{account_id}", "10", account_id=account_id)
    world.quote("90", "90")
    assert (size(world, 1), size(world, 2)) == (0, 10)


def test_cross_positions_share_their_margin_and_the_worst_goes_first(world):
    asyncio.run(world.market.set_balance(1, "USDT", D(200)))
    world.quote("100", "100", key=OTHER.key)
    for key, name in ((world.key, "btc"), (OTHER.key, "eth")):
        asyncio.run(world.market.exchange(1).set_leverage(key, MarginMode.CROSS, D(20)))
        world.buy(name, "10", key=key)
    assert world.quote("86.5", "86.5") == []  # 198 - 135 = 63 > 10
    (closed,) = world.quote("94.5", "94.5", key=OTHER.key)  # 198 - 135 - 55 = 8
    assert closed.key == world.key
    assert list(world.market.positions(1)) == [OTHER.key]


def test_positions_of_a_cross_pool_stay_while_there_is_enough_together(world):
    asyncio.run(world.market.set_balance(1, "USDT", D(200)))
    world.quote("100", "100", key=OTHER.key)
    for key, name in ((world.key, "btc"), (OTHER.key, "eth")):
        asyncio.run(world.market.exchange(1).set_leverage(key, MarginMode.CROSS, D(20)))
        world.buy(name, "10", key=key)
    world.quote("110", "110", key=OTHER.key)
    assert world.quote("75", "75") == []  # 198 + 100 - 250 = 48 > 10
    told = world.quote("71", "71")  # 198 + 100 - 290 = 8: the losing one goes, the other has enough
    assert [report.key for report in told] == [world.key]


def test_a_position_that_went_away_is_told_again_after_a_kill_until_the_pair_is_ordered_again(world):
    leverage(world, MarginMode.ISOLATED, "10")
    world.buy("a", "10")
    (closed,) = world.quote("90", "90")
    world.news()
    world.kill_and_restart()
    assert world.news() == [closed]
    world.listen(1)
    assert world.news() == []
    world.buy("b", "1", "80")
    world.kill_and_restart()
    assert world.news() == []


# scripts


def test_a_scripted_liquidation_closes_at_the_market(world):
    world.buy("a", "10")
    world.news()
    world.quote("95", "96")
    asyncio.run(world.market.close_position(1, world.key, CloseReason.LIQUIDATION))
    (closed,) = world.news()
    assert (closed.liquidated, closed.quantity, [fill.price for fill in closed.fills]) == (True, 10, [D(95)])
    assert position(world) is None


def test_a_position_closed_outside_brings_no_fills_and_leaves_orders_that_could_open(world):
    world.sell("a", "10")
    world.buy("tp", "10", "90", reduce_only=True)
    world.buy("plain", "1", "90")
    world.news()
    asyncio.run(world.market.close_position(1, world.key, CloseReason.OUTSIDE))
    closed, end = world.news()
    assert (closed.liquidated, closed.quantity, closed.fills) == (False, -10, ())
    assert ends([end]) == [("tp", CANCELED, ZERO)]
    with pytest.raises(ScriptError):
        asyncio.run(world.market.close_position(1, world.key, CloseReason.OUTSIDE))


# no history


ACTIONS = st.one_of(
    st.tuples(st.just("quote"), st.integers(95, 105), st.sampled_from([None, "0.7"])),
    st.tuples(
        st.just("order"),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 70),
        st.one_of(st.none(), st.integers(93, 107)),
        st.booleans(),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
)


@settings(max_examples=120, deadline=None)
@given(
    actions=st.lists(ACTIONS, max_size=30),
    times=st.sampled_from(["1", "3", "7"]),
    kills=st.sets(st.integers(0, 30), max_size=3),
)
def test_no_history_makes_or_loses_money_and_every_kill_goes_unnoticed(actions, times, kills):
    world = PaperWorld(LINEAR, {"USDT": "1000"})
    leverage(world, MarginMode.CROSS, times)
    for number, action in enumerate(actions):
        orders = world.market.orders(open_only=True)
        match action:
            case ("quote", price, volume):
                world.quote(str(price), str(price + 1), sizes=(volume, volume))
            case ("order", side, tenths, price, reduce_only):
                limit = None if price is None else str(price)
                world.submit(f"o{number}", side, str(D(tenths) / 10), limit, reduce_only=reduce_only)
            case ("cancel", index) if orders:
                world.cancel(orders[index % len(orders)].client_order_id)
        before = world.everything()
        if number in kills:
            world.kill_and_restart()
            assert world.everything() == before
    assume(not any(isinstance(report, PositionClosed) for report in world.news()))
    cash, held = D(1000), ZERO
    for order in world.market.orders():
        for fill in world.find(order.client_order_id).fills if order.filled_quantity else ():
            signed = fill.quantity if order.side is Side.BUY else -fill.quantity
            held += signed
            cash -= signed * fill.price + fill.fee.amount
    rows = world.everything()
    open_positions = list(rows["positions"].values())
    assert sum(row.quantity for row in open_positions) == held
    cost = sum(row.entry_total if row.quantity > 0 else -row.entry_total for row in open_positions)
    balance = rows["balances"][1, "USDT"]
    assert balance.total == cash + cost
    reserved = sum(row.margin for row in open_positions) + sum(row.locked for row in rows["orders"].values())
    assert balance.reserved == reserved
