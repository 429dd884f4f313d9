"""The sandbox's own surface: scripted rules, prices, time, and what the exchange side does (spec: sandbox).

Unsigned, and only for callers on the same machine. Every call lets the engine finish what it can do without new prices
or time, before it looks and after it acts: what an answer shows is settled.

Balances of a spot account are a bare list; those of a futures account are the member `balances` of an object that
carries `positions` too.
"""

from collections.abc import Awaitable, Mapping
from decimal import Decimal
from typing import Any, Final

from smarttrade.adapters.exchanges.paper.exchange import CloseReason, ScriptError, UnknownOrder
from smarttrade.adapters.exchanges.paper.rows import FailureClass, FaultKind, FaultPoint, PaperOrder
from smarttrade.adapters.market_data.sandbox import LONGEST_NAME, PostedQuote, RulesChange, SandboxRefusal
from smarttrade.api import errors
from smarttrade.api.auth import is_within
from smarttrade.api.legs import text
from smarttrade.api.notation import decimal_text, timestamp
from smarttrade.api.parameters import EMPTY, INVALID, MISSING, Parameters
from smarttrade.api.routing import Answer, Call, Handler, RouteTable, Security, answer_of
from smarttrade.api.services import Services
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind
from smarttrade.domain.order import ReportedState
from smarttrade.domain.order_ids import parse
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.ports.exchange import Balance, FuturesPosition

TAG: Final = "Sandbox"

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

MAX_TIMES: Final = 1_000_000
"""Calls that one queued fault may spoil."""

LONGEST_TEXT: Final = 500
"""Characters of what an exchange says with a scripted rejection."""

MAX_REPORTED: Final = 20
"""Quotes of one request whose mistakes are all listed; the rest would only lengthen the answer."""

KINDS: Final = {kind.value: kind for kind in MarketKind}
FEE_ASSETS: Final = {asset.value: asset for asset in FeeAsset}
REASONS: Final = {reason.value: reason for reason in CloseReason}
POINTS: Final = {point.value: point for point in FaultPoint}
FAULTS: Final = {fault.value: fault for fault in FaultKind}
CLASSES: Final = {each.value: each for each in FailureClass}
OPEN_ONLY: Final = {"open": True, "all": False}
RULE_FIGURES: Final = (
    "tick",
    "lot",
    "min_lot",
    "min_total",
    "min_market_total",
    "max_leverage",
    "maker_fee",
    "taker_fee",
    "maintenance_rate",
)
ORDER_STATUSES: Final = {
    ReportedState.OPEN: "open",
    ReportedState.FILLED: "filled",
    ReportedState.CANCELED: "cancelled",
    ReportedState.REJECTED: "rejected",
}

Entity = dict[str, Any]


