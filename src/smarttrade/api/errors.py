"""Every refusal as the wire shows it: a status and a 3Commas error body (auth.md section 6).

How a denial of the rules becomes a body, for whoever raises `domain.errors.Denied`:

subject   what the code is about, where a code has several forms:
          `position` (also the default), `add_funds`, `reduce_funds` for units, totals and prices;
          `take_profit`, `stop_loss` for prices; `add_funds`, `reduce_funds` for TOO_MANY_FUNDS_STEPS;
          the pair itself for NO_MARKET_DATA.
limit     the bound that was broken; shown as a decimal. Without it a small figure is "Too small" and a large one
          "is invalid".
index     place of the take-profit step in the request, from 0; needed by FOREIGN_STEP only.

Several problems make one body: messages are joined under their keys, no message twice. A missing trade or step hides
everything else, a wrong state hides broken rules (auth.md 6, order of checks).
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from smarttrade.api.notation import decimal_text
from smarttrade.api.parameters import INVALID
from smarttrade.domain.errors import DenialCode, Problem

MAX_STEPS: Final = 8
MAX_NOTE: Final = 300
NOTE_TOO_LONG: Final = f"too long. Max is {MAX_NOTE} symbols"

Attributes = Mapping[str, Iterable[str]]


class ApiError(Exception):
    """An answer other than success. `headers` are sent with it."""

    def __init__(
        self,
        status: int,
        error: str,
        description: str | None = None,
        attributes: Attributes | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error
        self.description = description
        self.attributes = attributes
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"error": self.error}
        if self.description is not None:
            body["error_description"] = self.description
        if self.attributes is not None:
            body["error_attributes"] = {key: list(messages) for key, messages in self.attributes.items()}
        return body


class Overloaded(Exception):
    """The queue of commands is full. Nothing was done; the caller may repeat at once."""


# -- refusals of the request itself -----------------------------------------------------------------------------------


def invalid_parameters(attributes: Attributes, status: int = 400) -> ApiError:
    """400 for parameters of the wrong shape, 422 for a broken rule."""
    return ApiError(status, "record_invalid", "Invalid parameters", attributes)


def invalid_json() -> ApiError:
    return ApiError(400, "invalid_request", "Request body is not valid JSON")


def body_too_large(limit: int) -> ApiError:
    # What goes on beyond all measure is not read to its end, so the connection cannot carry another request.
    headers = (("connection", "close"),)
    return ApiError(413, "payload_too_large", f"Request body is larger than {limit} bytes", headers=headers)


def unsupported_media_type() -> ApiError:
    return ApiError(415, "unsupported_media_type", "Use application/json or application/x-www-form-urlencoded")


def not_found() -> ApiError:
    """An unknown route, or a missing entity other than a SmartTrade."""
    return ApiError(404, "not_found", "Not Found")


def trade_not_found(status: int = 404) -> ApiError:
    """`status` is 400 on GET and DELETE of /v2/smart_trades/:id (api.md, contradiction 2)."""
    return ApiError(status, "Not found", "Smart Trade not found")


def step_not_found() -> ApiError:
    return ApiError(404, "Not found", "Trade not found")


def unknown_pair() -> ApiError:
    """A pair that the market does not list, or has no price for (api.md D4.3)."""
    return ApiError(404, "Unknown pair")


def account_not_deletable() -> ApiError:
    """An account with open trades or orders (api.md D3.6)."""
    description = "There are active trading deals on this exchange. Close all trading operations and try again"
    return ApiError(422, "account_not_deletable", description)


def cannot_happen(reason: str) -> ApiError:
    """A scripted event that the sandbox's market or exchange cannot produce; nothing has changed."""
    return ApiError(422, "unprocessable_entity", reason)


def wrong_method(allowed: Iterable[str]) -> ApiError:
    names = ", ".join(allowed)
    description = f"Your request method is not supported by this endpoint. Please use one of [{names}]."
    return ApiError(405, "invalid_request_method", description, headers=(("allow", names),))


# -- refusals of the caller -------------------------------------------------------------------------------------------


def api_key_invalid() -> ApiError:
    return ApiError(401, "api_key_invalid_or_expired", "Unauthorized. Invalid or expired api key.")


def signature_invalid() -> ApiError:
    return ApiError(401, "signature_invalid", "Provided signature is invalid")


def ip_not_allowed() -> ApiError:
    return ApiError(401, "ip_not_allowed", "Request from a non-whitelisted IP address")


def permission_missing() -> ApiError:
    return ApiError(403, "Forbidden", "Api key not authorized for this action")


def account_not_owned() -> ApiError:
    """A SmartTrade on an unknown or foreign account."""
    return ApiError(403, "Forbidden", "Account not owned by current user.")


def account_unavailable() -> ApiError:
    """An action that this kind of account does not offer."""
    return ApiError(403, "Forbidden. Unavailable for this account.")


