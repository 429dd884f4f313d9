"""JSON schemas of everything that the HTTP API takes and answers, by name (entities.md, api.md, sandbox).

Answers are described as they are written: figures are decimal strings, a key that may be absent is not required.
Requests are described a little narrower than the server is: null and the empty text, which count as absent, are not
in here.
Enumerations come from the domain, so that a new value appears here by itself.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from smarttrade.adapters.exchanges.paper.exchange import CloseReason
from smarttrade.adapters.exchanges.paper.rows import FailureClass, FaultKind, FaultPoint
from smarttrade.api.errors import MAX_NOTE, MAX_STEPS
from smarttrade.api.requests import DIRECTIONS, MARGIN_MODES, MAX_PER_PAGE, STATUSES
from smarttrade.api.routes.accounts import LONGEST_NAME, SHORTEST_NAME
from smarttrade.api.routes.market_data import CONNECTABLE, LIMIT_TYPES
from smarttrade.api.routes.sandbox import OPEN_ONLY, ORDER_STATUSES, RULE_FIGURES
from smarttrade.api.routes.users import LOCALES
from smarttrade.domain.account import Mode, Permission
from smarttrade.domain.instrument import FeeAsset, MarketKind, Side
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType, MarginMode, TradeKind
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.domain.steps import StepPurpose, StepStatus
from smarttrade.ports.storage import OrderBy

Schema = dict[str, Any]

DECIMAL_PATTERN: Final = r"^-?[0-9]+\.[0-9]+$"
"""How figures are written: plain notation, at least one digit after the point."""

NUMBER_PATTERN: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?$"
"""How figures may be sent as text."""

SWITCH_PATTERN: Final = r"^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|0|1)$"

MAX_ID: Final = 2**31 - 1


# --- the words that schemas are made of -------------------------------------------------------------------------


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def said(schema: Schema, description: str) -> Schema:
    """`schema` with what a trader should know about it."""
    return {**schema, "description": description}


def obj(properties: Mapping[str, Schema], *, optional: Iterable[str] = (), description: str | None = None) -> Schema:
    """An object; every member is required but the `optional` ones."""
    missing = frozenset(optional)
    schema: Schema = {"type": "object", "properties": dict(properties)}
    required = [name for name in properties if name not in missing]
    if required:
        schema["required"] = required
    return schema if description is None else said(schema, description)


def wish(properties: Mapping[str, Schema], *, required: Iterable[str] = (), description: str | None = None) -> Schema:
    """An object of a request; no member is required but the `required` ones."""
    needed = frozenset(required)
    return obj(properties, optional=[name for name in properties if name not in needed], description=description)


def array(items: Schema, **limits: Any) -> Schema:
    return {"type": "array", "items": items, **limits}


def one_of(values: Iterable[str], description: str | None = None) -> Schema:
    schema: Schema = {"type": "string", "enum": [str(value) for value in values]}
    return schema if description is None else said(schema, description)


def values(kind: type[enum.StrEnum]) -> list[str]:
    return [member.value for member in kind]


def or_null(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}], **_without(schema, "$ref")}
    return {**schema, "type": [schema["type"], "null"]}


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def always(value: Any) -> Schema:
    return {"const": value}


TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
ID: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
NULL: Final[Schema] = {"type": "null"}
INSTANT: Final[Schema] = ref("Instant")
DECIMAL: Final[Schema] = ref("Decimal")
FIGURE: Final[Schema] = ref("Figure")
PAIR: Final[Schema] = ref("Pair")
SWITCH: Final[Schema] = ref("Switch")
WHOLE: Final[Schema] = ref("Whole")

SIDE: Final = one_of(values(Side))
ORDER_TYPE: Final = one_of(values(OrderType))
PRICE_TYPE: Final = one_of(values(PriceType), "Price that is followed: best bid, best ask, or last trade.")
HOW_PRICED: Final = one_of(("value", "percentage"), "`percentage` until the entry price is known.")
VALUE: Final = obj({"value": DECIMAL})
VALUE_OR_NULL: Final = obj({"value": or_null(DECIMAL)})
AMOUNT_IN_CURRENCY: Final = obj({"currency": TEXT, "amount": DECIMAL})

BASICS: Final[Mapping[str, Schema]] = {
    "Decimal": {
        "type": "string",
        "pattern": DECIMAL_PATTERN,
        "description": "An exact figure as text, in plain notation. Read it as a decimal, never as a float.",
        "examples": ["0.10664"],
    },
    "Figure": {
        "anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMBER_PATTERN}],
        "description": "A figure, as text or as a JSON number. Its digits are kept exactly as sent.",
        "examples": ["0.10664"],
    },
    "Switch": {
        "anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "string", "pattern": SWITCH_PATTERN}],
        "description": "True or false, as text too.",
    },
    "Whole": {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}],
        "description": "A whole number, as text too.",
    },
    "Instant": {
        "type": "string",
        "format": "date-time",
        "description": "ISO 8601, UTC, milliseconds.",
        "examples": ["2025-01-01T00:00:00.000Z"],
    },
    "Pair": {
        "type": "string",
        "description": "Quote currency, underscore, base currency: `USDT_BTC` is BTC priced in USDT. "
        "A perpetual contract repeats the quote: `USDT_BTCUSDT`.",
        "examples": ["USDT_BTC"],
    },
    "Done": said(always(True), "The literal `true`."),
    "Error": obj(
        {
            "error": said(TEXT, "Kind of error. No successful answer has this key."),
            "error_description": TEXT,
            "error_attributes": {
                "type": "object",
                "additionalProperties": array(TEXT),
                "description": "What is wrong with which parameter. `take_profit[steps][0][volume]` names a member "
                "of the request, `position.total` a rule of the market.",
            },
        },
        optional=("error_description", "error_attributes"),
    ),
}


# --- SmartTrade (entities.md 1) ---------------------------------------------------------------------------------


def _status(kind: type[enum.StrEnum]) -> Schema:
    return obj(
        {
            "type": one_of(values(kind)),
            "basic_type": one_of(values(kind), "Same as `type`."),
            "title": TEXT,
            "error": said(TEXT, "What the exchange said; absent unless something failed."),
        },
        optional=("error",),
    )


STEP_STATUS: Final = ref("StepStatus")
TRAILING: Final = obj({"enabled": FLAG, "percent": or_null(DECIMAL)})
FILLED: Final = obj(
    {"units": DECIMAL, "total": DECIMAL, "price": or_null(DECIMAL), "value": said(DECIMAL, "Percent filled.")},
    description="Absent until something is filled.",
)
ORDER_LEG: Final[Mapping[str, Schema]] = {
    "id": ID,
    "type": ORDER_TYPE,
    "status": STEP_STATUS,
    "units": VALUE,
    "price": obj({"value": DECIMAL, "value_without_commission": DECIMAL}),
    "total": VALUE,
    "closed_at": or_null(INSTANT),
    "filled": FILLED,
}
OFF: Final = obj({"enabled": always(False)})

TRADE_PARTS: Final[Mapping[str, Schema]] = {
    "TradeStatus": _status(TradeStatus),
    "StepStatus": _status(StepStatus),
    "TradeLeverage": {
        "oneOf": [
            OFF,
            obj(
                {
                    "enabled": always(True),
                    "type": one_of(values(MarginMode)),
                    "value": DECIMAL,
                    "type_editable": FLAG,
                }
            ),
        ]
    },
    "TradePosition": obj(
        {
            "type": said(SIDE, "`buy` opens a long position, `sell` a short one."),
            "editable": FLAG,
            "units": obj({"value": said(DECIMAL, "Requested; after the entry what is held."), "editable": FLAG}),
            "price": obj({"value": DECIMAL, "value_without_commission": or_null(DECIMAL), "editable": FLAG}),
            "total": obj(
                {"value": DECIMAL, "value_without_commission": DECIMAL}, optional=("value_without_commission",)
            ),
            "order_type": one_of(values(EntryType)),
            "conditional": obj(
                {
                    "editable": FLAG,
                    "price": obj({"value": DECIMAL, "type": PRICE_TYPE}),
                    "order_type": ORDER_TYPE,
                    "trailing": TRAILING,
                },
                description="Only when `order_type` is `conditional`.",
            ),
            "status": STEP_STATUS,
        },
        optional=("conditional",),
    ),
    "TakeProfitStep": obj(
        {
            "id": ID,
            "order_type": ORDER_TYPE,
            "editable": FLAG,
            "units": VALUE_OR_NULL,
            "price": obj({"type": PRICE_TYPE, "value": or_null(DECIMAL), "percent": or_null(DECIMAL)}),
            "volume": said(DECIMAL, "Share of the position, percent."),
            "total": or_null(DECIMAL),
            "trailing": TRAILING,
            "status": STEP_STATUS,
            "closed_at": or_null(INSTANT),
            "data": obj({"cancelable": FLAG, "panic_sell_available": FLAG}),
            "position": said(COUNT, "Place among the steps, from 1."),
            "filled": FILLED,
        },
        optional=("filled",),
    ),
    "TradeTakeProfit": obj({"enabled": FLAG, "price_type": HOW_PRICED, "steps": array(ref("TakeProfitStep"))}),
    "TradeStopLoss": {
        "oneOf": [
            OFF,
            obj(
                {
                    "enabled": always(True),
                    "price_type": HOW_PRICED,
                    "breakeven": FLAG,
                    "order_type": ORDER_TYPE,
                    "editable": FLAG,
                    "status": STEP_STATUS,
                    "units": VALUE_OR_NULL,
                    "total": VALUE_OR_NULL,
                    "price": obj({"value": or_null(DECIMAL), "percent": or_null(DECIMAL)}),
                    "closed_at": or_null(INSTANT),
                    "conditional": obj(
                        {
                            "price": obj({"value": or_null(DECIMAL), "type": PRICE_TYPE, "percent": or_null(DECIMAL)}),
                            "trailing": TRAILING,
                        }
                    ),
                    "timeout": obj({"enabled": FLAG, "value": said(or_null(COUNT), "Seconds.")}),
                    "filled": FILLED,
                },
                optional=("filled",),
            ),
        ]
    },
    "ReduceFundsStep": obj(
        {**ORDER_LEG, "data": obj({"cancelable": FLAG, "panic_sell_available": FLAG})}, optional=("filled",)
    ),
    "MarketClose": {
        "oneOf": [
            said({"type": "object", "maxProperties": 0}, "Until the whole trade is closed at market."),
            obj(ORDER_LEG, optional=("filled",)),
        ]
    },
    "CurrentPrice": obj(
        {"bid": DECIMAL, "ask": DECIMAL, "last": DECIMAL, "quote_volume": DECIMAL, "day_change_percent": DECIMAL}
    ),
    "TradeData": obj(
        {
            "editable": FLAG,
            "current_price": or_null(ref("CurrentPrice")),
            "target_price_type": always("price"),
            "orderbook_price_currency": TEXT,
            "base_order_finished": always(True),
            "missing_funds_to_close": said(DECIMAL, "Base that the account lacks to close its trades."),
            "liquidation_price": or_null(DECIMAL),
            "average_enter_price": said(or_null(DECIMAL), "With commission."),
            "average_close_price": said(or_null(DECIMAL), "With commission."),
            "average_enter_price_without_commission": or_null(DECIMAL),
            "average_close_price_without_commission": or_null(DECIMAL),
            "panic_sell_available": FLAG,
            "add_funds_available": FLAG,
            "reduce_funds_available": FLAG,
            "force_start_available": FLAG,
            "force_process_available": FLAG,
            "cancel_available": FLAG,
            "finished": FLAG,
            "base_position_step_finished": FLAG,
            "entered_amount": said(DECIMAL, "Base that came in, net of commission paid in base."),
            "entered_total": said(DECIMAL, "Quote that it cost."),
            "closed_amount": DECIMAL,
            "closed_total": DECIMAL,
            "commission": said(NUMBER, "Rate of the market as a fraction. For display only."),
            "created_at": INSTANT,
            "updated_at": INSTANT,
            "closed_at": said(INSTANT, "Absent until the trade has ended."),
            "type": said(one_of(values(TradeKind)), "Kind of trade."),
        },
        optional=("closed_at",),
    ),
    "TradeProfit": obj(
        {
            "volume": said(or_null(DECIMAL), "Quote currency."),
            "usd": or_null(DECIMAL),
            "percent": DECIMAL,
            "roe": said(or_null(DECIMAL), "Percent of the margin; null on spot."),
        }
    ),
}

SMART_TRADE: Final[Mapping[str, Schema]] = {
    "SmartTrade": obj(
        {
            "id": ID,
            "version": always(2),
            "account": obj({"id": ID, "type": TEXT, "name": TEXT, "market": TEXT, "link": TEXT}),
            "pair": PAIR,
            "instant": said(FLAG, "A single order, nothing after it."),
            "status": ref("TradeStatus"),
            "leverage": ref("TradeLeverage"),
            "position": ref("TradePosition"),
            "take_profit": ref("TradeTakeProfit"),
            "stop_loss": ref("TradeStopLoss"),
            "reduce_funds": obj({"steps": array(ref("ReduceFundsStep"))}),
            "market_close": ref("MarketClose"),
            "note": TEXT,
            "note_raw": or_null(TEXT),
            "skip_enter_step": said(FLAG, "The position existed before the trade."),
            "data": ref("TradeData"),
            "profit": ref("TradeProfit"),
            "margin": obj({"amount": or_null(DECIMAL), "total": or_null(DECIMAL)}),
            "is_position_not_filled": FLAG,
        },
        description="A whole trade: entry, targets, stop loss, and where each of them stands.",
    ),
    "SmartTradeList": array(ref("SmartTrade")),
    "ReduceFundsInfo": obj({"max_reduce_funds_amount": said(DECIMAL, "Base units. Not rounded.")}),
    "Trade": obj(
        {
            "id": said(ID, "The same as the step's in the SmartTrade."),
            "average_price": or_null(DECIMAL),
            "follow_price_type": PRICE_TYPE,
            "initial_amount": DECIMAL,
            "initial_total": or_null(DECIMAL),
            "order_price": said(or_null(DECIMAL), "Limit price; null for a market order."),
            "order_side": SIDE,
            "order_type": ORDER_TYPE,
            "pair": PAIR,
            "position_percentage": or_null(DECIMAL),
            "realised_amount": DECIMAL,
            "realised_total": or_null(DECIMAL),
            "status": one_of(values(StepStatus)),
            "take_profit_percentage": or_null(DECIMAL),
            "trade_purpose": one_of(value for value in values(StepPurpose) if value != StepPurpose.AVERAGING),
            "trail_percentage": or_null(DECIMAL),
            "trail_value": or_null(DECIMAL),
            "trailing_enabled": FLAG,
            "trailing_last_price": or_null(DECIMAL),
            "trailing_last_price_updated_at": said(or_null(COUNT), "Unix seconds."),
            "trigger_condition": {"enum": ["greater_or_equal", "less_or_equal", None]},
            "trigger_price": or_null(DECIMAL),
            "trigger_price_percentage": or_null(DECIMAL),
            "trigger_type": one_of(("none", "conditional")),
            "created_at": INSTANT,
            "updated_at": INSTANT,
            "realised_percentage": DECIMAL,
            "initial_price": or_null(DECIMAL),
            "realised_price": or_null(DECIMAL),
            "cancelable": FLAG,
            "force_processable": said(FLAG, "Can be closed at market by itself."),
        },
        description="One leg of a SmartTrade: its entry, a target, the stop loss, funds added or reduced.",
    ),
    "TradeList": array(ref("Trade")),
}


# --- wishes for SmartTrades (api.md (a)) ------------------------------------------------------------------------

WISHED_UNITS: Final = wish({"value": said(FIGURE, "Base units.")}, required=("value",))
WISHED_PRICE: Final = wish({"value": FIGURE}, required=("value",))
VALUE_OR_PERCENT: Final[Mapping[str, Schema]] = {
    "value": said(FIGURE, "Exactly one of `value` and `percent`."),
    "percent": said(FIGURE, "Distance from the entry price; the sign is ignored."),
}
WISHED_TRAILING: Final = wish(
    {"enabled": SWITCH, "percent": said(FIGURE, "Deviation, 0.01 to 100; the sign is ignored.")}
)

WISHED_PARTS: Final[Mapping[str, Schema]] = {
    "LeverageWish": wish(
        {
            "enabled": SWITCH,
            "type": one_of(MARGIN_MODES, "`custom` means `isolated`."),
            "value": said(WHOLE, "Needed for `isolated`."),
        },
        required=("enabled",),
        description="Contract markets only; ignored on spot.",
    ),
    "ConditionWish": wish(
        {
            "price": wish(
                {"value": said(FIGURE, "Trigger price."), "type": PRICE_TYPE},
            ),
            "order_type": said(ORDER_TYPE, "What is sent when the trigger is reached."),
            "trailing": wish({"enabled": SWITCH, "percent": said(FIGURE, "Follow the price this far; up to 99.")}),
        }
    ),
    "TakeProfitStepWish": wish(
        {
            "order_type": ORDER_TYPE,
            "volume": said(FIGURE, "Share of the position, percent. All steps add up to 100."),
            "price": wish({"type": PRICE_TYPE, **VALUE_OR_PERCENT}, required=("type",)),
            "trailing": said(WISHED_TRAILING, "Last step only; makes it a market order."),
        },
        required=("order_type", "volume", "price"),
    ),
    "TakeProfitWish": wish(
        {"enabled": SWITCH, "steps": array(ref("TakeProfitStepWish"), minItems=1, maxItems=MAX_STEPS)},
        required=("enabled",),
    ),
    "StopLossWish": wish(
        {
            "enabled": SWITCH,
            "breakeven": said(SWITCH, "Move the stop to the entry price after the first target. Needs two targets."),
            "order_type": ORDER_TYPE,
            "price": wish(VALUE_OR_PERCENT, description="Limit price, for a `limit` stop."),
            "conditional": wish(
                {
                    "price": wish({"type": PRICE_TYPE, **VALUE_OR_PERCENT}, description="Trigger price."),
                    "trailing": said(WISHED_TRAILING, "The trigger follows the price. Makes it a market order."),
                }
            ),
            "timeout": wish(
                {
                    "enabled": SWITCH,
                    "value": said(WHOLE, "Seconds that the trigger must stay reached."),
                }
            ),
        },
        required=("enabled",),
    ),
}

POSITION_WISH: Final[Mapping[str, Schema]] = {
    "type": said(SIDE, "`buy` opens a long position, `sell` a short one."),
    "order_type": one_of(values(EntryType)),
    "units": WISHED_UNITS,
    "price": said(WISHED_PRICE, "Limit price; with `skip_enter_step` the entry price that profit counts from."),
    "conditional": said(ref("ConditionWish"), "For `order_type` `conditional`."),
}

CREATE_EXAMPLE: Final = {
    "account_id": 1,
    "pair": "USDT_BTC",
    "position": {"type": "buy", "order_type": "limit", "units": {"value": "0.01"}, "price": {"value": "60000"}},
    "take_profit": {
        "enabled": True,
        "steps": [
            {"order_type": "limit", "volume": 50, "price": {"type": "last", "value": "63000"}},
            {
                "order_type": "market",
                "volume": 50,
                "price": {"type": "bid", "value": "66000"},
                "trailing": {"enabled": True, "percent": "1"},
            },
        ],
    },
    "stop_loss": {
        "enabled": True,
        "order_type": "market",
        "breakeven": True,
        "conditional": {"price": {"type": "bid", "percent": "3"}},
    },
}

WISHES: Final[Mapping[str, Schema]] = {
    "CreateSmartTrade": {
        **wish(
            {
                "account_id": WHOLE,
                "pair": PAIR,
                "instant": said(SWITCH, "A single order, without targets and stop loss."),
                "skip_enter_step": said(SWITCH, "Manage coins or a position that you already have."),
                "note": {"type": "string", "minLength": 1, "maxLength": MAX_NOTE},
                "leverage": ref("LeverageWish"),
                "position": wish(POSITION_WISH, required=("type", "order_type", "units")),
                "take_profit": said(ref("TakeProfitWish"), "Required unless `instant`."),
                "stop_loss": said(ref("StopLossWish"), "Required unless `instant`."),
            },
            required=("account_id", "pair", "position"),
        ),
        "examples": [CREATE_EXAMPLE],
    },
    "EditSmartTrade": wish(
        {
            "note": {"type": "string", "maxLength": MAX_NOTE},
            "leverage": ref("LeverageWish"),
            "position": wish(POSITION_WISH),
            "take_profit": ref("TakeProfitWish"),
            "stop_loss": ref("StopLossWish"),
        },
        description="A group that is absent stays; one that is present replaces the old one, but `position` is merged. "
        "Steps keep their `id`.",
    ),
    "FundsOrder": wish(
        {"order_type": ORDER_TYPE, "units": WISHED_UNITS, "price": said(WISHED_PRICE, "For `limit`.")},
        required=("order_type", "units"),
    ),
    "Note": wish({"note": {"type": "string", "minLength": 1, "maxLength": MAX_NOTE}}, required=("note",)),
}


# --- accounts, users, markets (entities.md 3, api.md (d)) -------------------------------------------------------

ACCOUNT_TYPE: Final = one_of(CONNECTABLE)
CURRENCY: Final = said(TEXT, "Currency code.")
LEVERAGE_MODE: Final = {
    "code": one_of(("none", *values(MarginMode))),
    "name": TEXT,
    "can_set_leverage_value": FLAG,
    "max_leverage": or_null(DECIMAL),
    "available_leverage_values": array(DECIMAL),
}
NOTHING: Final = {"type": "object", "maxProperties": 0}
RATES: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("last", "bid", "ask", "orderbook_ask", "orderbook_bid", "orderbook_last"), DECIMAL),
    "orderbook_price_currency": CURRENCY,
    "strategy_name": TEXT,
    "contract_strategy_name": TEXT,
    "instrumentKind": one_of(("spot", "linear_futures")),
    **dict.fromkeys(("priceStep", "minLotSize", "lotStep", "minTotal", "minMarketTotal"), DECIMAL),
    **dict.fromkeys(
        ("minPrice", "maxPrice", "maxLotSize", "maxMarketBuyAmount", "maxMarketSellAmount", "maxTotal"), DECIMAL
    ),
}
LIMITS_THAT_MAY_LACK: Final = (
    "minPrice",
    "maxPrice",
    "maxLotSize",
    "maxMarketBuyAmount",
    "maxMarketSellAmount",
    "maxTotal",
)

ACCOUNT: Final = obj(
    {
        "id": said(COUNT, "0 for the summary."),
        "name": TEXT,
        "market_code": TEXT,
        "exchange_name": TEXT,
        "pretty_display_type": TEXT,
        "market_icon": TEXT,
        "created_at": INSTANT,
        "updated_at": INSTANT,
        "api_keys_state": one_of(("ok", "expired", "expire_soon")),
        **dict.fromkeys(
            (
                "api_key_invalid",
                "include_in_summary",
                "hedge_mode_available",
                "hedge_mode_enabled",
                "smart_trading_supported",
                "smart_selling_supported",
                "trading_supported",
                "stats_supported",
                "market_buy_supported",
                "market_sell_supported",
                "conditional_buy_supported",
                "available_include_in_summary",
                "bots_allowed",
                "bots_ttp_allowed",
                "bots_tsl_allowed",
                "gordon_bots_available",
                "multi_bots_allowed",
                "grid_bots_allowed",
                "fast_convert_available",
                "deposit_enabled",
                "is_locked",
                "autobalance_enabled",
            ),
            FLAG,
        ),
        "supported_market_types": array(one_of(("spot", "futures"))),
        "available_for_trading": NOTHING,
        "auto_balance_period": said(COUNT, "Hours."),
        **dict.fromkeys(
            (
                "lock_reason",
                "auto_balance_portfolio_id",
                "auto_balance_portfolio",
                "auto_balance_currency_change_limit",
                "auto_balance_method",
                "auto_balance_error",
                "last_auto_balance",
                "customer_id",
                "subaccount_name",
            ),
            NULL,
        ),
        "usd_amount": said(DECIMAL, "Value of all balances; a currency without a known rate counts as nothing."),
        "btc_amount": DECIMAL,
        **dict.fromkeys(
            (
                "day_profit_btc",
                "day_profit_usd",
                "day_profit_btc_percentage",
                "day_profit_usd_percentage",
                "btc_profit",
                "usd_profit",
                "btc_profit_percentage",
                "usd_profit_percentage",
                "total_btc_profit",
                "total_usd_profit",
            ),
            said(DECIMAL, "Not tracked: 0.0."),
        ),
        **dict.fromkeys(
            (
                "primary_display_currency_amount",
                "primary_display_currency_profit",
                "primary_display_currency_profit_percentage",
                "day_profit_primary_display_currency",
                "day_profit_primary_display_currency_percentage",
            ),
            AMOUNT_IN_CURRENCY,
        ),
        "total_primary_display_currency_profit": obj({"currency": TEXT, "amount": NUMBER}),
    }
)

ACCOUNTS: Final[Mapping[str, Schema]] = {
    "Account": ACCOUNT,
    "AccountList": array(ref("Account")),
    "CreateAccount": wish(
        {
            "type": ACCOUNT_TYPE,
            "name": {"type": "string", "minLength": SHORTEST_NAME, "maxLength": LONGEST_NAME},
            "paper_market": said(TEXT, "Market whose prices, pairs and limits are simulated; `binance` by default."),
            "paper_balances": {
                "type": "object",
                "additionalProperties": FIGURE,
                "description": "Opening balances by currency, complete: nothing is added.",
                "examples": [{"USDT": "10000"}],
            },
        },
        required=("type",),
    ),
    "UpdateAccount": wish(
        {
            "account_id": WHOLE,
            "name": {"type": "string", "minLength": SHORTEST_NAME, "maxLength": LONGEST_NAME},
            "include_in_summary": SWITCH,
        },
        required=("account_id",),
    ),
    "RenameAccount": wish(
        {"name": {"type": "string", "minLength": SHORTEST_NAME, "maxLength": LONGEST_NAME}}, required=("name",)
    ),
    "ActiveEntities": obj(
        {
            "data": obj(
                dict.fromkeys(
                    (
                        "active_bots_count",
                        "active_deals_count",
                        "active_smart_trades_count",
                        "active_orders_count",
                        "active_grid_bots_count",
                    ),
                    COUNT,
                )
            )
        }
    ),
    "TypesToConnect": array(obj({"type": TEXT, "connected": FLAG, "available": FLAG, "unified": FLAG})),
    "LeverageData": array(
        obj({**LEVERAGE_MODE, "valid": {"oneOf": [NOTHING, obj({"min": DECIMAL, "max": or_null(DECIMAL)})]}})
    ),
    "PieChart": array(
        obj(
            {
                "code": CURRENCY,
                "coinmarketcapid": TEXT,
                "name": TEXT,
                "y": NUMBER,
                "percentage": NUMBER,
                "amount": NUMBER,
                "btc_value": DECIMAL,
                "usd_value": DECIMAL,
                "primary_display_currency": AMOUNT_IN_CURRENCY,
                "account_id": COUNT,
            }
        )
    ),
    "AccountTable": array(
        obj(
            {
                "currency_code": CURRENCY,
                "currency_name": TEXT,
                "currency_icon": TEXT,
                "currency_slug": TEXT,
                **dict.fromkeys(
                    (
                        "percentage",
                        "position",
                        "position_available",
                        "position_type",
                        "borrowed",
                        "on_orders",
                        "on_orders_with_leverage",
                        "on_orders_long",
                        "on_orders_short",
                        "equity",
                        "current_price",
                        "current_price_usd",
                        "day_change_percent",
                        "day_change_percent_btc",
                        "day_change_percent_usd",
                        "btc_value",
                        "usd_value",
                        "available_long",
                        "available_short",
                        "available_with_leverage_long",
                        "available_with_leverage_short",
                    ),
                    NUMBER,
                ),
                "account_id": COUNT,
                "is_wallet": FLAG,
            }
        )
    ),
}

SURROUNDINGS: Final[Mapping[str, Schema]] = {
    "Health": obj({"status": always("ok")}),
    "Ping": obj({"pong": always("pong")}),
    "ServerTime": obj({"server_time": said(COUNT, "Unix seconds.")}),
    "Validity": obj({"valid": always(True)}),
    "ChangeMode": wish({"mode": one_of(values(Mode))}, required=("mode",)),
    "CurrentMode": obj({"mode": one_of(values(Mode))}),
    "PermissionsInfo": obj({"permissions": array(one_of(values(Permission)))}),
    "ChangeLocale": wish({"locale": one_of(LOCALES)}, required=("locale",)),
    "MarketList": array(
        obj(
            {
                "market_name": TEXT,
                "market_url": TEXT,
                "market_icon": TEXT,
                "help_link": TEXT,
                "market_code": TEXT,
                "form_fields": obj(
                    dict.fromkeys(("required", "optional"), array(obj({"field": TEXT, "localized_name": TEXT})))
                ),
                "available_connection_flows": array(TEXT),
                "third_party_allowed": FLAG,
                "trusted_ips": array(TEXT),
                "trusted_ips_input_type": TEXT,
                "fast_connect_action_name": TEXT,
            }
        )
    ),
    "PairList": array(PAIR),
    "CurrencyRates": obj(RATES, optional=LIMITS_THAT_MAY_LACK, description="Limits that the market lacks are absent."),
    "CurrencyRatesWithLeverage": obj(
        {
            **RATES,
            "leverage_data": array(
                obj({**LEVERAGE_MODE, "valid": {"oneOf": [NOTHING, obj({"min": NUMBER, "max": or_null(DECIMAL)})]}})
            ),
            "minMarketBuyAmount": DECIMAL,
            "minMarketSellAmount": DECIMAL,
        },
        optional=LIMITS_THAT_MAY_LACK,
    ),
}


# --- sandbox ----------------------------------------------------------------------------------------------------

SANDBOX_FIGURES: Final = {
    "tick": "Smallest step of a price, above 0.",
    "lot": "Smallest step of a quantity, above 0.",
    "min_lot": "Smallest quantity of an order.",
    "min_total": "Smallest total of a limit order.",
    "min_market_total": "Smallest total of a market order.",
    "max_leverage": "1 or more.",
    "maker_fee": "Fraction of the total, below 1.",
    "taker_fee": "Fraction of the total, below 1.",
    "maintenance_rate": "Fraction of the position's value, below 1.",
}
FEE_IN: Final = one_of(values(FeeAsset), "Coin in which a spot buy pays its commission; sells pay in quote.")
MARKET_KIND: Final = one_of(values(MarketKind))
BALANCES: Final = array(obj({"currency": TEXT, "free": DECIMAL, "locked": DECIMAL}))
SANDBOX_NOW: Final[Schema] = {"type": "string", "format": "date-time", "description": "Where the clock stands now."}

SANDBOX: Final[Mapping[str, Schema]] = {
    "SandboxMarket": wish(
        {
            "market": said(TEXT, "Market code, for example `binance`."),
            "pair": PAIR,
            "kind": MARKET_KIND,
            "fee_in": FEE_IN,
            **{name: said(FIGURE, SANDBOX_FIGURES[name]) for name in RULE_FIGURES},
        },
        required=("market", "pair"),
        description="What is left out keeps its value, or gets a default for a new pair.",
    ),
    "SandboxRules": obj(
        {
            "market": TEXT,
            "pair": PAIR,
            "kind": MARKET_KIND,
            "fee_in": FEE_IN,
            **{name: said(DECIMAL, SANDBOX_FIGURES[name]) for name in RULE_FIGURES},
        }
    ),
    "SandboxQuotes": wish(
        {
            "quotes": array(
                wish(
                    {
                        "market": said(TEXT, "May be left out if one market alone has the pair."),
                        "pair": PAIR,
                        "bid": FIGURE,
                        "ask": FIGURE,
                        "last": said(FIGURE, "The middle, rounded down to the tick, if left out."),
                        "bid_size": said(FIGURE, "Base; unlimited if left out."),
                        "ask_size": said(FIGURE, "Base; unlimited if left out."),
                        "at": said(
                            {"type": "string", "format": "date-time"}, "Moves the clock forward to this instant first."
                        ),
                    },
                    required=("pair", "bid", "ask"),
                ),
                minItems=1,
            )
        },
        required=("quotes",),
        description="Applied one after the other, each to its end before the next.",
    ),
    "SandboxApplied": obj({"applied": COUNT, "now": SANDBOX_NOW}),
    "SandboxAdvance": wish({"advance_seconds": FIGURE}, required=("advance_seconds",)),
    "SandboxNow": obj({"now": SANDBOX_NOW}),
    "SandboxState": obj(
        {
            "now": SANDBOX_NOW,
            "open_smart_trades": COUNT,
            "pending_effects": COUNT,
            "digest": said(TEXT, "Of all open trades; the same after a restart."),
        }
    ),
    "SandboxOrder": obj(
        {
            "client_order_id": TEXT,
            "exchange_order_id": TEXT,
            "smart_trade_id": said(or_null(ID), "Null for an order that is none of ours."),
            "trade_id": or_null(ID),
            "account_id": ID,
            "pair": PAIR,
            "side": SIDE,
            "type": ORDER_TYPE,
            "price": said(or_null(DECIMAL), "Null for a market order."),
            "quantity": DECIMAL,
            "filled_quantity": DECIMAL,
            "average_price": or_null(DECIMAL),
            "status": one_of(ORDER_STATUSES.values()),
            "reduce_only": FLAG,
            "created_at": INSTANT,
            "updated_at": INSTANT,
            "sequence": said(COUNT, "Counts arrivals over all accounts."),
        }
    ),
    "SandboxOrders": array(ref("SandboxOrder")),
    "SandboxFill": wish(
        {
            "quantity": said(FIGURE, "Base; all that is left if left out."),
            "price": said(FIGURE, "The order's own if left out."),
            "late": said(SWITCH, "Let an order that is over report a further fill."),
        }
    ),
    "SandboxAccount": wish({"account_id": WHOLE}, required=("account_id",)),
    "SandboxBalance": wish(
        {"account_id": WHOLE, "currency": TEXT, "free": FIGURE}, required=("account_id", "currency", "free")
    ),
    "SandboxBalances": {
        "oneOf": [
            said(BALANCES, "A spot account."),
            obj(
                {
                    "balances": BALANCES,
                    "positions": array(
                        obj(
                            {
                                "pair": PAIR,
                                "quantity": said(DECIMAL, "Base; short is negative."),
                                "entry_price": DECIMAL,
                                "leverage_type": one_of(values(MarginMode)),
                                "leverage": DECIMAL,
                                "margin": DECIMAL,
                                "liquidation_price": or_null(DECIMAL),
                            }
                        )
                    ),
                },
                description="A futures account.",
            ),
        ]
    },
    "SandboxClosePosition": wish(
        {"account_id": WHOLE, "pair": PAIR, "reason": one_of(values(CloseReason))},
        required=("account_id", "pair", "reason"),
    ),
    "SandboxFault": wish(
        {
            "account_id": WHOLE,
            "on": one_of(values(FaultPoint), "Kind of call that is spoilt."),
            "fault": one_of(values(FaultKind)),
            "text": said(TEXT, "What the exchange says."),
            "class": one_of(values(FailureClass), "How a rejection is to be taken; the text decides if left out."),
            "times": said(WHOLE, "How many calls; 1 if left out."),
        },
        required=("account_id", "on", "fault"),
    ),
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    **BASICS,
    **SMART_TRADE,
    **TRADE_PARTS,
    **WISHES,
    **WISHED_PARTS,
    **ACCOUNTS,
    **SURROUNDINGS,
    **SANDBOX,
}
"""Everything that routes name, and what that is made of."""


# --- queries ----------------------------------------------------------------------------------------------------

PAGE: Final[Mapping[str, Schema]] = {"page": {"type": "integer", "minimum": 1, "default": 1}}

QUERIES: Final[Mapping[str, Schema]] = {
    "SmartTradeQuery": wish(
        {
            "account_id": said(ID, "Only this account."),
            "pair": PAIR,
            "type": one_of(values(TradeKind)),
            "status": {**one_of(STATUSES), "default": "all"},
            "base": CURRENCY,
            "quote": CURRENCY,
            "from": said({"type": "string"}, "Created at or after this ISO 8601 date or date-time."),
            "to": said({"type": "string"}, "Created at or before it."),
            "order_by": {**one_of(values(OrderBy)), "default": OrderBy.STATUS.value},
            "order_direction": {**one_of(DIRECTIONS), "default": "desc"},
            **PAGE,
            "per_page": {"type": "integer", "minimum": 1, "maximum": MAX_PER_PAGE, "default": 10},
        }
    ),
    "AccountsQuery": wish(
        {
            "api_key": said(TEXT, "Only accounts with this key at their exchange."),
            **PAGE,
            "per_page": {"type": "integer", "minimum": 1, "maximum": 100, "default": 100},
        }
    ),
    "TypesQuery": wish({"type": ACCOUNT_TYPE}, required=("type",)),
    "PairQuery": wish({"pair": PAIR}, required=("pair",)),
    "MarketQuery": wish(
        {
            "market_code": said(TEXT, "`paper_trading` stands for all markets."),
            "pretty_display_type": said(TEXT, "Older name of the same, for example `Binance`."),
        }
    ),
    "RatesQuery": wish(
        {
            "market_code": said(TEXT, "`paper_trading` stands for all markets."),
            "pair": PAIR,
            "limit_type": one_of(LIMIT_TYPES),
        },
        required=("market_code", "pair"),
    ),
    "SandboxOrdersQuery": wish({"account_id": ID, "pair": PAIR, "status": {**one_of(OPEN_ONLY), "default": "all"}}),
}
"""Parameters of routes that take them from the query; they are listed one by one, not as a schema of their own."""

PATH_PARAMETERS: Final[Mapping[str, Schema]] = {
    "id": {"type": "integer", "minimum": 0},
    "account_id": {"type": "integer", "minimum": 0},
    "smart_trade_id": {"type": "integer", "minimum": 0},
    "client_order_id": TEXT,
}
