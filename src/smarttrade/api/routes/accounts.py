"""Accounts and what they hold (api.md D3).

This installation trades on paper accounts only: keys and the other fields of an exchange's form are ignored. An account
of another user does not exist for the caller.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from smarttrade.api.account_entities import (
    Holding,
    RateOf,
    account_entity,
    account_table,
    holdings,
    leverage_data,
    pie_chart,
    summary_entity,
)
from smarttrade.api.errors import account_not_deletable, not_found, unknown_pair
from smarttrade.api.parameters import BAD_VALUE, INVALID, Parameters
from smarttrade.api.routes.market_data import CONNECTABLE, DEFAULT_MARKET, markets
from smarttrade.api.routing import Answer, Call, Handler, RouteTable
from smarttrade.api.services import Services
from smarttrade.domain.account import Account, Mode, Permission
from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import InstrumentKey

TAG: Final = "Accounts"
READ: Final = (Permission.ACCOUNTS_READ,)
WRITE: Final = (Permission.ACCOUNTS_WRITE,)

SHORTEST_NAME: Final = 2
LONGEST_NAME: Final = 100
LONGEST_CURRENCY: Final = 20
MAX_PAGE: Final = 2**31 - 1
MAX_PER_PAGE: Final = 100

MAX_CURRENCIES: Final = 100
"""Opening balances of one paper account; each is a row of the exchange's books."""

SUMMARY_ID: Final = 0


