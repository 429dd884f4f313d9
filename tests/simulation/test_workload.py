"""The users of a simulated world: what they wish is worth simulating.

The counts keep the workload honest: a change that makes it draw one thing only, or mostly nonsense, fails here.
"""

from collections import Counter

import pytest
from plain_world import HOUR, PlainWorld

from smarttrade.domain.commands import (
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    Command,
    CreateTrade,
    EditTrade,
)
from smarttrade.domain.instrument import MarketKind
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType, SmartTradePlan, TradeKind
from smarttrade.domain.smart_trade import FINAL, SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, ReduceStep, StepStatus

SEEDS = range(30)
HOURS = 20


@pytest.fixture(scope="module")
def worlds() -> list[PlainWorld]:
    return [PlainWorld(seed).run(HOURS) for seed in SEEDS]


@pytest.fixture(scope="module")
def granted(worlds: list[PlainWorld]) -> list[Command]:
    return [wish for world in worlds for wish in world.granted]


@pytest.fixture(scope="module")
def plans(granted: list[Command]) -> list[SmartTradePlan]:
    return [wish.plan for wish in granted if isinstance(wish, CreateTrade)]


@pytest.fixture(scope="module")
def trades(worlds: list[PlainWorld]) -> list[SmartTrade]:
    return [trade for world in worlds for trade in world.trades.values()]


def test_a_seed_gives_the_same_wishes_again() -> None:
    first, second = PlainWorld(5).run(3), PlainWorld(5).run(3)
    assert first.granted == second.granted
    assert first.trades == second.trades
    assert first.granted != PlainWorld(6).run(3).granted


def test_most_wishes_are_granted(worlds: list[PlainWorld], granted: list[Command]) -> None:
    denied = Counter(type(wish) for world in worlds for wish, _ in world.denied)
    done = Counter(type(wish) for wish in granted)
    for kind in done:
        assert done[kind] / (done[kind] + denied[kind]) >= 0.55, kind
    assert done[CreateTrade] / (done[CreateTrade] + denied[CreateTrade]) >= 0.7
    assert done[EditTrade] / (done[EditTrade] + denied[EditTrade]) >= 0.8


def test_every_command_is_granted_often(granted: list[Command]) -> None:
    done = Counter(type(wish) for wish in granted)
    assert done[CreateTrade] >= 1_000
    assert done[EditTrade] >= 1_000
    assert len(done) == len(Command.__args__)  # type: ignore[attr-defined]
    assert min(done.values()) >= 100, done


def test_nonsense_of_many_kinds_is_denied(worlds: list[PlainWorld]) -> None:
    codes = {problem.code for world in worlds for _, denial in world.denied for problem in denial.problems}
    assert len(codes) >= 25, codes


def test_every_kind_is_entered_in_every_way(plans: list[SmartTradePlan]) -> None:
    entries = Counter((plan.kind, plan.entry.type) for plan in plans)
    wanted = {
        (kind, entry)
        for kind in TradeKind
        for entry in EntryType
        if not (kind.is_own_funds and entry is EntryType.CONDITIONAL)
    }
    assert set(entries) == wanted
    assert min(entries.values()) >= 15, entries


def test_conditional_entries_wait_in_every_way(plans: list[SmartTradePlan]) -> None:
    conditions = [plan.entry.condition for plan in plans if plan.entry.condition is not None]
    shapes = Counter((each.order_type, each.trailing_percent is not None) for each in conditions)
    assert set(shapes) == {(OrderType.MARKET, False), (OrderType.MARKET, True), (OrderType.LIMIT, False)}
    assert min(shapes.values()) >= 50, shapes
    assert min(Counter(each.price_type for each in conditions).values()) >= 30


def test_exits_come_in_every_shape(plans: list[SmartTradePlan]) -> None:
    smart = [plan for plan in plans if not plan.kind.is_simple]
    exits = Counter((plan.take_profit_enabled, plan.stop is not None) for plan in smart)
    assert min(exits[pair] for pair in ((True, True), (True, False), (False, True), (False, False))) >= 30, exits
    assert set(Counter(len(plan.targets) for plan in smart)) == set(range(9))
    targets = Counter[str]()
    for target in (target for plan in smart for target in plan.targets):
        targets[target.order_type.value] += 1
        targets[target.price_type.value] += 1
        targets["percent" if target.percent is not None else "price"] += 1
        targets["trailing"] += target.trailing_percent is not None
    assert len(targets) == 8
    assert min(targets.values()) >= 50, targets
    stops = Counter[str]()
    for stop in (plan.stop for plan in smart if plan.stop is not None):
        stops[stop.order_type.value] += 1
        stops[stop.price_type.value] += 1
        stops["percent" if stop.percent is not None else "price"] += 1
        stops["limit percent"] += stop.limit_percent is not None
        stops["trailing"] += stop.trailing and stop.trailing_percent is None
        stops["trailing by percent"] += stop.trailing_percent is not None
        stops["timeout"] += stop.timeout_seconds is not None
        stops["breakeven"] += stop.breakeven
    assert min(stops.values()) >= 50, stops


