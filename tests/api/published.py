"""The trades behind the published entities, as domain values: from them the server must give the published bodies."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from smarttrade.domain.account import Account
from smarttrade.domain.fill import NOTHING_FILLED, Execution
from smarttrade.domain.instrument import Instrument, MarketKind, Side
from smarttrade.domain.order import Order, OrderStatus, OrderType
from smarttrade.domain.plan import EntryCondition, EntryPlan, EntryType, TradeKind
from smarttrade.domain.quote import Instant, InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, EntryStep, ReduceStep, StepStatus, StopStep, TargetStep

D = Decimal
DATA = Path(__file__).parent / "data" / "entities"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def published(name: str) -> Any:
    """The body of a published example."""
    return json.loads((DATA / f"{name}.json").read_text())["body"]


def instant(text: str) -> Instant:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def account(body: Any) -> Account:
    """The account of a published SmartTrade."""
    given = body["account"]
    return Account(
        id=given["id"],
        user_id=1,
        name=given["name"],
        type=given["type"],
        market="binance",
        created_at=0,
        updated_at=0,
    )


def instrument(pair: str, tick: str, lot: str = "1", **rules: Any) -> Instrument:
    quote, base = pair.split("_")
    limits = {"min_lot": D(lot), "min_total": D("1.5"), "min_market_total": D("1.5")}
    return Instrument(
        key=InstrumentKey("binance", pair),
        kind=rules.pop("kind", MarketKind.SPOT),
        base=base,
        quote=quote,
        tick=D(tick),
        lot=D(lot),
        **{**limits, **rules},
    )


def quote(body: Any) -> Quote:
    ticker = body["data"]["current_price"]
    return Quote(
        key=InstrumentKey("binance", body["pair"]),
        bid=D(ticker["bid"]),
        ask=D(ticker["ask"]),
        last=D(ticker["last"]),
        at=0,
    )


def filled(execution: Execution, side: Side = Side.BUY, type_: OrderType = OrderType.MARKET) -> tuple[Order, ...]:
    """One completely filled attempt."""
    return (order(side, type_, execution.gross_quantity, status=OrderStatus.FILLED, execution=execution),)


def order(
    side: Side,
    type_: OrderType,
    quantity: Decimal,
    price: Decimal | None = None,
    status: OrderStatus = OrderStatus.WORKING,
    execution: Execution = NOTHING_FILLED,
) -> Order:
    return Order(
        client_order_id="st-1-1-1",
        attempt=1,
        side=side,
        type=type_,
        quantity=quantity,
        price=price,
        reduce_only=False,
        status=status,
        execution=execution,
        created_at=0,
    )


def execution(quantity: str, price: str, amount: str, total: str) -> Execution:
    return Execution(D(quantity), D(quantity) * D(price), D(amount), D(total))


def entry(
    type_: EntryType,
    units: str,
    price: str | None,
    status: StepStatus = StepStatus.FINISHED,
    *,
    at_creation: str = "1",
    execution: Execution | None = None,
    condition: EntryCondition | None = None,
    side: Side = Side.BUY,
    **more: Any,
) -> EntryStep:
    plan = EntryPlan(type=type_, units=D(units), price=None if price is None else D(price), condition=condition)
    return EntryStep(
        id=1006258046,
        status=status,
        orders=() if execution is None else filled(execution, side),
        plan=plan,
        requested=plan,
        price_at_creation=D(at_creation),
        **{"created_at": 0, "updated_at": 0, **more},
    )


def target(
    id_: int, price: str, volume: str, units: str | None, status: StepStatus, position: int = 1, **more: Any
) -> TargetStep:
    return TargetStep(
        id=id_,
        status=status,
        price=D(price),
        volume=D(volume),
        units=None if units is None else D(units),
        position=position,
        created_at=0,
        updated_at=0,
        **{"order_type": OrderType.LIMIT, "price_type": PriceType.LAST, **more},
    )


def stop(price: str, status: StepStatus, **more: Any) -> StopStep:
    return StopStep(
        status=status,
        configured_price=D(price),
        **{
            "id": 1006258056,
            "order_type": OrderType.MARKET,
            "price_type": PriceType.LAST,
            "created_at": 0,
            "updated_at": 0,
            **more,
        },
    )


def trade(body: Any, position: EntryStep, **more: Any) -> SmartTrade:
    """A trade with identity, kind, status, note and instants of a published body."""
    data = body["data"]
    return SmartTrade(
        id=body["id"],
        account_id=body["account"]["id"],
        key=InstrumentKey("binance", body["pair"]),
        kind=TradeKind(data["type"]),
        status=TradeStatus(body["status"]["type"]),
        error=body["status"].get("error"),
        note=body["note"],
        position=position,
        take_profit_enabled=body["take_profit"]["enabled"],
        created_at=instant(data["created_at"]),
        updated_at=instant(data["updated_at"]),
        closed_at=instant(data["closed_at"]) if "closed_at" in data else None,
        **more,
    )


def example(name: str) -> tuple[Any, SmartTrade, Instrument]:
    """A published body, and the trade and the trading rules behind it."""
    body = published(name)
    body = body[0] if isinstance(body, list) else body
    return body, *EXAMPLES[name](body)


DOGE = instrument("USDT_DOGE", "0.00001")


def waiting_position(body: Any) -> tuple[SmartTrade, Instrument]:
    position = entry(EntryType.LIMIT, "15", "0.10664", StepStatus.ORDER_PLACED)
    targets = (target(1006258048, "0.11731", "100", None, StepStatus.IDLE),)
    return trade(body, position, targets=targets, stop=stop("0.1013", StepStatus.IDLE)), DOGE


def create(body: Any) -> tuple[SmartTrade, Instrument]:
    position = entry(EntryType.MARKET, "0.01", None, StepStatus.TO_PROCESS, at_creation="56283.73")
    return trade(body, position), instrument("USDT_BTC", "0.01", "0.00001")


def edit(body: Any) -> tuple[SmartTrade, Instrument]:
    fill = execution("34", "0.00000442", "34", "0.00015043028")
    targets = (target(1317007688, "0.00000508", "100", None, StepStatus.IDLE),)
    made = trade(
        body,
        entry(EntryType.LIMIT, "34", "0.00000442", execution=fill),
        targets=targets,
        stop=stop("0.0000028", StepStatus.IDLE),
    )
    return made, instrument("BTC_1INCH", "0.00000001")


def get(body: Any) -> tuple[SmartTrade, Instrument]:
    """Cancelled: the target has gone, although it is kept."""
    targets = (target(1006090636, "0.11627", "100", "14", StepStatus.CANCELLED),)
    return trade(body, entry(EntryType.MARKET, "15", None, execution=DOGE_15), targets=targets), DOGE


def failed(body: Any) -> tuple[SmartTrade, Instrument]:
    position = entry(
        EntryType.MARKET, "10", None, StepStatus.FAILED, at_creation="0.17542", error=body["status"]["error"]
    )
    return trade(body, position, targets=(target(1, "0.2", "100", None, StepStatus.CANCELLED),)), DOGE


def add_funds(body: Any) -> tuple[SmartTrade, Instrument]:
    base = Execution(D("34"), D("3.53430"), D("33.796"), D("3.53430"))
    more = Execution(D("10"), D("1.03941"), D("9.94"), D("1.03941"))
    averaging = AveragingStep(
        id=2,
        status=StepStatus.FINISHED,
        orders=filled(more),
        order_type=OrderType.MARKET,
        units=D(10),
        price=None,
        price_at_creation=D("0.10394"),
        created_at=0,
        updated_at=0,
    )
    placed = target(1007239535, "0.1098", "100", "43", StepStatus.ORDER_PLACED, percent=D(5))
    made = trade(
        body,
        entry(EntryType.MARKET, "34", None, execution=base),
        averaging=(averaging,),
        targets=(placed,),
        stop=stop("0.10056", StepStatus.TO_PROCESS),
    )
    return made, DOGE


def reduce_funds(body: Any) -> tuple[SmartTrade, Instrument]:
    reduction = ReduceStep(
        id=1224983548,
        status=StepStatus.IDLE,
        order_type=OrderType.MARKET,
        units=D("0.3995"),
        price=D("0.03702"),
        created_at=0,
        updated_at=0,
    )
    made = trade(
        body,
        entry(EntryType.MARKET, "4", None, execution=execution("4", "0.03716", "4", "0.14878864")),
        targets=(target(1224972676, "0.04088", "100", "4", StepStatus.ORDER_PLACED),),
        reductions=(reduction,),
    )
    return made, instrument("BTC_ETH", "0.00001", "0.0001")


def close_by_market(body: Any) -> tuple[SmartTrade, Instrument]:
    condition = EntryCondition(trigger_price=D("0.255"), price_type=PriceType.BID, order_type=OrderType.LIMIT)
    position = entry(
        EntryType.CONDITIONAL,
        "7.8",
        "0.255",
        execution=execution("7.8", "0.255", "7.8", "1.977066"),
        condition=condition,
        side=Side.SELL,
        triggered=True,
    )
    return trade(body, position), instrument("USDT_1INCH", "0.0001", "0.1")


def cancel(body: Any) -> tuple[SmartTrade, Instrument]:
    targets = (target(1006090636, "0.11627", "100", "14", StepStatus.ORDER_PLACED),)
    return trade(body, entry(EntryType.MARKET, "15", None, execution=DOGE_15), targets=targets), DOGE


def force_start(body: Any) -> tuple[SmartTrade, Instrument]:
    position = entry(EntryType.LIMIT, "31", "0.2422", StepStatus.PANIC_SELL_PENDING)
    targets = (target(1089512461, "0.2665", "100", None, StepStatus.IDLE),)
    return trade(body, position, targets=targets), instrument("USDT_1INCH", "0.0001", "0.1")


def converted_from_deal(body: Any) -> tuple[SmartTrade, Instrument]:
    targets = (target(1116304581, "3412.21", "100", None, StepStatus.IDLE, price_type=PriceType.BID),)
    made = trade(
        body,
        entry(EntryType.MARKET, "0.054", "3375.04", StepStatus.IDLE),
        targets=targets,
        stop=stop("2680.7534754", StepStatus.IDLE, price_type=PriceType.BID),
    )
    return made, instrument("USDT_ETH", "0.01", "0.0001")


def trade_close(body: Any) -> tuple[SmartTrade, Instrument]:
    steps = (
        target(1047934727, "0.5", "50", "8", StepStatus.TO_PROCESS, 1, order_type=OrderType.MARKET),
        target(1047934728, "0.6", "25", "3", StepStatus.TO_PROCESS, 2, order_type=OrderType.MARKET),
        target(1047934729, "0.55", "25", "3", StepStatus.PANIC_SELL_PENDING, 3, order_type=OrderType.MARKET),
    )
    fill = execution("15", "0.10704", "14.91", "1.6056")
    return trade(body, entry(EntryType.MARKET, "15", None, execution=fill), targets=steps), DOGE


def trade_cancel(body: Any) -> tuple[SmartTrade, Instrument]:
    steps = (
        target(1008300672, "0.2", "30", "6", StepStatus.PENDING_CANCELLATION, 3, uncovered=True),
        target(1008300674, "0.4", "35", "7", StepStatus.ORDER_PLACED, 2),
        target(1008300673, "0.3", "35", "7", StepStatus.ORDER_PLACED, 1),
    )
    made = trade(
        body,
        entry(EntryType.MARKET, "20", "0.10268", StepStatus.OWN_FUNDS),
        targets=steps,
        stop=stop("0.09754", StepStatus.TO_PROCESS),
    )
    return made, DOGE


def entity_2021(body: Any) -> tuple[SmartTrade, Instrument]:
    trailed = target(
        1,
        "0.302",
        "100",
        "151",
        StepStatus.TO_PROCESS,
        order_type=OrderType.MARKET,
        price_type=PriceType.BID,
        trailing_percent=D("-0.15"),
    )
    position = entry(EntryType.MARKET, "151", "0.3001", StepStatus.OWN_FUNDS)
    return trade(body, position, targets=(trailed,)), instrument("BUSD_XLM", "0.0001")


DOGE_15 = execution("15", "0.10559", "14.91", "1.58385")

EXAMPLES = {
    "waiting_position": waiting_position,
    "create": create,
    "edit": edit,
    "get": get,
    "list": failed,
    "add_funds": add_funds,
    "reduce_funds": reduce_funds,
    "close_by_market": close_by_market,
    "cancel": cancel,
    "force_start": force_start,
    "converted_from_deal": converted_from_deal,
    "trade_close": trade_close,
    "trade_cancel": trade_cancel,
    "entity_2021": entity_2021,
}
