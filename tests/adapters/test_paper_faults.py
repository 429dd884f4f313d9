"""Scripted faults of the paper exchange (sandbox.md): what the account sees, and what the books know."""

import asyncio

import pytest
from paper_world import D, PaperWorld

from smarttrade.adapters.exchanges.paper.exchange import ScriptError
from smarttrade.adapters.exchanges.paper.faults import refusal_kind
from smarttrade.adapters.exchanges.paper.rows import FailureClass, FaultKind, FaultPoint
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.order import OrderRefused, OrderReport, RefusalKind, ReportedState
from smarttrade.ports.exchange import ExchangeUnavailable

OPEN, FILLED, CANCELED = ReportedState.OPEN, ReportedState.FILLED, ReportedState.CANCELED
SUBMIT, CANCEL, QUERY, STREAM = FaultPoint.SUBMIT, FaultPoint.CANCEL, FaultPoint.QUERY, FaultPoint.STREAM


@pytest.fixture
def world() -> PaperWorld:
    world = PaperWorld()
    world.quote("99", "101")
    return world


def fault(world: PaperWorld, point: FaultPoint, kind: FaultKind, *, account_id: int = 1, **more) -> None:
    asyncio.run(world.market.add_fault(account_id, point, kind, **more))


def release(world: PaperWorld) -> None:
    asyncio.run(world.market.release_faults(1))


def clear(world: PaperWorld) -> None:
    asyncio.run(world.market.clear_faults(1))


def states(reports: list) -> list[tuple]:
    return [(report.client_order_id, report.state, report.filled_quantity) for report in reports]


# sends


def test_a_rejected_send_is_refused_with_the_scripts_words_and_listed(world):
    fault(world, SUBMIT, FaultKind.REJECT, text="Market is closed", failure_class=FailureClass.TRANSIENT)
    answer = world.buy("b", "1")
    assert answer == OrderRefused(client_order_id="b", kind=RefusalKind.TRANSIENT, text="Market is closed")
    assert [(order.client_order_id, order.status) for order in world.market.orders()] == [("b", ReportedState.REJECTED)]
    assert world.find("b") is None
    assert isinstance(world.buy("b", "1"), OrderReport)


@pytest.mark.parametrize(
    ("text", "failure_class", "kind"),
    [
        ("Account has insufficient balance", FailureClass.RECOVERABLE, RefusalKind.INSUFFICIENT_FUNDS),
        ("ReduceOnly Order is rejected.", FailureClass.RECOVERABLE, RefusalKind.REDUCE_ONLY),
        ("Too many new orders", FailureClass.RECOVERABLE, RefusalKind.TOO_MANY_ORDERS),
        ("Price is out of the allowed band", FailureClass.RECOVERABLE, RefusalKind.PRICE_BAND),
        ("Filter failure: PERCENT_PRICE", FailureClass.RECOVERABLE, RefusalKind.PRICE_BAND),
        ("Filter failure: LOT_SIZE", FailureClass.RECOVERABLE, RefusalKind.RECOVERABLE),
        ("Too many requests", FailureClass.TRANSIENT, RefusalKind.TRANSIENT),
        ("insufficient permissions", FailureClass.PERMANENT, RefusalKind.PERMANENT),
        ("insufficient balance", None, RefusalKind.INSUFFICIENT_FUNDS),
        ("anything else", None, RefusalKind.PERMANENT),
    ],
)
def test_a_rejection_is_classed_by_the_script_and_its_words_ex_6(text, failure_class, kind):
    assert refusal_kind(text, failure_class) is kind


def test_a_send_lost_on_its_way_never_arrives(world):
    fault(world, SUBMIT, FaultKind.TIMEOUT_BEFORE)
    with pytest.raises(ExchangeUnavailable):
        world.buy("b", "1")
    assert (world.market.orders(), world.find("b"), world.news()) == ([], None, [])
    assert isinstance(world.buy("b", "1"), OrderReport)


def test_a_send_whose_answer_is_lost_has_arrived_and_is_told_by_the_stream(world):
    fault(world, SUBMIT, FaultKind.TIMEOUT_AFTER)
    with pytest.raises(ExchangeUnavailable):
        world.buy("b", "1")
    assert states(world.news()) == [("b", FILLED, D(1))]
    assert world.find("b").state is FILLED


def test_a_duplicate_id_answer_means_that_no_such_order_exists(world):
    fault(world, SUBMIT, FaultKind.DUPLICATE_ID)
    assert world.buy("b", "1").kind is RefusalKind.DUPLICATE_ID
    assert (world.find("b"), world.market.orders()) == (None, [])


# cancels


def test_a_rejected_cancel_is_refused_and_the_order_stays(world):
    world.buy("b", "1", "90")
    fault(world, CANCEL, FaultKind.REJECT, text="no")
    assert world.cancel("b") == CancelRefused(client_order_id="b", text="no")
    assert world.find("b").state is OPEN


@pytest.mark.parametrize(("kind", "state"), [(FaultKind.TIMEOUT_BEFORE, OPEN), (FaultKind.TIMEOUT_AFTER, CANCELED)])
def test_a_cancel_without_an_answer_leaves_it_to_the_query_ex_22(world, kind, state):
    world.buy("b", "1", "90")
    fault(world, CANCEL, kind)
    with pytest.raises(ExchangeUnavailable):
        world.cancel("b")
    assert (world.find("b").state, world.news()) == (state, [])


