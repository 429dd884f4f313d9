"""Denials and refusals as the wire shows them (auth.md section 6, api.md)."""

from decimal import Decimal

import pytest

from smarttrade.api import errors
from smarttrade.api.errors import FORMS, ApiError, denial
from smarttrade.domain.errors import DenialCode, Problem

D = Decimal


def answered(*problems: Problem) -> tuple[int, object]:
    answer = denial(problems)
    return answer.status, answer.body.get("error_attributes", answer.body.get("error_description"))


@pytest.mark.parametrize("code", DenialCode)
def test_every_denial_code_has_a_form(code: DenialCode) -> None:
    assert code in FORMS
    answer = denial([Problem(code)])
    assert answer.status in (400, 404, 422)
    assert answer.body["error"] in ("record_invalid", "Wrong param(s)", "Not found")


def test_a_position_beyond_the_limits_is_answered_as_published() -> None:
    answer = denial(
        [
            Problem(DenialCode.TOTAL_TOO_LARGE, "position", D(9000000)),
            Problem(DenialCode.UNITS_TOO_LARGE, "position", D(9000)),
        ]
    )
    assert answer.status == 422
    assert answer.body == {
        "error": "record_invalid",
        "error_description": "Invalid parameters",
        "error_attributes": {
            "position": ["is invalid"],
            "position.total": ["must be less than or equal to 9000000.0"],
            "units_to_buy": ["must be less than or equal to 9000.0"],
        },
    }


@pytest.mark.parametrize(
    ("problem", "attributes"),
    [
        (
            Problem(DenialCode.TOTAL_TOO_SMALL, "position", D(5)),
            {"position": ["is invalid"], "position.total": ["must be greater than or equal to 5.0"]},
        ),
        (
            Problem(DenialCode.UNITS_TOO_SMALL, "position", D("0.00001")),
            {"position": ["is invalid"], "units_to_buy": ["must be greater than or equal to 0.00001"]},
        ),
        (Problem(DenialCode.UNITS_TOO_SMALL), {"position": ["is invalid"], "units_to_buy": ["Too small"]}),
        (
            Problem(DenialCode.TOTAL_TOO_SMALL, "add_funds", D("1.125")),
            {"total": ["must be greater than or equal to 1.125"]},
        ),
        (Problem(DenialCode.UNITS_TOO_LARGE, "add_funds", D(9)), {"units": ["must be less than or equal to 9.0"]}),
        (Problem(DenialCode.UNITS_TOO_SMALL, "add_funds", D(1)), {"units": ["must be greater than or equal to 1.0"]}),
        (Problem(DenialCode.UNITS_TOO_SMALL, "reduce_funds", D(1)), {"entered_amount": ["Too small"]}),
        (Problem(DenialCode.REDUCE_REST_TOO_SMALL, "reduce_funds"), {"entered_amount": ["Too small"]}),
        (
            Problem(DenialCode.TOTAL_TOO_SMALL, "reduce_funds", D("1.5")),
            {"entered_amount": ["Too small"]},
        ),
        (Problem(DenialCode.PRICE_TOO_LARGE, "add_funds", D(2)), {"price": ["must be less than or equal to 2.0"]}),
        (
            Problem(DenialCode.PRICE_TOO_SMALL, "take_profit", D(2), 0),
            {"take_profit.steps.price": ["must be greater than or equal to 2.0"]},
        ),
        (
            Problem(DenialCode.PRICE_TOO_SMALL, "position", D(2)),
            {"position": ["is invalid"], "position.price": ["must be greater than or equal to 2.0"]},
        ),
        (
            Problem(DenialCode.NO_MARKET_DATA, "USDT_XXX"),
            {"pair": ["No market data for this pair: USDT_XXX"]},
        ),
        (Problem(DenialCode.VOLUMES_NOT_100), {"take_profit.steps.volume": ["must be equal to 100.0"]}),
        (Problem(DenialCode.TOO_MANY_STEPS), {"take_profit.steps": ["is too long (maximum is 8)"]}),
        (Problem(DenialCode.STOP_BEYOND_TARGET), {"stop_loss.conditional.price": ["is invalid"]}),
        (Problem(DenialCode.FOREIGN_STEP, index=2), {"take_profit[steps][2][id]": ["is invalid"]}),
        (Problem(DenialCode.POSITION_TYPE_FIXED), {"position.type": ["is invalid"]}),
        (Problem(DenialCode.UNITS_NOT_EDITABLE), {"position.units": ["is not editable"]}),
        (Problem(DenialCode.LEVERAGE_OUT_OF_RANGE, "leverage"), {"leverage[value]": ["is invalid"]}),
        (
            Problem(DenialCode.NO_LONG_POSITION),
            {"position": ["Long position should be opened in order to use smart sell"]},
        ),
        (
            Problem(DenialCode.NO_SHORT_POSITION),
            {"position": ["Short position should be opened in order to use smart buy"]},
        ),
        (Problem(DenialCode.TOO_MANY_FUNDS_STEPS, "reduce_funds", D(50)), {
            "reduce_funds.steps": ["is too long (maximum is 50)"]
        }),
    ],
)  # fmt: skip
def test_a_broken_rule_names_its_attribute(problem: Problem, attributes: dict[str, list[str]]) -> None:
    """F-1, V-7, M-26, M-32, M-55, EX-15, E-10, E-23, TR-74."""
    assert answered(problem) == (422, attributes)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (DenialCode.EDIT_NOT_ALLOWED, "Edit"),
        (DenialCode.CANCEL_NOT_ALLOWED, "Cancel"),
        (DenialCode.CLOSE_NOT_ALLOWED, "Close by market"),
        (DenialCode.ADD_FUNDS_NOT_ALLOWED, "Add funds"),
        (DenialCode.REDUCE_FUNDS_NOT_ALLOWED, "Reduce funds"),
        (DenialCode.FORCE_START_NOT_ALLOWED, "Force start"),
        (DenialCode.FORCE_PROCESS_NOT_ALLOWED, "Force process"),
        (DenialCode.STEP_CLOSE_NOT_ALLOWED, "Close trade"),
        (DenialCode.STEP_CANCEL_NOT_ALLOWED, "Cancel trade"),
    ],
)
def test_a_wrong_state_is_a_wrong_param(code: DenialCode, action: str) -> None:
    answer = denial([Problem(code)])
    assert (answer.status, answer.body) == (
        400,
        {"error": "Wrong param(s)", "error_description": f"{action} is not allowed in the current status"},
    )


