"""What goes wrong in a world, how often, and what becomes of each message.

Most faults come in spells: for some seconds or minutes an account's calls time out, its orders are refused, its stream
is silent. So whoever watches knows when the server may not know. Every kind draws from a stream of its own: switching
one off changes nothing about the others.
"""

import enum
import random
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from smarttrade.domain.order import RefusalKind
from smarttrade.simulation.chance import Chance, between, likely
from smarttrade.simulation.storage import UNEVENTFUL, Fate, Moment

MINUTE: Final = 60.0
HOUR: Final = 3600.0

LATEST_SEND: Final = 19.0
"""Seconds after which a new order still arrives: long after its call has timed out, and before anybody could have proof
that it never did (EX-31). One that came even later would be a second order, whatever the server does."""


class FaultKind(enum.StrEnum):
    """What can go wrong; the value is its name on the command line."""

    DELAYS = "delays"  # calls and reports take their time
    SILENCE = "silence"  # calls are lost, arrive late, or are carried out and not answered
    REFUSALS = "refusals"  # orders and leverages are refused, for every reason there is
    CANCELS = "cancels"  # cancellations are refused, take long, or are forgotten
    LAG = "lag"  # the answer to a new order is lost, and it is not found for a while
    STREAM = "stream"  # reports are lost until the stream is back
    REPORTS = "reports"  # reports come late, twice, or in another order
    OUTAGES = "outages"  # nothing gets through to the exchange, or it is asked too often
    PRICES = "prices"  # no prices, old ones, or a source that breaks
    STORAGE = "storage"  # commits fail, or take long
    DEATHS = "deaths"  # the process dies around a commit, or in between
    RESTARTS = "restarts"  # it is stopped in good order, and started again
    CLOCK = "clock"  # the wall clock is set
    OTHERS = "others"  # somebody else cancels orders, closes positions; fills come late


SPELLS: Final[Mapping[FaultKind, str]] = {
    FaultKind.SILENCE: "calls",
    FaultKind.REFUSALS: "calls",
    FaultKind.CANCELS: "calls",
    FaultKind.LAG: "calls",
    FaultKind.OUTAGES: "calls",
    FaultKind.STREAM: "stream",
    FaultKind.REPORTS: "stream",
}
"""Kinds that strike one account for a while, and what its server cannot rely on meanwhile."""

