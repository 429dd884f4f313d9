"""SmartTrade V2 and its sub-trades (api.md groups a and b). No rules here: read, ask the engine, show."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from smarttrade.api.errors import (
    Overloaded,
    account_not_owned,
    account_unavailable,
    trade_not_found,
    unknown_error,
)
from smarttrade.api.notation import decimal_text
from smarttrade.api.requests import (
    parse_add_funds,
    parse_create,
    parse_edit,
    parse_list,
    parse_reduce_funds,
    parse_set_note,
)
from smarttrade.api.routing import Answer, Call, RouteTable
from smarttrade.api.services import Services
from smarttrade.api.sub_trade_entities import sub_trade_entities
from smarttrade.domain.account import Account, Mode, Permission
from smarttrade.domain.commands import (
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    Command,
    CreateTrade,
    EditTrade,
    ForceProcess,
    ForceStart,
    TradeWish,
)
from smarttrade.domain.errors import DenialCode, deny
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ZERO
from smarttrade.domain.permissions import reduce_funds_available
from smarttrade.domain.position import max_reduce_amount
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.ports.storage import TradeQuery
from smarttrade.runtime.inbox import QueueFull

READ: Final = (Permission.SMART_TRADES_READ,)
WRITE: Final = (Permission.SMART_TRADES_WRITE,)
EITHER: Final = (*READ, *WRITE)

encode: Final = msgspec.json.Encoder().encode

ONE_TRADE: Final = "/v2/smart_trades/:id"
MISSING_ON_READ: Final = 400
"""GET and DELETE of one trade answer 400 when it is missing, all others 404 (api.md, contradiction 2)."""


class SmartTrades:
    """Handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._long_read = asyncio.Lock()  # of such pages one at a time

    # --- reading --------------------------------------------------------------------------------------------------

    def list(self, call: Call) -> Answer | Awaitable[Answer]:
        """A1. A page that takes long is read aside, so that neither prices nor other calls wait."""
        wanted = parse_list(call.params)
        accounts = {account.id: account for account in self._listed(call, wanted.account_id)}
        query = replace(wanted.query, account_ids=tuple(accounts))
        if query.takes_long:
            return self._long_page(query, accounts)
        return self._page(self._services.store.find_trades(query), accounts)

    async def _long_page(self, query: TradeQuery, accounts: Mapping[int, Account]) -> Answer:
        async with self._long_read:
            found = await asyncio.to_thread(self._services.store.find_trades, query)
        return self._page(found, accounts)

    def _page(self, found: Iterable[SmartTrade], accounts: Mapping[int, Account]) -> Answer:
        encode_trade = self._services.encode_trade
        return Answer(b"[%b]" % b",".join(encode_trade(trade, accounts[trade.account_id]) for trade in found))

    def get(self, call: Call) -> Answer:
        """A3."""
        trade, account = self._owned(call, call.id(), MISSING_ON_READ)
        return Answer(self._services.encode_trade(trade, account))

    def trades(self, call: Call) -> Answer:
        """B1."""
        trade, _ = self._owned(call, call.id("smart_trade_id"))
        shown = sub_trade_entities(trade, instrument=self._rules(trade), extreme_of=self._services.view.extreme_of)
        return Answer(encode(shown))

    def reduce_funds_info(self, call: Call) -> Answer:
        """A5."""
        trade, _ = self._owned(call, call.id())
        if not reduce_funds_available(trade):
            raise deny(DenialCode.REDUCE_FUNDS_NOT_ALLOWED)
        most = max_reduce_amount(trade, self._rules(trade), self._services.market.latest(trade.key))
        return Answer({"max_reduce_funds_amount": decimal_text(most)})

    # --- commands -------------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> Answer:
        """A2."""
        request = parse_create(call.params)
        account = self._services.directory.account(request.account_id)
        if account is None or account.user_id != call.signer.user.id:
            raise account_not_owned()
        if not account.is_paper:
            raise account_unavailable()
        key = InstrumentKey(account.market, request.pair)
        instrument = await self._services.ensure_instrument(key)
        if instrument is None:
            raise deny(DenialCode.NO_MARKET_DATA, request.pair)
        exchange = await self._services.exchange_of(account)
        held = None
        if instrument.is_linear and request.plan.kind.is_own_funds:
            position = (await exchange.positions()).get(key)
            held = ZERO if position is None else position.quantity
        command = CreateTrade(account_id=account.id, key=key, plan=request.plan, held_position=held)
        return Answer(self._services.encode_trade(await self._execute(command), account))

    async def edit(self, call: Call) -> Answer:
        """A4."""
        trade, account = self._owned(call, call.id())
        command = EditTrade(trade_id=trade.id, edit=parse_edit(call.params, trade))
        return await self._command(command, account)

    async def add_funds(self, call: Call) -> Answer:
        """A7."""
        command = parse_add_funds(call.id(), call.params)
        return await self._owned_command(call, command)

    async def reduce_funds(self, call: Call) -> Answer:
        """A6."""
        command = parse_reduce_funds(call.id(), call.params)
        return await self._owned_command(call, command)

    async def set_note(self, call: Call) -> Answer:
        """A11."""
        command = parse_set_note(call.id(), call.params)
        return await self._owned_command(call, command)

    async def close_by_market(self, call: Call) -> Answer:
        """A8."""
        return await self._owned_command(call, CloseAtMarket(trade_id=call.id()))

    async def force_start(self, call: Call) -> Answer:
        """A9."""
        return await self._owned_command(call, ForceStart(trade_id=call.id()))

    async def force_process(self, call: Call) -> Answer:
        """A10."""
        return await self._owned_command(call, ForceProcess(trade_id=call.id()))

    async def cancel(self, call: Call) -> Answer:
        """A12."""
        return await self._owned_command(call, CancelTrade(trade_id=call.id()), MISSING_ON_READ)

    async def close_step(self, call: Call) -> Answer:
        """B2."""
        command = CloseStepAtMarket(trade_id=call.id("smart_trade_id"), step_id=call.id())
        return await self._owned_command(call, command)

    async def cancel_step(self, call: Call) -> Answer:
        """B3."""
        command = CancelStep(trade_id=call.id("smart_trade_id"), step_id=call.id())
        return await self._owned_command(call, command)

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _owned_command(self, call: Call, command: TradeWish, missing_status: int = 404) -> Answer:
        _, account = self._owned(call, command.trade_id, missing_status)
        return await self._command(command, account)

    async def _command(self, command: Command, account: Account) -> Answer:
        if account.removed_at is None:
            await self._services.exchange_of(account)
        return Answer(self._services.encode_trade(await self._execute(command), account))

    async def _execute(self, command: Command) -> SmartTrade:
        """The trade right after the command. Raises Denied, Overloaded, EngineFault."""
        try:
            return await self._services.runner.execute(command)
        except QueueFull:
            raise Overloaded from None

    def _owned(self, call: Call, trade_id: int, missing_status: int = 404) -> tuple[SmartTrade, Account]:
        """A trade of the caller; somebody else's is treated as missing. Raises ApiError."""
        trade = self._services.view.trade(trade_id)
        account = None if trade is None else self._services.directory.known_account(trade.account_id)
        if trade is None or account is None or account.user_id != call.signer.user.id:
            raise trade_not_found(missing_status)
        return trade, account

    def _listed(self, call: Call, account_id: int | None) -> Iterable[Account]:
        """Accounts whose trades the list shows: the one asked for, else those of the caller's mode (auth.md 8)."""
        accounts = [*self._services.directory.accounts(call.signer.user.id)]
        if account_id is not None:
            return [account for account in accounts if account.id == account_id]
        mode = call.signer.mode
        if mode is None:
            return accounts
        return [account for account in accounts if account.is_paper is (mode is Mode.PAPER)]

    def _rules(self, trade: SmartTrade) -> Instrument:
        """Trading rules of a trade's pair, as the engine has them."""
        rules = self._services.rules_of(trade.key)
        if rules is None:
            raise unknown_error()
        return rules


