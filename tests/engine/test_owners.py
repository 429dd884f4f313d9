"""Whose step is it: the index that crossings go by."""

from hypothesis import given
from hypothesis import strategies as st

from smarttrade.engine.owners import Owners, runs
from smarttrade.engine.records import OWNER_REST, record

EVENTS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["step", "step", "step", "gap", "end", "restart"])))


@given(EVENTS)
def test_every_step_of_an_open_trade_leads_to_its_trade(events: list[tuple[int, str]]) -> None:
    """Against a plain dict, with ids in the order in which the engine issues them, and restarts in between."""
    owners, plain, next_id = Owners(), dict[int, set[int]](), 1
    for trade_id, event in events:
        if event == "step":
            owners.add(trade_id, [next_id])
            plain.setdefault(trade_id, set()).add(next_id)
        elif event == "end":
            owners.forget(trade_id, plain.pop(trade_id, ()))
        elif event == "restart":
            owners = Owners()
            found = [run for trade, steps in reversed(plain.items()) for run in (0, *runs(trade, steps))]
            owners.restore([b"".join(record(run, OWNER_REST) for run in found)])
        next_id += 1
        assert {step: owners.of(step) for steps in plain.values() for step in steps} == {
            step: trade for trade, steps in plain.items() for step in steps
        }
    for trade_id, steps in plain.items():
        owners.forget(trade_id, steps)
    assert len(owners) == 0


def test_a_million_trades_that_ended_leave_nothing_behind() -> None:
    owners = Owners()
    for trade_id in range(1, 100_001):
        owners.add(trade_id, [3 * trade_id, 3 * trade_id + 1])
        owners.forget(trade_id, [3 * trade_id, 3 * trade_id + 1])

    assert len(owners) == 0
    assert len(owners._runs) < 4_000


def test_what_belongs_to_nobody_has_no_owner() -> None:
    owners = Owners()
    assert owners.of(1) is None
    owners.add(7, [10])
    assert (owners.of(9), owners.of(10)) == (None, 7)
    owners.forget(7, [10])
    assert owners.of(10) is None
