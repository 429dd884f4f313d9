"""Why we refuse. We deny, with a code from one enum; exchanges reject, in their own words."""

import enum
from decimal import Decimal

import msgspec


class DenialCode(enum.StrEnum):
    """Every reason for which a command is refused; api/errors.py gives each its 3Commas form."""

    # the command does not fit the state (behaviour 2.9: "Wrong state")
    EDIT_NOT_ALLOWED = "edit_not_allowed"
    CANCEL_NOT_ALLOWED = "cancel_not_allowed"
    CLOSE_NOT_ALLOWED = "close_not_allowed"
    ADD_FUNDS_NOT_ALLOWED = "add_funds_not_allowed"
    REDUCE_FUNDS_NOT_ALLOWED = "reduce_funds_not_allowed"
    FORCE_START_NOT_ALLOWED = "force_start_not_allowed"
    FORCE_PROCESS_NOT_ALLOWED = "force_process_not_allowed"
    STEP_CLOSE_NOT_ALLOWED = "step_close_not_allowed"
    STEP_CANCEL_NOT_ALLOWED = "step_cancel_not_allowed"
    # nothing there
    TRADE_NOT_FOUND = "trade_not_found"
    STEP_NOT_FOUND = "step_not_found"
    NO_MARKET_DATA = "no_market_data"
    # the plan breaks a rule
    UNITS_TOO_SMALL = "units_too_small"  # limit: min lot
    UNITS_TOO_LARGE = "units_too_large"
    TOTAL_TOO_SMALL = "total_too_small"  # limit: min total
    TOTAL_TOO_LARGE = "total_too_large"
    PRICE_TOO_SMALL = "price_too_small"
    PRICE_TOO_LARGE = "price_too_large"
    STEP_TOO_SMALL = "step_too_small"  # M-26
    VOLUMES_NOT_100 = "volumes_not_100"  # TP-15
    TOO_MANY_STEPS = "too_many_steps"  # TP-15
    TRAILING_NOT_LAST = "trailing_not_last"  # TP-16
    BREAKEVEN_NEEDS_TWO_STEPS = "breakeven_needs_two_steps"  # BE-0
    STOP_BEYOND_TARGET = "stop_beyond_target"  # TR-74
    SIMPLE_WITH_TAKE_PROFIT = "simple_with_take_profit"  # V-3
    SIMPLE_WITH_STOP_LOSS = "simple_with_stop_loss"  # V-3
    LEVERAGE_OUT_OF_RANGE = "leverage_out_of_range"  # M-55
    NO_LONG_POSITION = "no_long_position"  # V-7
    NO_SHORT_POSITION = "no_short_position"  # V-7
    NOTE_TOO_LONG = "note_too_long"
    # edits
    POSITION_TYPE_FIXED = "position_type_fixed"
    UNITS_NOT_EDITABLE = "units_not_editable"  # E-10
    PRICE_NOT_EDITABLE = "price_not_editable"
    CONDITIONAL_NOT_EDITABLE = "conditional_not_editable"
    ORDER_TYPE_NOT_EDITABLE = "order_type_not_editable"
    LEVERAGE_NOT_EDITABLE = "leverage_not_editable"
    EDIT_VOLUMES_INVALID = "edit_volumes_invalid"  # E-24
    FOREIGN_STEP = "foreign_step"  # E-23
    STEP_POSITIONS_INVALID = "step_positions_invalid"  # E-27
    # funds
    REDUCE_REST_TOO_SMALL = "reduce_rest_too_small"  # M-32
    TOO_MANY_FUNDS_STEPS = "too_many_funds_steps"


class Problem(msgspec.Struct, frozen=True):
    """One broken rule. `subject` names what is meant where a code has several (e.g. `position`, `stop_loss`)."""

    code: DenialCode
    subject: str = ""
    limit: Decimal | None = None
    index: int | None = None  # take-profit step in the request, from 0


class Denied(Exception):
    """A wish that is refused; nothing has changed."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(", ".join(problem.code for problem in problems))
        self.problems = problems


def deny(code: DenialCode, subject: str = "", limit: Decimal | None = None, index: int | None = None) -> Denied:
    """A refusal with one reason."""
    return Denied(Problem(code, subject, limit, index))


class IllegalTransition(Exception):
    """A move that no table allows: our own mistake, never the world's."""