class Sandbox:
    """Handlers of the routes. Raises LookupError when the server runs on another market."""

    def __init__(self, services: Services) -> None:
        if services.sandbox is None:
            raise LookupError("the server does not run on the sandbox's market")
        self._services = services
        self._market = services.sandbox
        self._paper = services.paper

    def quiet(self, handler: Handler) -> Handler:
        """`handler` behind what all calls have in common: who may call, quiet, and refusals of the script."""

        async def answer(call: Call) -> Answer:
            # None: a socket of this machine that has no address
            if call.address is not None and not is_within(call.address, LOOPBACK):
                raise errors.sandbox_is_local()
            await self._services.runner.settled()
            try:
                return await answer_of(handler, call)
            except (SandboxRefusal, ScriptError) as refusal:
                raise errors.cannot_happen(str(refusal)) from None
            except UnknownOrder:
                raise errors.not_found() from None

        return answer

    # --- market and time ------------------------------------------------------------------------------------------

    async def define_market(self, call: Call) -> Answer:
        """Rules of a pair; the engine trades by them before this answers."""
        params = Parameters(call.params)
        key = InstrumentKey(params.required_text("market"), params.required_text("pair"))
        figures = {name: params.number(name) for name in RULE_FIGURES}
        change = RulesChange(kind=params.choice("kind", KINDS), fee_in=params.choice("fee_in", FEE_ASSETS), **figures)
        params.finish()
        instrument = await self._market.define(key, change)
        await self._services.ensure_instrument(key)
        await self._services.runner.settled()
        return Answer(_rules(instrument))

    async def post_quotes(self, call: Call) -> Answer:
        """Quotes, each taken to its end before the next."""
        quotes = _posted(call.params.get("quotes"))
        now = await self._market.post(quotes)
        return Answer({"applied": len(quotes), "now": precise(now)})

    async def advance_clock(self, call: Call) -> Answer:
        """Time, and every timer due on the way."""
        params = Parameters(call.params)
        seconds = params.required_number("advance_seconds")
        params.finish()
        return Answer({"now": precise(await self._market.advance(int(seconds * SECOND)))})

    def state(self, _: Call) -> Answer:
        services = self._services
        return Answer(
            {
                "now": precise(services.now()),
                "open_smart_trades": services.view.open_trades(),
                "pending_effects": services.runner.pending,
                "digest": services.digest(),
            }
        )

    # --- orders ---------------------------------------------------------------------------------------------------

    def orders(self, call: Call) -> Answer:
        """What the exchange side knows, oldest first."""
        params = Parameters(call.params)
        account_id, pair = params.integer("account_id"), params.text("pair")
        open_only = bool(params.choice("status", OPEN_ONLY))
        params.finish()
        found = self._paper.orders(account_id=account_id, pair=pair, open_only=open_only)
        return Answer([_order(order) for order in found])

    async def fill_order(self, call: Call) -> Answer:
        """Somebody else trades with an order."""
        params = Parameters(call.params)
        quantity, price, late = params.number("quantity"), params.number("price"), params.boolean("late")
        params.finish()
        order_id = call.path_values["client_order_id"]
        await self._act(self._paper.fill_order(order_id, quantity, price, late=late))
        return self._shown_order(order_id)

    async def cancel_order(self, call: Call) -> Answer:
        """Somebody else cancels an order."""
        order_id = call.path_values["client_order_id"]
        await self._act(self._paper.cancel_outside(order_id))
        return self._shown_order(order_id)

    def _shown_order(self, order_id: str) -> Answer:
        return Answer(_order(self._paper.order(order_id)))

    # --- balances and positions -----------------------------------------------------------------------------------

    async def balances(self, call: Call) -> Answer:
        params = Parameters(call.params)
        account_id = params.required_integer("account_id")
        params.finish()
        return self._shown_balances(await self._connected(account_id))

    async def set_balance(self, call: Call) -> Answer:
        params = Parameters(call.params)
        account_id = params.required_integer("account_id")
        currency = params.required_text("currency", longest=LONGEST_NAME)
        free = params.required_number("free")
        params.finish()
        account = await self._connected(account_id)
        await self._act(self._paper.set_balance(account.id, currency, free))
        return self._shown_balances(account)

    async def close_position(self, call: Call) -> Answer:
        """The exchange reports a futures position gone."""
        params = Parameters(call.params)
        account_id = params.required_integer("account_id")
        pair = params.required_text("pair")
        reason = params.required_choice("reason", REASONS)
        params.finish()
        account = await self._connected(account_id)
        await self._act(self._paper.close_position(account.id, InstrumentKey(account.market, pair), reason))
        return self._shown_balances(account)

    def _shown_balances(self, account: Account) -> Answer:
        balances = _balances(self._paper.balances(account.id))
        if not self._trades_contracts(account.market):
            return Answer(balances)
        positions = [_position(each) for _, each in sorted(self._paper.positions(account.id).items())]
        return Answer({"balances": balances, "positions": positions})

    def _trades_contracts(self, market: str) -> bool:
        return any(rules.is_linear for key, rules in self._services.rules().items() if key.market == market)

    # --- faults ---------------------------------------------------------------------------------------------------

    async def add_fault(self, call: Call) -> Answer:
        """A fault for the account's next calls of a kind."""
        params = Parameters(call.params)
        account_id = params.required_integer("account_id")
        point = params.required_choice("on", POINTS)
        kind = params.required_choice("fault", FAULTS)
        words = params.text("text", longest=LONGEST_TEXT) or ""
        failure = params.choice("class", CLASSES)
        times = params.integer("times", least=1, most=MAX_TIMES) or 1
        params.finish()
        account = await self._connected(account_id)
        await self._act(self._paper.add_fault(account.id, point, kind, text=words, failure_class=failure, times=times))
        return Answer(True)

    async def release_faults(self, call: Call) -> Answer:
        account = await self._connected(_account_id(call))
        await self._act(self._paper.release_faults(account.id))
        return Answer(True)

    async def clear_faults(self, call: Call) -> Answer:
        account = await self._connected(_account_id(call))
        await self._act(self._paper.clear_faults(account.id))
        return Answer(True)

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _connected(self, account_id: int) -> Account:
        """An account whose books are open: one just added by a command has none yet. Raises ApiError (404)."""
        account = self._services.directory.account(account_id)
        if account is None:
            raise errors.not_found()
        await self._services.exchange_of(account)
        return account

    async def _act(self, effect: Awaitable[None]) -> None:
        """Let something happen at the exchange, and the engine take it to its end."""
        await effect
        await self._services.runner.settled()


# --- in ---------------------------------------------------------------------------------------------------------


def _account_id(call: Call) -> int:
    params = Parameters(call.params)
    account_id = params.required_integer("account_id")
    params.finish()
    return account_id


def _posted(given: Any) -> list[PostedQuote]:
    """The quotes of a request, however many. Raises InvalidParameters."""
    whole, quotes = Parameters({}), []
    if not isinstance(given, list) or not given:
        whole.refuse("quotes", MISSING if given in (None, "") else EMPTY if given == [] else INVALID)
        whole.finish()
    for index, element in enumerate(given):
        place = f"quotes[{index}]"
        if not isinstance(element, Mapping):
            whole.refuse(place, INVALID)
        else:
            quotes.append(_quote(Parameters(element, whole, place)))
        if whole.refusals > MAX_REPORTED:
            break
    whole.finish()
    return quotes


