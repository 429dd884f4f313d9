"""`smarttrade doctor`: is this installation sound? It reads, and touches nothing."""

import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cyclopts import App

from smarttrade.cli.connection import hint
from smarttrade.cli.failures import CommandFailed
from smarttrade.cli.options import COMMON, Common
from smarttrade.cli.output import BAD, GOOD, Cell, Column, print_json, print_table
from smarttrade.ports.key_vault import SecretUnreadable

if TYPE_CHECKING:
    from smarttrade.adapters.storage.database import Database
    from smarttrade.adapters.storage.trade_store import SqlTradeStore
    from smarttrade.settings import Settings

EARLIEST_SANE_TIME: Final = 1_704_067_200
"""2024-01-01T00:00:00Z in seconds: before this program was written."""

USABLE: Final = 0o077
"""Permission bits that let others than the owner read or change a file."""

REPLACEABLE: Final = 0o022
"""Permission bits of a directory that let others put files of theirs in the place of its files."""

SHOWN_TRADES: Final = 10
"""Trades named in one finding."""

COLUMNS: Final = (Column(""), Column("check"), Column("finding"), Column("what to do"))

app = App(name="doctor", help_epilogue="Example:\n\n    smarttrade doctor --data-dir /srv/smarttrade")


class Finding:
    """What a check has found. `advice` says what to do when something is wrong."""

    def __init__(self, check: str, finding: str, advice: str | None = None) -> None:
        self.check = check
        self.finding = finding
        self.advice = advice

    @property
    def ok(self) -> bool:
        return self.advice is None


@app.default
def doctor(*, common: Common = COMMON) -> None:
    """Examine the data directory, its keys and trades, the clock and the server; say what is wrong and what to do.

    Nothing is changed. It may run beside the server; the exit code is 1 if something is wrong.
    """
    findings = list(examine(common))
    wrong = [finding.check for finding in findings if not finding.ok]
    if common.as_json:
        checks = [{"name": f.check, "ok": f.ok, "finding": f.finding, "advice": f.advice} for f in findings]
        print_json({"ok": not wrong, "checks": checks})
    else:
        print_table(
            COLUMNS if wrong else COLUMNS[:-1], [_row(finding)[: 4 if wrong else 3] for finding in findings], ""
        )
    if wrong:
        raise CommandFailed(f"{len(wrong)} of {len(findings)} checks found something wrong: {', '.join(wrong)}")


def _row(finding: Finding) -> tuple[Cell | str, ...]:
    mark = Cell("ok", GOOD) if finding.ok else Cell("WRONG", BAD)
    return mark, finding.check, finding.finding, finding.advice or ""


def examine(common: Common) -> Iterator[Finding]:
    """All findings, in the order in which one depends on another."""
    yield clock()
    try:
        settings = common.settings()
    except CommandFailed as error:
        yield Finding("settings", str(error), "correct it, or name another data directory with --data-dir")
        return
    directory = data_directory(settings.data_dir)
    yield directory
    if directory.ok:
        yield permissions(settings.data_dir)
        yield from stored(settings.data_dir)
    yield server(settings)


def clock(now: Callable[[], float] = time.time) -> Finding:
    """A clock that was never set makes wrong timestamps, and sleeps until 1970 is over."""
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    if now() < EARLIEST_SANE_TIME:
        return Finding("clock", f"it says {shown}", "set the clock of this machine, best by NTP")
    return Finding("clock", shown)


def data_directory(directory: Path) -> Finding:
    """Is it there, and ours to write to?"""
    name = "data directory"
    try:
        present = stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        advice = f"start the server: {hint('serve', directory)}, or name another with --data-dir"
        return Finding(name, f"{directory} does not exist", advice)
    except OSError as error:
        return Finding(
            name, f"{directory}: {error.strerror}", "name another with --data-dir, or make this one readable"
        )
    if not present:
        return Finding(name, f"{directory} is not a directory", "name another with --data-dir")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return Finding(name, f"{directory} cannot be written", f"make it yours: chown {_me()} {directory}")
    return Finding(name, str(directory))


