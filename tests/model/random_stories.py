"""Stories that nobody wrote down: a market, a trade, and what happens to it. Plain data, drawn from one seed.

`play` tells a story to the model and to the engine and compares all that is seen after every step; `shrunk` leaves out
what a difference does not need.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import smart_trade_model as model
from engine_on_paper import PaperStory
from smart_trade_model import OffThePage, Refused

from smarttrade.domain.errors import Denied
from smarttrade.domain.instrument import FeeAsset
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import (
    EntryCondition,
    EntryPlan,
    EntryType,
    Leverage,
    MarginMode,
    PositionEdit,
    SmartTradePlan,
    StopPlan,
    TargetPlan,
    TradeKind,
)
from smarttrade.domain.quote import PriceType
from smarttrade.domain.sizing import is_closable
from smarttrade.domain.smart_trade import TradeStatus

D = Decimal
Step = tuple[Any, ...]


@dataclass
class Tale:
    """One story. Prices and quantities are decimals; the steps are names with arguments."""

    rules: dict[str, Any]
    quote: tuple[D, D, D]
    plan: dict[str, Any]
    steps: list[Step] = field(default_factory=list)


# --- drawing ----------------------------------------------------------------------------------------------------


def draw(seed: int) -> Tale:
    chance = Random(seed)
    rules = draw_rules(chance)
    bid = D(chance.randint(98, 102))
    quote = draw_quote(chance, bid)
    tale = Tale(rules, quote, draw_plan(chance, rules))
    price = bid
    for _ in range(chance.randint(4, 22)):
        step, price = draw_step(chance, price, tale)
        tale.steps.append(step)
    tale.steps += fall(tale.plan["kind"])
    return tale


LONG = ("simple_buy", "smart_trade", "smart_sell")
LONGEST_TIMEOUT = 60


def fall(kind: str) -> list[Step]:
    """At its end the price goes far beyond every stop, and stays there longer than any of them waits.

    Twice, because an entry may be reached by it; and twice as long, because breakeven may begin a timeout anew.
    """
    found: list[Step] = []
    for price in (D(60), D(40)) if kind in LONG else (D(160), D(240)):
        found += [("quote", price, price, price, None, None), ("wait", LONGEST_TIMEOUT), ("wait", LONGEST_TIMEOUT)]
    return found


def draw_rules(chance: Random) -> dict[str, Any]:
    futures = chance.random() < 0.3
    return {
        "futures": futures,
        "tick": chance.choice([D("0.01"), D("0.01"), D("0.5")]),
        "lot": chance.choice([D("0.1"), D(1), D("0.001")]),
        "min_total": D(5),
        "maker_fee": chance.choice([D(0), D("0.001"), D("0.0004")]),
        "taker_fee": chance.choice([D(0), D("0.001"), D("0.006")]),
        "fee_in_base": not futures and chance.random() < 0.5,
    }


def draw_quote(chance: Random, bid: D) -> tuple[D, D, D]:
    ask = bid + chance.choice([D(0), D(0), D("0.5"), D(1)])
    last = chance.choice([bid, ask, bid, ask, bid - 2, ask + 2])
    return bid, ask, last


def price_near(chance: Random, low: int, high: int) -> D:
    return D(chance.randint(low * 2, high * 2)) / 2 + chance.choice([D(0), D(0), D(0), D("0.003")])


VOLUMES = (
    *((100,), (100,), (50, 50), (50, 25, 25), (30, 30, 40), (10, 20, 30, 40), (33, 33, 34)),
    *((25, 25, 25, 25), (20, 20, 20, 20, 20), (10, 10, 10, 10, 10, 10, 20, 20), (5, 95), (1, 99)),
)


def draw_plan(chance: Random, rules: dict[str, Any]) -> dict[str, Any]:
    kinds = ["smart_trade"] * 4 + ["smart_cover"] * 2 + ["smart_sell", "smart_buy", "simple_buy", "simple_sell"]
    kind = chance.choice(kinds)
    long = kind in LONG
    simple = kind.startswith("simple")
    entry = draw_entry(chance, kind, long)
    targets = [] if simple or chance.random() < 0.1 else draw_targets(chance, long)
    stop = None if simple or chance.random() < 0.2 else draw_stop(chance, long, len(targets))
    leverage = chance.choice([None, D(1), D(4)]) if rules["futures"] else None
    return {"kind": kind, "entry": entry, "targets": targets, "stop": stop, "leverage": leverage}


def draw_entry(chance: Random, kind: str, long: bool) -> dict[str, Any]:
    units = chance.choice([D(10), D(10), D("14.9"), D(3), D("7.3"), D(20)])
    if kind in ("smart_sell", "smart_buy"):
        return {"type": "own", "units": units, "price": chance.choice([None, D(100), D("97.5"), D("102.68")])}
    entry: dict[str, Any] = {
        "type": chance.choice(["market", "market", "limit", "limit", "conditional"]),
        "units": units,
    }
    if entry["type"] == "limit":
        entry["price"] = price_near(chance, 94, 106)
    if entry["type"] == "conditional":
        entry["trigger"] = price_near(chance, 95, 105)
        entry["trigger_type"] = chance.choice(["bid", "ask", "last"])
        if chance.random() < 0.4:
            entry["trailing"] = chance.choice([D(0), D(1), D(2), D("2.5")])
        if chance.random() < 0.4:
            entry["price"] = price_near(chance, 95, 105)
    return entry


def draw_targets(chance: Random, long: bool) -> list[dict[str, Any]]:
    targets = []
    volumes = chance.choice(VOLUMES)
    for volume in volumes:
        target: dict[str, Any] = {
            "type": chance.choice(["limit", "limit", "market"]),
            "volume": D(volume),
            "price_type": chance.choice(["bid", "ask", "last"]),
        }
        if chance.random() < 0.3:
            target["percent"] = chance.choice([D(1), D(2), D(5), D("-3.3"), D("0.5")])
        else:
            target["price"] = price_near(chance, 101, 112) if long else price_near(chance, 88, 99)
        targets.append(target)
    if chance.random() < 0.3:
        targets[-1]["trailing"] = chance.choice([D(1), D(2), D("0.5"), D("-1.5"), D(40)])
    return targets


def draw_stop(chance: Random, long: bool, steps: int) -> dict[str, Any]:
    stop: dict[str, Any] = {
        "type": chance.choice(["market", "market", "limit"]),
        "price_type": chance.choice(["bid", "ask", "last"]),
    }
    level = price_near(chance, 88, 98) if long else price_near(chance, 102, 112)
    by_percent = chance.random() < 0.3
    if by_percent:
        stop["percent"] = chance.choice([D(2), D(6), D("-4.4"), D(10)])
    else:
        stop["price"] = level
    if stop["type"] == "limit":
        if by_percent:
            stop["limit_percent"] = stop["percent"] + chance.choice([D(0), D("0.5"), D(1)])
        else:
            stop["limit_price"] = level + chance.choice([D(0), D("0.5"), D(1)]) * (-1 if long else 1)
    if chance.random() < 0.35:
        stop["trailing"] = True
        if chance.random() < 0.3:
            stop["trailing_percent"] = chance.choice([D(3), D(5), D(20)])
    if chance.random() < 0.3:
        stop["timeout"] = chance.choice([1, 10, LONGEST_TIMEOUT])
    if steps > 1 and chance.random() < 0.6:
        stop["breakeven"] = True
    return stop


def draw_step(chance: Random, price: D, tale: Tale) -> tuple[Step, D]:
    kinds = ("quote", "wait", "add", "reduce", "close_leg", "cancel_leg", "force_start", "force_process", "edit", "end")
    kind = chance.choices(kinds, weights=(59, 7, 5, 5, 4, 4, 2, 1, 11, 2))[0]
    if kind == "quote":
        jump = chance.choice([1, 1, 1, 2, 2, 3, 6])
        price = max(D(80), min(D(120), price + D(chance.randint(-2 * jump, 2 * jump)) / 2))
        sizes = [None, None]
        if chance.random() < 0.15:
            sizes = [draw_size(chance, tale.rules["lot"]) for _ in range(2)]
        return ("quote", *draw_quote(chance, price), *sizes), price
    if kind == "wait":
        return ("wait", chance.choice([1, 5, 10, 30, 60])), price
    if kind == "add":
        limit = chance.choice([None, price_near(chance, 90, 110)])
        return ("add", chance.choice([D(10), D(3), D("5.5")]), limit), price
    if kind == "reduce":
        limit = chance.choice([None, None, price_near(chance, 92, 108)])
        return ("reduce", chance.choice([D(1), D("2.5"), D(5), D(9)]), limit), price
    if kind in ("close_leg", "cancel_leg"):
        return (kind, chance.randint(1, 12)), price
    if kind == "edit":
        return ("edit", chance.getrandbits(30)), price
    if kind == "end":
        kind = chance.choice(["close", "cancel"])
    return (kind,), price


def draw_size(chance: Random, lot: D) -> D | None:
    """Whole lots, as an exchange trades them."""
    size = chance.choice([None, D(1), D(2), D("4.5"), D("0.4"), D(30)])
    return None if size is None else max(size // lot * lot, lot)


# --- telling it to both -----------------------------------------------------------------------------------------


def fraction(value: D | None) -> Fraction | None:
    return None if value is None else Fraction(value)


def modelled(tale: Tale) -> model.SmartTrade:
    rules, plan = tale.rules, tale.plan
    entry, stop = plan["entry"], plan["stop"]
    return model.SmartTrade(
        model.TradePlan(
            kind=plan["kind"],
            entry=model.EntryPlan(
                order_type=entry["type"],
                units=Fraction(entry["units"]),
                price=fraction(entry.get("price")),
                trigger=fraction(entry.get("trigger")),
                trigger_type=entry.get("trigger_type", "ask"),
                trailing=fraction(entry.get("trailing")),
            ),
            targets=tuple(modelled_target(target) for target in plan["targets"]),
            stop=None if stop is None else modelled_stop(stop),
            leverage=fraction(plan["leverage"]),
        ),
        model.Rules(
            tick=Fraction(rules["tick"]),
            lot=Fraction(rules["lot"]),
            min_lot=Fraction(rules["lot"]),
            min_total=Fraction(rules["min_total"]),
            min_market_total=Fraction(rules["min_total"]),
            maker_fee=Fraction(rules["maker_fee"]),
            taker_fee=Fraction(rules["taker_fee"]),
            fee_in_base=rules["fee_in_base"],
            futures=rules["futures"],
        ),
        model.Quote(*(Fraction(price) for price in tale.quote)),
    )


def modelled_target(target: dict[str, Any]) -> model.TargetPlan:
    return model.TargetPlan(
        order_type=target["type"],
        volume=Fraction(target["volume"]),
        price=fraction(target.get("price")),
        percent=fraction(target.get("percent")),
        price_type=target["price_type"],
        trailing=fraction(target.get("trailing")),
        keeps=target.get("keeps"),
    )


def modelled_stop(stop: dict[str, Any]) -> model.StopPlan:
    return model.StopPlan(
        order_type=stop["type"],
        price=fraction(stop.get("price")),
        percent=fraction(stop.get("percent")),
        price_type=stop["price_type"],
        limit_price=fraction(stop.get("limit_price")),
        limit_percent=fraction(stop.get("limit_percent")),
        trailing=stop.get("trailing", False),
        trailing_percent=fraction(stop.get("trailing_percent")),
        timeout=stop.get("timeout"),
        breakeven=stop.get("breakeven", False),
    )


def staged(tale: Tale) -> PaperStory:
    """The engine on its exchange, before the trade is created."""
    rules = tale.rules
    return PaperStory(
        *tale.quote,
        futures=rules["futures"],
        tick=rules["tick"],
        lot=rules["lot"],
        min_lot=rules["lot"],
        min_total=rules["min_total"],
        min_market_total=rules["min_total"],
        maker_fee=rules["maker_fee"],
        taker_fee=rules["taker_fee"],
        fee_in=FeeAsset.BASE if rules["fee_in_base"] else FeeAsset.QUOTE,
    )


def started(story: PaperStory, tale: Tale) -> None:
    plan = tale.plan
    kind, entry = TradeKind(plan["kind"]), plan["entry"]
    held = None
    if tale.rules["futures"] and kind.is_own_funds:
        held = story.instrument.floor_lot(entry["units"]) * (1 if kind is TradeKind.SMART_SELL else -1)
        story.hold(held)
    condition = None
    if entry["type"] == "conditional":
        condition = engine_condition(entry, by_limit="price" in entry)
    wanted = SmartTradePlan(
        kind=kind,
        entry=EntryPlan(
            type=EntryType.MARKET if entry["type"] == "own" else EntryType(entry["type"]),
            units=entry["units"],
            price=entry.get("price"),
            condition=condition,
        ),
        take_profit_enabled=bool(plan["targets"]),
        targets=tuple(engine_target(target) for target in plan["targets"]),
        stop=None if plan["stop"] is None else engine_stop(plan["stop"]),
        leverage=None if plan["leverage"] is None else Leverage(MarginMode.CROSS, plan["leverage"]),
    )
    story.begin(wanted, held)


def engine_target(target: dict[str, Any], step_id: int | None = None) -> TargetPlan:
    return TargetPlan(
        order_type=OrderType.MARKET if "trailing" in target else OrderType(target["type"]),  # V-10
        volume=target["volume"],
        price_type=PriceType(target["price_type"]),
        price=target.get("price"),
        percent=target.get("percent"),
        trailing_percent=target.get("trailing"),
        step_id=step_id,
    )


def engine_stop(stop: dict[str, Any]) -> StopPlan:
    """As the requests are read: trailing forces a market order, which has no limit (V-10)."""
    if stop.get("trailing"):
        stop = {**stop, "type": "market", "limit_price": None, "limit_percent": None}
    return StopPlan(
        order_type=OrderType(stop["type"]),
        price_type=PriceType(stop["price_type"]),
        price=stop.get("price"),
        percent=stop.get("percent"),
        limit_price=stop.get("limit_price"),
        limit_percent=stop.get("limit_percent"),
        trailing=stop.get("trailing", False),
        trailing_percent=stop.get("trailing_percent"),
        timeout_seconds=stop.get("timeout"),
        breakeven=stop.get("breakeven", False),
    )


# --- edits ------------------------------------------------------------------------------------------------------


def draw_edit(chance: Random, tale: Tale, trade: model.SmartTrade) -> dict[str, Any]:
    """What an edit asks for, in the present state of the trade: any of targets, stop, units, price, condition."""
    wish: dict[str, Any] = {}
    long = trade.long
    if chance.random() < 0.5:
        wish["targets"] = draw_edited_targets(chance, trade, long)
    if chance.random() < 0.5:
        wish["stop"] = draw_edited_stop(chance, trade, long)
    if chance.random() < 0.25:
        wish["price"] = price_near(chance, 94, 106)
    if chance.random() < 0.15:
        wish["units"] = chance.choice([D(10), D(3), D("7.3"), D(12)])
    if tale.plan["entry"]["type"] == "conditional" and chance.random() < 0.3:
        entry = tale.plan["entry"]
        wish["condition"] = {
            "trigger": chance.choice([entry["trigger"], price_near(chance, 95, 105)]),
            "trigger_type": chance.choice([entry["trigger_type"], "bid", "ask"]),
            "trailing": chance.choice([entry.get("trailing"), entry.get("trailing"), D(1), None]),
        }
    return wish


def draw_edited_targets(chance: Random, trade: model.SmartTrade, long: bool) -> list[dict[str, Any]]:
    """Most present steps, some of them changed, perhaps a new one; () switches take profit off."""
    if chance.random() < 0.1:
        return []
    wanted = [
        repeated_target(target)
        for target in trade.targets
        if (target.executed and chance.random() < 0.5) or (target.active and chance.random() < 0.8)
    ]
    fresh = draw_targets(chance, long)
    for target in wanted:
        if chance.random() < 0.3:
            target.pop("price", None)
            target.pop("percent", None)
            target |= {key: value for key, value in fresh[0].items() if key not in ("volume", "trailing")}
    if not any(target["open"] for target in wanted) or chance.random() < 0.3:
        wanted.append({**fresh[-1], "open": True})
    if chance.random() < 0.6:
        spread(chance, trade, [target for target in wanted if target["open"]])
    return wanted


def repeated_target(target: model.Target) -> dict[str, Any]:
    """A target as a client would repeat it."""
    plan = target.plan
    repeated: dict[str, Any] = {
        "type": plan.order_type,
        "volume": decimal(target.volume),
        "price_type": plan.price_type,
        "keeps": target.serial,
        "open": target.active,
    }
    members = {"price": plan.price, "percent": plan.percent, "trailing": plan.trailing}
    return repeated | {name: decimal(value) for name, value in members.items() if value is not None}


def spread(chance: Random, trade: model.SmartTrade, steps: list[dict[str, Any]]) -> None:
    """New volumes: all of a hundred, or what executed steps leave, or what uncovered volume leaves too (E-24)."""
    executed = sum((target.volume for target in trade.targets if target.executed), Fraction(0))
    whole = chance.choice([Fraction(100), 100 - executed, 100 - executed - trade.uncovered, Fraction(60)])
    left = decimal(whole)
    for step in steps[1:]:
        step["volume"] = max(D(int(left / len(steps))), D(1))
        left -= step["volume"]
    steps[0]["volume"] = max(left, D(1))


def draw_edited_stop(chance: Random, trade: model.SmartTrade, long: bool) -> dict[str, Any] | bool:
    """The present stop with at most one change, or another one, or none (False)."""
    if chance.random() < 0.15:
        return False
    present = trade.stop
    if present is None or chance.random() < 0.3:
        return draw_stop(chance, long, len(trade.targets))
    plan = present.plan
    level = plan.price if chance.random() < 0.5 else present.level
    stop: dict[str, Any] = {"type": plan.order_type, "price_type": plan.price_type, "trailing": plan.trailing}
    members = {
        "limit_price": plan.limit_price,
        "limit_percent": plan.limit_percent,
        "trailing_percent": plan.trailing_percent,
    }
    members |= {"percent": plan.percent} if plan.percent is not None else {"price": level}
    if plan.percent is not None and present.level is not None and chance.random() < 0.3:  # the value that is shown
        members |= {"percent": None, "limit_percent": None, "price": present.level}
        members |= {} if plan.limit_percent is None else {"limit_price": present.limit_price}
    stop |= {name: decimal(value) for name, value in members.items() if value is not None}
    stop |= {"timeout": plan.timeout, "breakeven": plan.breakeven}
    fresh = draw_stop(chance, long, len(trade.targets))
    change = chance.choice(["nothing", "price_type", "timeout", "breakeven", "trailing", "level"])
    if change in ("price_type", "timeout", "breakeven", "trailing"):
        stop[change] = fresh.get(change, None if change == "timeout" else False)
    elif change == "level" and "price" in fresh and stop["type"] == "market":
        stop.pop("percent", None)
        stop["price"] = fresh["price"]
    return stop


def decimal(value: Fraction) -> D:
    return D(value.numerator) / D(value.denominator)


def edit_of(trade: model.SmartTrade, story: PaperStory, wish: dict[str, Any]) -> "Both":
    ids = {serial: step_id for step_id, serial in story.serials().items()}
    asked: dict[str, Any] = {}
    told: dict[str, Any] = {}
    position: dict[str, Any] = {}
    if "targets" in wish:
        asked["targets"] = tuple(modelled_target(target) for target in wish["targets"])
        told["targets"] = [engine_target(target, ids.get(target.get("keeps", 0))) for target in wish["targets"]]
    if "stop" in wish:
        stop = wish["stop"]
        asked["stop"] = modelled_stop(stop) if stop else False
        told["stop"] = engine_stop(stop) if stop else None
    for name in ("units", "price"):
        if name in wish:
            asked[name], position[name] = Fraction(wish[name]), wish[name]
    if "condition" in wish:
        asked["condition"] = modelled_condition(wish["condition"])
        position["condition"] = engine_condition(wish["condition"], by_limit=trade.entry_plan.price is not None)
    if position:
        told["position"] = PositionEdit(**position)
    return lambda: trade.edit(**asked), lambda: story.edit(**told)


def modelled_condition(condition: dict[str, Any]) -> model.EntryPlan:
    return model.EntryPlan(
        order_type="conditional",
        units=Fraction(0),
        trigger=Fraction(condition["trigger"]),
        trigger_type=condition["trigger_type"],
        trailing=fraction(condition["trailing"]),
    )


def engine_condition(condition: dict[str, Any], *, by_limit: bool) -> EntryCondition:
    trailing = condition.get("trailing")
    return EntryCondition(
        trigger_price=condition["trigger"],
        price_type=PriceType(condition["trigger_type"]),
        order_type=OrderType.LIMIT if by_limit and trailing is None else OrderType.MARKET,  # V-10
        trailing_percent=trailing,
    )


Both = tuple[Callable[[], object], Callable[[], object]]


def both(step: Step, tale: Tale, trade: model.SmartTrade, story: PaperStory) -> Both | None:
    """One step, as the model and as the engine hear it; None: it does not apply now."""
    name, *given = step
    if name == "quote":
        bid, ask, last, bid_size, ask_size = given
        seen = model.Quote(*(fraction(value) for value in given))  # type: ignore[arg-type]
        return lambda: trade.move(seen), lambda: story.quote(bid, ask, last, sizes=(bid_size, ask_size))
    if name == "wait":
        return lambda: trade.wait(given[0]), lambda: story.wait(given[0])
    if name in ("add", "reduce"):
        units, price = given
        ask = trade.add_funds if name == "add" else trade.reduce_funds
        tell = story.add if name == "add" else story.reduce
        return lambda: ask(Fraction(units), fraction(price)), lambda: tell(units, price)
    if name in ("close_leg", "cancel_leg"):
        serial = (given[0] - 1) % trade.serial + 1
        step_id = {serial: step_id for step_id, serial in story.serials().items()}[serial]
        if name == "close_leg":
            return lambda: trade.close_leg(serial), lambda: story.close_step(step_id)
        return lambda: trade.cancel_leg(serial), lambda: story.cancel_step(step_id)
    if name == "edit":
        return edit_of(trade, story, draw_edit(Random(given[0]), tale, trade))
    if name == "close":
        return trade.close_at_market, story.close
    if name == "cancel":
        return trade.cancel, story.cancel
    if name == "force_process":
        return trade.force_process, story.force_process
    if name == "force_start":
        return trade.force_start, story.force_start
    raise AssertionError(step)


class Difference(AssertionError):
    """The two do not agree."""


PLACES = Fraction(1, 10**25)
ROUNDED = ("profit", "percent")
"""Quotients without end: they agree when 25 decimals do."""


def differences(mine: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
        return [line for key in mine for line in differences(mine[key], theirs[key], f"{path}.{key}")]
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple) and len(mine) == len(theirs):
        pairs = enumerate(zip(mine, theirs, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    if mine == theirs:
        return []
    if path in (".profit", ".roe") and isinstance(mine, Fraction) and isinstance(theirs, Fraction):
        if abs(mine - theirs) < PLACES:
            return []
    if path == ".stop.trigger" and isinstance(mine, Fraction) and model.half_up(mine, Fraction(1, 10**10)) == theirs:
        return []  # shown with ten decimals (TR-50)
    return [f"{path}: the model {plain(mine)}, the engine {plain(theirs)}"]


def plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def attempt(act: Callable[[], object], refusal: type[Exception]) -> bool:
    """Whether it was granted."""
    try:
        act()
    except refusal:
        return False
    return True


def play(tale: Tale) -> str:
    """Tell it to both. Returns how the trade ended, or why nobody can say. Raises Difference."""
    story = staged(tale)
    try:
        trade = modelled(tale)
    except Refused:
        if attempt(lambda: started(story, tale), Denied):
            raise Difference(f"creation is refused by the model only: {tale}") from None
        return "refused"
    except OffThePage as reason:
        return f"? {reason}"
    if not attempt(lambda: started(story, tale), Denied):
        raise Difference(f"creation is refused by the engine only: {tale}")
    compare(trade, story, ("create",))
    for step in tale.steps:
        pair = both(step, tale, trade, story)
        if pair is None:
            continue
        try:
            granted = attempt(pair[0], Refused)
        except OffThePage as reason:
            attempt(pair[1], Denied)
            check_stop(story, tale)
            return f"? {reason}"
        if granted != attempt(pair[1], Denied):
            raise Difference(f"{step} is {'granted' if granted else 'refused'} by the model only")
        compare(trade, story, step)
    story.assert_replays()
    return trade.status


def check_stop(story: PaperStory, tale: Tale) -> None:
    """Whatever the rules leave open: as long as there is something to close, the stop is watched until it is closed."""
    had_stop = story.trade.stop is not None
    for name, *given in fall(tale.plan["kind"]):
        if story.trade.status.is_final:
            break
        if name == "quote":
            story.quote(*given[:3])
        else:
            story.wait(*given)
    trade, quote = story.trade, story.engine.markets[story.instrument.key].quote
    if not had_stop or trade.status is TradeStatus.CANCELLED:
        return
    assert trade.stop is not None
    rests = trade.stop.order_type is OrderType.LIMIT and trade.stop.live_order is not None
    if is_closable(trade, trade.open_amount, story.instrument, quote) and not rests:
        raise Difference(f"{trade.open_amount} are left without a stop: {trade.status} {trade.stop}")


def compare(trade: model.SmartTrade, story: PaperStory, step: Step) -> None:
    found = differences(trade.seen(), story.seen())
    if found:
        raise Difference(f"after {step}:\n  " + "\n  ".join(found))


def fails(tale: Tale) -> str | None:
    try:
        play(tale)
    except Difference as difference:
        return str(difference)
    except Exception as error:  # noqa: BLE001 - whatever breaks is a finding
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(tale: Tale) -> Tale:
    """The same difference, or another one, with as few steps as can be."""
    steps = list(tale.steps)
    length = len(steps)
    while length:
        start = 0
        while start < len(steps):
            fewer = [*steps[:start], *steps[start + length :]]
            if fails(Tale(tale.rules, tale.quote, tale.plan, fewer)):
                steps = fewer
            else:
                start += length
        length //= 2
    return Tale(tale.rules, tale.quote, tale.plan, steps)
