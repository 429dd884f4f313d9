"""A wall clock that was set back while the server was down stretches no pause and no deadline (EX-36, TR-64).

Instants are stored as they were. A clock that ran ahead leaves some behind that lie far in the future of the next run:
nobody may wait for those.
"""

from collections.abc import Callable

import pytest
from driver import Story, market, refused, sl, tp

from smarttrade.domain.order import RefusalKind
from smarttrade.domain.quote import SECOND

HOUR = 3600 * SECOND


def refused_exit(kind: RefusalKind) -> Callable[[], Story]:
    def begin() -> Story:
        story = Story(market(), stop=sl(90))
        story.answers.extend([refused(kind)] * 3)
        return story.quote(89).wait(3)

    return begin


def exit_that_never_arrived() -> Story:
    story = Story(market(), stop=sl(90))
    story.answers.append("never arrives")
    return story.quote(89).wait(2)


def unanswered_exit() -> Story:
    story = Story(market(), stop=sl(90))
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.quote(89).wait(20)
    story.fill_unheard("sl")
    story.on_query = "tell"
    return story


def unanswered_cancellation() -> Story:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "silence"
    story.quote(89).wait(2)
    story.on_cancel = "confirm"
    return story


def target_at_market_refused() -> Story:
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.answers.extend([refused(RefusalKind.RECOVERABLE)] * 3)
    story.quote(110).wait(3)
    return story.quote(105)


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(refused_exit(RefusalKind.RECOVERABLE), id="EX-12"),
        pytest.param(refused_exit(RefusalKind.TRANSIENT), id="EX-7"),
        pytest.param(refused_exit(RefusalKind.PERMANENT), id="EX-12 blocked"),
        pytest.param(exit_that_never_arrived, id="EX-31 never arrived"),
        pytest.param(unanswered_exit, id="EX-31 arrived"),
        pytest.param(unanswered_cancellation, id="EX-22"),
        pytest.param(target_at_market_refused, id="EX-12 target"),
    ],
)
def test_an_exit_under_way_is_not_put_off_by_a_clock_that_was_set_back(begin: Callable[[], Story]) -> None:
    story = begin()
    assert not story.trade.status.is_final
    story.now -= HOUR
    story.restart().wait(60)
    assert story.trade.status.is_final
    assert story.held == 0


def test_a_refused_exit_is_still_blocked_after_two_minutes_of_the_new_time() -> None:
    """EX-12: the alarm counts time as it passed, not from an instant in the future."""
    story = Story(market(), stop=sl(90))
    story.answers.extend([refused(RefusalKind.TRANSIENT)] * 50)
    story.quote(89).wait(3)
    story.now -= HOUR
    story.restart().wait(150)
    assert story.trade.error is not None