def sandbox_is_local() -> ApiError:
    """Somebody on another machine calls the sandbox."""
    return ApiError(403, "Forbidden", "The sandbox answers only callers on its own machine")


def forced_mode_invalid() -> ApiError:
    return ApiError(400, "forced_mode_invalid", "Forced mode is not included in the ['real', 'paper']")


def too_many_requests(retry_after_seconds: int) -> ApiError:
    headers = (("retry-after", str(retry_after_seconds)),)
    return ApiError(429, "too_many_requests", "Rate limit exceeded", headers=headers)


def ip_banned(retry_after_seconds: int) -> ApiError:
    headers = (("retry-after", str(retry_after_seconds)),)
    return ApiError(418, "ip_banned", "Banned for exceeding the rate limit repeatedly", headers=headers)


# -- our own failures -------------------------------------------------------------------------------------------------


def unknown_error() -> ApiError:
    return ApiError(500, "unknown_error", "Unknown error occurred")


def service_unavailable() -> ApiError:
    """A full queue, or a store that cannot be written: nothing was done, and the caller may repeat."""
    headers = (("retry-after", "1"),)
    return ApiError(503, "service_unavailable", "The server cannot take the request now", headers=headers)


def not_healthy(attributes: Attributes) -> ApiError:
    """Faults F58, F68: stops may not fire, for the reasons that `attributes` give."""
    return ApiError(503, "not_healthy", "The server cannot watch every stop", attributes)


def exchange_timeout() -> ApiError:
    return ApiError(504, "exchange_timeout", "The exchange did not answer in time")


# -- denials of the rules ---------------------------------------------------------------------------------------------


class WrongState(msgspec.Struct, frozen=True):
    """400 "Wrong param(s)": the action does not fit the trade's status."""

    action: str

    @property
    def answer(self) -> ApiError:
        return ApiError(400, "Wrong param(s)", f"{self.action} is not allowed in the current status")


class Missing(msgspec.Struct, frozen=True):
    """There is no such trade or step."""

    what: str


class Broken(msgspec.Struct, frozen=True):
    """A broken rule: which attributes of `record_invalid` say what."""

    attributes: Callable[[Problem], Mapping[str, str]]
    status: int = 422


_TRADE: Final = Missing("trade")
_STEP: Final = Missing("step")


def _says(key: str, message: str) -> Broken:
    return Broken(lambda _: {key: message})


def _at_least(limit: Decimal | None) -> str:
    return "Too small" if limit is None else f"must be greater than or equal to {decimal_text(limit)}"


def _at_most(limit: Decimal | None) -> str:
    return INVALID if limit is None else f"must be less than or equal to {decimal_text(limit)}"


def _figure(in_position: str, elsewhere: str, message: Callable[[Decimal | None], str]) -> Broken:
    """A limit of the market (EX-15): the key depends on whether the position or added or reduced funds broke it."""

    def attributes(problem: Problem) -> Mapping[str, str]:
        said = message(problem.limit)
        if problem.subject == "reduce_funds" and message is _at_least:  # api.md A6
            return {"entered_amount": "Too small"}
        if problem.subject in ("add_funds", "reduce_funds"):
            return {elsewhere: said}
        return {"position": INVALID, in_position: said}

    return Broken(attributes)


def _units_too_small(problem: Problem) -> Mapping[str, str]:
    if problem.subject == "reduce_funds":  # api.md A6: the same words as for a rest that is too small
        return {"entered_amount": "Too small"}
    said = _at_least(problem.limit)
    return {"units": said} if problem.subject == "add_funds" else {"position": INVALID, "units_to_buy": said}


def _price(message: Callable[[Decimal | None], str]) -> Broken:
    keys = {
        "add_funds": "price",
        "reduce_funds": "price",
        "take_profit": "take_profit.steps.price",
        "stop_loss": "stop_loss.price",
    }

    def attributes(problem: Problem) -> Mapping[str, str]:
        said = message(problem.limit)
        key = keys.get(problem.subject)
        return {"position": INVALID, "position.price": said} if key is None else {key: said}

    return Broken(attributes)


def _too_many_steps(problem: Problem) -> Mapping[str, str]:
    most = MAX_STEPS if problem.limit is None else int(problem.limit)
    return {"take_profit.steps": f"is too long (maximum is {most})"}


def _too_many_funds_steps(problem: Problem) -> Mapping[str, str]:
    said = INVALID if problem.limit is None else f"is too long (maximum is {int(problem.limit)})"
    return {"reduce_funds.steps" if problem.subject == "reduce_funds" else "add_funds.steps": said}


def _open_first(side: str, kind: str) -> Broken:
    return _says("position", f"{side} position should be opened in order to use {kind}")


