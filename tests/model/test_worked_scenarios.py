"""The model reproduces the worked scenarios and the checked figures of the rules (behaviour 4.7 and section 8).

A model that got these wrong would be no opinion at all.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from smart_trade_model import EntryPlan, Fill, Leg, Quote, Rules, SmartTrade, StopPlan, TargetPlan, TradePlan, down

F = Fraction
BASE: dict[str, Any] = {
    "tick": F("0.01"),
    "lot": F("0.1"),
    "min_lot": F("0.1"),
    "min_total": F(5),
    "min_market_total": F(5),
    "maker_fee": F("0.001"),
    "taker_fee": F("0.001"),
}


def flat(price: str | int | Fraction) -> Quote:
    """A market without a spread."""
    return Quote(F(price), F(price), F(price))


def see(trade: SmartTrade, expected: Mapping[str, Any]) -> None:
    seen = trade.seen()
    assert {name: seen[name] for name in expected} == expected


def test_a_long_with_two_limit_targets_and_breakeven() -> None:
    """8.1."""
    plan = TradePlan(
        kind="smart_trade",
        entry=EntryPlan("limit", F(10), price=F(100)),
        targets=(TargetPlan("limit", F(50), price=F(110)), TargetPlan("limit", F(50), price=F(120))),
        stop=StopPlan("market", price=F(90), breakeven=True),
    )
    trade = SmartTrade(plan, Rules(**BASE, fee_in_base=True), flat(101))
    see(trade, {"status": "waiting_position"})
    assert trade.entry.status == "order_placed"
    assert [target.units for target in trade.targets] == [None, None]
    trade.move(flat(100))
    see(trade, {"status": "waiting_targets", "entered_amount": F("9.99"), "entered_total": 1000})
    see(trade, {"average_enter_price": F("100.10"), "average_enter_price_without_commission": 100})
    assert [target.units for target in trade.targets] == [5, F("4.9")]
    assert [shown["total"] for shown in trade.seen()["targets"]] == [550, 588]
    assert trade.seen()["stop"]["units"] == F("9.9")
    trade.move(flat(105))
    see(trade, {"profit": F("47.90105"), "percent": F("4.79")})
    trade.move(flat(110))
    see(trade, {"closed_amount": 5, "closed_total": F("549.45")})
    assert (trade.seen()["stop"]["level"], trade.seen()["stop"]["units"]) == (F("100.11"), F("4.9"))
    trade.move(flat(108))
    see(trade, {"profit": F("87.83108"), "percent": F("8.78")})
    trade.move(flat("100.12"))
    see(trade, {"status": "waiting_targets"})
    trade.move(flat("100.11"))
    see(trade, {"status": "stop_loss_finished", "closed_amount": F("9.9")})


def test_a_short_with_a_trailing_target_and_a_timeout() -> None:
    """8.2."""
    plan = TradePlan(
        kind="smart_cover",
        entry=EntryPlan("market", F(10)),
        targets=(TargetPlan("market", F(100), price=F(90), price_type="ask", trailing=F(2)),),
        stop=StopPlan("market", price=F(110), price_type="ask", timeout=30),
    )
    trade = SmartTrade(plan, Rules(**BASE), flat(100))
    see(trade, {"entered_amount": 10, "entered_total": 999, "average_enter_price": F("99.90")})
    for at, ask in ((0, "110"), (20, "111"), (25, "109.99"), (60, "112")):
        trade.wait(at - trade.now)
        trade.move(flat(ask))
        see(trade, {"status": "waiting_targets"})
    trade.wait(29)
    trade.move(flat("109"))
    trade.wait(1)
    see(trade, {"status": "waiting_targets"})
    for ask, line in (("90", "91.80"), ("85", "86.70"), ("86.69", "86.70")):
        trade.move(flat(ask))
        assert (trade.targets[0].extreme or 0) * F("1.02") == F(line)
        see(trade, {"status": "waiting_targets"})
    trade.move(Quote(F("86.70"), F("86.72"), F("86.70")))
    see(trade, {"status": "finished", "closed_total": F("868.0672"), "average_close_price": F("86.80")})
    see(trade, {"profit": F("130.9328"), "percent": F("13.11")})


def test_a_trailing_entry_with_percent_exits_and_a_trailing_stop() -> None:
    """8.3."""
    plan = TradePlan(
        kind="smart_trade",
        entry=EntryPlan("conditional", F(10), trigger=F(400), trailing=F(10)),
        targets=(TargetPlan("market", F(100), percent=F(5)),),
        stop=StopPlan("market", percent=F(6), trailing=True),
    )
    trade = SmartTrade(plan, Rules(**BASE), flat(420))
    for ask in ("400", "350", "384.99"):
        trade.move(flat(ask))
        assert trade.entry.status == "trailing_activated"
    trade.move(Quote(F("384.90"), F("385"), F("385")))
    see(trade, {"entered_total": F("3853.85")})
    assert trade.enter_price == F("385.385")
    assert trade.seen()["targets"][0]["price"] == F("404.65")
    trade.move(flat("400"))
    shown = trade.seen()["stop"]
    assert (shown["level"], shown["extreme"]) == (F("362.26"), 400)
    assert down(shown["trigger"], F("0.0001")) == F("376.4718")
    trade.move(flat("404.64"))
    assert down(trade.seen()["stop"]["trigger"], F("0.0001")) == F("380.8388")
    trade.move(Quote(F("380.75"), F("380.75"), F("380.75")))
    see(trade, {"status": "stop_loss_finished", "closed_total": F("3803.6925")})
    see(trade, {"profit": F("-50.1575"), "percent": F("-1.3")})


def test_a_long_future_that_is_added_to_and_reduced() -> None:
    """8.4."""
    plan = TradePlan(
        kind="smart_trade",
        entry=EntryPlan("market", F(10)),
        targets=(TargetPlan("limit", F(100), percent=F(5)),),
        stop=StopPlan("market", price=F(80)),
        leverage=F(4),
    )
    rules = Rules(**{**BASE, "maker_fee": F("0.0005"), "taker_fee": F("0.0005")}, futures=True)
    trade = SmartTrade(plan, rules, flat(100))
    see(trade, {"entered_total": F("1000.5"), "orders": [("sell", F("105.05"), 10, 0)]})
    trade.move(flat(90))
    trade.add_funds(F(10), None)
    see(trade, {"entered_amount": 20, "entered_total": F("1900.95"), "average_enter_price": F("95.04")})
    see(trade, {"orders": [("sell", F("99.80"), 20, 0)]})
    trade.move(flat(92))
    see(trade, {"profit": F("-61.87"), "percent": F("-3.25"), "roe": -13, "margin": (5, F("475.2"))})
    assert trade.most_to_reduce == F("19.9375")
    trade.reduce_funds(F(5), None)
    see(trade, {"status": "waiting_targets", "closed_amount": 5, "closed_total": F("459.77")})
    see(trade, {"orders": [("sell", F("99.80"), 15, 0)]})
    trade.move(flat("79.5"))
    see(trade, {"status": "stop_loss_finished", "closed_amount": 20})


def entered(kind: str, fill: Fill, tick: Fraction | str, rules: dict[str, Any], now: Quote) -> SmartTrade:
    """A trade with one fill of the entry, at the market of `now`."""
    every = {
        **BASE,
        "tick": F(tick),
        "lot": F(1),
        "min_lot": F(0),
        "min_total": F(0),
        "min_market_total": F(0),
        **rules,
    }
    trade = SmartTrade(TradePlan(kind, EntryPlan("limit", F(1000), price=F(10**9))), Rules(**every), flat(1))
    trade.entry = Leg(1, "position", "finished", fills=[fill])
    trade.averagings.clear()
    trade.exchange.orders.clear()
    trade.profit = None
    trade.status = "waiting_targets"
    trade.exchange.move(now)
    return trade


FIGURES = """
kind  quantity total        base fee quote fee       tick     price    with fee without  volume          percent
long  15       1.58385      0.09     0               0.00001  0.10613  0.10622  0.10559  -0.0030340983   -0.19
long  15       1.6056       0.09     0               0.00001  0.10938  0.10768  0.10704  0.0236249442    1.47
long  44       4.57371      0.264    0               0.00001  0.10244  0.10457  0.10394  -0.09787447584  -2.14
long  4        0.14864      0        0.00014864      0.00001  0.03702  0.03719  0.03716  -0.00085672     -0.58
short 7.8      1.989        0        0.011934        0.0001   0.264    0.2534   0.255    -0.0841932      -4.26
long  0.9981   0.0542088072 0        0.0000542088072 0.000001 0.054624 0.054366 0.054312 0.0002026781784 0.37
"""


@pytest.mark.parametrize("row", FIGURES.strip().splitlines()[1:])
def test_published_figures(row: str) -> None:
    """4.7: averages (M-10) and open profit (M-40, M-41), every digit."""
    direction, *texts = row.split()
    quantity, total, in_base, in_quote, tick, price, with_fee, without, volume, percent = (F(text) for text in texts)
    kind = {"long": "smart_trade", "short": "smart_cover"}[direction]
    trade = entered(kind, Fill(quantity, total / quantity, in_base, in_quote), tick, {}, flat(price))
    see(trade, {"average_enter_price": with_fee, "average_enter_price_without_commission": without})
    see(trade, {"profit": volume, "percent": percent})


def test_published_units_of_targets() -> None:
    """4.7: 14.91 by 50/25/25 on lots of one is 8, 3, 3 (M-20); a 5 percent target of 4.57371 / 43.736 is 0.1098."""
    fill = Fill(F(15), F("1.6056") / 15, F("0.09"), F(0))
    trade = entered("smart_trade", fill, "0.00001", {}, flat("0.1"))
    shares = [("50", "0.5"), ("25", "0.6"), ("25", "0.55")]
    trade.targets = [
        trade.new_target(TargetPlan("limit", F(volume), price=F(price)), number)
        for number, (volume, price) in enumerate(shares, 1)
    ]
    trade.size_targets()
    assert [target.units for target in trade.targets] == [8, 3, 3]
    assert [shown["total"] for shown in trade.seen()["targets"]] == [4, F("1.8"), F("1.65")]
    averaged = entered("smart_trade", Fill(F(44), F("4.57371") / 44, F("0.264"), F(0)), "0.00001", {}, flat("0.1"))
    assert averaged.resolve(F(5), gain=True) == F("0.1098")


def test_published_maximum_of_a_reduction() -> None:
    """4.7: 43.736 - 1.5 / 0.10056 (M-30), shown with 27 decimals."""
    fill = Fill(F(44), F("4.57371") / 44, F("0.264"), F(0))
    trade = entered("smart_trade", fill, "0.00001", {"min_market_total": F("1.5")}, flat("0.1"))
    trade.stop = trade.new_stop(StopPlan("market", price=F("0.10056")))
    assert round(trade.most_to_reduce, 27) == F("28.819532219570405727923627685")