def test_trades_end_in_every_way(trades: list[SmartTrade]) -> None:
    """By target, stop, close, cancel and failure, on coins and on contracts."""
    ends = Counter(trade.status for trade in trades if trade.status in FINAL)
    assert set(ends) == FINAL
    assert min(ends.values()) >= 60, ends
    assert ends[TradeStatus.FAILED] < len(trades) / 4


def test_stops_fire_by_level_trailing_timeout_and_breakeven(trades: list[SmartTrade]) -> None:
    stopped = [t.stop for t in trades if t.status is TradeStatus.STOP_LOSS_FINISHED and t.stop is not None]
    shapes = Counter[str]()
    for stop in stopped:
        shapes["trailing"] += stop.trailing
        shapes["timeout"] += stop.timeout_seconds is not None
        shapes["breakeven"] += stop.breakeven_price is not None
        shapes["limit"] += stop.order_type is OrderType.LIMIT
        shapes["plain"] += not stop.trailing and stop.timeout_seconds is None
    assert min(shapes.values()) >= 10, shapes


def test_targets_are_reached_resting_at_market_and_trailed(trades: list[SmartTrade]) -> None:
    done = [step for trade in trades for step in trade.targets if step.status is StepStatus.FINISHED]
    assert Counter(step.order_type for step in done)[OrderType.LIMIT] >= 100
    assert sum(step.order_type is OrderType.MARKET and step.trailing_percent is None for step in done) >= 50
    assert sum(step.trailing_percent is not None for step in done) >= 25
    several = sum(sum(step.status.is_executed for step in trade.targets) > 1 for trade in trades)
    assert several >= 30


def test_positions_are_averaged_and_reduced(trades: list[SmartTrade]) -> None:
    legs = Counter(
        (type(step), step.order_type)
        for trade in trades
        for step in (*trade.averaging, *trade.reductions)
        if step.status is StepStatus.FINISHED
    )
    for leg in (AveragingStep, ReduceStep):
        for order_type in OrderType:
            assert legs[leg, order_type] >= 15, legs


def test_some_orders_are_split_and_some_filled_in_parts(worlds: list[PlainWorld]) -> None:
    """EX-16 and EX-5: largest market lots, and quotes that offer less than is wanted."""
    orders = [order for world in worlds for order in world.state.orders]
    largest = sum(
        order.quantity == world.instruments[order.key].max_market_lot
        for world in worlds
        for order in world.state.orders
    )
    parts = sum(0 < order.filled_quantity < order.quantity for order in orders)
    assert largest >= 30
    assert parts >= 30


def test_most_trades_live_from_minutes_to_hours(trades: list[SmartTrade]) -> None:
    lives = sorted(t.closed_at - t.created_at for t in trades if t.closed_at is not None and not t.kind.is_simple)
    assert lives[len(lives) // 2] > HOUR / 12
    assert lives[len(lives) * 9 // 10] > HOUR


def test_both_markets_are_used(worlds: list[PlainWorld]) -> None:
    used = Counter(world.instruments[trade.key].kind for world in worlds for trade in world.trades.values())
    assert min(used[MarketKind.SPOT], used[MarketKind.LINEAR]) >= 300


def test_users_act_in_pairs_at_the_same_moment(worlds: list[PlainWorld]) -> None:
    """Races: the second wish was made without knowing what became of the first."""
    raced = Counter[tuple[str, str]]()
    for world in worlds:
        for first, second in world.at_once:
            raced[type(first).__name__, type(second).__name__] += 1
    assert len(raced) >= 14, raced
    for pair in ((CloseAtMarket, EditTrade), (CancelStep, CloseStepAtMarket), (EditTrade, CancelTrade)):
        assert raced[pair[0].__name__, pair[1].__name__] >= 3, raced


def test_the_second_of_a_burst_waits_when_nobody_can_hear_it() -> None:
    """A server that is down must not keep the world at one moment for ever."""
    world = PlainWorld(2).run(2)
    wishes = (world.next_wish() for _ in range(1_000))
    assert any(wish is not None and world.users.pause() == 0 for wish in wishes)
    assert world.users.pause() > 0
    assert world.next_wish() is not None


def test_users_sleep_and_leave_open_what_they_have_begun(worlds: list[PlainWorld]) -> None:
    """Else no stop would ever wait for longer than until the next wish."""
    longest = [max(_lives(world)) for world in worlds]
    assert sum(life > 4 * HOUR for life in longest) >= len(worlds) // 2

    users = PlainWorld(3).users
    pauses = [users.pause() for _ in range(2_000)]
    nights = [pause for pause in pauses if pause > HOUR]
    assert all(4 * HOUR <= night <= 20 * HOUR for night in nights)
    assert sum(nights) > sum(pauses) / 2


def _lives(world: PlainWorld) -> list[int]:
    return [trade.closed_at - trade.created_at for trade in world.trades.values() if trade.closed_at is not None]