FORMS: Final[Mapping[DenialCode, WrongState | Missing | Broken]] = {
    DenialCode.EDIT_NOT_ALLOWED: WrongState("Edit"),
    DenialCode.CANCEL_NOT_ALLOWED: WrongState("Cancel"),
    DenialCode.CLOSE_NOT_ALLOWED: WrongState("Close by market"),
    DenialCode.ADD_FUNDS_NOT_ALLOWED: WrongState("Add funds"),
    DenialCode.REDUCE_FUNDS_NOT_ALLOWED: WrongState("Reduce funds"),
    DenialCode.FORCE_START_NOT_ALLOWED: WrongState("Force start"),
    DenialCode.FORCE_PROCESS_NOT_ALLOWED: WrongState("Force process"),
    DenialCode.STEP_CLOSE_NOT_ALLOWED: WrongState("Close trade"),
    DenialCode.STEP_CANCEL_NOT_ALLOWED: WrongState("Cancel trade"),
    DenialCode.TRADE_NOT_FOUND: _TRADE,
    DenialCode.STEP_NOT_FOUND: _STEP,
    DenialCode.NO_MARKET_DATA: Broken(lambda problem: {"pair": f"No market data for this pair: {problem.subject}"}),
    DenialCode.UNITS_TOO_SMALL: Broken(_units_too_small),
    DenialCode.UNITS_TOO_LARGE: _figure("units_to_buy", "units", _at_most),
    DenialCode.TOTAL_TOO_SMALL: _figure("position.total", "total", _at_least),
    DenialCode.TOTAL_TOO_LARGE: _figure("position.total", "total", _at_most),
    DenialCode.PRICE_TOO_SMALL: _price(_at_least),
    DenialCode.PRICE_TOO_LARGE: _price(_at_most),
    DenialCode.STEP_TOO_SMALL: _says("units", "Too small"),
    DenialCode.VOLUMES_NOT_100: _says("take_profit.steps.volume", "must be equal to 100.0"),
    DenialCode.TOO_MANY_STEPS: Broken(_too_many_steps),
    DenialCode.TRAILING_NOT_LAST: _says("take_profit.steps.trailing", INVALID),
    DenialCode.BREAKEVEN_NEEDS_TWO_STEPS: _says("stop_loss.breakeven", INVALID),
    DenialCode.STOP_BEYOND_TARGET: _says("stop_loss.conditional.price", INVALID),
    DenialCode.SIMPLE_WITH_TAKE_PROFIT: _says("take_profit", INVALID),
    DenialCode.SIMPLE_WITH_STOP_LOSS: _says("stop_loss", INVALID),
    DenialCode.LEVERAGE_OUT_OF_RANGE: _says("leverage[value]", INVALID),
    DenialCode.NO_LONG_POSITION: _open_first("Long", "smart sell"),
    DenialCode.NO_SHORT_POSITION: _open_first("Short", "smart buy"),
    DenialCode.NOTE_TOO_LONG: Broken(lambda _: {"note": NOTE_TOO_LONG}, status=400),
    DenialCode.POSITION_TYPE_FIXED: _says("position.type", INVALID),
    DenialCode.UNITS_NOT_EDITABLE: _says("position.units", "is not editable"),
    DenialCode.PRICE_NOT_EDITABLE: _says("position.price", "is not editable"),
    DenialCode.CONDITIONAL_NOT_EDITABLE: _says("position.conditional", "is not editable"),
    DenialCode.ORDER_TYPE_NOT_EDITABLE: _says("position.order_type", "is not editable"),
    DenialCode.LEVERAGE_NOT_EDITABLE: _says("leverage", "is not editable"),
    DenialCode.EDIT_VOLUMES_INVALID: _says("take_profit[steps]", INVALID),
    DenialCode.FOREIGN_STEP: Broken(lambda problem: {f"take_profit[steps][{problem.index or 0}][id]": INVALID}),
    DenialCode.STEP_POSITIONS_INVALID: _says("take_profit.steps.position", INVALID),
    DenialCode.REDUCE_REST_TOO_SMALL: _says("entered_amount", "Too small"),
    DenialCode.TOO_MANY_FUNDS_STEPS: Broken(_too_many_funds_steps),
}


def denial(problems: Iterable[Problem], missing_trade_status: int = 404) -> ApiError:
    """The one answer to all problems of a refused command; the module's docstring says what they must carry."""
    forms = [(FORMS[problem.code], problem) for problem in problems]
    if any(form is _TRADE for form, _ in forms):
        return trade_not_found(missing_trade_status)
    if any(form is _STEP for form, _ in forms):
        return step_not_found()
    for form, _ in forms:
        if isinstance(form, WrongState):
            return form.answer
    attributes: dict[str, list[str]] = {}
    status = 400
    for form, problem in forms:
        if isinstance(form, Broken):
            status = max(status, form.status)
            for key, message in form.attributes(problem).items():
                said = attributes.setdefault(key, [])
                if message not in said:
                    said.append(message)
    return invalid_parameters(attributes, status)
