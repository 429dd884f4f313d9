"""A data directory opened for one command, beside a running server or without one."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.storage.data_directory import (
    DATABASE_NAME,
    DataDirectoryError,
    DataDirectoryUnusable,
    known_schema,
    open_database,
    stored_schema,
)
from smarttrade.adapters.storage.database import Database
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.storage.trade_store import SqlTradeStore
from smarttrade.adapters.vault import KEY_VARIABLE, open_vault
from smarttrade.cli.failures import CommandFailed
from smarttrade.cli.server import find_running
from smarttrade.domain.account import User
from smarttrade.ports.directory import InvalidKeyRequest
from smarttrade.ports.key_vault import SecretUnreadable
from smarttrade.ports.storage import StorageUnavailable
from smarttrade.settings import Settings


class Installation:
    """What a command works with."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Raises MasterKeyUnusable, WrongMasterKey."""
        vault = open_vault(database, settings.data_dir, os.environ.get(KEY_VARIABLE))
        self.settings = settings
        self.directory = SqlDirectory(database, vault, SystemClock().now)
        self.store = SqlTradeStore(database)

    def user(self, name: str) -> User:
        """The user of this name. Raises CommandFailed."""
        for user in self.directory.users():
            if user.name == name:
                return user
        raise CommandFailed(f"there is no user {name!r}: keys create and accounts add-paper make one with --user")

    def users(self, name: str | None) -> list[User]:
        """The user of this name, or everybody. Raises CommandFailed."""
        return list(self.directory.users()) if name is None else [self.user(name)]


@contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[Installation]:
    """The installation in the data directory. Failures of storage and keys leave as CommandFailed.

    create  make what is missing; otherwise a directory without a database is refused, and left as it is
    """
    try:
        database = _database(settings, create=create)
        try:
            yield Installation(settings, database)
        finally:
            database.close()
    except (DataDirectoryError, StorageUnavailable, SecretUnreadable, InvalidKeyRequest) as error:
        raise CommandFailed(str(error)) from error


def _database(settings: Settings, *, create: bool) -> Database:
    """Raises CommandFailed, DataDirectoryError."""
    directory = settings.data_dir
    try:
        if not create and not (directory / DATABASE_NAME).exists():
            raise CommandFailed(f"there is no database in {directory}: name another directory with --data-dir")
        _leave_older_servers_alone(settings)
    except OSError as error:
        raise DataDirectoryUnusable(f"cannot use data directory {directory}: {error.strerror}") from error
    return open_database(directory)


def _leave_older_servers_alone(settings: Settings) -> None:
    """Bringing the schema up to date under a running server would pull its tables from under it."""
    try:
        stored = stored_schema(settings.data_dir / DATABASE_NAME)
    except sqlite3.Error:
        return  # opening it will say what is wrong
    if stored is not None and stored < known_schema() and find_running(settings) is not None:
        raise CommandFailed(f"the server that runs on {settings.data_dir} is older than this command: restart it first")