def permissions(directory: Path) -> Finding:
    """Keys and trades are nobody else's business (architecture: secrets)."""
    from smarttrade.adapters.storage.data_directory import DATABASE_NAME, LOCK_NAME
    from smarttrade.adapters.vault import KEY_NAME
    from smarttrade.cli.server import ADDRESS_FILE

    database = [DATABASE_NAME + ending for ending in ("", "-wal", "-shm")]
    paths = [directory, *(directory / name for name in (*database, KEY_NAME, LOCK_NAME, ADDRESS_FILE))]
    open_to_others, not_ours = [], []
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        if mode & (REPLACEABLE if path == directory else USABLE):
            open_to_others.append(path)
        if not os.access(path, os.R_OK | os.W_OK):
            not_ours.append(path)
    if not_ours:
        listed = ", ".join(path.name for path in not_ours)
        return Finding("permissions", f"cannot be written: {listed}", f"make them yours: chown -R {_me()} {directory}")
    if open_to_others:
        listed = ", ".join(path.name for path in open_to_others)
        advice = "chmod go-rwx " + " ".join(shlex.quote(str(path)) for path in open_to_others)
        return Finding("permissions", f"others may use {listed}", advice)
    return Finding("permissions", "for its owner alone")


def stored(directory: Path) -> Iterator[Finding]:
    """What the database holds, as far as it can be read."""
    from smarttrade.adapters.storage.data_directory import open_for_inspection

    found = schema(directory)
    yield found
    if not found.ok or found.finding != _current_schema():
        return
    database = open_for_inspection(directory)
    try:
        yield master_key(database, directory)
        yield trades(database)
        yield watches(database)
        yield exchanges(database)
    finally:
        database.close()


def _current_schema() -> str:
    from smarttrade.adapters.storage.data_directory import known_schema

    return f"version {known_schema()}"


def schema(directory: Path) -> Finding:
    """Is the database of a version that this program can work with?"""
    import sqlite3

    from smarttrade.adapters.storage.data_directory import DATABASE_NAME, known_schema, stored_schema

    try:
        version = stored_schema(directory / DATABASE_NAME)
    except (sqlite3.Error, OSError) as error:
        return Finding("schema", f"{DATABASE_NAME} cannot be read: {error}", "restore the data directory from a backup")
    if version is None:
        return Finding("schema", "no database yet: the first start makes it")
    if version > known_schema():
        finding = f"version {version}, this program knows {known_schema()}"
        return Finding("schema", finding, "use the version of smarttrade that wrote it, or a newer one")
    if version < known_schema():
        return Finding("schema", f"version {version}: the next start brings it to {known_schema()}")
    return Finding("schema", _current_schema())


def master_key(database: "Database", directory: Path) -> Finding:
    """Does it open what the database keeps sealed? Nothing is unsealed but the check value."""
    from smarttrade.adapters.storage.data_directory import DataDirectoryError
    from smarttrade.adapters.storage.database import read_meta
    from smarttrade.adapters.vault import CHECK_NAME, KEY_NAME, KEY_VARIABLE, open_vault
    from smarttrade.ports.storage import StorageUnavailable

    name, configured = "master key", os.environ.get(KEY_VARIABLE)
    try:
        with database.read() as connection:
            if read_meta(connection, CHECK_NAME) is None:
                return Finding(name, "none is in use yet")
        open_vault(database, directory, configured)
    except StorageUnavailable as error:
        return Finding(name, str(error), "see the checks above")
    except DataDirectoryError as error:
        advice = f"put the right key into {directory / KEY_NAME} or {KEY_VARIABLE}: without it the secrets are lost"
        return Finding(name, str(error), advice)
    return Finding(name, f"fits, from {directory / KEY_NAME if configured is None else KEY_VARIABLE}")


def trades(database: "Database") -> Finding:
    """Does every trade's journal, worked in again, give the stored trade (architecture 3)?"""
    from smarttrade.adapters.storage.trade_store import SqlTradeStore
    from smarttrade.ports.storage import StorageUnavailable

    store, wrong = SqlTradeStore(database), []
    try:
        instance, ids = database.instance, store.trade_ids()
        for trade_id in ids:
            if not _follows_from_its_journal(store, trade_id, instance):
                wrong.append(trade_id)
    except StorageUnavailable as error:
        return Finding("trades", str(error), "restore the data directory from a backup")
    if wrong:
        listed = ", ".join(map(str, wrong[:SHOWN_TRADES])) + (" ..." if len(wrong) > SHOWN_TRADES else "")
        advice = "copy the data directory, compare these trades with the exchange, and report this as a bug"
        return Finding("trades", f"{len(wrong)} of {len(ids)} are not what their journal leads to: {listed}", advice)
    return Finding("trades", f"{len(ids)}, each as its journal says" if ids else "none yet")


