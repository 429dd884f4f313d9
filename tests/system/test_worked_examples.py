"""The tables of worked examples of the behaviour page (3.2 to 3.8, 4.3 to 4.7, 6.2), row by row over HTTP.

What happens to a watched leg is written as the page writes it, one move after the other:

    400 line 440.00 · 370 line 407.00 · 384.99 waits · 385 fires

    waits         the leg is watched as before, nothing was sent
    line X        it trails, and its line is X
    places P      its limit order rests in the book at P
    rests         the order is still there
    fires [at P]  its order is filled, at the price of the move unless another is named

A move may begin with the second at which it comes (`30s 89.50 waits`). Prices that a leg does not follow (TR-1) are
quoted far away from the move.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from harness import Account, Entity, Market, Number, Refused, Server, Trade

D = Decimal
FINE = {"min_total": "0.000001"}


# --- moves ------------------------------------------------------------------------------------------------------


def follow(market: Market, feed: str, price: Number, **more: Any) -> None:
    """Bring one of bid, ask and last to `price`, the others to where a leg that follows them gives itself away."""
    near = D(price)
    bid = near if feed == "bid" else near / 2
    ask = near if feed == "ask" else near * 2
    market.quote(bid, ask, **({"last": near} if feed == "last" else {}), **more)


def play(trade: Trade, market: Market, purpose: str, feed: str, moves: str) -> None:
    """Carry out `moves` of the only leg of that purpose; see the top of this file."""
    (before,) = trade.trades(purpose)
    start = market.server.now()
    for move in moves.split(" · "):
        words = move.split()
        if words[0].endswith("s"):
            follow(market, feed, words[1], at=start + timedelta(seconds=float(words.pop(0)[:-1])))
        else:
            follow(market, feed, words[0])
        (leg,) = trade.trades(purpose)
        orders = [order for order in trade.orders() if order["trade_id"] == leg["id"]]
        price, verb = words[0], words[1]
        match verb:
            case "waits":
                assert (move, orders, watched(leg)) == (move, [], watched(before))
            case "line":
                assert (move, leg["status"], D(leg["trigger_price"])) == (move, "trailing_activated", D(words[2]))
            case "places":
                (order,) = orders
                assert (move, order["status"], order["type"], D(order["price"])) == (move, "open", "limit", D(words[2]))
            case "rests":
                assert (move, [order["status"] for order in orders]) == (move, ["open"])
            case "fires":
                (order,) = orders
                paid = None if order["average_price"] is None else D(order["average_price"])
                assert (move, order["status"], paid) == (move, "filled", D(words[-1] if "at" in words else price))
            case _:
                raise AssertionError(f"no such verb: {move}")
        before = leg


def watched(leg: Entity) -> tuple[Any, ...]:
    """What shows how a leg is watched."""
    return leg["status"], leg["trigger_price"], leg["trailing_last_price"]


def bought(server: Server, price: str = "100", units: str = "10", **rules: Number) -> tuple[Market, Account, Entity]:
    """A fresh pair that stands at `price`, an account rich enough, and the entry of a long of `units` at market."""
    market = server.market(**{**FINE, **rules})
    account = server.account(market, USDT=10**9)
    market.quote(price)
    return market, account, {"type": "buy", "order_type": "market", "units": {"value": units}}


def sold(server: Server, price: str = "100", units: str = "10", **rules: Number) -> tuple[Market, Account, Entity]:
    """The same for a short."""
    market = server.market(**{**FINE, **rules})
    account = server.account(market, BASE=10**6, USDT=10**9)
    market.quote(price)
    return market, account, {"type": "sell", "order_type": "market", "units": {"value": units}}


OPENING = {"long": bought, "short": sold}
ENTRY_FEED = {"long": "ask", "short": "bid"}
EXIT_FEED = {"long": "bid", "short": "ask"}


# --- 3.2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "at_creation", "trigger", "limit", "condition", "moves"),
    [
        ("long", "105", "100", None, "less_or_equal", "102 waits · 100.01 waits · 100.00 fires"),
        ("long", "105", "110", None, "greater_or_equal", "109.99 waits · 110.00 fires"),
        ("long", "105", "110", None, "greater_or_equal", "108 waits · 113 fires"),
        ("short", "105", "110", None, "greater_or_equal", "109.9 waits · 110.2 fires"),
        ("short", "105", "100", None, "less_or_equal", "100.5 waits · 99.8 fires"),
        (
            "long", "105", "110", "108", "greater_or_equal",
            "107 waits · 109.99 waits · 110 places 108 · 108.01 rests · 108 fires",
        ),
        ("short", "0.24", "0.255", "0.255", "greater_or_equal", "0.254 waits · 0.255 fires"),
    ],
)  # fmt: skip
def test_conditional_entry_3_2(
    server: Server, side: str, at_creation: str, trigger: str, limit: str | None, condition: str, moves: str
) -> None:
    market, account, position = OPENING[side](server, tick="0.001")
    follow(market, ENTRY_FEED[side], at_creation)
    position["order_type"] = "conditional"
    position["conditional"] = {"price": {"value": trigger}, "order_type": "market" if limit is None else "limit"}
    if limit is not None:
        position["price"] = {"value": limit}
    trade = account.create(market, position=position)

    (leg,) = trade.trades("position")
    assert (leg["trigger_condition"], leg["follow_price_type"]) == (condition, ENTRY_FEED[side])
    play(trade, market, "position", ENTRY_FEED[side], moves)
    assert trade.status == "waiting_targets"


# --- 3.3 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "at_creation", "trigger", "percent", "moves"),
    [
        (
            "long", "420", "400", "10",
            "401 waits · 400 line 440.00 · 370 line 407.00 · 350 line 385.00 · 384.99 waits · 385 fires",
        ),
        (
            "long", "34800", "34360", "1",
            "34360 line 34703.60 · 33500 line 33835.00 · 33834 waits · 33835 fires",
        ),
        ("short", "380", "400", "10", "400 line 360.00 · 450 line 405.00 · 405.01 waits · 405 fires"),
        ("short", "380", "400", "10", "400 line 360.00 · 355 fires"),
    ],
)  # fmt: skip
def test_trailing_entry_3_3(
    server: Server, side: str, at_creation: str, trigger: str, percent: str, moves: str
) -> None:
    market, account, position = OPENING[side](server)
    follow(market, ENTRY_FEED[side], at_creation)
    position["order_type"] = "conditional"
    position["conditional"] = {
        "price": {"value": trigger},
        "order_type": "market",
        "trailing": {"enabled": True, "percent": percent},
    }
    trade = account.create(market, position=position)

    play(trade, market, "position", ENTRY_FEED[side], moves)
    assert trade.status == "waiting_targets"


# --- 3.4 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "filled", "entry_price", "target", "stop"),
    [
        ("long", "385", "385.385", "404.65", "362.26"),
        ("short", "405", "404.595", "384.37", "428.87"),
    ],
)
def test_percent_targets_3_4(server: Server, side: str, filled: str, entry_price: str, target: str, stop: str) -> None:
    market, account, position = OPENING[side](server, filled)
    feed = EXIT_FEED[side]
    trade = account.create(
        market,
        position=position,
        take_profit=steps((100, {"type": feed, "percent": 5})),
        stop_loss=stop_at({"type": feed, "percent": 6}),
    )
    entity = trade.expect(
        {
            "take_profit.steps.*.price": [{"type": feed, "value": target, "percent": "5.0"}],
            "stop_loss.conditional.price": {"type": feed, "value": stop, "percent": "6.0"},
        }
    )
    data = entity["data"]
    assert D(data["entered_total"]) / D(data["entered_amount"]) == D(entry_price)


def steps(*targets: tuple[Number, Entity], order_type: str = "market") -> Entity:
    """A take-profit group of (volume, price)."""
    listed = [{"order_type": order_type, "volume": volume, "price": price} for volume, price in targets]
    return {"enabled": True, "steps": listed}


def limits(*targets: tuple[Number, Number]) -> Entity:
    """A take-profit group of limit steps, (volume, price)."""
    return steps(*((volume, {"type": "last", "value": price}) for volume, price in targets), order_type="limit")


def stop_at(level: Entity, **more: Any) -> Entity:
    """A stop-loss group, at market unless `more` says otherwise."""
    conditional = {"price": level, **({"trailing": more.pop("trailing")} if "trailing" in more else {})}
    return {"enabled": True, "order_type": "market", "conditional": conditional, **more}


# --- 3.5 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "entered", "target", "percent", "moves"),
    [
        ("long", "100", "105", None, "104.99 waits · 105 fires"),
        ("short", "100", "95", None, "95.01 waits · 95 fires"),
        (
            "long", "100", "105", "1",
            "104.9 waits · 105 line 103.95 · 107 line 105.93 · 106 waits · 105.94 waits · 105.93 fires",
        ),
        ("long", "0.0006", "0.00069", "1", "0.000693 line 0.00068607 · 0.00068607 fires"),
        ("short", "100", "95", "1", "95 line 95.95 · 93 line 93.93 · 93.92 waits · 93.93 fires"),
        ("long", "100", "105", "10", "105 line 94.50 · 96 waits · 94.5 fires"),  # below the entry (TR-44)
    ],
)  # fmt: skip
def test_take_profit_at_market_3_5(
    server: Server, side: str, entered: str, target: str, percent: str | None, moves: str
) -> None:
    market, account, position = OPENING[side](server, entered, tick="0.00000001")
    feed = EXIT_FEED[side]
    group = steps((100, {"type": feed, "value": target}))
    if percent is not None:
        group["steps"][0]["trailing"] = {"enabled": True, "percent": percent}
    trade = account.create(market, position=position, take_profit=group)

    play(trade, market, "take_profit", feed, moves)
    assert trade.status == "finished"


# --- 3.6 --------------------------------------------------------------------------------------------------------

TRAILING_STOPS = {
    "long, k 0.9": (
        "long", "90", None,
        "bid      100  102    105    101    105    108    112     108     100.81  100.80",
        "extreme  100  102    105    105    105    108    112     112     112     112   ",
        "level     90   91.80  94.50  94.50  94.50  97.20 100.80  100.80  100.80  fires ",
    ),
    "short, k 1.1": (
        "short", "110", None,
        "ask      100   98     95     99     90     98.99  99.00",
        "extreme  100   98     95     95     90     90     90   ",
        "level    110  107.80 104.50 104.50  99.00  99.00  fires",
    ),
    "long, 5 percent given": (
        "long", "90", "5",
        "bid      100  110     104.51  104.50",
        "extreme  100  110     110     110   ",
        "level     95  104.50  104.50  fires ",
    ),
    "long, 20 percent given": (
        "long", "90", "20",
        "bid      100  115  92.01  92   ",
        "extreme  100  115  115    115  ",
        "level     90   92  92     fires",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRAILING_STOPS)
def test_trailing_stop_3_6(server: Server, case: str) -> None:
    side, start, percent, *rows = TRAILING_STOPS[case]
    market, account, position = OPENING[side](server)
    feed = EXIT_FEED[side]
    trailing = {"enabled": True, **({} if percent is None else {"percent": percent})}
    trade = account.create(
        market, position=position, stop_loss=stop_at({"type": feed, "value": start}, trailing=trailing)
    )

    prices, extremes, levels = (row.split()[1:] for row in rows)
    for price, extreme, level in zip(prices, extremes, levels, strict=True):
        follow(market, feed, price)
        if level == "fires":
            closing = trade.orders()[-1]
            assert (trade.status, D(closing["average_price"])) == ("stop_loss_finished", D(price))
            continue
        (leg,) = trade.trades("stop_loss")
        seen = leg["status"], D(leg["trailing_last_price"]), D(leg["trigger_price"])
        assert seen == ("trailing_activated", D(extreme), D(level)), price


def test_trailing_stop_starts_at_the_price_that_filled_the_entry_tr_50(server: Server) -> None:
    market, account, position = bought(server, "105")
    position.update(order_type="limit", price={"value": "100"})
    stop = stop_at({"type": "bid", "value": "90"}, trailing={"enabled": True})
    trade = account.create(market, position=position, stop_loss=stop)

    market.quote("99.90", "100")  # fills the entry
    (leg,) = trade.trades("stop_loss")
    assert (leg["status"], leg["trailing_last_price"], leg["trigger_price"]) == ("trailing_activated", "99.9", "90.0")


@pytest.mark.parametrize(
    ("side", "level", "limit", "moves"),
    [
        ("long", "90", "89.5", "90.01 waits · 90.00 fires"),
        ("long", "90", "89.5", "91 waits · 89.0 places 89.5 · 89.49 rests · 89.5 fires"),
        ("short", "110", "110.5", "109.99 waits · 110 fires"),
        ("short", "110", "110.5", "109 waits · 111 places 110.5 · 110.51 rests · 110.5 fires"),
    ],
)
def test_limit_stop_3_6(server: Server, side: str, level: str, limit: str, moves: str) -> None:
    market, account, position = OPENING[side](server)
    feed = EXIT_FEED[side]
    group = stop_at({"type": feed, "value": level}, order_type="limit", price={"value": limit})
    trade = account.create(market, position=position, stop_loss=group)

    play(trade, market, "stop_loss", feed, moves)
    trade.expect({"status.type": "stop_loss_finished"})
    closing = trade.orders()[-1]
    assert (closing["type"], D(closing["price"])) == ("limit", D(limit))


# --- 3.7 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "level", "moves", "after_a_minute"),
    [
        (
            "long", "90",
            "0s 90.00 waits · 30s 89.50 waits · 45s 90.01 waits · 50s 89.90 waits · 80s 88.00 waits"
            " · 109.999s 88.00 waits · 110s 89.00 fires",
            "stop_loss_finished",
        ),
        ("short", "110", "0s 110.00 waits · 59s 111 waits · 60s 109.99 waits", "waiting_targets"),
    ],
)  # fmt: skip
def test_timeout_of_60_seconds_3_7(server: Server, side: str, level: str, moves: str, after_a_minute: str) -> None:
    market, account, position = OPENING[side](server)
    feed = EXIT_FEED[side]
    group = stop_at({"type": feed, "value": level}, timeout={"enabled": True, "value": 60})
    trade = account.create(market, position=position, stop_loss=group)

    play(trade, market, "stop_loss", feed, moves)
    server.advance(60)
    assert trade.status == after_a_minute


# --- 3.8 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A row of the table in 3.8."""

    side: str = "long"
    entry: tuple[str, str] = ("10", "100")  # units, price
    fee: tuple[str, str] = ("0.001", "quote")
    tick: str = "0.01"
    lot: str = "0.1"
    stop: Entity
    targets: tuple[str, str] = ("200", "300")
    price_then: str  # where the market stands when the first target is filled
    old: str
    new: str
    limit_then: str | None = None
    later: tuple[tuple[str, str], ...] = ()  # price, level


