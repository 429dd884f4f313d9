"""`smarttrade accounts` without a server; with one: test_trades_command.py (cli.md)."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from commands import Shell

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.storage.trade_store import SqlTradeStore
from smarttrade.adapters.vault import open_vault
from smarttrade.domain.account import PAPER_TRADING, Account
from smarttrade.domain.plan import EntryPlan, EntryType, TradeKind
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus
from smarttrade.ports.storage import Batch


def stored(directory: Path) -> list[Account]:
    """Accounts as the server would find them."""
    database = open_database(directory)
    try:
        return list(SqlDirectory(database, open_vault(database, directory), lambda: 0).all_accounts())
    finally:
        database.close()


def trade(trade_id: int, account_id: int, status: TradeStatus) -> SmartTrade:
    plan = EntryPlan(type=EntryType.MARKET, units=Decimal(1))
    position = EntryStep(
        id=trade_id, status=StepStatus.IDLE, created_at=0, updated_at=0,
        plan=plan, requested=plan, price_at_creation=Decimal(1),
    )  # fmt: skip
    return SmartTrade(
        id=trade_id, account_id=account_id, key=InstrumentKey("binance", "USDT_BTC"), kind=TradeKind.SMART_TRADE,
        status=status, position=position, created_at=0, updated_at=0,
    )  # fmt: skip


def store_trade(directory: Path, *stored_trades: SmartTrade) -> None:
    database = open_database(directory)
    asyncio.run(SqlTradeStore(database).commit(Batch(trades={one.id: one for one in stored_trades})))
    database.close()


def test_a_paper_account_waits_for_the_server_with_its_balances(shell: Shell) -> None:
    given = ["--balance", "usdt=5000.50", "--balance", "BTC=0.1", "--json"]
    made = shell("accounts", "add-paper", "rehearsal", *given).json

    assert made == {"id": 1, "name": "rehearsal", "type": PAPER_TRADING, "market": "binance"}
    (account,) = stored(shell.directory)
    assert account.opening_balances == {"USDT": Decimal("5000.50"), "BTC": Decimal("0.1")}
    assert "5000.50 USDT, 0.1 BTC" in shell("accounts", "show", 1).out


def test_without_balances_the_configured_ones_count(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("accounts", "add-paper", "one")
    monkeypatch.setenv("SMARTTRADE_PAPER_BALANCES", "USDC=7")
    shell("accounts", "add-paper", "two", "--market", "binance_futures")

    first, second = stored(shell.directory)
    assert first.opening_balances == {"USDT": Decimal(10_000), "BTC": Decimal(1), "ETH": Decimal(10)}
    assert (second.market, second.opening_balances) == ("binance_futures", {"USDC": Decimal(7)})


def test_an_unknown_market_is_refused_with_those_that_there_are(shell: Shell) -> None:
    reason = shell("accounts", "add-paper", "x", "--market", "foo").failure()

    assert reason == "unknown market 'foo': choose from binance, binance_futures"
    assert not shell.directory.exists()


def test_accounts_are_listed_with_their_users(shell: Shell) -> None:
    assert shell("accounts", "add-paper", "mine").code == 0
    assert shell("accounts", "add-paper", "hers", "--user", "eve").code == 0

    listed = shell("accounts", "list", "--json").json
    assert [(one["id"], one["name"], one["user"]) for one in listed] == [(1, "mine", "default"), (2, "hers", "eve")]
    assert [one["name"] for one in shell("accounts", "list", "--user", "eve", "--json").json] == ["hers"]
    assert "hers" in shell("accounts", "list").out


def test_what_an_account_holds_is_unknown_without_a_server(shell: Shell) -> None:
    shell("accounts", "add-paper", "one", "--balance", "USDT=5")
    shown = shell("accounts", "show", 1, "--json").json

    assert shown["opening_balances"] == {"USDT": "5.0"}
    assert shown["balances"] is None
    assert "known while the server runs" in shell("accounts", "show", 1).out
    assert "there is no account 2" in shell("accounts", "show", 2).failure()


def test_an_account_with_an_open_trade_cannot_be_removed(shell: Shell) -> None:
    """EX-38."""
    for name in ("busy", "free"):
        shell("accounts", "add-paper", name)
    store_trade(shell.directory, trade(1, 1, TradeStatus.WAITING_TARGETS), trade(2, 2, TradeStatus.FINISHED))

    assert "account 1 has open trades" in shell("accounts", "remove", 1).failure()
    assert shell("accounts", "remove", 2, "--json").json == {"id": 2, "name": "free", "removed": True}
    assert [account.id for account in stored(shell.directory)] == [1]
    assert "there is no account 2" in shell("accounts", "remove", 2).failure()
    store_trade(shell.directory, trade(1, 1, TradeStatus.CANCELLED))
    assert shell("accounts", "remove", 1).code == 0
