"""What has happened in a world so far: passed on to the auditor, remembered for a report, condensed into a digest."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from smarttrade.domain.order_ids import parse
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.simulation.observer import Observer, Violation

REMEMBERED: Final = 20_000
"""Things kept for a report: more than a few hours of a busy world."""

encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(tuple[str, list[Any]]).decode

START: Final[Instant] = 1_767_225_600 * SECOND
"""2026-01-01T00:00:00Z: when every world begins."""

Thing = tuple[int, str, list[Any]]
"""Step of the world, method of the observer, what it was told: built-in values only, amounts as text."""


class History:
    """An observer that remembers. Use it through `observer`, which has the methods of one.

    An auditor's objection is kept and not raised: whoever tells may be deep inside the server, where an exception would
    be taken for one of its own.
    """

    def __init__(self, auditor: Observer) -> None:
        self.step = 0
        self.told = 0
        self.violation: Violation | None = None
        self.counts: dict[str, int] = {}
        self._auditor = auditor
        self._digest = hashlib.sha256()
        self._things: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """The method of an observer: told for the first time."""
        hear = getattr(self._auditor, name)

        def method(*values: Any) -> None:
            self._tell(name, hear, values)

        self.__dict__[name] = method
        return method

    def _tell(self, name: str, hear: Callable[..., None], values: tuple[Any, ...]) -> None:
        if self.violation is not None:
            return  # what comes after a broken rule says nothing
        self.told += 1
        self.counts[name] = self.counts.get(name, 0) + 1
        encoded = encode((name, values))  # one object for the collector, where trades have hundreds
        self._digest.update(encoded)
        self._things.append((self.step, encoded))
        try:
            hear(*values)
        except Violation as violation:
            self.violation = violation

    def object_to(self, violation: Violation) -> None:
        """A rule is broken that the world itself looks after."""
        if self.violation is None:
            self.violation = violation

    def digest(self) -> str:
        """Of all that has happened."""
        return self._digest.hexdigest()

    def last_things(self, trade_id: int | None, most: int) -> list[Thing]:
        """The last things that happened, to one trade if it is given; the oldest first."""
        found: list[Thing] = []
        for step, encoded in reversed(self._things):
            if len(found) == most:
                break
            thing = step, *decode(encoded)
            if thing[1] != "at_rest" and (trade_id is None or trade_id in concerned(thing)):
                found.append(thing)
        return found[::-1]


def concerned(thing: Thing) -> Iterator[int]:
    """Ids of the trades that something happened to."""
    _, name, values = thing
    if name == "trade_committed":
        yield values[1]["id"]
    for value in values[1:]:
        if isinstance(value, dict):
            value = value.get("client_order_id")
        if isinstance(value, str) and (ref := parse(value)) is not None:
            yield ref.trade_id
        elif name == "command_answered" and isinstance(value, int):
            yield value


def line(thing: Thing) -> str:
    """One thing, for people."""
    step, name, values = thing
    at, *rest = values
    parts = [_words(value) for value in rest if value is not None]
    return f"step {step}  {clock(at)}  {name.replace('_', ' ')}  {'  '.join(parts)}".rstrip()


def clock(at: int) -> str:
    """An instant as hours, minutes and seconds since the world began."""
    seconds, micros = divmod(at - START, 1_000_000)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}.{micros // 1000:03}"


def _words(value: Any) -> str:
    match value:
        case {"client_order_id": order_id, "side": side, "quantity": quantity, "pair": pair, "price": price}:
            return f"{order_id} {side} {quantity} {pair} at {price or 'market'}"
        case {"client_order_id": order_id, "quantity": quantity, "price": price, "fee": fee, "fee_asset": asset}:
            return f"{order_id} {quantity} at {price}, fee {fee} {asset}"
        case {"status": _}:
            return _trade(value)
    return str(value)


def _trade(trade: Mapping[str, Any]) -> str:
    """A stored trade: its status and what its legs and their orders stand at."""
    steps = [trade["position"], *trade.get("averaging", ()), *trade.get("targets", ()), trade.get("stop")]
    steps += [*trade.get("reductions", ()), trade.get("market_close")]
    legs = [_leg(step) for step in steps if step is not None]
    return f"{trade['id']} {trade['status']}: {'; '.join(legs)}"


def _leg(step: Mapping[str, Any]) -> str:
    """A leg: its id and status, and its last order."""
    text = f"{step.get('id')} {step.get('status', '')}"
    orders = step.get("orders") or ()
    if not orders:
        return text
    last = orders[-1]
    filled = (last.get("execution") or {}).get("gross_quantity", 0)
    status, price = last.get("status", "intended"), last.get("price") or "market"
    return f"{text} (attempt {last['attempt']} {status}: {filled} of {last['quantity']} at {price})"