def _quote(params: Parameters) -> PostedQuote:
    return PostedQuote(
        market=params.text("market"),
        pair=params.required_text("pair"),
        bid=params.required_number("bid"),
        ask=params.required_number("ask"),
        last=params.number("last"),
        bid_size=params.number("bid_size"),
        ask_size=params.number("ask_size"),
        at=params.instant("at"),
    )


# --- out --------------------------------------------------------------------------------------------------------


def precise(instant: Instant) -> str:
    """`instant` with milliseconds as everywhere, with microseconds where it has some: it may come back as `at`."""
    written, rest = timestamp(instant), instant % 1000
    return f"{written[:-1]}{rest:03d}Z" if rest else written


def _rules(instrument: Instrument) -> Entity:
    figures: dict[str, Decimal] = {name: getattr(instrument, name) for name in RULE_FIGURES}
    return {
        "market": instrument.key.market,
        "pair": instrument.key.pair,
        "kind": instrument.kind.value,
        "fee_in": instrument.fee_in.value,
        **{name: decimal_text(value) for name, value in figures.items()},
    }


def _order(order: PaperOrder) -> Entity:
    ours = parse(order.client_order_id)
    return {
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "smart_trade_id": None if ours is None else ours.trade_id,
        "trade_id": None if ours is None else ours.step_id,
        "account_id": order.account_id,
        "pair": order.pair,
        "side": order.side.value,
        "type": order.type.value,
        "price": text(order.price),
        "quantity": decimal_text(order.quantity),
        "filled_quantity": decimal_text(order.filled_quantity),
        "average_price": text(order.average_price),
        "status": ORDER_STATUSES[order.status],
        "reduce_only": order.reduce_only,
        "created_at": precise(order.created_at),
        "updated_at": precise(order.updated_at),
        "sequence": order.sequence,
    }


def _balances(balances: Mapping[str, Balance]) -> list[Entity]:
    return [
        {"currency": currency, "free": decimal_text(balance.free), "locked": decimal_text(balance.locked)}
        for currency, balance in sorted(balances.items())
    ]


def _position(position: FuturesPosition) -> Entity:
    return {
        "pair": position.key.pair,
        "quantity": decimal_text(position.quantity),
        "entry_price": decimal_text(position.entry_price),
        "leverage_type": position.mode.value,
        "leverage": decimal_text(position.leverage),
        "margin": decimal_text(position.margin),
        "liquidation_price": text(position.liquidation_price),
    }


# --- the table --------------------------------------------------------------------------------------------------


def routes(services: Services) -> RouteTable:
    """The routes below /sandbox. Raises LookupError when the server runs on another market."""
    table, sandbox = RouteTable("/sandbox"), Sandbox(services)
    wrong, unknown = (400, 403, 422), (400, 403, 404, 422)
    for method, path, handler, summary, asks, answers, refusals in (
        ("POST", "/markets", sandbox.define_market, "Define or change a pair", "SandboxMarket", "SandboxRules", wrong),
        ("POST", "/quotes", sandbox.post_quotes, "Move prices", "SandboxQuotes", "SandboxApplied", wrong),
        ("POST", "/clock", sandbox.advance_clock, "Move time", "SandboxAdvance", "SandboxNow", wrong),
        ("GET", "/state", sandbox.state, "Where everything stands", None, "SandboxState", (403,)),
        ("GET", "/orders", sandbox.orders, "Orders at the exchange", "SandboxOrdersQuery", "SandboxOrders", wrong[:2]),
        ("POST", "/orders/:client_order_id/fill", sandbox.fill_order, "Fill an order", "SandboxFill", "SandboxOrder",
         unknown),
        ("POST", "/orders/:client_order_id/cancel", sandbox.cancel_order, "Cancel an order from outside", None,
         "SandboxOrder", unknown),
        ("GET", "/balances", sandbox.balances, "Balances and positions", "SandboxAccount", "SandboxBalances",
         unknown[:3]),
        ("POST", "/balances", sandbox.set_balance, "Set a free balance", "SandboxBalance", "SandboxBalances", unknown),
        ("POST", "/positions/close", sandbox.close_position, "Take a futures position away", "SandboxClosePosition",
         "SandboxBalances", unknown),
        ("POST", "/faults", sandbox.add_fault, "Queue a fault of the exchange", "SandboxFault", "Done", unknown),
        ("POST", "/faults/release", sandbox.release_faults, "Let held cancels proceed", "SandboxAccount", "Done",
         unknown[:3]),
        ("POST", "/faults/clear", sandbox.clear_faults, "Remove queued and held faults", "SandboxAccount", "Done",
         unknown[:3]),
    ):  # fmt: skip
        table.route(
            method,
            path,
            security=Security.NONE,
            tag=TAG,
            summary=summary,
            request_schema=asks,
            response_schema=answers,
            error_statuses=refusals,
        )(sandbox.quiet(handler))
    return table
