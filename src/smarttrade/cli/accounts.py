"""`smarttrade accounts`: paper accounts. Stored facts come from the database, what an account holds from the server."""

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from smarttrade.cli.connection import own_key
from smarttrade.cli.failures import CommandFailed, WrongUsage
from smarttrade.cli.options import COMMON, Common, named
from smarttrade.cli.output import QUIET, Column, print_facts, print_json, print_table, print_text

if TYPE_CHECKING:
    from smarttrade.cli.installation import Installation
    from smarttrade.cli.server import Server
    from smarttrade.domain.account import Account

DEFAULT_USER: Final = "default"
DEFAULT_MARKET: Final = "binance"

COLUMNS: Final = (
    Column("id", is_figure=True),
    Column("name"),
    Column("type"),
    Column("market"),
    Column("user"),
    Column("created"),
)
BALANCE_COLUMNS: Final = (
    Column("currency"),
    Column("free", is_figure=True),
    Column("in orders", is_figure=True),
    Column("USD", is_figure=True),
)
AccountId = Annotated[int, Parameter(help="Number of the account, as listed.")]

app = App(
    name="accounts",
    help="Add, list and remove accounts that trades run on.",
    help_epilogue="Example:\n\n    smarttrade accounts list",
)


@app.command(
    help_epilogue="Example:\n\n    smarttrade accounts add-paper rehearsal --balance USDT=5000 --balance BTC=0.1"
)
def add_paper(
    name: str,
    /,
    *,
    market: str = DEFAULT_MARKET,
    balance: list[str] | None = None,
    user: str = DEFAULT_USER,
    common: Common = COMMON,
) -> None:
    """Add a paper account: real prices, real rules, play money.

    Works while the server runs, which opens the account on first use.

    Parameters
    ----------
    name
        What the account is called.
    market
        Market whose pairs and rules apply: binance (the default) or binance_futures.
    balance
        What the account begins with, as CURRENCY=AMOUNT; may be given several times. Without it the setting
        paper_balances counts.
    user
        Whose account it is; a new name makes a new user. Without it the default user.
    """
    name, owner, opening = named(name), named(user), _opening(balance or [])
    settings = common.settings()

    from smarttrade.adapters.market_data.rules import load_rules
    from smarttrade.cli.installation import opened
    from smarttrade.domain.account import PAPER_TRADING

    known = sorted({key.market for key in load_rules()})
    if market not in known:
        raise CommandFailed(f"unknown market {market!r}: choose from {', '.join(known)}")

    async def work() -> "Account":
        directory = installation.directory
        of = await directory.ensure_user(owner)
        balances = opening or settings.paper_balances
        return await directory.add_account(of.id, name, type=PAPER_TRADING, market=market, opening_balances=balances)

    with opened(settings, create=True) as installation:
        account = asyncio.run(work())
    if common.as_json:
        print_json({"id": account.id, "name": account.name, "type": account.type, "market": account.market})
    else:
        print_text(f"Paper account {account.id} ({account.name}) trades on {account.market} with {_amounts(account)}.")


@app.command(name="list", help_epilogue="Example:\n\n    smarttrade accounts list --json")
def list_(*, user: str | None = None, common: Common = COMMON) -> None:
    """List accounts.

    Parameters
    ----------
    user
        Only accounts of this user; without it everybody's.
    """
    from smarttrade.cli.installation import opened

    with opened(common.settings()) as installation:
        owners = {owner.id: owner.name for owner in installation.users(user)}
        found = [account for account in installation.directory.all_accounts() if account.user_id in owners]
    entities = [_entity(account, owners[account.user_id]) for account in found]
    if common.as_json:
        print_json(entities)
        return
    rows = [[entity[key] for key in ("id", "name", "type", "market", "user", "created_at")] for entity in entities]
    print_table(COLUMNS, rows, "There are no accounts.")


