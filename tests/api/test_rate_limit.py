"""The request limit (auth.md section 7)."""

from smarttrade.api.rate_limit import MAX_CALLERS, RateLimiter, RateLimits, Refused
from smarttrade.domain.quote import SECOND

DAY = 86_400 * SECOND


def exhaust(limiter: RateLimiter, who: str, now: int, requests: int = 100) -> Refused:
    for _ in range(requests):
        assert limiter.admit(who, now) is None
    refused = limiter.admit(who, now)
    assert refused is not None
    return refused


def test_the_101st_request_of_a_minute_begins_a_penalty_of_300_seconds() -> None:
    limiter = RateLimiter(RateLimits())
    assert exhaust(limiter, "a", 0) == Refused(300, banned=False)
    assert limiter.admit("a", 299 * SECOND + 1) == Refused(1, banned=False)
    assert limiter.admit("a", 300 * SECOND) is None


def test_the_window_slides() -> None:
    limiter = RateLimiter(RateLimits(requests=2))
    assert limiter.admit("a", 0) is None
    assert limiter.admit("a", 30 * SECOND) is None
    assert limiter.admit("a", 60 * SECOND) is None  # the first has left the window
    assert limiter.admit("a", 60 * SECOND) is not None


def test_callers_do_not_use_up_each_other() -> None:
    limiter = RateLimiter(RateLimits())
    exhaust(limiter, "a", 0)
    assert limiter.admit("b", 0) is None


def test_a_repeated_penalty_stays_429_unless_bans_are_on() -> None:
    limiter = RateLimiter(RateLimits())
    exhaust(limiter, "a", 0)
    assert exhaust(limiter, "a", 400 * SECOND) == Refused(300, banned=False)


def test_bans_double_from_two_minutes_up_to_three_days() -> None:
    limiter = RateLimiter(RateLimits(bans=True))
    now = 0
    assert exhaust(limiter, "a", now) == Refused(300, banned=False)
    lengths = []
    now += 300 * SECOND
    for _ in range(14):
        refused = exhaust(limiter, "a", now)
        assert refused.banned
        lengths.append(refused.retry_after_seconds)
        now += refused.retry_after_seconds * SECOND
    assert lengths[:4] == [120, 240, 480, 960]
    assert lengths[-1] == 3 * 86_400


def test_a_day_without_a_penalty_is_forgiven() -> None:
    limiter = RateLimiter(RateLimits(bans=True))
    exhaust(limiter, "a", 0)
    assert not exhaust(limiter, "a", 300 * SECOND + DAY).banned


def test_only_so_many_callers_are_remembered() -> None:
    limiter = RateLimiter(RateLimits(requests=1))
    exhaust(limiter, "first", 0, requests=1)
    for number in range(MAX_CALLERS):
        assert limiter.admit(f"caller {number}", 0) is None
    assert limiter.admit("first", 0) is None
