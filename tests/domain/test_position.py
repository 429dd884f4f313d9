"""Figures over a trade, against every example of behaviour 4.7 that is marked exact, and the rules of section 4."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.fill import NOTHING_FILLED, Execution, Fill, closing, entering
from smarttrade.domain.instrument import Instrument, MarketKind, Side
from smarttrade.domain.money import Money, half_up
from smarttrade.domain.order import Order, OrderStatus, OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, Leverage, MarginMode, TradeKind
from smarttrade.domain.position import (
    Sums,
    average_price,
    average_price_without_commission,
    enter_price_exact,
    final_profit,
    liquidation_estimate,
    margin,
    max_reduce_amount,
    missing_funds,
    open_profit,
    position_total_without_commission,
    realised,
    stop_level,
    trail_level,
    trail_percent,
)
from smarttrade.domain.quote import InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import (
    AveragingStep,
    EntryStep,
    ReduceStep,
    StepStatus,
    StopStep,
    TargetStep,
    Trail,
)

D = Decimal
KEY = InstrumentKey("binance", "USDT_DOGE")
STAMPS: dict[str, Any] = {"created_at": 0, "updated_at": 0}


def rules(tick: str, lot: str = "1", **more: Any) -> Instrument:
    return Instrument(
        key=KEY,
        base="DOGE",
        quote="USDT",
        tick=D(tick),
        lot=D(lot),
        min_lot=D(lot),
        **{"kind": MarketKind.SPOT, "min_total": D(5), "min_market_total": D(5), **more},
    )


def market(bid: str, ask: str | None = None) -> Quote:
    return Quote(key=KEY, bid=D(bid), ask=D(bid if ask is None else ask), last=D(bid), at=0)


def bought(quantity: str, gross: str, rate: str = "0", fee_in: str = "USDT") -> Execution:
    """A buy that enters; `rate`: commission in percent of base or quote, as `fee_in` says."""
    return _entered(Side.BUY, quantity, gross, rate, fee_in)


def sold(quantity: str, gross: str, rate: str = "0") -> Execution:
    """A sell that enters a short."""
    return _entered(Side.SELL, quantity, gross, rate, "USDT")


def _entered(side: Side, quantity: str, gross: str, rate: str, fee_in: str) -> Execution:
    """One fill folded by the rules of 4.1, with the gross total set exactly: published totals are not q x price."""
    amount = D(quantity) if fee_in == "DOGE" else D(gross)
    fill = Fill(
        fill_id="1",
        price=D(gross) / D(quantity),
        quantity=D(quantity),
        fee=Money(fee_in, amount * D(rate) / 100),
        filled_at=0,
    )
    folded = entering(fill, side, rules("0.00001"))
    return replace(folded, gross_total=D(gross), total=half_up(folded.total, 40))


def orders(execution: Execution) -> tuple[Order, ...]:
    if execution == NOTHING_FILLED:
        return ()
    return (
        Order(
            client_order_id="1",
            attempt=1,
            side=Side.BUY,
            type=OrderType.MARKET,
            quantity=execution.gross_quantity,
            price=None,
            reduce_only=False,
            status=OrderStatus.FILLED,
            execution=execution,
            created_at=0,
        ),
    )


def trade(entered: Execution, *, kind: TradeKind = TradeKind.SMART_TRADE, **more: Any) -> SmartTrade:
    plan = EntryPlan(type=EntryType.MARKET, units=entered.gross_quantity)
    position = EntryStep(
        id=1,
        status=StepStatus.FINISHED if entered.amount else StepStatus.TO_PROCESS,
        orders=orders(entered),
        plan=plan,
        requested=plan,
        price_at_creation=D(1),
        **STAMPS,
    )
    return SmartTrade(
        **{
            "id": 1,
            "account_id": 1,
            "key": KEY,
            "kind": kind,
            "status": TradeStatus.WAITING_TARGETS,
            "position": position,
            **STAMPS,
            **more,
        }
    )


def own_funds(units: str, price: str, kind: TradeKind = TradeKind.SMART_SELL) -> SmartTrade:
    plan = EntryPlan(type=EntryType.MARKET, units=D(units), price=D(price))
    position = EntryStep(
        id=1, status=StepStatus.OWN_FUNDS, plan=plan, requested=plan, price_at_creation=D(price), **STAMPS
    )
    return trade(NOTHING_FILLED, kind=kind, position=position)


def reduced(execution: Execution) -> ReduceStep:
    return ReduceStep(
        id=9,
        status=StepStatus.FINISHED,
        orders=orders(execution),
        order_type=OrderType.MARKET,
        units=execution.gross_quantity,
        price=D(1),
        **STAMPS,
    )


def closed(quantity: str, price: str, rate: str, side: Side) -> Execution:
    gross = D(quantity) * D(price)
    fill = Fill(
        fill_id="2", price=D(price), quantity=D(quantity), fee=Money("USDT", gross * D(rate) / 100), filled_at=0
    )
    return closing(fill, side, rules("0.01"))


# --- 4.7: entered, averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "entered", "tick", "amount", "total", "average", "bare"),
    [
        ("docs:cancel", bought("15", "1.58385", "0.6", "DOGE"), "0.00001", "14.91", "1.58385", "0.10622", "0.10559"),
        ("docs:trades", bought("15", "1.5996", "0.4", "DOGE"), "0.00001", "14.94", "1.5996", "0.10706", "0.10664"),
        ("docs:trade-close", bought("15", "1.6056", "0.6", "DOGE"), "0.00001", "14.91", "1.6056", "0.10768", "0.10704"),
        ("docs:add", bought("44", "4.57371", "0.6", "DOGE"), "0.00001", "43.736", "4.57371", "0.10457", "0.10394"),
        ("docs:close", sold("7.8", "1.989", "0.6"), "0.0001", "7.8", "1.977066", "0.2534", "0.255"),
        ("docs:reduce", bought("4", "0.14864", "0.1"), "0.00001", "4", "0.14878864", "0.03719", "0.03716"),
        (
            "docs:edit",
            bought("34", "0.00015028", "0.1"),
            "0.00000001",
            "34",
            "0.00015043028",
            "0.00000442",
            "0.00000442",
        ),
        (
            "ETH/BTC 2022",
            bought("0.9981", "0.0542088072", "0.1"),
            "0.000001",
            "0.9981",
            "0.0542630160072",
            "0.054366",
            "0.054312",
        ),
        ("ADA futures", bought("10", "7.275", "0.05"), "0.0001", "10", "7.2786375", "0.7278", "0.7275"),
    ],
)
def test_published_entries_average_to_the_last_digit(
    source: str, entered: Execution, tick: str, amount: str, total: str, average: str, bare: str
) -> None:
    """M-2 to M-4, M-10."""
    instrument = rules(tick)
    assert entered.amount == D(amount)
    assert entered.total == D(total)
    assert average_price(entered, instrument) == D(average)
    assert average_price_without_commission(entered, instrument) == D(bare)


def test_the_total_without_commission_after_averaging_is_the_published_one() -> None:
    """M-12, docs:add."""
    assert position_total_without_commission(bought("44", "4.57371", "0.6", "DOGE")) == D("4.54626774")
    in_quote = bought("4", "0.14864", "0.1")
    assert position_total_without_commission(in_quote) == in_quote.gross_total


def test_shown_totals_have_eight_decimals() -> None:
    """M-11."""
    assert half_up(D("0.0542630160072"), 8) == D("0.05426302")
    assert half_up(D("0.00015043028"), 8) == D("0.00015043")


def test_the_figures_of_a_leg_are_the_published_ones() -> None:
    """M-14, docs:trades."""
    figures = realised(bought("15", "1.5996", "0.4", "DOGE"), D(15), rules("0.00001"))
    assert str(figures.average_price) == "0.107068273092369477911646586345381526"
    assert figures.price == D("0.10706")
    assert figures.percent == 100
    assert realised(bought("5", "0.5"), D(15), rules("0.00001")).percent == D("33.33")
    assert realised(NOTHING_FILLED, D(15), rules("0.00001")).average_price is None


def test_a_percent_target_is_resolved_on_the_exact_average() -> None:
    """TR-30, docs:add: 5 % is 0.10980, from the cut average it would be 0.10979."""
    made, instrument = trade(bought("44", "4.57371", "0.6", "DOGE")), rules("0.00001")
    exact = enter_price_exact(made, instrument)
    assert exact is not None
    share = Fraction("1.05")
    assert instrument.nearest_price(exact * share) == D("0.1098")
    assert instrument.nearest_price(Fraction("0.10457") * share) == D("0.1098")
    assert instrument.nearest_price(Fraction("0.10394") * share) != D("0.1098")


def test_own_funds_enter_at_the_given_price() -> None:
    """M-9, TR-35, docs:trade-cancel."""
    made = own_funds("20", "0.102685")
    assert own_funds("20", "0.10268").entered.total == D("2.0536")
    assert enter_price_exact(made, rules("0.00001")) == D("0.102685")
    assert enter_price_exact(trade(NOTHING_FILLED), rules("0.01")) is None


# --- 4.7: open profit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "made", "quote", "rate", "volume", "percent", "usd"),
    [
        (
            "docs:cancel",
            trade(bought("15", "1.58385", "0.6", "DOGE")),
            market("0.10613"),
            "1",
            "-0.0030340983",
            "-0.19",
            "-0.0030340983",
        ),
        (
            "docs:edit",
            trade(bought("34", "0.00015028", "0.1")),
            market("0.00000283"),
            "95534.01",
            "-0.0000543065",
            "-36.1",
            "-5.188117714065",
        ),
        (
            "docs:add",
            trade(bought("44", "4.57371", "0.6", "DOGE")),
            market("0.10244"),
            "1",
            "-0.09787447584",
            "-2.14",
            "-0.09787447584",
        ),
        (
            "docs:reduce",
            trade(bought("4", "0.14864", "0.1")),
            market("0.03702"),
            "106239.29",
            "-0.00085672",
            "-0.58",
            "-91.0173245288",
        ),
        (
            "docs:trade-close",
            trade(bought("15", "1.6056", "0.6", "DOGE")),
            market("0.10938"),
            "1",
            "0.0236249442",
            "1.47",
            "0.0236249442",
        ),
        (
            "docs:trade-cancel",
            own_funds("20", "0.10268"),
            market("0.10257"),
            "1",
            "-0.0042514",
            "-0.21",
            "-0.0042514",
        ),
        (
            "docs:close",
            trade(sold("7.8", "1.989", "0.6"), kind=TradeKind.SMART_COVER),
            market("0.2582", "0.264"),
            "1",
            "-0.0841932",
            "-4.26",
            "-0.0841932",
        ),
        (
            "ETH/BTC 2022",
            trade(bought("0.9981", "0.0542088072", "0.1")),
            market("0.054624"),
            "19586.5",
            "0.0002026781784",
            "0.37",
            "3.9697561412316",
        ),
    ],
)
def test_published_open_profits_come_out_to_the_last_digit(
    source: str, made: SmartTrade, quote: Quote, rate: str, volume: str, percent: str, usd: str
) -> None:
    """M-1, M-40 to M-42."""
    profit = open_profit(made, Sums.of(made), rules("0.00001", taker_fee=D("0.001")), quote, D(rate))
    assert profit.volume == D(volume)
    assert profit.percent == D(percent)
    assert profit.usd == D(usd)
    assert profit.roe is None


def test_the_published_futures_profit_and_margin_come_out_to_the_last_digit() -> None:
    """M-43, M-50: ADA futures, commission 0.00045."""
    made = trade(bought("10", "7.275", "0.05"), leverage=Leverage(MarginMode.ISOLATED, D(1)))
    linear = rules("0.0001", kind=MarketKind.LINEAR, taker_fee=D("0.00045"))
    profit = open_profit(made, Sums.of(made), linear, market("0.7275"), D(1))
    assert (profit.volume, profit.percent, profit.roe) == (D("-0.00691125"), D("-0.09"), D("-0.09"))
    used = margin(made, Sums.of(made), linear)
    assert used is not None
    assert (used.amount, used.total) == (D(10), D("7.278"))


def test_return_is_the_rounded_percent_times_leverage() -> None:
    """M-43: -0.72 x 10 = -7.2."""
    made = trade(bought("100", "10000"), leverage=Leverage(MarginMode.CROSS, D(10)))
    linear = rules("0.01", kind=MarketKind.LINEAR, taker_fee=D(0))
    profit = open_profit(made, Sums.of(made), linear, market("99.2789"), None)
    assert (profit.percent, profit.roe, profit.usd) == (D("-0.72"), D("-7.20"), None)


def test_open_profit_counts_what_was_closed_already() -> None:
    """M-40, the two examples of 4.5."""
    long = trade(bought("10", "1000", "0.1"), reductions=(reduced(closed("4", "110", "0.1", Side.SELL)),))
    instrument = rules("0.01", taker_fee=D("0.001"))
    profit = open_profit(long, Sums.of(long), instrument, market("105"), D(1))
    assert (profit.volume, profit.percent) == (D("67.93"), D("6.79"))

    short = trade(
        sold("10", "1000", "0.1"),
        kind=TradeKind.SMART_COVER,
        reductions=(reduced(closed("4", "90", "0.1", Side.BUY)),),
    )
    profit = open_profit(short, Sums.of(short), instrument, market("94", "95"), D(1))
    assert (profit.volume, profit.percent) == (D("68.07"), D("6.81"))


@pytest.mark.parametrize("kind", [TradeKind.SIMPLE_BUY, TradeKind.SIMPLE_SELL])
def test_simple_trades_have_no_profit(kind: TradeKind) -> None:
    """M-47."""
    made = trade(bought("10", "1000"), kind=kind)
    profit = open_profit(made, Sums.of(made), rules("0.01"), market("105"), D(1))
    assert (profit.volume, profit.usd, profit.percent) == (None, None, 0)
    assert final_profit(made, rules("0.01"), D(1)).volume is None


def test_nothing_entered_or_no_price_means_no_profit() -> None:
    """M-43, M-44."""
    waiting = trade(NOTHING_FILLED)
    linear = rules("0.01", kind=MarketKind.LINEAR)
    assert open_profit(waiting, Sums.of(waiting), linear, market("1"), D(1)).roe == 0
    assert open_profit(waiting, Sums.of(waiting), rules("0.01"), market("1"), D(1)).roe is None
    held = trade(bought("10", "1000"))
    assert open_profit(held, Sums.of(held), rules("0.01"), None, D(1)).volume is None


# --- final profit -----------------------------------------------------------------------------------------------


def test_final_profit_leaves_dust_out_of_the_loss() -> None:
    """M-45, worked scenario 8.1: 9.99 entered, 9.9 closed."""
    first = closed("5", "110", "0.1", Side.SELL)
    second = closed("4.9", "100.05", "0.1", Side.SELL)
    made = trade(bought("10", "1000", "0.1", "DOGE"), reductions=(reduced(first), reduced(second)))
    sums, instrument = Sums.of(made), rules("0.01")
    assert sums.closed.total == D("1039.204755")
    assert average_price(sums.closed, instrument) == D("104.97")
    assert average_price_without_commission(sums.closed, instrument) == D("105.07")
    profit = final_profit(made, instrument, D(2))
    assert profit.volume is not None
    assert str(profit.volume).startswith("48.213764009")
    assert -profit.volume.as_tuple().exponent <= 36  # type: ignore[operator]
    assert profit.percent == D("4.87")
    assert profit.usd == profit.volume * 2


def test_final_profit_of_a_short_is_what_the_buy_back_saved() -> None:
    """M-45, worked scenario 8.2."""
    made = trade(
        sold("10", "1000", "0.1"),
        kind=TradeKind.SMART_COVER,
        reductions=(reduced(closed("10", "86.72", "0.1", Side.BUY)),),
    )
    profit = final_profit(made, rules("0.01"), None)
    assert (profit.volume, profit.percent, profit.usd) == (D("130.9328"), D("13.11"), None)
    assert average_price(made.closed, rules("0.01")) == D("86.8")


def test_final_profit_after_everything_was_sold() -> None:
    """4.5: 1068.93 against 1001."""
    exits = reduced(closed("4", "110", "0.1", Side.SELL)), reduced(closed("6", "105", "0.1", Side.SELL))
    profit = final_profit(trade(bought("10", "1000", "0.1"), reductions=exits), rules("0.01"), D(1))
    assert (profit.volume, profit.percent) == (D("67.93"), D("6.79"))


@pytest.mark.parametrize("is_long", [True, False])
def test_half_a_hundredth_of_a_percent_goes_away_from_zero_whatever_the_cost_of_a_unit(is_long: bool) -> None:
    """C-1, C-5, M-41, M-45: 9 of 9.996 that cost 960 lost 4.205 %, 8 of 12 that brought 1000 lost 5.045 %.

    What the closed part cost is a number without end in both; cut anywhere it may fall short of the half.
    """
    if is_long:
        made = trade(bought("10", "960", "0.04", "DOGE"), reductions=(reduced(closed("9", "92", "0", Side.SELL)),))
    else:
        made = trade(
            sold("12", "1000"),
            kind=TradeKind.SMART_COVER,
            reductions=(reduced(closed("8", "87.5375", "0", Side.BUY)),),
        )
    expected = D("-4.21") if is_long else D("-5.05")
    assert final_profit(made, rules("0.01"), None).percent == expected


def test_a_trade_that_closed_nothing_ends_without_profit() -> None:
    """M-46."""
    profit = final_profit(trade(bought("10", "1000")), rules("0.01"), D(1))
    assert (profit.volume, profit.usd, profit.percent, profit.roe) == (None, None, 0, None)


@settings(max_examples=100, deadline=None)
@given(
    quantity=st.decimals("0.001", "1000", places=3),
    price=st.decimals("0.01", "1000", places=2),
    exit_price=st.decimals("0.01", "1000", places=2),
)
def test_open_profit_of_a_fully_closed_trade_is_its_final_profit(
    quantity: Decimal, price: Decimal, exit_price: Decimal
) -> None:
    """M-40 and M-45 agree when nothing is left open."""
    entered = Execution(quantity, quantity * price, quantity, quantity * price)
    left = Execution(quantity, quantity * exit_price, quantity, quantity * exit_price)
    made, instrument = trade(entered, reductions=(reduced(left),)), rules("0.01")
    assert open_profit(made, Sums.of(made), instrument, market("5"), D(1)) == final_profit(made, instrument, D(1))


# --- futures ----------------------------------------------------------------------------------------------------


def test_margin_follows_the_open_amount() -> None:
    """M-50, worked scenario 8.4: 20 at 95.04, leverage 4; none on spot."""
    made = trade(bought("20", "1900", "0.05"), leverage=Leverage(MarginMode.ISOLATED, D(4)))
    used = margin(made, Sums.of(made), rules("0.01", kind=MarketKind.LINEAR))
    assert used is not None
    assert (used.amount, used.total) == (5, D("475.2"))
    assert margin(made, Sums.of(made), rules("0.01")) is None


@pytest.mark.parametrize(("kind", "expected"), [(TradeKind.SMART_TRADE, "90.5"), (TradeKind.SMART_COVER, "109.5")])
def test_the_liquidation_estimate_uses_margin_and_maintenance(kind: TradeKind, expected: str) -> None:
    """M-51: entry 100, leverage 10, maintenance 0.5 %."""
    made = trade(bought("10", "1000"), kind=kind, leverage=Leverage(MarginMode.ISOLATED, D(10)))
    linear = rules("0.01", kind=MarketKind.LINEAR, maintenance_rate=D("0.005"))
    assert liquidation_estimate(made, made.entered, linear) == D(expected)
    assert liquidation_estimate(made, NOTHING_FILLED, linear) is None


# --- stop levels ------------------------------------------------------------------------------------------------


def stop(price: str | None, **more: Any) -> StopStep:
    return StopStep(
        **{
            "id": 3,
            "status": StepStatus.TO_PROCESS,
            "order_type": OrderType.MARKET,
            "price_type": PriceType.BID,
            "configured_price": None if price is None else D(price),
            **STAMPS,
            **more,
        }
    )


def test_breakeven_never_makes_a_stop_worse() -> None:
    """BE-4."""
    assert stop_level(stop("90"), long=True) == 90
    assert stop_level(stop("90", breakeven_price=D("100.1")), long=True) == D("100.1")
    assert stop_level(stop("102", breakeven_price=D("100.1")), long=True) == 102
    assert stop_level(stop("110", breakeven_price=D("99.9")), long=False) == D("99.9")
    assert stop_level(stop(None), long=True) is None


@pytest.mark.parametrize(
    ("numerator", "extreme", "level"),
    [("90", "102", "91.80"), ("90", "112", "100.80"), ("110", "95", "104.50"), ("110", "90", "99.00")],
)
def test_shown_trailing_levels_follow_the_published_table(numerator: str, extreme: str, level: str) -> None:
    """TR-50."""
    trail = Trail(group=1, start=D(100), numerator=D(numerator), denominator=D(100))
    assert trail_level(trail, D(extreme)) == D(level)
    assert trail_percent(trail) == 10


def test_a_shown_level_has_ten_decimals() -> None:
    """TR-50, worked scenario 8.3."""
    trail = Trail(group=1, start=D("384.90"), numerator=D("362.26"), denominator=D("384.90"))
    assert str(trail_level(trail, D(400))) == "376.4718108600"
    assert trail_level(trail, D("384.90")) == D("362.26")


# --- limits -----------------------------------------------------------------------------------------------------


def target(price: str, status: StepStatus = StepStatus.ORDER_PLACED) -> TargetStep:
    return TargetStep(
        id=2,
        status=status,
        order_type=OrderType.LIMIT,
        volume=D(50),
        price_type=PriceType.LAST,
        price=D(price),
        position=1,
        **STAMPS,
    )


def test_the_published_reduce_maximum_comes_out_to_the_last_digit() -> None:
    """M-30, docs:reduce-info."""
    made = trade(bought("44", "4.57371", "0.6", "DOGE"), stop=stop("0.10056"))
    most = max_reduce_amount(made, rules("0.00001", min_market_total=D("1.5")), None)
    assert str(most) == "28.819532219570405727923627685"


def test_the_reduce_maximum_is_valued_at_stop_target_or_market_in_this_order() -> None:
    """M-31."""
    instrument, now = rules("0.01", min_market_total=D(5)), market("100", "125")
    made = trade(bought("20", "2000"))
    targets = (target("200"), target("250"), target("1", StepStatus.FINISHED))
    assert max_reduce_amount(made, instrument, now) == D("19.95")
    assert max_reduce_amount(replace(made, kind=TradeKind.SMART_COVER), instrument, now) == D("19.96")
    assert max_reduce_amount(replace(made, targets=targets), instrument, now) == D("19.975")
    guarded = replace(made, targets=targets, stop=stop("80"))
    assert max_reduce_amount(guarded, instrument, now) == D("19.9375")  # worked scenario 8.4
    assert max_reduce_amount(replace(guarded, stop=stop("90", breakeven_price=D(100))), instrument, now) == D("19.95")
    dead = replace(guarded, stop=stop("80", status=StepStatus.CANCELLED))
    assert max_reduce_amount(dead, instrument, now) == D("19.975")


def test_the_reduce_maximum_is_never_negative_and_counts_what_is_open() -> None:
    """M-31."""
    instrument = rules("0.01", min_market_total=D(5))
    made = trade(bought("20", "2000"), reductions=(reduced(closed("15", "92", "0.05", Side.SELL)),), stop=stop("80"))
    assert max_reduce_amount(made, instrument, None) == D("4.9375")
    assert max_reduce_amount(replace(made, stop=stop("0.5")), instrument, None) == 0
    assert max_reduce_amount(replace(made, stop=None), instrument, None) == 0


def test_missing_funds_are_what_all_trades_of_a_coin_lack() -> None:
    """M-56."""
    trades = [trade(bought("10", "1000")), trade(bought("5", "500"))]
    assert missing_funds(trades, D(12)) == 3
    assert missing_funds(trades, D(20)) == 0
    assert missing_funds([], D(0)) == 0


def test_averaging_joins_the_sums_of_the_entry() -> None:
    """M-8, worked scenario 8.4."""
    more = AveragingStep(
        id=2,
        status=StepStatus.FINISHED,
        orders=orders(bought("10", "900", "0.05")),
        order_type=OrderType.MARKET,
        units=D(10),
        price=None,
        price_at_creation=D(90),
        **STAMPS,
    )
    made = trade(bought("10", "1000", "0.05"), averaging=(more,))
    assert made.entered.total == D("1900.95")
    assert enter_price_exact(made, rules("0.01")) == D("95.0475")
    assert average_price(made.entered, rules("0.01")) == D("95.04")
    assert average_price_without_commission(made.entered, rules("0.01")) == D(95)