BREAKEVEN = {
    "long, 1.6056 / 14.91": Moved(
        entry=("15", "0.10704"), fee=("0.006", "base"), tick="0.00001", lot="1", targets=("0.5", "0.6"),
        stop=stop_at({"type": "bid", "value": "0.1013"}), price_then="0.11", old="0.1013", new="0.10769",
    ),
    "short, 1.977066 / 7.8": Moved(
        side="short", entry=("7.8", "0.255"), fee=("0.006", "quote"), tick="0.0001", targets=("0.2", "0.1"),
        stop=stop_at({"type": "ask", "value": "0.29"}), price_then="0.25", old="0.29", new="0.2534",
    ),
    "long, trailing, extreme 112": Moved(
        stop=stop_at({"type": "bid", "value": "90"}, trailing={"enabled": True}),
        price_then="112", old="100.80", new="100.80", later=(("113", "101.70"),),
    ),
    "long, trailing, extreme 105": Moved(
        stop=stop_at({"type": "bid", "value": "90"}, trailing={"enabled": True}),
        price_then="105", old="94.50", new="100.10", later=(("111.22", "100.10"), ("111.23", "100.107")),
    ),
    "long, limit stop 90 / 89.5": Moved(
        stop=stop_at({"type": "bid", "value": "90"}, order_type="limit", price={"value": "89.5"}),
        price_then="105", old="90", new="100.10", limit_then="99.55",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BREAKEVEN)
def test_breakeven_3_8(server: Server, case: str) -> None:
    row = BREAKEVEN[case]
    rate, coin = row.fee
    units, price = row.entry
    market, account, position = OPENING[row.side](
        server, price, units, tick=row.tick, lot=row.lot, taker_fee=rate, maker_fee=rate, fee_in=coin
    )
    first, second = row.targets
    trade = account.create(
        market,
        position=position,
        take_profit=limits((50, first), (50, second)),
        stop_loss={**row.stop, "breakeven": True},
    )

    def level() -> Decimal:
        return D(trade.trades("stop_loss")[0]["trigger_price"])

    market.quote(row.price_then)
    assert level() == D(row.old)
    account.fill(trade.orders("open")[0])
    assert level() == D(row.new)
    stop = trade.expect({"status.type": "waiting_targets", "stop_loss.breakeven": True})["stop_loss"]
    assert stop["price"]["value"] == row.limit_then
    for price, then in row.later:
        market.quote(price)
        assert level() == D(then)


# --- 4.5, 4.4 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "target", "then", "volume", "percent"),
    [("long", "110", "105", "67.93", "6.79"), ("short", "90", "95", "68.07", "6.81")],
)
def test_profit_is_the_same_before_and_after_the_rest_is_closed_4_5(
    server: Server, side: str, target: str, then: str, volume: str, percent: str
) -> None:
    market, account, position = OPENING[side](server)
    far = {"long": "200", "short": "50"}[side]
    trade = account.create(market, position=position, take_profit=limits((40, target), (60, far)))
    market.quote(target)
    market.quote(then)
    trade.expect({"data.closed_amount": "4.0", "profit.volume": volume, "profit.percent": percent})

    trade.close_by_market()
    trade.expect({"status.type": "panic_sold", "profit.volume": volume, "profit.percent": percent})