class Accounts:
    """Handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self._services = services

    # --- reading --------------------------------------------------------------------------------------------------

    async def list(self, call: Call) -> Answer:
        """D3.1."""
        params = Parameters(call.params)
        page = params.integer("page", least=1, most=MAX_PAGE) or 1
        per_page = params.integer("per_page", least=1, most=MAX_PER_PAGE) or MAX_PER_PAGE
        exchange_key = params.text("api_key")
        params.finish()
        if exchange_key is not None:  # no paper account has one
            return Answer([])
        shown = self._shown(call)[(page - 1) * per_page : page * per_page]
        return Answer([await self._entity(account) for account in shown])

    async def get(self, call: Call) -> Answer:
        """D3.2, and the answer to D3.7: balances are always the exchange's own."""
        return Answer(await self._entity(self._owned(call)))

    async def summary(self, call: Call) -> Answer:
        """D3.2."""
        accounts = self._summed_up(call)
        return Answer(summary_entity(accounts, await self._all_held(accounts)))

    async def pie_chart(self, call: Call) -> Answer:
        """D3.8."""
        account = self._owned(call)
        return Answer(pie_chart(account.id, await self._held(account)))

    async def summary_pie_chart(self, call: Call) -> Answer:
        """D3.8."""
        return Answer(pie_chart(SUMMARY_ID, await self._all_held(self._summed_up(call))))

    async def table(self, call: Call) -> Answer:
        """D3.9."""
        account = self._owned(call)
        return Answer(self._table(account.id, [account], await self._held(account)))

    async def summary_table(self, call: Call) -> Answer:
        """D3.9."""
        accounts = self._summed_up(call)
        return Answer(self._table(SUMMARY_ID, accounts, await self._all_held(accounts)))

    def active_entities(self, call: Call) -> Answer:
        """D3.10."""
        account = self._owned(call)
        counts = {
            "active_bots_count": 0,
            "active_deals_count": 0,
            "active_smart_trades_count": self._open_trades(account),
            "active_orders_count": self._open_orders(account),
            "active_grid_bots_count": 0,
        }
        return Answer({"data": counts})

    def types_to_connect(self, call: Call) -> Answer:
        """D3.11. A paper account has no relatives: the answer is about itself."""
        params = Parameters(call.params)
        wanted = params.required_choice("type", CONNECTABLE)
        params.finish()
        owned = self._services.directory.accounts(call.signer.user.id)
        connected = any(account.type == wanted for account in owned)
        return Answer([{"type": wanted, "connected": connected, "available": True, "unified": False}])

    def leverage_data(self, call: Call) -> Answer:
        """D3.12."""
        account_id = call.id("account_id")
        params = Parameters(call.params)
        pair = params.required_text("pair")
        params.finish()
        account = self._find(call, account_id)
        instrument = self._services.rules().get(InstrumentKey(account.market, pair))
        if instrument is None:
            raise unknown_pair()
        return Answer(leverage_data(instrument))

    # --- changing -------------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> Answer:
        """D3.3."""
        params = Parameters(call.params)
        wanted = params.required_choice("type", CONNECTABLE)
        name = _name(params)
        market = params.choice("paper_market", {code: code for code in markets(self._services)})
        balances = _opening_balances(params, call.params.get("paper_balances"))
        _check_relatives(params, call.params.get("types_to_create"), wanted)
        params.finish()
        account = await self._services.open_paper_account(
            call.signer.user.id, name, DEFAULT_MARKET if market is None else market, balances
        )
        return Answer(await self._entity(account))

    async def update(self, call: Call) -> Answer:
        """D3.4."""
        params = Parameters(call.params)
        account_id = params.required_integer("account_id")
        name = _name(params)
        include = params.boolean("include_in_summary") if params.has("include_in_summary") else None
        params.finish()
        account = self._find(call, account_id)
        changed = await self._services.directory.update_account(account.id, name=name, include_in_summary=include)
        return Answer(await self._entity(changed))

    async def rename(self, call: Call) -> Answer:
        """D3.5."""
        account_id = call.id("account_id")
        params = Parameters(call.params)
        params.required_text("name")
        name = _name(params)
        params.finish()
        account = self._find(call, account_id)
        return Answer(await self._entity(await self._services.directory.update_account(account.id, name=name)))

    async def remove(self, call: Call) -> Answer:
        """D3.6."""
        account = self._owned(call)
        if self._open_trades(account) or self._open_orders(account):
            raise account_not_deletable()
        await self._services.close_account(account)
        return Answer(True)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _owned(self, call: Call) -> Account:
        """The caller's account that the path names. Raises ApiError (400, 404)."""
        return self._find(call, call.id("account_id"))

    def _find(self, call: Call, account_id: int) -> Account:
        account = self._services.directory.account(account_id)
        if account is None or account.user_id != call.signer.user.id:
            raise not_found()
        return account

    def _shown(self, call: Call) -> Sequence[Account]:
        """The caller's accounts of the mode in force (auth.md section 8)."""
        owned, mode = self._services.directory.accounts(call.signer.user.id), call.signer.mode
        return owned if mode is None else [account for account in owned if account.is_paper is (mode is Mode.PAPER)]

    def _summed_up(self, call: Call) -> Sequence[Account]:
        return [account for account in self._shown(call) if account.include_in_summary]

    def _open_trades(self, account: Account) -> int:
        return self._services.view.open_trades(account.id)

    def _open_orders(self, account: Account) -> int:
        return len(self._services.paper.live_orders(account.id))

    async def _entity(self, account: Account) -> dict[str, Any]:
        return account_entity(account, await self._held(account))

    async def _held(self, account: Account) -> Sequence[Holding]:
        """What an account holds, as its exchange says. Raises ExchangeUnavailable."""
        exchange = await self._services.exchange_of(account)
        return holdings(await exchange.balances(), self._rates([account]))

    async def _all_held(self, accounts: Iterable[Account]) -> Sequence[Holding]:
        """What accounts hold together, each valued at the prices of its own market."""
        return _merged([holding for account in accounts for holding in await self._held(account)])

    def _table(self, account_id: int, accounts: Sequence[Account], held: Sequence[Holding]) -> Sequence[dict[str, Any]]:
        market = self._services.market

        def day_change(code: str, currency: str) -> Decimal | None:
            return market.statistics(InstrumentKey(code, f"USDT_{currency}")).day_change_percent

        return account_table(account_id, held, self._rates(accounts), _first_known(accounts, day_change))

    def _rates(self, accounts: Sequence[Account]) -> RateOf:
        return _first_known(accounts, self._services.usd_rate)


def _first_known(
    accounts: Iterable[Account], ask: Callable[[str, str], Decimal | None]
) -> Callable[[str], Decimal | None]:
    """What the first of the accounts' markets that knows a currency says of it; `ask` takes market and currency."""
    codes = tuple(dict.fromkeys(account.market for account in accounts))

    def answer(currency: str) -> Decimal | None:
        return next((known for code in codes if (known := ask(code, currency)) is not None), None)

    return answer


def _merged(held: Iterable[Holding]) -> Sequence[Holding]:
    """One holding for each currency, most valuable first."""
    sums: dict[str, Holding] = {}
    for each in held:
        other = sums.get(each.currency)
        sums[each.currency] = each if other is None else _added(other, each)
    return sorted(sums.values(), key=lambda holding: (-holding.usd, holding.currency))


def _added(one: Holding, other: Holding) -> Holding:
    return Holding(
        currency=one.currency,
        free=one.free + other.free,
        locked=one.locked + other.locked,
        usd_rate=one.usd_rate or other.usd_rate,  # zero: the first account's market does not know it
        usd=one.usd + other.usd,
        btc=one.btc + other.btc,
    )