def test_messages_of_several_problems_are_joined_without_repetition() -> None:
    small = Problem(DenialCode.STEP_TOO_SMALL, "take_profit", index=0)
    assert answered(small, Problem(DenialCode.STEP_TOO_SMALL, "take_profit", index=1)) == (
        422,
        {"units": ["Too small"]},
    )


def test_a_wrong_state_hides_broken_rules_and_a_missing_trade_hides_both() -> None:
    broken, state, missing = (
        Problem(DenialCode.VOLUMES_NOT_100),
        Problem(DenialCode.EDIT_NOT_ALLOWED),
        Problem(DenialCode.TRADE_NOT_FOUND),
    )
    assert answered(broken, state) == (400, "Edit is not allowed in the current status")
    assert answered(broken, state, missing) == (404, "Smart Trade not found")


def test_a_missing_trade_is_404_or_400_by_route_and_a_missing_step_404() -> None:
    assert denial([Problem(DenialCode.TRADE_NOT_FOUND)], missing_trade_status=400).status == 400
    assert denial([Problem(DenialCode.TRADE_NOT_FOUND)]).body == {
        "error": "Not found",
        "error_description": "Smart Trade not found",
    }
    assert denial([Problem(DenialCode.STEP_NOT_FOUND)], missing_trade_status=400).body == {
        "error": "Not found",
        "error_description": "Trade not found",
    }
    assert denial([Problem(DenialCode.STEP_NOT_FOUND)], missing_trade_status=400).status == 404


def test_a_long_note_is_a_bad_parameter_and_not_a_broken_rule() -> None:
    assert answered(Problem(DenialCode.NOTE_TOO_LONG)) == (400, {"note": ["too long. Max is 300 symbols"]})


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (
            errors.api_key_invalid(),
            401,
            {"error": "api_key_invalid_or_expired", "error_description": "Unauthorized. Invalid or expired api key."},
        ),
        (
            errors.signature_invalid(),
            401,
            {"error": "signature_invalid", "error_description": "Provided signature is invalid"},
        ),
        (
            errors.permission_missing(),
            403,
            {"error": "Forbidden", "error_description": "Api key not authorized for this action"},
        ),
        (
            errors.account_not_owned(),
            403,
            {"error": "Forbidden", "error_description": "Account not owned by current user."},
        ),
        (errors.account_unavailable(), 403, {"error": "Forbidden. Unavailable for this account."}),
        (errors.not_found(), 404, {"error": "not_found", "error_description": "Not Found"}),
        (errors.unknown_error(), 500, {"error": "unknown_error", "error_description": "Unknown error occurred"}),
        (
            errors.too_many_requests(300),
            429,
            {"error": "too_many_requests", "error_description": "Rate limit exceeded"},
        ),
    ],
)
def test_published_bodies_are_kept_word_for_word(answer: ApiError, status: int, body: dict[str, str]) -> None:
    assert (answer.status, answer.body) == (status, body)
