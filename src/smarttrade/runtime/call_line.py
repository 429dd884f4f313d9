"""The calls to the exchange of one account: so many at once, the others in line, ways out first (faults F60, F68).

Nothing in line is dropped, and nothing stands in it twice: what is asked for again while it waits is asked once, so a
line is no longer than what there is to say and ask about the account's orders. Within a class calls keep their order,
and nothing is asked about an order before it is sent.
"""

import enum
from typing import Final

import structlog

from smarttrade.domain.effects import (
    Call,
    CancelOrder,
    QueryOrder,
    ReadFunds,
    ReadLimits,
    SearchOrder,
    SubmitOrder,
)

log = structlog.get_logger("dispatcher")

MAX_UNDER_WAY: Final = 256
"""Of an account: more than an exchange grants one caller at once, and enough to share the paper one's commits."""

KEPT_FOR_WAYS_OUT: Final = 64
"""Of those, so that calls that are never answered do not keep a stop waiting until their deadline."""


class Urgency(enum.IntEnum):
    """Who goes first."""

    WAY_OUT = 0  # stops and other exits at market, and cancellations
    QUESTION = 1  # what a way out may wait for
    REST = 2  # entries, targets, leverage


PLACES: Final = tuple(Urgency)


def urgency(call: Call) -> Urgency:
    match call:
        case SubmitOrder():
            return Urgency.WAY_OUT if call.is_way_out else Urgency.REST
        case CancelOrder():
            return Urgency.WAY_OUT
        case QueryOrder() | SearchOrder() | ReadFunds() | ReadLimits():
            return Urgency.QUESTION
        case _:
            return Urgency.REST


class CallLine:
    """Which call begins when. It counts them; whoever makes them says when each is over."""

    def __init__(self, account_id: int | None) -> None:
        """account_id: None for the calls that are no account's, requests for a price"""
        self._account_id = account_id
        self._under_way = 0
        self._waiting: tuple[dict[Call, None], ...] = tuple({} for _ in PLACES)  # sets that keep their order
        self._sends: dict[str, SubmitOrder] = {}  # those among them that are not ways out, by client order id
        self._most = 0  # that waited at once since it was last empty

    def __len__(self) -> int:
        """Calls that wait."""
        return sum(map(len, self._waiting))

    def join(self, call: Call) -> None:
        """Stand in line; `begin` says when it is its turn."""
        if isinstance(call, CancelOrder | QueryOrder | SearchOrder):
            self._let_pass(call.client_order_id)
        place = urgency(call)
        self._waiting[place].setdefault(call)
        if isinstance(call, SubmitOrder) and place is Urgency.REST:
            self._sends[call.intent.client_order_id] = call

    def _let_pass(self, client_order_id: str) -> None:
        """Somebody waits for news of an order that is yet to be sent: it goes before the questions about it."""
        send = self._sends.pop(client_order_id, None)
        if send is not None:
            del self._waiting[Urgency.REST][send]
            self._waiting[Urgency.WAY_OUT][send] = None

    def begin(self) -> Call | None:
        """The call that may begin now, counted as under way; None: all others wait, or there is none."""
        for place, calls in zip(PLACES, self._waiting, strict=True):
            if not calls:
                continue
            kept = 0 if place is Urgency.WAY_OUT else KEPT_FOR_WAYS_OUT
            if self._under_way >= MAX_UNDER_WAY - kept:
                self._wait()
                return None
            call = next(iter(calls))
            del calls[call]
            if isinstance(call, SubmitOrder):
                self._sends.pop(call.intent.client_order_id, None)
            self._under_way += 1
            return call
        self._caught_up()
        return None

    def ended(self) -> None:
        """A call that had begun is over."""
        self._under_way -= 1

    def _wait(self) -> None:
        if self._most == 0:
            log.warning("too many calls to an exchange at once; the others wait", account_id=self._account_id)
        self._most = max(self._most, len(self))

    def _caught_up(self) -> None:
        if self._most > 0:
            log.warning("no call to the exchange waits any more", account_id=self._account_id, waited=self._most)
            self._most = 0