def test_a_held_cancel_proceeds_when_it_is_released_in_the_order_of_asking(world):
    for name in ("a", "b", "c"):
        world.buy(name, "1", "90")
    fault(world, CANCEL, FaultKind.HOLD, times=3)
    assert [world.cancel(name) for name in ("c", "a", "b")] == [None, None, None]
    assert world.find("a").state is OPEN
    assert states(world.quote("89", "90", sizes=(None, "1.5"))) == [("a", FILLED, D(1)), ("b", OPEN, D("0.5"))]
    world.news()
    release(world)
    assert states(world.news()) == [("c", CANCELED, D(0)), ("b", CANCELED, D("0.5"))]
    assert world.balance("USDT").locked == 0


def test_further_cancels_of_a_held_order_are_swallowed_and_use_up_no_fault(world):
    world.buy("a", "1", "90")
    world.buy("b", "1", "90")
    fault(world, CANCEL, FaultKind.HOLD)
    fault(world, CANCEL, FaultKind.REJECT)
    assert [world.cancel("a"), world.cancel("a"), world.cancel("a")] == [None, None, None]
    assert isinstance(world.cancel("b"), CancelRefused)


def test_a_hold_waits_for_an_order_that_can_be_held(world):
    world.buy("a", "1", "90")
    fault(world, CANCEL, FaultKind.HOLD)
    assert isinstance(world.cancel("never sent"), CancelRefused)
    assert world.cancel("a") is None


def test_clearing_forgets_held_cancels_and_queued_faults(world):
    world.buy("a", "1", "90")
    fault(world, CANCEL, FaultKind.HOLD)
    fault(world, SUBMIT, FaultKind.REJECT)
    world.cancel("a")
    clear(world)
    release(world)
    assert (world.find("a").state, world.news()) == (OPEN, [])
    assert world.cancel("a").state is CANCELED
    assert isinstance(world.buy("b", "1"), OrderReport)


# queries and the stream


def test_a_query_may_lag_or_get_no_answer(world):
    world.buy("b", "1")
    fault(world, QUERY, FaultKind.NOT_FOUND, times=2)
    assert [world.find("b"), world.find("b")] == [None, None]
    for kind in (FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.REJECT):
        fault(world, QUERY, kind)
        with pytest.raises(ExchangeUnavailable):
            world.find("b")
    assert world.find("b").state is FILLED


def test_a_search_sees_what_a_lagging_query_does_not_and_may_itself_get_no_answer(world):
    """EX-31, fault F6: another source; a silence of the exchange strikes both."""

    def search(name):
        return asyncio.run(world.market.exchange(1).search_order(world.key, name, since=0))

    world.buy("b", "1", "90")
    fault(world, QUERY, FaultKind.NOT_FOUND)
    assert search("b").state is OPEN
    assert world.find("b") is None  # the lag was not used up
    assert search("never sent") is None
    fault(world, QUERY, FaultKind.TIMEOUT_BEFORE)
    with pytest.raises(ExchangeUnavailable):
        search("b")


def test_a_dropped_report_is_found_by_the_next_query(world):
    fault(world, STREAM, FaultKind.DROP)
    world.buy("b", "1")
    assert world.news() == []
    assert len(world.find("b").fills) == 1
    world.sell("s", "1")
    assert states(world.news()) == [("s", FILLED, D(1))]


def test_a_duplicated_report_comes_twice_with_the_same_fill_r_12(world):
    fault(world, STREAM, FaultKind.DUPLICATE)
    world.buy("b", "1")
    first, second = world.news()
    assert first == second
    assert [fill.fill_id for fill in second.fills] == ["F1"]


# the queue


def test_faults_are_used_oldest_first_as_often_as_told_and_only_by_their_own_account_and_kind_of_call(world):
    world.add_account(2, {"USDT": "1000"})
    fault(world, SUBMIT, FaultKind.REJECT, text="first", times=2)
    fault(world, SUBMIT, FaultKind.REJECT, text="second")
    fault(world, QUERY, FaultKind.NOT_FOUND)
    assert isinstance(world.buy("other", "1", account_id=2), OrderReport)
    answers = [world.buy(f"b{number}", "1") for number in range(4)]
    assert [getattr(answer, "text", None) for answer in answers] == ["first", "first", "second", ""]
    assert world.find("b3") is None
    assert world.find("b3").state is FILLED


def test_faults_and_held_cancels_survive_a_kill(world):
    world.buy("a", "1", "90")
    fault(world, CANCEL, FaultKind.HOLD)
    fault(world, SUBMIT, FaultKind.REJECT, text="still here", failure_class=FailureClass.RECOVERABLE, times=2)
    world.cancel("a")
    world.buy("b", "1")
    world.kill_and_restart()
    answer = world.buy("b", "1")
    assert (answer.text, answer.kind) == ("still here", RefusalKind.RECOVERABLE)
    assert world.cancel("a") is None
    release(world)
    assert states(world.news()) == [("a", CANCELED, D(0))]


@pytest.mark.parametrize(
    ("point", "kind"),
    [(SUBMIT, FaultKind.HOLD), (CANCEL, FaultKind.DROP), (QUERY, FaultKind.DUPLICATE_ID), (STREAM, FaultKind.REJECT)],
)
def test_a_fault_that_cannot_happen_there_is_refused(world, point, kind):
    with pytest.raises(ScriptError):
        fault(world, point, kind)
    with pytest.raises(ScriptError):
        fault(world, SUBMIT, FaultKind.REJECT, times=0)