@app.command(help_epilogue="Example:\n\n    smarttrade accounts show 1")
def show(id: AccountId, /, *, common: Common = COMMON) -> None:
    """Show an account, and what it holds if the server runs."""
    from smarttrade.cli.installation import opened

    with opened(common.settings()) as installation:
        account = _account(installation, id)
        owner = installation.directory.user(account.user_id)
        server = _server(installation, account)
    entity = _entity(account, "" if owner is None else owner.name)
    held = None if server is None else server.call("POST", f"/ver1/accounts/{id}/account_table_data")
    entity["balances"] = None if held is None else [_balance(row) for row in held]
    if common.as_json:
        print_json(entity)
        return
    names = ("id", "name", "type", "market", "user", "created_at")
    print_facts([*((name.removesuffix("_at"), entity[name]) for name in names), ("began with", _amounts(account))])
    print_text()
    if entity["balances"] is None:
        print_text("What it holds now is known while the server runs.", QUIET)
    else:
        print_table(BALANCE_COLUMNS, [list(row.values()) for row in entity["balances"]], "It holds nothing.")


@app.command(help_epilogue="Example:\n\n    smarttrade accounts remove 2")
def remove(id: AccountId, /, *, common: Common = COMMON) -> None:
    """Remove an account. Refused while a trade on it is open; its ended trades stay."""
    from smarttrade.cli.installation import opened
    from smarttrade.ports.storage import StatusFilter, TradeQuery

    with opened(common.settings()) as installation:
        account = _account(installation, id)
        query = TradeQuery(account_ids=(id,), status=StatusFilter.ACTIVE, limit=1)
        if installation.store.find_trades(query):
            raise CommandFailed(f"account {id} has open trades: close or cancel them first")
        server = _server(installation, account)
        if server is None:
            asyncio.run(installation.directory.remove_account(id))
        else:  # it holds the account's books, and may be opening a trade right now
            server.call("POST", f"/ver1/accounts/{id}/remove")
    if common.as_json:
        print_json({"id": account.id, "name": account.name, "removed": True})
    else:
        print_text(f"Account {account.id} ({account.name}) is removed.")


def _opening(balances: list[str]) -> dict[str, Decimal]:
    """Raises WrongUsage."""
    from smarttrade.settings import SettingsError
    from smarttrade.settings import balances as read

    try:
        amounts = read(balances)
    except SettingsError as error:
        raise WrongUsage(str(error)) from None
    if len(amounts) < len(balances):
        raise WrongUsage("a currency is given twice")
    return {currency: Decimal(amount) for currency, amount in amounts.items()}


def _account(installation: "Installation", account_id: int) -> "Account":
    account = installation.directory.account(account_id)
    if account is None:
        raise CommandFailed(f"there is no account {account_id}")
    return account


def _server(installation: "Installation", account: "Account") -> "Server | None":
    """The running server, called in the name of the account's owner; None when none runs."""
    from smarttrade.cli.server import Server, find_running

    settings = installation.settings
    found = find_running(settings)
    owner = installation.directory.user(account.user_id)
    if found is None or owner is None:
        return None
    return Server(found.url, own_key(installation, owner), settings.tls_certificate)


def _entity(account: "Account", owner: str) -> dict[str, Any]:
    from smarttrade.api.notation import decimal_text, timestamp

    return {
        "id": account.id,
        "name": account.name,
        "type": account.type,
        "market": account.market,
        "user": owner,
        "opening_balances": {name: decimal_text(amount) for name, amount in account.opening_balances.items()},
        "created_at": timestamp(account.created_at),
    }


def _balance(row: dict[str, Any]) -> dict[str, str]:
    """A row of the account table (entities.md 3.2), whose figures are JSON numbers."""
    from smarttrade.api.notation import decimal_text

    figures = {"free": "position_available", "locked": "on_orders", "usd": "usd_value"}
    return {
        "currency": row["currency_code"],
        **{name: decimal_text(Decimal(repr(row[key]))) for name, key in figures.items()},
    }


def _amounts(account: "Account") -> str:
    listed = [f"{amount:f} {currency}" for currency, amount in account.opening_balances.items()]
    return ", ".join(listed) or "nothing"