def routes(services: Services) -> RouteTable:
    """The routes of groups (a) and (b)."""
    table, trades = RouteTable("/public/api"), SmartTrades(services)
    add = _adder(table)
    listed = "/v2/smart_trades"
    add("GET", listed, trades.list, READ, "List SmartTrades", "SmartTradeQuery", response="SmartTradeList",
        errors=(400,))  # fmt: skip
    add("POST", listed, trades.create, WRITE, "Create a SmartTrade", "CreateSmartTrade", errors=(400, 403, 422))
    add("GET", ONE_TRADE, trades.get, READ, "Get a SmartTrade", missing=MISSING_ON_READ)
    add("PATCH", ONE_TRADE, trades.edit, WRITE, "Edit a SmartTrade", "EditSmartTrade", errors=(400, 404, 422))
    add("DELETE", ONE_TRADE, trades.cancel, WRITE, "Cancel a SmartTrade", missing=MISSING_ON_READ, errors=(400,))
    for method in ("GET", "POST"):
        add(
            method, f"{ONE_TRADE}/reduce_funds_info", trades.reduce_funds_info, EITHER,
            "Largest amount that can be reduced", response="ReduceFundsInfo", errors=(400, 404),
        )  # fmt: skip
    funds = (400, 404, 422)
    add("POST", f"{ONE_TRADE}/reduce_funds", trades.reduce_funds, WRITE, "Reduce funds", "FundsOrder", errors=funds)
    add("POST", f"{ONE_TRADE}/add_funds", trades.add_funds, WRITE, "Add funds", "FundsOrder", errors=funds)
    add("POST", f"{ONE_TRADE}/close_by_market", trades.close_by_market, WRITE, "Close at market", errors=(400, 404))
    add("POST", f"{ONE_TRADE}/force_start", trades.force_start, WRITE, "Enter at market now", errors=(400, 404))
    add("POST", f"{ONE_TRADE}/force_process", trades.force_process, WRITE, "Refresh from the exchange",
        errors=(400, 404))  # fmt: skip
    add("POST", f"{ONE_TRADE}/set_note", trades.set_note, WRITE, "Set the note", "Note", errors=(400, 404))
    steps = "/v2/smart_trades/:smart_trade_id/trades"
    add("GET", steps, trades.trades, READ, "List the trades of a SmartTrade", response="TradeList", errors=(404,))
    add("POST", f"{steps}/:id/close_by_market", trades.close_step, WRITE, "Close one trade at market",
        errors=(400, 404))  # fmt: skip
    add("DELETE", f"{steps}/:id", trades.cancel_step, WRITE, "Cancel one trade", errors=(400, 404))
    return table


def _adder(table: RouteTable) -> Any:
    def add(
        method: str,
        path: str,
        handler: Any,
        permissions: tuple[Permission, ...],
        summary: str,
        request: str | None = None,
        *,
        response: str = "SmartTrade",
        missing: int = 404,
        errors: tuple[int, ...] = (),
    ) -> None:
        table.route(
            method,
            path,
            permissions=permissions,
            missing_trade_status=missing,
            summary=summary,
            tag="SmartTrades",
            request_schema=request,
            response_schema=response,
            error_statuses=tuple(sorted({*errors, missing})) if ":" in path else errors,
        )(handler)

    return add
