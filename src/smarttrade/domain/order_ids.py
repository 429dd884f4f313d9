"""Client order ids: derived from what they identify, so a repeated send is recognised as the same order (C-8)."""

import re
from typing import Final, NamedTuple

LONGEST: Final = 32
"""The shortest limit among large exchanges (OKX); letters and digits only."""

_PATTERN: Final = re.compile(r"st([a-z]{4})(\d+)x(\d+)x(\d+)")


class OrderRef(NamedTuple):
    """What a client order id names."""

    instance: str  # four letters of this installation: another one on the same account must not be mistaken for us
    trade_id: int
    step_id: int
    attempt: int


def client_order_id(instance: str, trade_id: int, step_id: int, attempt: int) -> str:
    """The id of one attempt of one step, at most 32 letters and digits."""
    return f"st{instance}{trade_id}x{step_id}x{attempt}"


def parse(text: str) -> OrderRef | None:
    """What an id names; None for an id that is not ours (EX-4)."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    return OrderRef(match[1], int(match[2]), int(match[3]), int(match[4]))
