"""The life of one order: every legal move, what each input does, and what must be asked next.

Inputs are the exchange's words (reports, refusals), its silence (unclear), and deadlines. The result is the order
after it and one `Ask`: send, cancel, query, or nothing. Sources: behaviour EX-1, EX-7, EX-20 to EX-22, EX-31.
"""

import enum
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from smarttrade.domain.errors import IllegalTransition
from smarttrade.domain.fill import Fill, closing, entering
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import (
    Order,
    OrderRefused,
    OrderReport,
    OrderStatus,
    OrderType,
    RefusalKind,
    ReportedState,
)
from smarttrade.domain.quote import SECOND, Instant

CANCEL_TIMEOUT: Final[Instant] = 5 * SECOND
LONGEST_PAUSE: Final[Instant] = 30 * SECOND
FORGOTTEN: Final = "Order is unknown to the exchange"
TURNED_UP: Final = "Order turned up after it was written off"
UNCANCELLED: Final = "The exchange does not confirm a cancellation"
CANCEL_TRIES: Final = 24
"""Questions about a cancellation, two minutes' worth, after which a person is told; they go on (faults F8, EX-22)."""
UNKNOWN_TIMES: Final = 3
UNKNOWN_SPAN: Final[Instant] = 10 * SECOND
"""An order counts as never arrived when the exchange has not known it this often over this long (EX-31)."""


class Ask(enum.Enum):
    """What the outside must now do for an order."""

    NOTHING = enum.auto()
    SEND = enum.auto()
    CANCEL = enum.auto()
    QUERY = enum.auto()
    SEARCH = enum.auto()


class Word(enum.Enum):
    """Kinds of input, as the columns of the table."""

    OPEN = enum.auto()  # reported as working
    FILLED = enum.auto()
    CANCELED = enum.auto()
    REJECTED = enum.auto()
    PASSING_REFUSAL = enum.auto()
    UNCLEAR = enum.auto()
    ABSENT = enum.auto()  # proven never to have arrived, or gone
    RESENT = enum.auto()
    CANCEL_ASKED = enum.auto()


_S = OrderStatus
MOVES: Final[Mapping[tuple[OrderStatus, Word], OrderStatus]] = {
    **{
        (status, word): target
        for status in (_S.INTENDED, _S.UNCONFIRMED, _S.BACKING_OFF)
        for word, target in (
            (Word.OPEN, _S.WORKING),
            (Word.FILLED, _S.FILLED),
            (Word.CANCELED, _S.CANCELED),
            (Word.REJECTED, _S.REJECTED),
            (Word.PASSING_REFUSAL, _S.BACKING_OFF),
            (Word.UNCLEAR, _S.UNCONFIRMED),
            (Word.ABSENT, _S.CANCELED),  # no longer wanted, and not there
            (Word.RESENT, _S.INTENDED),
        )
    },
    (_S.WORKING, Word.OPEN): _S.WORKING,
    (_S.WORKING, Word.FILLED): _S.FILLED,
    (_S.WORKING, Word.CANCELED): _S.CANCELED,
    (_S.WORKING, Word.REJECTED): _S.REJECTED,  # taken first, refused by the matching engine after
    (_S.WORKING, Word.UNCLEAR): _S.WORKING,  # a late time-out of the send: the stream was faster
    (_S.WORKING, Word.PASSING_REFUSAL): _S.WORKING,
    (_S.WORKING, Word.ABSENT): _S.CANCELED,
    (_S.WORKING, Word.RESENT): _S.INTENDED,  # acknowledged, then unknown to an exchange that refuses a copy (EX-31)
    (_S.WORKING, Word.CANCEL_ASKED): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, Word.OPEN): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, Word.FILLED): _S.FILLED,  # the fill won the race with our cancel
    (_S.PENDING_CANCEL, Word.CANCELED): _S.CANCELED,
    (_S.PENDING_CANCEL, Word.REJECTED): _S.REJECTED,
    (_S.PENDING_CANCEL, Word.UNCLEAR): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, Word.PASSING_REFUSAL): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, Word.ABSENT): _S.CANCELED,
    # Late words about an order that is over: a fill still counts (EX-32), a lower state does not come back (EX-1).
    **{
        (status, word): status
        for status in (_S.FILLED, _S.CANCELED, _S.REJECTED)
        for word in (Word.OPEN, Word.CANCELED, Word.REJECTED, Word.UNCLEAR, Word.PASSING_REFUSAL, Word.ABSENT)
    },
    (_S.FILLED, Word.FILLED): _S.FILLED,
    (_S.CANCELED, Word.FILLED): _S.FILLED,
    (_S.REJECTED, Word.FILLED): _S.FILLED,
}


