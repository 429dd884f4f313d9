"""How figures and instants are written on the wire, and how dates are read (entities.md section 0, auth.md 5.3)."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Final

from smarttrade.domain.quote import SECOND, Instant

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

_DATE_TIME: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    # An unescaped `+` of a query string arrives as a space, so a space may begin an offset.
    r"(?:(?P<utc>[Zz])|(?P<sign>[+\- ])(?P<zone_hour>[0-9]{2}):?(?P<zone_minute>[0-5][0-9])?)?)?",
)


def decimal_text(value: Decimal) -> str:
    """`value` in plain notation: at least one digit after the point, no trailing zeros, no exponent, no minus zero.

    Nothing is rounded: every digit that the value has is shown (entities.md section 0).
    """
    if not value:
        return "0.0"
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." not in text:
        text += ".0"
    elif text[-1] == "0":
        text = text.rstrip("0")
        if text[-1] == ".":
            text += "0"
    return text


def timestamp(instant: Instant) -> str:
    """`instant` as ISO 8601 in UTC, cut to milliseconds: `2024-08-12T16:24:38.384Z`."""
    seconds, micros = divmod(instant, SECOND)
    return f"{_second_text(seconds)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second_text(seconds: int) -> str:
    """Kept, because what is shown happened in few different seconds: most instants of a trade, all new trades."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def parse_instant(text: str) -> Instant:
    """The instant that an ISO 8601 date or date-time names; midnight for a date, UTC where no zone is given.

    Raises ValueError for anything else, Unix seconds included.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("not an ISO 8601 date")
    part = match.groupdict(default="0")
    zone = timedelta(hours=int(part["zone_hour"]), minutes=int(part["zone_minute"]))
    moment = datetime(
        int(part["year"]),
        int(part["month"]),
        int(part["day"]),
        int(part["hour"]),
        int(part["minute"]),
        int(part["second"]),
        int(part["fraction"][:6].ljust(6, "0")),
        tzinfo=timezone(-zone if part["sign"] == "-" else zone),
    )
    return (moment - EPOCH) // MICROSECOND