REFUSALS: Final[tuple[tuple[RefusalKind, str], ...]] = (
    (RefusalKind.TRANSIENT, "Service unavailable from a restricted location for maintenance."),
    (RefusalKind.TRANSIENT, "Too many requests."),
    (RefusalKind.RECOVERABLE, "Filter failure: LOT_SIZE"),
    (RefusalKind.RECOVERABLE, "Filter failure: NOTIONAL"),
    (RefusalKind.INSUFFICIENT_FUNDS, "Account has insufficient balance for requested action."),
    (RefusalKind.REDUCE_ONLY, "ReduceOnly Order is rejected."),
    (RefusalKind.TOO_MANY_ORDERS, "Too many new orders."),
    (RefusalKind.PRICE_BAND, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    (RefusalKind.PERMANENT, "Trading is disabled for this account."),
    (RefusalKind.DUPLICATE_ID, "Duplicate order sent."),
)


class Mood(enum.StrEnum):
    """How bad a world is."""

    CALM = "calm"  # nothing goes wrong
    MILD = "mild"
    ROUGH = "rough"
    BRUTAL = "brutal"


MOODS: Final = {Mood.CALM: 8, Mood.MILD: 52, Mood.ROUGH: 28, Mood.BRUTAL: 12}
KINDS_AT_ONCE: Final = {Mood.CALM: (0, 0), Mood.MILD: (1, 4), Mood.ROUGH: (4, 9), Mood.BRUTAL: (9, len(FaultKind))}
INTENSITY: Final = {Mood.CALM: (0.0, 0.0), Mood.MILD: (0.15, 0.5), Mood.ROUGH: (0.4, 1.2), Mood.BRUTAL: (1.0, 3.0)}


class CallFate(msgspec.Struct, kw_only=True):
    """What becomes of one call to the exchange."""

    there: float = 0  # seconds on the way
    back: float = 0
    arrives: bool = True
    answered: bool = True
    fails: str | None = None  # the connection cannot be used, which is known at once
    refusal: tuple[RefusalKind, str] | None = None
    held: float | None = None  # a cancellation is taken and carried out after so many seconds; < 0: never
    breaks_off: bool = False  # the connection breaks once the exchange has done its part

    @property
    def is_immediate(self) -> bool:
        """Whether the answer is there at once, and is the exchange's own."""
        return self.arrives and self.answered and not (self.there or self.back or self.breaks_off)


class Faults:
    """The faults of one world, and the chance behind each of them."""

    def __init__(self, chance: Chance, without: Collection[FaultKind] = ()) -> None:
        drawn = chance.stream("faults")
        self.mood = drawn.choices(list(MOODS), list(MOODS.values()))[0]
        kinds = drawn.sample(list(FaultKind), drawn.randint(*KINDS_AT_ONCE[self.mood]))
        intensity = {kind: between(drawn, *INTENSITY[self.mood]) for kind in kinds}
        self.intensity: Mapping[FaultKind, float] = {k: i for k, i in intensity.items() if k not in without}
        self.struck: dict[FaultKind, int] = {}
        self.is_peace = False
        self._chance = {kind: chance.stream(f"faults/{kind}") for kind in FaultKind}
        self._spells: dict[tuple[FaultKind, int], float] = {}  # how likely each message is struck
        self._storage_fails = 0.0  # how likely
        self._commits_to_live: tuple[int, Moment] | None = None
        self._latency = between(drawn, 0.005, 0.4)

    def on(self, kind: FaultKind) -> bool:
        return kind in self.intensity and not self.is_peace

    def chance(self, kind: FaultKind) -> random.Random:
        return self._chance[kind]

    def strike(self, kind: FaultKind) -> None:
        """Count what was done."""
        self.struck[kind] = self.struck.get(kind, 0) + 1

    # when

    def pause(self, kind: FaultKind) -> float:
        """Seconds until the next time that this kind begins."""
        return between(self._chance[kind], 0.1, 1.9) * HOUR / self.intensity[kind]

    def lasts(self, kind: FaultKind) -> float:
        """Seconds of a spell: mostly short, at times an hour."""
        chance = self._chance[kind]
        longest = chance.choices((20.0, 3 * MINUTE, 15 * MINUTE, HOUR), (50, 35, 12, 3))[0]
        return between(chance, longest / 20, longest)

    def begin(self, kind: FaultKind, account_id: int) -> None:
        self._spells[kind, account_id] = between(self._chance[kind], 0.2, 1.0)

    def end(self, kind: FaultKind, account_id: int) -> None:
        self._spells.pop((kind, account_id), None)

    def rages(self, kind: FaultKind, account_id: int) -> bool:
        return (kind, account_id) in self._spells

    def make_peace(self) -> None:
        """Nothing goes wrong any more."""
        self.is_peace = True
        self._spells.clear()
        self._storage_fails = 0.0
        self._commits_to_live = None

    def _strikes(self, kind: FaultKind, account_id: int) -> bool:
        strength = self._spells.get((kind, account_id))
        if strength is None or not likely(self._chance[kind], strength):
            return False
        self.strike(kind)
        return True

    # calls

    def of_call(self, account_id: int, what: str) -> CallFate:
        """what  submit, cancel, query, leverage, read"""
        fate = CallFate()
        if self.on(FaultKind.DELAYS):
            self._delay(fate)
        if self._strikes(FaultKind.OUTAGES, account_id):
            self._out(fate, what)
        if self._strikes(FaultKind.SILENCE, account_id):
            self._silence(fate, what)
        if what == "submit" and self._strikes(FaultKind.LAG, account_id):
            fate.breaks_off = True  # so that it is asked about while it cannot be found
        if what in ("submit", "leverage") and self._strikes(FaultKind.REFUSALS, account_id):
            fate.refusal = self._chance[FaultKind.REFUSALS].choice(REFUSALS)
        if what == "cancel" and self._strikes(FaultKind.CANCELS, account_id):
            self._cancel(fate)
        return fate

    def _delay(self, fate: CallFate) -> None:
        chance = self._chance[FaultKind.DELAYS]
        fate.there, fate.back = between(chance, 0, self._latency), between(chance, 0, self._latency)

    def _out(self, fate: CallFate, what: str) -> None:
        if what == "submit" and likely(self._chance[FaultKind.OUTAGES], 0.4):
            fate.refusal = (RefusalKind.TRANSIENT, "Too many requests.")
        else:
            fate.fails = "connection refused"

    def _silence(self, fate: CallFate, what: str) -> None:
        chance = self._chance[FaultKind.SILENCE]
        match chance.randrange(5):
            case 0:
                fate.arrives = False
            case 1:
                fate.answered = False
            case 2:
                fate.fails = "connection reset"
            case 3:
                fate.there += between(chance, 1, LATEST_SEND if what == "submit" else 25)
            case _:
                fate.back += between(chance, 1, 25)

    def _cancel(self, fate: CallFate) -> None:
        chance = self._chance[FaultKind.CANCELS]
        match chance.randrange(3):
            case 0:
                fate.refusal = (RefusalKind.RECOVERABLE, "Cancel was rejected.")
            case 1:
                fate.held = between(chance, 0.1, 40)
            case _:
                fate.held = -1.0

    def finds(self, account_id: int, age: float) -> bool:
        """Whether a query finds an order that was taken so many seconds ago."""
        if age > between(self._chance[FaultKind.LAG], 0, 9):
            return True
        return not self._strikes(FaultKind.LAG, account_id)

    # reports

    def of_report(self, account_id: int) -> tuple[float, ...]:
        """After how many seconds each copy of a report arrives; none: it is lost."""
        chance = self._chance[FaultKind.REPORTS]
        if self._strikes(FaultKind.STREAM, account_id):
            return ()
        usual = between(self._chance[FaultKind.DELAYS], 0, self._latency) if self.on(FaultKind.DELAYS) else 0.0
        if not self._strikes(FaultKind.REPORTS, account_id):
            return (usual,)
        match chance.randrange(3):
            case 0:
                return (usual, usual)
            case 1:
                return (usual + between(chance, 0.1, 30),)
            case _:
                return (usual + between(chance, 0, 3), usual + between(chance, 0, 60))

    # the process and its storage

    def begin_storage(self) -> None:
        self._storage_fails = between(self._chance[FaultKind.STORAGE], 0.2, 1.0)

    def end_storage(self) -> None:
        self._storage_fails = 0.0

    def draw_life(self) -> None:
        """How long the process that starts now is to live, in commits; now and then it dies of its recovery."""
        self._commits_to_live = None
        if not self.on(FaultKind.DEATHS):
            return
        chance = self._chance[FaultKind.DEATHS]
        most = 4.0 if likely(chance, 0.25) else 1000 / self.intensity[FaultKind.DEATHS]
        share = chance.random()
        self._commits_to_live = int(most * share * share), chance.choice(list(Moment))

    def of_commit(self) -> Fate:
        death = None
        if self._commits_to_live is not None:
            left, moment = self._commits_to_live
            self._commits_to_live = (left - 1, moment)
            death = moment if left <= 0 else None
        if not self.on(FaultKind.STORAGE):
            return UNEVENTFUL if death is None else Fate(death=death)
        chance = self._chance[FaultKind.STORAGE]
        slow = likely(chance, 0.05)
        fails = likely(chance, self._storage_fails)
        if fails:
            self.strike(FaultKind.STORAGE)
        return Fate(
            fails=fails,
            death=None if fails else death,
            before=between(chance, 0, 0.5) if slow else 0,
            after=between(chance, 0, 0.5) if slow else 0,
        )
