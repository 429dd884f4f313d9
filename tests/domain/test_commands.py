"""Every command in every reachable state, as the table of behaviour 2.9 says.

The table stands here as it is written there, not as the code has it. Trades are driven into each status and each leg
into each of its statuses by the real engine; then every command is tried on the value, through `machine.handle`.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from driver import LINEAR, Story, limit, market, own, plan, refused, sl, tp, when

from smarttrade.domain.commands import (
    AddFunds,
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    EditTrade,
    ForceProcess,
    ForceStart,
    ReduceFunds,
    SetNote,
    TradeWish,
)
from smarttrade.domain.errors import DenialCode, Denied
from smarttrade.domain.machine import Outcome, handle
from smarttrade.domain.order import OrderType, RefusalKind
from smarttrade.domain.plan import EntryPlan, Leverage, MarginMode, SmartTradePlan, TradeEdit, TradeKind
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus

D = Decimal
C = DenialCode
T = TradeStatus
S = StepStatus
EXITS = frozenset({T.WAITING_TARGETS, T.STOP_LOSS_IN_PROGRESS, T.PENDING_REDUCE_FUNDS, T.REDUCE_FUNDS_IN_PROGRESS})
WAITING = frozenset({T.WAITING_POSITION, T.WAITING_TARGETS})
NOT_FINAL = frozenset(status for status in T if not status.is_final)

ALLOWED_IN: dict[str, frozenset[TradeStatus]] = {
    "edit": WAITING,
    "add_funds": WAITING,  # not simple types; F-3
    "reduce_funds": frozenset({T.WAITING_TARGETS}),  # not simple types
    "close_by_market": EXITS,
    "force_start": frozenset({T.CREATED, T.WAITING_POSITION}),  # and by the position's own status
    "force_process": NOT_FINAL,
    "cancel": EXITS | {T.WAITING_POSITION},
    "set_note": frozenset(T),
}
FORCEABLE = frozenset({S.TO_PROCESS, S.ORDER_PLACED, S.TRAILING_ACTIVATED})
REFUSED_AS = {
    "edit": C.EDIT_NOT_ALLOWED,
    "add_funds": C.ADD_FUNDS_NOT_ALLOWED,
    "reduce_funds": C.REDUCE_FUNDS_NOT_ALLOWED,
    "close_by_market": C.CLOSE_NOT_ALLOWED,
    "force_start": C.FORCE_START_NOT_ALLOWED,
    "force_process": C.FORCE_PROCESS_NOT_ALLOWED,
    "cancel": C.CANCEL_NOT_ALLOWED,
}
STEP_CLOSE: dict[str, frozenset[StepStatus]] = {
    "tp": frozenset({S.TO_PROCESS, S.ORDER_PLACED, S.TRAILING_ACTIVATED}),
    "avg": frozenset({S.TO_PROCESS, S.ORDER_PLACED}),
}
STEP_CANCEL: dict[str, frozenset[StepStatus]] = {
    "tp": frozenset({S.IDLE, S.TO_PROCESS, S.ORDER_PLACED, S.TRAILING_ACTIVATED, S.PANIC_SELL_PENDING}),
    "sl": frozenset({S.IDLE, S.TO_PROCESS, S.TRAILING_ACTIVATED}),  # not fired
    "avg": frozenset({S.TO_PROCESS, S.ORDER_PLACED, S.PANIC_SELL_PENDING}),
    "reduce": frozenset({S.ORDER_PLACED}),  # limit only (RF-6)
}


def wish(name: str, trade: SmartTrade) -> TradeWish:
    """A command that only the state can refuse."""
    price = D(99) if trade.is_long else D(101)
    made: dict[str, Callable[[], TradeWish]] = {
        "edit": lambda: EditTrade(trade_id=trade.id, edit=TradeEdit(note="edited")),
        "add_funds": lambda: AddFunds(trade_id=trade.id, order_type=OrderType.LIMIT, units=D(1), price=price),
        "reduce_funds": lambda: ReduceFunds(trade_id=trade.id, order_type=OrderType.LIMIT, units=D(1), price=D(100)),
        "close_by_market": lambda: CloseAtMarket(trade_id=trade.id),
        "force_start": lambda: ForceStart(trade_id=trade.id),
        "force_process": lambda: ForceProcess(trade_id=trade.id),
        "cancel": lambda: CancelTrade(trade_id=trade.id),
        "set_note": lambda: SetNote(trade_id=trade.id, note="n"),
    }
    return made[name]()


def is_allowed(name: str, trade: SmartTrade) -> bool:
    if trade.status not in ALLOWED_IN[name]:
        return False
    if name in ("add_funds", "reduce_funds") and trade.kind in (TradeKind.SIMPLE_BUY, TradeKind.SIMPLE_SELL):
        return False
    if name == "add_funds":  # F-3
        condition = trade.position.plan.condition
        entry_trails = condition is not None and condition.trailing_percent is not None
        if entry_trails and trade.position.status is not S.FINISHED:
            return False
        return not any(step.status is S.TRAILING_ACTIVATED for step in trade.targets)
    return name != "force_start" or trade.position.status in FORCEABLE


# --- every status of the trade, for every kind ----------------------------------------------------------------

LONG_KINDS = (TradeKind.SMART_TRADE, TradeKind.SMART_SELL)
KINDS = (*LONG_KINDS, TradeKind.SMART_COVER, TradeKind.SMART_BUY)


def begin(kind: TradeKind, entry: EntryPlan | None = None) -> Story:
    """With two targets and a stop, entered unless `entry` waits."""
    story = Story(start=False)
    story.create(a_plan(kind, entry))
    return story


def a_plan(kind: TradeKind, entry: EntryPlan | None = None) -> SmartTradePlan:
    entry = entry or (own() if kind.is_own_funds else market())
    if kind.is_simple:
        return plan(kind, entry)
    if kind in LONG_KINDS:
        return plan(kind, entry, [tp(110, 50), tp(120, 50)], sl(90))
    by = PriceType.ASK
    return plan(kind, entry, [tp(90, 50, by=by), tp(80, 50, by=by)], sl(110, by=by))


def held(story: Story, act: Callable[[Story], object]) -> Story:
    """`act` while the exchange confirms no cancellation."""
    story.on_cancel = "hold"
    act(story)
    return story


def stopped(story: Story) -> object:
    return story.quote(90 if story.trade.is_long else 110)


def in_panic(story: Story) -> Story:
    story.fill_at_market = False
    return story.close()


def created(kind: TradeKind) -> Story:
    story = Story(on=LINEAR)
    story.on_leverage = "silence"
    made = a_plan(kind)
    story.create(plan(kind, made.entry, made.targets, made.stop, Leverage(MarginMode.CROSS, D(2))))
    return story


def failed(kind: TradeKind) -> Story:
    story = Story(start=False)
    if kind.is_own_funds:
        story.create(a_plan(kind))
        story.answers.append(refused(RefusalKind.INSUFFICIENT_FUNDS))
        story.available = D(0)
        stopped(story)
        return story
    story.answers.append(refused(RefusalKind.PERMANENT))
    story.create(a_plan(kind))
    return story


def before_proceeding(story: Story, command: TradeWish) -> SmartTrade:
    """The value that answers a command, before its work begins (C-10)."""
    return handle(story.trade, command, story.context()).trade


ENTERED: dict[TradeStatus, Callable[[TradeKind], Story]] = {
    T.WAITING_TARGETS: begin,
    T.REDUCE_FUNDS_IN_PROGRESS: lambda kind: held(begin(kind), lambda story: story.reduce(2)),
    T.STOP_LOSS_IN_PROGRESS: lambda kind: held(begin(kind), stopped),
    T.PANIC_SELL_PENDING: lambda kind: held(begin(kind), Story.close),
    T.PANIC_SELL_IN_PROGRESS: lambda kind: in_panic(begin(kind)),
    T.CANCELLATION_IN_PROGRESS: lambda kind: held(begin(kind), Story.cancel),
    T.STOP_LOSS_FINISHED: lambda kind: after(begin(kind), stopped),
    T.PANIC_SOLD: lambda kind: begin(kind).close(),
    T.CANCELLED: lambda kind: begin(kind).cancel(),
    T.FINISHED: lambda kind: begin(kind).fill("tp1").fill("tp2"),
}


def after(story: Story, act: Callable[[Story], object]) -> Story:
    act(story)
    return story


def waiting(kind: TradeKind) -> Story:
    return begin(kind, limit(98 if kind.entry_side.value == "buy" else 102))


def states() -> list[tuple[str, Callable[[], SmartTrade]]]:
    """Every status of a trade that each kind can reach, as a way to get there."""
    found: list[tuple[str, Callable[[], SmartTrade]]] = []

    def add(status: TradeStatus, kind: TradeKind, reach: Callable[[TradeKind], Story], what: str = "") -> None:
        found.append((f"{kind.value}: {status.value}{what}", lambda: checked(reach(kind).trade, status)))

    for kind in KINDS:
        for status, reach in ENTERED.items():
            add(status, kind, reach)
        add(T.FAILED, kind, failed)
        for status, name in ((T.PENDING_REDUCE_FUNDS, "reduce_funds"), (T.CANCELLATION_PENDING, "cancel")):
            found.append((f"{kind.value}: {status.value}", answer(kind, status, name)))
    for kind in (k for k in TradeKind if not k.is_own_funds):
        add(T.CREATED, kind, created)
        add(T.WAITING_POSITION, kind, waiting)
        add(T.WAITING_POSITION, kind, lambda kind: held(waiting(kind), Story.force_start), ", forced")
        add(T.WAITING_POSITION, kind, lambda kind: begin(kind, when(90)), ", conditional")
        add(T.WAITING_POSITION, kind, trailing_entry, ", trailing")
    for kind in (TradeKind.SIMPLE_BUY, TradeKind.SIMPLE_SELL):
        add(T.FINISHED, kind, begin)
        add(T.FAILED, kind, failed)
        add(T.CANCELLED, kind, lambda kind: waiting(kind).cancel())
        add(T.CANCELLATION_IN_PROGRESS, kind, lambda kind: held(waiting(kind), Story.cancel))
    return found


def answer(kind: TradeKind, status: TradeStatus, name: str) -> Callable[[], SmartTrade]:
    def reach() -> SmartTrade:
        story = begin(kind)
        return checked(before_proceeding(story, wish(name, story.trade)), status)

    return reach


def trailing_entry(kind: TradeKind) -> Story:
    story = begin(kind, when(90, trailing=5))
    story.quote(90)
    return story


def checked(trade: SmartTrade, status: TradeStatus) -> SmartTrade:
    assert trade.status is status
    return trade


STATES = states()


def tried(trade: SmartTrade, command: TradeWish) -> Outcome | list[DenialCode]:
    """What `command` does to the value, or why it is refused; a refusal leaves the value as it is."""
    story = Story()
    before = repr(trade)
    try:
        return handle(trade, command, story.context())
    except Denied as denial:
        assert repr(trade) == before
        return [problem.code for problem in denial.problems]


def test_the_states_below_are_all_that_a_trade_can_have() -> None:
    reached = {name.split(": ")[1].split(",")[0] for name, _ in STATES}
    assert reached == {status.value for status in T}


@pytest.mark.parametrize("reach", [reach for _, reach in STATES], ids=[name for name, _ in STATES])
def test_a_trade_takes_every_command_of_its_row_and_refuses_every_other(reach: Callable[[], SmartTrade]) -> None:
    """2.9, F-7: `created` takes no cancel."""
    trade = reach()
    for name in ALLOWED_IN:
        outcome = tried(trade, wish(name, trade))
        if is_allowed(name, trade):
            assert isinstance(outcome, Outcome), (name, outcome)
        else:
            assert outcome == [REFUSED_AS[name]], name


@pytest.mark.parametrize("reach", [reach for _, reach in STATES], ids=[name for name, _ in STATES])
def test_a_repeated_command_sees_the_state_that_the_first_one_left(reach: Callable[[], SmartTrade]) -> None:
    """F-5: a second cancel or close is refused."""
    trade = reach()
    for name in ("cancel", "close_by_market"):
        first = tried(trade, wish(name, trade))
        if isinstance(first, Outcome):
            assert tried(first.trade, wish(name, trade)) == [REFUSED_AS[name]]


@pytest.mark.parametrize("reach", [reach for _, reach in STATES], ids=[name for name, _ in STATES])
def test_an_answer_never_contains_an_order(reach: Callable[[], SmartTrade]) -> None:
    """C-9, C-10: commands only begin; their work comes with the next event, once the answer is stored."""
    trade = reach()
    for name in ALLOWED_IN:
        outcome = tried(trade, wish(name, trade))
        if isinstance(outcome, Outcome):
            kinds = {type(effect).__name__ for effect in outcome.effects}
            assert kinds <= {"QueryOrder", "RequestQuote"}, name


@pytest.mark.parametrize(
    ("reach", "name", "status"),
    [
        (lambda: waiting(TradeKind.SMART_TRADE), "cancel", T.CANCELLATION_PENDING),  # S-10
        (lambda: begin(TradeKind.SMART_TRADE), "cancel", T.CANCELLATION_PENDING),  # S-26
        (lambda: begin(TradeKind.SMART_TRADE), "close_by_market", T.PANIC_SELL_PENDING),  # S-22
        (lambda: begin(TradeKind.SMART_TRADE), "reduce_funds", T.PENDING_REDUCE_FUNDS),  # S-18
    ],
)
def test_the_answer_shows_the_pending_state_and_the_work_begins_with_the_next_event(
    reach: Callable[[], Story], name: str, status: TradeStatus
) -> None:
    """C-10, S-19, S-27: the first cancellation on its way is the state after."""
    story = reach()
    assert before_proceeding(story, wish(name, story.trade)).status is status
    story.on_cancel = "hold"
    story.command(wish(name, story.trade))
    moved_on = {T.CANCELLATION_PENDING: T.CANCELLATION_IN_PROGRESS, T.PENDING_REDUCE_FUNDS: T.REDUCE_FUNDS_IN_PROGRESS}
    assert story.trade.status is moved_on.get(status, status)


def test_funds_are_not_added_while_a_trailing_that_is_under_way_may_send_its_order() -> None:
    """F-3: the entry's own trailing, or a target's; not a trailing stop, nor a target that waits for its activation."""
    wanted = {"order_type": OrderType.MARKET, "units": D(1)}
    story = trailing_entry(TradeKind.SMART_TRADE)
    assert story.denied(AddFunds(trade_id=story.trade_id, **wanted)) == [DenialCode.ADD_FUNDS_NOT_ALLOWED]
    story = Story(market(), [tp(110, trailing=5)], sl(90, trailing=True))
    story.add(1)
    story.quote(110)
    assert story.denied(AddFunds(trade_id=story.trade_id, **wanted)) == [DenialCode.ADD_FUNDS_NOT_ALLOWED]


# --- every status of every kind of leg ------------------------------------------------------------------------


def with_reduction(act: Callable[[Story], object], price: int | None = 100) -> Story:
    story = begin(TradeKind.SMART_TRADE)
    act(story)
    return story.reduce(2, price)


def target(entry: EntryPlan, act: Callable[[Story], object] = lambda story: None, **more: object) -> Story:
    story = Story(start=False)
    story.create(plan(TradeKind.SMART_TRADE, entry, [tp(110, 50, **more), tp(120, 50)], sl(90)))  # type: ignore[arg-type]
    act(story)
    return story


def one_target(act: Callable[[Story], object], **more: object) -> Story:
    story = Story(start=False)
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110, **more)], sl(90)))  # type: ignore[arg-type]
    act(story)
    return story


def hold_and(act: Callable[[Story], object]) -> Callable[[Story], object]:
    return lambda story: held(story, act)


def slow_and(act: Callable[[Story], object]) -> Callable[[Story], object]:
    def run(story: Story) -> None:
        story.fill_at_market = False
        act(story)

    return run


def averaging(act: Callable[[Story], object], price: int | None = 95) -> Story:
    story = begin(TradeKind.SMART_TRADE)
    story.add(2, price)
    act(story)
    return story


def nothing(story: Story) -> object:
    return story


def failed_target() -> Story:
    story = Story(start=False)
    story.answers.extend(["take", refused(RefusalKind.PERMANENT)])
    return story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110, 50), tp(120, 50)], sl(90)))


def unknown_averaging() -> Story:
    story = begin(TradeKind.SMART_TRADE)
    story.answers.append("silence")
    return story.add(2, 95)


LEGS: list[tuple[str, StepStatus, Callable[[], Story]]] = [
    ("tp1", S.IDLE, lambda: target(limit(98))),
    ("tp1", S.TO_PROCESS, lambda: target(market(), at_market=True)),
    ("tp1", S.ORDER_PLACED, lambda: target(market())),
    ("tp1", S.TRAILING_ACTIVATED, lambda: one_target(lambda story: story.quote(110), trailing=1)),
    ("tp1", S.PANIC_SELL_PENDING, lambda: target(market(), hold_and(lambda story: story.close_leg("tp1")))),
    ("tp1", S.PANIC_SELL_ORDER_PLACED, lambda: target(market(), slow_and(lambda story: story.close_leg("tp1")))),
    ("tp1", S.PANIC_SOLD, lambda: target(market(), lambda story: story.close_leg("tp1"))),
    ("tp1", S.PENDING_CANCELLATION, lambda: target(market(), hold_and(lambda story: story.cancel_leg("tp1")))),
    ("tp1", S.CANCELLED, lambda: target(market(), lambda story: story.cancel_leg("tp1"))),
    ("tp1", S.FINISHED, lambda: target(market(), lambda story: story.fill("tp1"))),
    ("tp1", S.FAILED, failed_target),
    ("sl", S.IDLE, lambda: target(limit(98))),
    ("sl", S.TO_PROCESS, lambda: target(market())),
    ("sl", S.TRAILING_ACTIVATED, lambda: target(market(), lambda story: story.edit(stop=sl(90, trailing=True)))),
    ("sl", S.ORDER_PLACED, lambda: target(market(), slow_and(stopped))),
    ("sl", S.FINISHED, lambda: target(market(), stopped)),
    ("sl", S.CANCELLED, lambda: target(market(), lambda story: story.edit(stop=None))),
    ("avg1", S.TO_PROCESS, unknown_averaging),
    ("avg1", S.ORDER_PLACED, lambda: averaging(nothing)),
    ("avg1", S.PANIC_SELL_PENDING, lambda: averaging(hold_and(lambda story: story.close_leg("avg1")))),
    ("avg1", S.PANIC_SELL_ORDER_PLACED, lambda: averaging(slow_and(lambda story: story.close_leg("avg1")))),
    ("avg1", S.PENDING_CANCELLATION, lambda: averaging(hold_and(lambda story: story.cancel_leg("avg1")))),
    ("avg1", S.CANCELLED, lambda: averaging(lambda story: story.cancel_leg("avg1"))),
    ("avg1", S.FINISHED, lambda: averaging(lambda story: story.fill("avg1"))),
    ("reduce1", S.TO_PROCESS, lambda: with_reduction(lambda story: setattr(story, "on_cancel", "hold"))),
    ("reduce1", S.ORDER_PLACED, lambda: with_reduction(nothing)),
    ("reduce1", S.FINISHED, lambda: with_reduction(nothing, None)),
    ("reduce1", S.FAILED, lambda: with_reduction(lambda story: story.answers.append(refused(RefusalKind.PERMANENT)))),
    ("entry", S.FINISHED, lambda: target(market())),
    ("entry", S.ORDER_PLACED, lambda: target(limit(98))),
    ("entry", S.TO_PROCESS, lambda: target(when(90))),
    ("entry", S.OWN_FUNDS, lambda: begin(TradeKind.SMART_SELL)),
    ("close", S.ORDER_PLACED, lambda: in_panic(target(market()))),
    ("close", S.FINISHED, lambda: target(market()).close()),
]


@pytest.mark.parametrize(
    ("leg", "status", "reach"),
    LEGS,
    ids=[f"{leg} {status.value}" for leg, status, _ in LEGS],
)
def test_a_leg_takes_its_own_commands_in_the_statuses_of_its_row_only(
    leg: str, status: StepStatus, reach: Callable[[], Story]
) -> None:
    story = reach()
    trade, step = story.trade, story.leg(leg)
    assert step.status is status
    kind = leg.rstrip("1")
    leaving = trade.status not in WAITING | EXITS
    for command, allowed_in, code in (
        (CloseStepAtMarket(trade_id=trade.id, step_id=step.id), STEP_CLOSE, C.STEP_CLOSE_NOT_ALLOWED),
        (CancelStep(trade_id=trade.id, step_id=step.id), STEP_CANCEL, C.STEP_CANCEL_NOT_ALLOWED),
    ):
        outcome = tried(trade, command)
        if status in allowed_in.get(kind, frozenset()) and not leaving:
            assert isinstance(outcome, Outcome), (command, outcome)
        else:
            assert outcome == [code], command


def test_a_market_reduction_cannot_be_cancelled() -> None:
    """RF-6."""
    story = begin(TradeKind.SMART_TRADE)
    story.fill_at_market = False
    story.reduce(2)
    assert story.legs("reduce1") == "order_placed"
    command = CancelStep(trade_id=story.trade_id, step_id=story.leg("reduce1").id)
    assert story.denied(command) == [C.STEP_CANCEL_NOT_ALLOWED]


def test_the_last_target_of_a_trade_that_is_not_taken_yet_cannot_be_cancelled() -> None:
    """F-7, X-2: it would cancel the trade, which `created` refuses."""
    story = Story(on=LINEAR)
    story.on_leverage = "silence"
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)], None, Leverage(MarginMode.CROSS, D(2))))
    command = CancelStep(trade_id=story.trade_id, step_id=story.leg("tp1").id)
    assert story.denied(command) == [C.STEP_CANCEL_NOT_ALLOWED]


@pytest.mark.parametrize("reach", [reach for _, reach in STATES[:15]])
def test_a_leg_that_is_not_there_is_not_found(reach: Callable[[], SmartTrade]) -> None:
    trade = reach()
    for command in (CloseStepAtMarket(trade_id=trade.id, step_id=999), CancelStep(trade_id=trade.id, step_id=999)):
        assert tried(trade, command) == [C.STEP_NOT_FOUND]


def test_an_unknown_trade_is_not_found() -> None:
    assert begin(TradeKind.SMART_TRADE).trade.id == 1
    story = begin(TradeKind.SMART_TRADE)
    with pytest.raises(Denied, match="trade_not_found"):
        story.command(CancelTrade(trade_id=77))


@pytest.mark.parametrize("status", [status for status in T if status.is_final])
def test_a_note_may_be_written_to_a_trade_that_is_over(status: TradeStatus) -> None:
    """2.9: every state, final ones too; nothing else changes."""
    reach = ENTERED.get(status, failed)
    story = reach(TradeKind.SMART_TRADE)
    before = story.trade
    story.note("kept")
    assert story.trade.note == "kept"
    assert (story.trade.status, story.trade.profit, story.trade.error) == (before.status, before.profit, before.error)
    assert story.trade.id not in story.engine.trades