def _move(order: Order, word: Word) -> OrderStatus:
    try:
        return MOVES[order.status, word]
    except KeyError:
        raise IllegalTransition(order.client_order_id, order.status, word) from None


def is_doubtful(order: Order) -> bool:
    """It may or may not be at the exchange, and the next question is a matter of time."""
    return order.status in (_S.UNCONFIRMED, _S.BACKING_OFF)


def is_unheard_of(order: Order) -> bool:
    """The exchange has not said that it has the order: it is on its way, in doubt, or refused for a moment."""
    return order.status is _S.INTENDED or is_doubtful(order)


def _awaits_answer(order: Order) -> bool:
    """It is on its way, and its send will be answered or time out; one of a dead process has nobody to hear that."""
    return order.status is _S.INTENDED and order.doubted_at is None


def silent_since(order: Order) -> Instant | None:
    """Since when nothing good is known of it, however often it was sent again."""
    return order.doubted_at if order.silent_since is None else order.silent_since


def is_long_uncancelled(before: Order, after: Order) -> bool:
    """A cancellation has just been asked about for so long that a person should know."""
    return after.status is _S.PENDING_CANCEL and before.tries < CANCEL_TRIES <= after.tries


def pause(tries: int, longest: Instant = LONGEST_PAUSE) -> Instant:
    """1, 2, 4 ... seconds, at most `longest`."""
    return min(SECOND << min(tries, 16), longest)


def _booked(order: Order, fills: tuple[Fill, ...], instrument: Instrument, is_entry: bool) -> Order:
    """`order` with the fills that are new (EX-1)."""
    execution, ids = order.execution, order.fill_ids
    value = entering if is_entry else closing
    for fill in fills:
        if fill.fill_id in ids:
            continue
        execution = execution + value(fill, order.side, instrument)
        ids = (*ids, fill.fill_id)
    return order if ids is order.fill_ids else replace(order, execution=execution, fill_ids=ids)


def reported(
    order: Order, report: OrderReport, instrument: Instrument, *, is_entry: bool, now: Instant
) -> tuple[Order, Ask]:
    """Fold the exchange's word on `order`. An end is believed only when every fill of it is known."""
    may_live = _may_live(order)
    is_another = bool(order.venue_order_id) and report.venue_order_id not in ("", order.venue_order_id)
    order = _booked(order, report.fills, instrument, is_entry)
    if is_another and (order.status.is_over or not report.answers_query):
        return _of_another(order, report, now)
    order = replace(order, venue_order_id=report.venue_order_id or order.venue_order_id)
    if report.filled_quantity > order.execution.gross_quantity:
        # The exchange counts more than the fills it sent: the query's answer carries them all.
        tries = order.tries + 1
        status = _move(order, Word.OPEN)
        ask = Ask.NOTHING if report.answers_query else Ask.QUERY  # a query that lacks them is repeated after a pause
        return replace(order, status=status, tries=tries, due_at=now + pause(tries)), ask
    word = _word(order, report)
    status = _move(order, word)
    text = report.text or order.text
    if may_live and word is Word.OPEN:  # there after all (faults F19)
        return replace(order, written_off=True, text=TURNED_UP), Ask.CANCEL
    if status.is_over:
        refusal = RefusalKind.PERMANENT if status is _S.REJECTED else order.refusal
        over = replace(order, status=status, due_at=None, written_off=False, text=text, refusal=refusal)
        return over, Ask.NOTHING
    order = replace(order, not_found=0, doubted_at=None, silent_since=None, text=text)
    if status is _S.PENDING_CANCEL:
        return replace(order, status=status), Ask.NOTHING
    # A market order ends at once: one that stays open has lost a report on its way (faults F53).
    due = now + pause(order.tries) if order.type is OrderType.MARKET else None
    return replace(order, status=status, due_at=due), Ask.NOTHING


def _may_live(order: Order) -> bool:
    """Whether it is over for us only: written off, or never heard of (faults F19)."""
    return order.written_off or (order.status is _S.CANCELED and not order.venue_order_id)


def _of_another(order: Order, report: OrderReport, now: Instant) -> tuple[Order, Ask]:
    """Our id under another one of the exchange's: a replaced half, or a copy. Only a query says what is alive (F20).

    One that is open although the order is over is one too many, and is taken out (faults F19).
    """
    if order.status.is_over:
        is_surplus = report.state is ReportedState.OPEN
        return (replace(order, text=TURNED_UP), Ask.CANCEL) if is_surplus else (order, Ask.NOTHING)
    tries = order.tries + 1
    return replace(order, tries=tries, due_at=now + pause(tries)), Ask.QUERY


