"""Typed reading of nested parameters, with the documented error keys and messages (auth.md 5.3, 6.1).

A reader never stops at the first mistake: it notes it under its bracket key, hands back a stand-in, and `finish` raises
all of them at once. Nothing built from stand-ins may be used before `finish` has returned.

`null` and the empty string count as absent; keys that nobody asks for are ignored.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import msgspec

from smarttrade.api.notation import parse_instant
from smarttrade.domain.money import ONE
from smarttrade.domain.quote import Instant

T = TypeVar("T")

MISSING: Final = "is missing"
INVALID: Final = "is invalid"
EMPTY: Final = "is empty"
BAD_VALUE: Final = "does not have a valid value"
EXCLUSIVE: Final = "are mutually exclusive"
ONE_OF_TWO: Final = "are missing, exactly one parameter must be provided"

MAX_MAGNITUDE: Final = Decimal("1e21")
"""No price, amount or percent comes near it, and what is derived from a figure below it stays writable."""

MAX_DIGITS: Final = 50
"""Significant digits of one figure: products of two stay exact at the precision of `domain.money`."""

MIN_EXPONENT: Final = -40
"""Decimals of one figure. Prices have at most 8, scripts that multiply floats send about 20 (wire-quirks 3)."""

MAX_INTEGER: Final = 2**63 - 1
"""What a column of any database holds."""

MAX_ELEMENTS: Final = 100
"""Elements of a list that are read. No list may have so many; the rest would only lengthen the error."""

_MAX_NUMBER_TEXT: Final = 128
_SURELY_SMALL_TEXT: Final = 20  # plain notation this short breaks none of the limits above
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


class InvalidParameters(Exception):
    """Parameters of the wrong shape; `attributes` maps each error key to its messages, in the order of the wire."""

    def __init__(self, attributes: Mapping[str, list[str]]) -> None:
        super().__init__(", ".join(attributes))
        self.attributes = attributes


class MalformedJson(Exception):
    """A body that is not one JSON object."""


def _json_number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond anything decimal can hold: left as text, which no reader accepts
        return text


_json = msgspec.json.Decoder(dict[str, Any], float_hook=_json_number)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object in `raw`, every number exact. Raises MalformedJson and nothing else."""
    try:
        return _json.decode(raw)
    except (ValueError, RecursionError):
        raise MalformedJson from None


def any_number(_: Decimal) -> bool:
    return True


def positive(value: Decimal) -> bool:
    """Prices, amounts, volumes: above zero."""
    return value > 0