# --- parameters -------------------------------------------------------------------------------------------------


def _name(params: Parameters) -> str | None:
    name = params.text("name", longest=LONGEST_NAME)
    if name is not None and len(name) < SHORTEST_NAME:
        params.refuse("name", f"is too short (minimum is {SHORTEST_NAME} characters)")
    return name


def _opening_balances(params: Parameters, given: Any) -> Mapping[str, Decimal]:
    """What a paper account begins with: exactly what is given; nothing given means the configured amounts."""
    group = params.group("paper_balances")
    if not isinstance(given, Mapping):
        return {}
    if len(given) > MAX_CURRENCIES:
        params.refuse("paper_balances", f"is too long (maximum is {MAX_CURRENCIES})")
        return {}
    balances = {}
    for currency in given:
        amount = group.number(currency, _is_not_negative)
        if not (currency.isascii() and currency.isalnum() and len(currency) <= LONGEST_CURRENCY):
            group.refuse(currency, INVALID)
        balances[currency.upper()] = ZERO if amount is None else amount
    # No opening balance at all would mean the configured ones; an empty purse says that there is nothing.
    return balances or {"USDT": ZERO}


def _is_not_negative(amount: Decimal) -> bool:
    return amount >= 0


def _check_relatives(params: Parameters, given: Any, wanted: str) -> None:
    """`types_to_create` may name further accounts of the same exchange; a paper account has none but itself."""
    if params.has("types_to_create") and (not isinstance(given, list) or any(each != wanted for each in given)):
        params.refuse("types_to_create", BAD_VALUE)


# --- the table --------------------------------------------------------------------------------------------------


def routes(services: Services) -> RouteTable:
    """The routes of section D3."""
    table, accounts = RouteTable("/public/api"), Accounts(services)
    add = _adder(table)
    one, summary = "/ver1/accounts/:account_id", "/ver1/accounts/summary"
    add("GET", "/ver1/accounts", accounts.list, READ, "List accounts", "AccountList", "AccountsQuery", errors=(400,))
    add("GET", one, accounts.get, READ, "Get an account", "Account")
    add("GET", summary, accounts.summary, READ, "All accounts in one", "Account")
    new = "/ver1/accounts/new"
    add("POST", new, accounts.create, WRITE, "Open a paper account", "Account", "CreateAccount", errors=(400,))
    changed = "/ver1/accounts/update"
    add("POST", changed, accounts.update, WRITE, "Change an account", "Account", "UpdateAccount", errors=(400, 404))
    add("POST", f"{one}/rename", accounts.rename, WRITE, "Rename an account", "Account", "RenameAccount")
    add("POST", f"{one}/remove", accounts.remove, WRITE, "Remove an account", "Done", errors=(422,))
    add("POST", f"{one}/load_balances", accounts.get, READ, "Read balances again", "Account")
    add("POST", f"{one}/pie_chart_data", accounts.pie_chart, READ, "Balances for a pie chart", "PieChart")
    add("POST", f"{summary}/pie_chart_data", accounts.summary_pie_chart, READ, "All balances for a pie chart",
        "PieChart")  # fmt: skip
    add("POST", f"{one}/account_table_data", accounts.table, READ, "Balances for a table", "AccountTable")
    add("POST", f"{summary}/account_table_data", accounts.summary_table, READ, "All balances for a table",
        "AccountTable")  # fmt: skip
    add("GET", f"{one}/active_trading_entities", accounts.active_entities, READ, "Count what is active",
        "ActiveEntities")  # fmt: skip
    for method in ("GET", "POST"):
        add(method, "/ver1/accounts/types_to_connect", accounts.types_to_connect, (), "Related types of accounts",
            "TypesToConnect", "TypesQuery", errors=(400,))  # fmt: skip
        add(method, f"{one}/leverage_data", accounts.leverage_data, READ, "Leverage that a pair allows",
            "LeverageData", "PairQuery")  # fmt: skip
    return table


def _adder(table: RouteTable) -> Callable[..., None]:
    def add(
        method: str,
        path: str,
        handler: Handler,
        permissions: Iterable[Permission],
        summary: str,
        answers: str,
        asks: str | None = None,
        *,
        errors: tuple[int, ...] = (),
    ) -> None:
        missing = (400, 404) if ":" in path else ()
        table.route(
            method,
            path,
            permissions=permissions,
            tag=TAG,
            summary=summary,
            request_schema=asks,
            response_schema=answers,
            error_statuses=tuple(sorted({*errors, *missing})),
        )(handler)

    return add