def _follows_from_its_journal(store: "SqlTradeStore", trade_id: int, instance: str) -> bool:
    from smarttrade.engine.replay import digest, replay
    from smarttrade.ports.storage import StorageUnavailable

    try:
        trade, events = store.trade_with_events(trade_id)
        again = replay(events, store.instrument, instance)
    except StorageUnavailable:
        raise
    except Exception:  # noqa: BLE001 - whatever breaks on the way, the trade does not follow from its journal
        return False
    return trade is not None and again is not None and digest(again) == digest(trade)


def watches(database: "Database") -> Finding:
    """Does every open trade, and no other, stand among what a restart reads, as the trade says (EX-36)?"""
    from smarttrade.adapters.storage.trade_store import SqlTradeStore
    from smarttrade.ports.storage import StorageUnavailable

    name, store = "watches", SqlTradeStore(database)
    try:
        if not store.is_up_to_date():
            return Finding(name, "not there yet: the next start makes them from the trades")
        ids = store.trade_ids()
        wrong = [trade_id for trade_id in ids if not _stands_as_it_should(store, trade_id)]
        count = store.standing_count()
    except StorageUnavailable as error:
        return Finding(name, str(error), "restore the data directory from a backup")
    if wrong:
        advice = "stop the server, copy the data directory, and report this as a bug: some exit may not be watched"
        listed = ", ".join(map(str, wrong[:SHOWN_TRADES])) + (" ..." if len(wrong) > SHOWN_TRADES else "")
        return Finding(name, f"{len(wrong)} of {len(ids)} trades are not watched as they say: {listed}", advice)
    return Finding(name, f"those of {count} open trades, as they say")


def _stands_as_it_should(store: "SqlTradeStore", trade_id: int) -> bool:
    from smarttrade.ports.storage import StorageUnavailable

    try:
        return store.stands_as_it_should(trade_id)
    except StorageUnavailable:
        raise
    except Exception:  # noqa: BLE001 - a trade that cannot be read is watched by nobody
        return False


def exchanges(database: "Database") -> Finding:
    """Can the exchanges of all accounts be reached? Paper accounts are simulated here."""
    from smarttrade.adapters.clock import SystemClock
    from smarttrade.adapters.storage.directory import SqlDirectory

    accounts = SqlDirectory(database, _ShutVault(), SystemClock().now).all_accounts()
    real = [str(account.id) for account in accounts if not account.is_paper]
    if real:
        finding = f"accounts on real exchanges: {', '.join(real)}"
        return Finding("exchanges", finding, "this version trades on paper accounts only: remove them")
    return Finding("exchanges", f"{len(accounts)} accounts, all on paper: there is none to reach")


class _ShutVault:
    """For reading what is not sealed."""

    def seal(self, secret: bytes, belongs_to: str) -> bytes:
        raise SecretUnreadable(belongs_to)

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        raise SecretUnreadable(belongs_to)


def server(settings: "Settings") -> Finding:
    """Does one run on the data directory, does it answer, and can it watch every stop?"""
    from smarttrade.cli.server import Server, announced, find_running

    try:
        found = find_running(settings)
        failing = None if found is None else Server(found.url, certificate=settings.tls_certificate).health()
    except CommandFailed as error:
        return Finding("server", str(error), "look into its log, and restart it")
    if failing is not None:
        return Finding("server", failing, "look into its log; watch the positions yourself until this is mended")
    if found is not None:
        return Finding("server", f"answers at {found.url} (process {found.pid})")
    died = announced(settings.data_dir) is not None
    return Finding("server", "does not run" + (": the last one was killed; the next start recovers" if died else ""))


def _me() -> str:
    """Who runs this, as chown takes it."""
    return str(os.getuid())