class Parameters:
    """One object of a request's parameters, and the errors found in it and below it."""

    __slots__ = ("_errors", "_given", "_name", "_owner", "_when_missing")

    def __init__(
        self,
        given: Mapping[str, Any],
        owner: "Parameters | None" = None,
        name: str = "",
        when_missing: tuple[str, ...] = (MISSING,),
    ) -> None:
        """`owner` has these parameters as its member `name`; None: they are the request's own."""
        self._given = given
        self._owner = owner
        self._name = name
        self._errors: dict[str, list[str]] = {} if owner is None else owner._errors
        self._when_missing = when_missing

    # -- errors ---------------------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        """The error key of the parameter `name`: `take_profit[steps][0][volume]`."""
        return name if self._owner is None else f"{self._owner.key(self._name)}[{name}]"

    def refuse(self, name: str, *messages: str) -> None:
        """Note that the parameter `name` is wrong."""
        noted = self._errors.setdefault(self.key(name), [])
        noted.extend(message for message in messages if message not in noted)

    def refuse_pair(self, first: str, second: str, message: str) -> None:
        """Note what is wrong with two parameters together, under both their keys."""
        self._errors[f"{self.key(first)},{self.key(second)}"] = [message]

    @property
    def refusals(self) -> int:
        """How many parameters of the whole request have been found wrong so far."""
        return len(self._errors)

    def finish(self) -> None:
        """Raise InvalidParameters if anything was refused."""
        if self._errors:
            raise InvalidParameters(self._errors)

    def _refuse_missing(self, name: str, *further: str) -> None:
        self.refuse(name, *self._when_missing, *further)

    # -- presence -------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        value = self._given.get(name)
        return value is not None and value != ""

    def is_empty_text(self, name: str) -> bool:
        """Whether `name` was given as the empty string, for the one parameter that tells it from absence."""
        return self._given.get(name) == ""

    @property
    def is_blank(self) -> bool:
        """Whether nothing below here was given: an echo like `{"value": null}` is blank too."""
        return _is_blank(self._given)

    # -- scalars --------------------------------------------------------------------------------------------------

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        value = self._given.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not _is_storable(value):
            self.refuse(name, INVALID)
            return None
        if longest is not None and len(value) > longest:
            self.refuse(name, f"too long. Max is {longest} symbols")
        return value

    def required_text(self, name: str, *, longest: int | None = None) -> str:
        value = self.text(name, longest=longest)
        if value is None and not self.has(name):
            self._refuse_missing(name)
        return value or ""

    def boolean(self, name: str, *, default: bool = False) -> bool:
        value = self._given.get(name)
        if isinstance(value, bool):
            return value
        if value is None or value == "":
            return default
        found = _BOOLEANS.get(str(value).lower()) if isinstance(value, str | int) else None
        if found is None:
            self.refuse(name, INVALID)
            return default
        return found

    def required_boolean(self, name: str) -> bool:
        if not self.has(name):
            self._refuse_missing(name)
        return self.boolean(name)

    def integer(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """A whole number: a JSON integer, its digits as text, or a figure with a zero fraction."""
        value = self._given.get(name)
        if value is None or value == "":
            return None
        figure = exact_number(value)
        if figure is None or figure != (whole := int(figure)) or abs(whole) > MAX_INTEGER:
            self.refuse(name, INVALID)
            return None
        if (least is not None and whole < least) or (most is not None and whole > most):
            self.refuse(name, BAD_VALUE)
            return None
        return whole

    def required_integer(self, name: str, *, least: int | None = None, most: int | None = None) -> int:
        whole = self.integer(name, least=least, most=most)
        if whole is None and not self.has(name):
            self._refuse_missing(name)
        return whole or 0

    def number(self, name: str, allowed: Callable[[Decimal], bool] = any_number) -> Decimal | None:
        """An exact decimal for which `allowed` is true."""
        value = self._given.get(name)
        if value is None or value == "":
            return None
        figure = exact_number(value)
        if figure is None:
            self.refuse(name, INVALID)
        elif not allowed(figure):
            self.refuse(name, BAD_VALUE)
            return None
        return figure

    def required_number(self, name: str, allowed: Callable[[Decimal], bool] = any_number) -> Decimal:
        figure = self.number(name, allowed)
        if figure is not None:
            return figure
        if not self.has(name):
            self._refuse_missing(name)
        return ONE

    def choice(self, name: str, choices: Mapping[str, T], *, any_case: bool = False) -> T | None:
        value = self._given.get(name)
        if value is None or value == "":
            return None
        if any_case and isinstance(value, str):
            value = value.lower()
        found = choices.get(value) if isinstance(value, str) else None
        if found is None:
            self.refuse(name, BAD_VALUE)
        return found

    def required_choice(self, name: str, choices: Mapping[str, T], *, always: bool = True) -> T:
        """`always` False: required only because of another parameter, which shortens the message (auth.md 6.1)."""
        found = self.choice(name, choices)
        if found is not None:
            return found
        if not self.has(name):
            self._refuse_missing(name, *((BAD_VALUE,) if always else ()))
        return next(iter(choices.values()))

    def instant(self, name: str) -> Instant | None:
        """An ISO 8601 date or date-time; midnight UTC for a date."""
        value = self._given.get(name)
        if value is None or value == "":
            return None
        try:
            return parse_instant(value if isinstance(value, str) else "")
        except ValueError:
            self.refuse(name, INVALID)
            return None

    # -- objects and lists ----------------------------------------------------------------------------------------

    def group(self, name: str, *, required: bool = False) -> "Parameters":
        """The object `name`; an empty one if it is absent or wrong, so that its required members are reported too."""
        value = self._given.get(name)
        if isinstance(value, dict):
            return Parameters(value, self, name)
        if value is None or value == "":
            if required:
                self._refuse_missing(name)
            return Parameters({}, self, name)
        self.refuse(name, INVALID)
        return Parameters({}, self, name, (MISSING, INVALID) if isinstance(value, list) else (MISSING,))

    def groups(self, name: str) -> list["Parameters"]:
        """The objects of the required, non-empty list `name`."""
        value = self._given.get(name)
        if value is None or value == "":
            self._refuse_missing(name)
            return []
        if not isinstance(value, list):
            self.refuse(name, INVALID)
            return []
        if not value:
            self.refuse(name, EMPTY)
        found = []
        for index, element in enumerate(value[:MAX_ELEMENTS]):
            place = f"{name}[{index}]" if self._owner is None else f"{name}][{index}"
            if isinstance(element, dict):
                found.append(Parameters(element, self, place))
            else:
                self.refuse(place, INVALID)
        return found

    def exactly_one(self, first: str, second: str) -> None:
        """Note an error unless exactly one of the two parameters was given."""
        has_first, has_second = self.has(first), self.has(second)
        if has_first is has_second:
            self.refuse_pair(first, second, EXCLUSIVE if has_first else ONE_OF_TWO)


def exact_number(value: Any) -> Decimal | None:
    """The exact decimal in a JSON number or numeric text; None if there is none, or one beyond the limits above."""
    if isinstance(value, str):
        if len(value) > _MAX_NUMBER_TEXT or _NUMBER.fullmatch(value) is None:
            return None
        figure = Decimal(value)
        if len(value) <= _SURELY_SMALL_TEXT and "e" not in value and "E" not in value:
            return figure
    elif isinstance(value, Decimal):
        figure = value
    elif isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value) if abs(value) < MAX_MAGNITUDE else None
    else:
        return None
    return figure.normalize() if _is_within_limits(figure) else None


def _is_within_limits(figure: Decimal) -> bool:
    _, digits, exponent = figure.as_tuple()
    if not isinstance(exponent, int) or figure.adjusted() >= MAX_MAGNITUDE.adjusted():  # a letter: NaN or infinity
        return False
    significant = len(digits)
    while significant > 1 and digits[significant - 1] == 0:  # trailing zeros say nothing
        significant -= 1
        exponent += 1
    return significant <= MAX_DIGITS and (exponent >= MIN_EXPONENT or digits == (0,))


def _is_storable(text: str) -> bool:
    """False for NUL and lone surrogates, which databases and UTF-8 cannot hold."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text))


def _is_blank(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_blank, value.values()))
    return value is None or value == ""
