"""How many requests one caller may send (auth.md section 7). Off unless configured; time comes from outside.

Counted per API key, and per address for requests that name no known key: an invented key must not open a fresh budget.
"""

from collections import OrderedDict, deque
from typing import Final

import msgspec

from smarttrade.domain.quote import SECOND, Instant

MAX_CALLERS: Final = 10_000
"""Callers remembered at once; the one silent for longest is forgotten first."""

DAY: Final = 86_400 * SECOND


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The published limit for all requests, and the bans for those who keep breaking it."""

    requests: int = 100
    window_seconds: int = 60
    penalty_seconds: int = 300
    bans: bool = False  # 418 for who is penalised again within a day of the last penalty
    first_ban_seconds: int = 120
    longest_ban_seconds: int = 3 * 86_400


class Refused(msgspec.Struct, frozen=True):
    """The caller has to wait. `banned`: 418 instead of 429."""

    retry_after_seconds: int  # >= 1
    banned: bool


class _Caller:
    __slots__ = ("banned", "released_at", "repeats", "sent", "until")

    def __init__(self) -> None:
        self.sent: deque[Instant] = deque()
        self.until: Instant | None = None  # end of the penalty or ban
        self.banned = False
        self.released_at: Instant | None = None  # when the last one ended
        self.repeats = 0


class RateLimiter:
    """Counts requests in a sliding window; too many begin a penalty during which everything is refused."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def admit(self, who: str, now: Instant) -> Refused | None:
        """Count one request of `who` at `now`; None admits it."""
        caller = self._caller(who)
        if caller.until is not None:
            if now < caller.until:
                return _refused(caller, now)
            caller.released_at, caller.until, caller.banned = caller.until, None, False
        sent = caller.sent
        while sent and sent[0] <= now - self._limits.window_seconds * SECOND:
            sent.popleft()
        if len(sent) < self._limits.requests:
            sent.append(now)
            return None
        sent.clear()
        self._punish(caller, now)
        return _refused(caller, now)

    def _caller(self, who: str) -> _Caller:
        caller = self._callers.get(who)
        if caller is None:
            caller = self._callers[who] = _Caller()
            if len(self._callers) > MAX_CALLERS:
                self._callers.popitem(last=False)
        else:
            self._callers.move_to_end(who)
        return caller

    def _punish(self, caller: _Caller, now: Instant) -> None:
        limits = self._limits
        repeated = caller.released_at is not None and now - caller.released_at < DAY
        caller.repeats = caller.repeats + 1 if repeated else 0
        caller.banned = limits.bans and caller.repeats > 0
        seconds = limits.penalty_seconds
        if caller.banned:  # doubling; the exponent is bounded long before the power is
            seconds = min(limits.first_ban_seconds * 2 ** min(caller.repeats - 1, 32), limits.longest_ban_seconds)
        caller.until = now + seconds * SECOND


def _refused(caller: _Caller, now: Instant) -> Refused:
    waiting = 0 if caller.until is None else caller.until - now
    return Refused(max(1, -(-waiting // SECOND)), caller.banned)