def _word(order: Order, report: OrderReport) -> Word:
    """State from quantities first: text never outvotes fills (faults F46)."""
    if order.leaves_quantity <= 0 or report.state is ReportedState.FILLED:
        return Word.FILLED
    if report.state is ReportedState.CANCELED:
        return Word.CANCELED
    return Word.REJECTED if report.state is ReportedState.REJECTED else Word.OPEN


def answered_to_query(order: Order, now: Instant) -> tuple[Order, Ask]:
    """A query found the order still open: a cancellation that got lost is repeated (EX-22)."""
    if order.status is _S.PENDING_CANCEL:
        return replace(order, due_at=now + CANCEL_TIMEOUT), Ask.CANCEL
    return order, Ask.NOTHING


def refused(order: Order, refusal: OrderRefused, now: Instant) -> tuple[Order, Ask]:
    """The exchange did not take the order (EX-6)."""
    if order.status.is_over:
        return order, Ask.NOTHING
    if refusal.kind is RefusalKind.DUPLICATE_ID:  # it says that it has it: look before anything else (faults F14)
        status = _move(order, Word.UNCLEAR)
        return replace(order, status=status, doubted_at=order.doubted_at or now, due_at=now + pause(0)), Ask.QUERY
    if refusal.kind is RefusalKind.TRANSIENT:
        status = _move(order, Word.PASSING_REFUSAL)
        due = now + pause(order.tries)
        return replace(
            order,
            status=status,
            due_at=due,
            tries=order.tries + 1,
            doubted_at=order.doubted_at or now,
            refusal=refusal.kind,
            text=refusal.text,
        ), _at_once_if_to_go(order)
    status = _move(order, Word.REJECTED)
    return replace(order, status=status, due_at=None, refusal=refusal.kind, text=refusal.text), Ask.NOTHING


def unclear(order: Order, now: Instant) -> tuple[Order, Ask]:
    """No answer to the send: it may be there (EX-31)."""
    if order.status.is_over:
        return order, Ask.NOTHING
    status = _move(order, Word.UNCLEAR)
    if status is not _S.UNCONFIRMED:
        return order, Ask.NOTHING
    doubtful = replace(order, status=status, doubted_at=now, not_found=0, tries=0, due_at=now + pause(0))
    return doubtful, _at_once_if_to_go(order)


def to_go(order: Order, now: Instant) -> tuple[Order, Ask]:
    """We want an order out of the book that the exchange has not vouched for: look for it at once (EX-20).

    One that was sent a moment ago is given a second to be answered. From now on a closing order on futures waits for
    either no longer than for a cancellation (EX-22).
    """
    order = replace(order, cancel_requested_at=now)
    if _awaits_answer(order) and now < order.created_at + pause(0):
        return replace(order, due_at=order.created_at + pause(0)), Ask.NOTHING
    return (replace(order, due_at=now + pause(0)) if order.due_at is None else order), Ask.QUERY


def wanted_again(order: Order) -> Order:
    """It was `to_go`, and no cancellation was sent yet: if it is cancelled now, somebody else did it (EX-30)."""
    if _awaits_answer(order):  # as if nothing had been asked
        return replace(order, cancel_requested_at=None, due_at=None, tries=0)
    return replace(order, cancel_requested_at=None)


def _at_once_if_to_go(order: Order) -> Ask:
    """What waits for it to be out of the book does not wait for a pause to end (EX-20)."""
    return Ask.NOTHING if order.cancel_requested_at is None else Ask.QUERY


def due(order: Order, now: Instant) -> tuple[Order, Ask]:
    """A deadline of the order is reached: ask the exchange what became of it."""
    if order.status is _S.BACKING_OFF:  # the refusal itself has counted
        return replace(order, due_at=now + pause(order.tries)), Ask.QUERY
    tries = order.tries + 1
    if order.status is _S.PENDING_CANCEL:
        return replace(order, tries=tries, due_at=now + CANCEL_TIMEOUT), Ask.QUERY
    wait = now + pause(tries)
    if order.doubted_at is not None and order.not_found + 1 >= UNKNOWN_TIMES:
        # One more "unknown" at the end of the span decides, so do not sleep past it.
        wait = min(wait, max(order.doubted_at + UNKNOWN_SPAN, now + SECOND))
    return replace(order, tries=tries, due_at=wait), Ask.QUERY