@pytest.mark.parametrize(
    ("targets", "stop", "most"),
    [
        (("110", "105"), "80", "9.9375"),  # 10 - 5 / 80
        (("110", "105"), None, "9.952380952380952380952380952"),  # 10 - 5 / 105, the lowest target (M-31)
        ((), None, "9.95"),  # 10 - 5 / bid 100
    ],
)
def test_what_is_left_can_still_be_closed_m_30_m_31(
    server: Server, targets: tuple[str, ...], stop: str | None, most: str
) -> None:
    market, account, position = bought(server, min_total=5)
    groups: Entity = {}
    if targets:
        groups["take_profit"] = limits(*((100 // len(targets), target) for target in targets))
    if stop is not None:
        groups["stop_loss"] = stop_at({"type": "bid", "value": stop})
    assert account.create(market, position=position, **groups).max_reduce() == most


# --- 4.7 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of 4.7: what was filled, what was still wanted, where the market stood, and every figure that follows."""

    units: str
    price: str
    fee: tuple[str, str]  # rate, coin
    tick: str
    lot: str = "1"
    side: str = "buy"
    kind: str = "spot"
    currency: str = "USDT"
    rate: str | None = None  # USD per unit of the currency
    targets: tuple[tuple[Number, str], ...] = ()  # volume, price
    stop: str | None = None
    now: str | None = None  # bid of a long, ask of a short
    c: str = "0.001"  # the account's rate today (M-1)
    shows: Entity = field(default_factory=dict)


def entered(amount: str, total: str, price: str, bare: str) -> Entity:
    """Figures of M-2 to M-4 and M-10, with `position` as M-11 wants it."""
    return {
        "data.entered_amount": amount,
        "data.entered_total": total,
        "data.average_enter_price": price,
        "data.average_enter_price_without_commission": bare,
        "position.units.value": amount,
        "position.price.value": price,
        "position.price.value_without_commission": bare,
    }


def profit(volume: str, percent: str, **more: str) -> Entity:
    """Figures of M-40 to M-43."""
    return {
        "profit.volume": volume,
        "profit.percent": percent,
        **{f"profit.{key}": value for key, value in more.items()},
    }


DOGE = {"tick": "0.00001", "fee": ("0.006", "base")}

PUBLISHED = {
    "docs:cancel": Published(
        units="15", price="0.10559", **DOGE, targets=((100, "0.11627"),), now="0.10613",
        shows={
            **entered("14.91", "1.58385", "0.10622", "0.10559"),
            "take_profit.steps.*.units.value": ["14.0"],
            "take_profit.steps.*.total": ["1.62778"],
            **profit("-0.0030340983", "-0.19"),
        },
    ),
    "docs:trades": Published(
        units="15", price="0.10664", tick="0.00001", fee=("0.004", "base"), stop="0.1013",
        shows={
            **entered("14.94", "1.5996", "0.10706", "0.10664"),
            "stop_loss.units.value": "14.0",
            "stop_loss.total.value": "1.4182",
        },
    ),
    "docs:trade-close": Published(
        units="15", price="0.10704", **DOGE, targets=((50, "0.5"), (25, "0.6"), (25, "0.55")), now="0.10938",
        shows={
            **entered("14.91", "1.6056", "0.10768", "0.10704"),
            "take_profit.steps.*.units.value": ["8.0", "3.0", "3.0"],
            "take_profit.steps.*.total": ["4.0", "1.8", "1.65"],
            **profit("0.0236249442", "1.47"),
        },
    ),
    "docs:close": Published(
        side="sell", units="7.8", price="0.255", fee=("0.006", "quote"), tick="0.0001", lot="0.1", now="0.264",
        shows={**entered("7.8", "1.977066", "0.2534", "0.255"), **profit("-0.0841932", "-4.26")},
    ),
    "docs:reduce": Published(
        units="4", price="0.03716", fee=("0.001", "quote"), tick="0.00001", lot="0.0001", currency="BTC",
        rate="106239.29", targets=((100, "0.04088"),), now="0.03702",
        shows={
            **entered("4.0", "0.14878864", "0.03719", "0.03716"),
            "take_profit.steps.*.units.value": ["4.0"],
            "take_profit.steps.*.total": ["0.16352"],
            **profit("-0.00085672", "-0.58", usd="-91.0173245288"),
        },
    ),
    "docs:edit": Published(
        units="34", price="0.00000442", fee=("0.001", "quote"), tick="0.00000001", currency="BTC", rate="100000",
        now="0.00000283",
        shows={
            **entered("34.0", "0.00015043028", "0.00000442", "0.00000442"),
            "position.total.value": "0.00015043",
            **profit("-0.0000543065", "-36.1"),
        },
    ),
    "client fixture (ETH/BTC 2022)": Published(
        units="0.9981", price="0.054312", fee=("0.001", "quote"), tick="0.000001", lot="0.0001", currency="BTC",
        rate="19586.5", now="0.054624",
        shows={
            **entered("0.9981", "0.0542630160072", "0.054366", "0.054312"),
            "position.total.value": "0.05426302",
            **profit("0.0002026781784", "0.37", usd="3.9697561412316"),
        },
    ),
    "client fixture (ADA futures)": Published(
        kind="linear", units="10", price="0.7275", fee=("0.0005", "quote"), tick="0.0001", now="0.7275", c="0.00045",
        shows={
            **entered("10.0", "7.2786375", "0.7278", "0.7275"),
            "margin.amount": "10.0",
            "margin.total": "7.278",
            **profit("-0.00691125", "-0.09", roe="-0.09"),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", PUBLISHED)
def test_published_figures_of_a_live_trade_4_7(server: Server, source: str) -> None:
    row = PUBLISHED[source]
    (rate, coin), long = row.fee, row.side == "buy"
    market = server.market(
        kind=row.kind, currency=row.currency, tick=row.tick, lot=row.lot, taker_fee=rate, maker_fee=rate,
        **FINE, **({} if row.kind == "linear" else {"fee_in": coin}),
    )  # fmt: skip
    account = server.account(market, **{row.currency: 1000, "BASE": 1000})
    market.quote(row.price)
    groups: Entity = {}
    if row.targets:
        groups["take_profit"] = limits(*row.targets)
    if row.stop is not None:
        groups["stop_loss"] = stop_at({"type": "last", "value": row.stop})
    position = {"type": row.side, "order_type": "market", "units": {"value": row.units}}
    trade = account.create(market, position=position, **groups)

    market.rules(taker_fee=row.c)
    if row.rate is not None:
        server.quotes({"market": "binance", "pair": "USDT_BTC", "bid": 1, "ask": 10**6, "last": row.rate})
    if row.now is not None:
        market.quote(row.now if long else row.price, row.price if long and D(row.price) > D(row.now) else row.now)
    trade.expect(row.shows)


def test_published_average_of_a_sub_trade_m_14(server: Server) -> None:
    market, account, position = bought(
        server, "0.10664", "15", tick="0.00001", lot="1", taker_fee="0.004", fee_in="base"
    )
    (leg,) = account.create(market, position=position).trades("position")
    figures = {name: leg[name] for name in ("average_price", "realised_price", "realised_percentage", "initial_total")}
    assert figures == {
        "average_price": "0.107068273092369477911646586345381526",
        "realised_price": "0.10706",
        "realised_percentage": "100.0",
        "initial_total": "1.5996",
    }


def test_published_reduction_shows_the_bid_rf_1(server: Server) -> None:
    market, account, position = bought(server, "0.03716", "4", tick="0.00001", lot="0.0001")
    trade = account.create(market, position=position, take_profit=limits((100, "0.04088")))
    market.quote("0.03702", "0.03716")
    (step,) = trade.reduce_funds("0.3995")["reduce_funds"]["steps"]
    assert step["price"] == {"value": "0.03702", "value_without_commission": "0.03702"}
    assert (step["units"], step["total"]) == ({"value": "0.3995"}, {"value": "0.01478949"})


def test_published_average_after_adding_funds_4_7(server: Server) -> None:
    market, account, position = bought(
        server, "0.10704", "15", tick="0.00001", lot="1", taker_fee="0.006", maker_fee="0.006", fee_in="base",
        min_total="1.5",
    )  # fmt: skip
    trade = account.create(
        market,
        position=position,
        take_profit=steps((100, {"type": "last", "percent": 5}), order_type="limit"),
        stop_loss=stop_at({"type": "last", "value": "0.10056"}),
    )
    trade.add_funds(29, "0.10235")
    adding = trade.orders("open")[-1]
    account.fill(adding, 28)
    account.fill(adding, 1, "0.10231")  # 44 for 4.57371 in all
    market.rules(taker_fee="0.001")
    market.quote("0.10244", "0.10250")

    trade.expect(
        {
            **entered("43.736", "4.57371", "0.10457", "0.10394"),
            "position.total.value": "4.57371",
            "position.total.value_without_commission": "4.54626774",
            "take_profit.steps.*.price.value": ["0.1098"],  # TR-30, TR-31
            "take_profit.steps.*.units.value": ["43.0"],
            "take_profit.steps.*.total": ["4.7214"],
            **profit("-0.09787447584", "-2.14"),
        }
    )
    assert trade.max_reduce() == "28.819532219570405727923627685"


def test_published_smart_sell_keeps_its_shares_when_a_step_is_cancelled_4_7(server: Server) -> None:
    market = server.market(tick="0.00001", lot="1", **FINE)
    account = server.account(market, BASE=20)
    market.quote("0.10257", "0.10268", last="0.10268")
    trade = account.create(
        market,
        skip_enter_step=True,
        position={"type": "buy", "order_type": "market", "units": {"value": 20}},  # at the last price (M-9)
        take_profit=limits((35, "0.3"), (35, "0.4"), (30, "0.5")),
    )
    trade.cancel_trade(trade.get()["take_profit"]["steps"][2]["id"])
    trade.expect(
        {
            "data.entered_amount": "20.0",
            "data.entered_total": "2.0536",
            "data.average_enter_price": None,
            "data.average_enter_price_without_commission": None,
            "position.price.value": "0.10268",
            "position.price.value_without_commission": None,
            "take_profit.steps.*.units.value": ["7.0", "7.0"],
            "take_profit.steps.*.total": ["2.1", "2.8"],
            **profit("-0.0042514", "-0.21"),
        }
    )


def test_published_price_and_total_before_the_entry_m_13(server: Server) -> None:
    market, account, position = bought(server, units="0.01", lot="0.00001")
    market.quote("56283.72", "56283.73")
    created = account.create(market, instant=True, position=position).created
    assert (created["position"]["price"]["value"], created["position"]["total"]["value"]) == ("56283.73", "562.8373")


# --- 6.2 --------------------------------------------------------------------------------------------------------

EDITS = {
    # request: (step kept or "new", volume, price)           units then    volumes then    ids that stay
    "both kept": ([("2", 25, "0.6"), ("3", 25, "0.55")], ["3.0", "3.0"], ["25.0", "25.0"], ["2", "3"]),
    "the executed one repeated, one changed": (
        [("1", 50, "0.5"), ("2", 25, "0.7"), ("3", 25, "0.55")], ["3.0", "3.0"], ["25.0", "25.0"], ["3"],
    ),
    "one new of 100": ([("new", 100, "0.6")], ["6.0"], ["50.0"], []),
    "30 and 20": ([("2", 30, "0.6"), ("3", 20, "0.55")], ["4.0", "2.0"], ["30.0", "20.0"], []),
}  # fmt: skip


@pytest.fixture
def first_of_three_executed(server: Server) -> Trade:
    """14.91 entered, lot 1, steps 50/25/25 of 8, 3 and 3 units, the first executed."""
    market, account, position = bought(
        server, "0.10704", "15", tick="0.00001", lot="1", taker_fee="0.006", fee_in="base", maker_fee="0.006"
    )
    trade = account.create(market, position=position, take_profit=limits((50, "0.5"), (25, "0.6"), (25, "0.55")))
    account.fill(trade.orders("open")[0])
    trade.expect({"take_profit.steps.*.units.value": ["8.0", "3.0", "3.0"], "data.closed_amount": "8.0"})
    return trade


def edit_steps(trade: Trade, request: list[tuple[str, int, str]]) -> dict[str, int]:
    """Send the steps of a request of 6.2; returns the ids before, by number."""
    ids = {str(step["position"]): step["id"] for step in trade.get()["take_profit"]["steps"]}
    listed = [
        {
            **({} if number == "new" else {"id": ids[number]}),
            "order_type": "limit",
            "volume": volume,
            "price": {"type": "last", "value": price},
        }
        for number, volume, price in request
    ]
    trade.edit(take_profit={"enabled": True, "steps": listed})
    return ids


@pytest.mark.parametrize("case", EDITS)
def test_edit_of_unexecuted_steps_6_2(first_of_three_executed: Trade, case: str) -> None:
    trade = first_of_three_executed
    request, units, volumes, kept = EDITS[case]
    orders_before = {order["trade_id"]: order["client_order_id"] for order in trade.orders("open")}
    ids = edit_steps(trade, request)

    executed, *rest = trade.get()["take_profit"]["steps"]
    assert (executed["id"], executed["status"]["type"]) == (ids["1"], "finished")
    assert [step["units"]["value"] for step in rest] == units
    assert [step["volume"] for step in rest] == volumes
    assert [number for number in ids if ids[number] in {step["id"] for step in rest}] == kept
    orders = {order["trade_id"]: order["client_order_id"] for order in trade.orders("open")}
    assert {step["id"] for step in rest} == set(orders)
    for number in kept:
        assert orders[ids[number]] == orders_before[ids[number]], "the order of an unchanged step was replaced (E-21)"


def test_edit_whose_volumes_fit_no_sum_is_refused_whole_6_2(first_of_three_executed: Trade) -> None:
    before = first_of_three_executed.get()
    with pytest.raises(Refused) as refused:
        edit_steps(first_of_three_executed, [("2", 30, "0.6"), ("3", 30, "0.55")])
    assert refused.value.answer.status == 422
    assert refused.value.answer.body["error_attributes"] == {"take_profit[steps]": ["is invalid"]}
    assert first_of_three_executed.get() == before