def not_found(order: Order, now: Instant, *, safe_to_resend: bool, searched: bool) -> tuple[Order, Ask]:
    """A query, and if `searched` the second source too, says that no such order exists.

    Ask.SEND means: send it again with the same id if it is still wanted; if it is not, it is `gone` once a second
    source has said so too. "Not found" is not "cancelled": a query may lag (faults F6, F17).
    """
    if order.status.is_over:
        return order, Ask.NOTHING
    is_left_behind = order.status is _S.INTENDED and not _awaits_answer(order)
    if order.status is _S.BACKING_OFF or (is_left_behind and safe_to_resend):
        return order, Ask.SEND
    since = order.doubted_at if order.doubted_at is not None else now
    order = replace(order, not_found=order.not_found + (not searched), doubted_at=since)
    if order.status is _S.INTENDED:
        order = replace(order, status=_S.UNCONFIRMED)
    soon = now + pause(order.not_found)  # the exchange answers again: no long pause from when it did not
    order = replace(order, due_at=soon if order.due_at is None else min(max(order.due_at, now), soon))
    if order.not_found < UNKNOWN_TIMES or now - since < UNKNOWN_SPAN:
        return order, Ask.NOTHING
    if not searched:  # where a copy would be refused, sending it again asks the exchange itself
        return order, Ask.SEND if safe_to_resend and order.status is not _S.PENDING_CANCEL else Ask.SEARCH
    if order.venue_order_id and not safe_to_resend:  # it was there, and perhaps executed: a copy could be a second
        return _absent(order), Ask.NOTHING
    return order, Ask.SEND


def _absent(order: Order) -> Order:
    return replace(order, status=_move(order, Word.ABSENT), due_at=None, written_off=True, text=FORGOTTEN)


def query_unclear(order: Order, now: Instant) -> Order:
    """No answer to a query: ask again. An order whose send was never answered is in doubt from now on (EX-31)."""
    if order.status.is_over:
        return order
    if order.status is _S.INTENDED:
        order = replace(order, status=_S.UNCONFIRMED, doubted_at=now)
    if order.due_at is not None and order.due_at > now:
        return order  # the next question has its time already
    return replace(order, tries=order.tries + 1, due_at=now + pause(order.tries))


def resent(order: Order) -> Order:
    """The same order on its way again, under the same id."""
    status = _move(order, Word.RESENT)
    return replace(
        order,
        status=status,
        venue_order_id="",  # the exchange gives it a new one
        due_at=None,
        not_found=0,
        doubted_at=None,
        silent_since=silent_since(order),
        cancel_requested_at=None,
    )


def gone(order: Order, now: Instant) -> Order:
    """Not to be found for long enough, and not wanted any more: ended by us, as if cancelled."""
    return replace(_absent(order), cancel_requested_at=now)


def cancel_asked(order: Order, now: Instant) -> Order:
    """We want the order out of the book. What waits for it may have waited since before it was known there (EX-22)."""
    since = now if order.cancel_requested_at is None else order.cancel_requested_at
    status = _move(order, Word.CANCEL_ASKED)
    return replace(order, status=status, cancel_requested_at=since, due_at=now + CANCEL_TIMEOUT, tries=0)


def cancel_refused(order: Order, now: Instant) -> tuple[Order, Ask]:
    """The cancellation was refused, mostly because the order is over: only a query decides (EX-21)."""
    if order.status is not _S.PENDING_CANCEL:
        return order, Ask.NOTHING
    tries = order.tries + 1  # one that is refused again although the order is open is repeated with pauses
    return replace(order, tries=tries, due_at=now + pause(tries)), Ask.QUERY if order.tries == 0 else Ask.NOTHING


def left_behind(order: Order, now: Instant) -> Order:
    """After a start nobody knows whether an order that was on its way was sent, and nobody will say it (EX-36)."""
    return replace(order, doubted_at=now) if _awaits_answer(order) else order


def in_present(order: Order, now: Instant) -> Order:
    """`order` without instants that a clock left ahead which was set back since (EX-36)."""
    if order.due_at is not None and order.due_at > now + LONGEST_PAUSE:
        order = replace(order, due_at=now)
    if order.doubted_at is not None and order.doubted_at > now:
        order = replace(order, doubted_at=now)
    if order.silent_since is not None and order.silent_since > now:
        order = replace(order, silent_since=now)
    if order.cancel_requested_at is not None and order.cancel_requested_at > now:
        order = replace(order, cancel_requested_at=now)
    return order
