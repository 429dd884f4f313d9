"""The database of a simulated process: commits happen in its event loop, one by one, and may fail, linger or kill it.

What a transaction writes is listened in on, row by row, and passed on once it is durable: the world knows what the disk
knows, whatever the process believes.
"""

import asyncio
import enum
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from smarttrade.adapters.storage.data_directory import DATABASE_NAME, open_database
from smarttrade.adapters.storage.database import INSTANCE, Database, Work, write_meta
from smarttrade.adapters.vault import KEY_NAME, open_vault
from smarttrade.ports.storage import StorageUnavailable

Result = TypeVar("Result")

INSERT: Final = re.compile(r"INSERT INTO (?P<table>\w+) \((?P<columns>[^)]*)\)")
"""The beginning of a statement that is put together for the driver (database.Prepared)."""

INSTANCE_TAG: Final = "simu"
"""In every client order id: a real installation draws its own."""

PRAGMAS: Final = ("journal_mode=memory", "synchronous=off", "foreign_keys=on")
IN_MEMORY: Final = {"vfs": "memdb"}
"""Without a disk: a simulated process dies between statements, never with the machine.

SQLite's own files in memory are shared by the connections of one process. A file in a temporary directory took 10 % of
a world.
"""


class Death(SystemExit):
    """The process ends here and now. Unlike other exceptions it stops the event loop at once."""


class Moment(enum.Enum):
    """When a process dies around a commit."""

    BEFORE = "before"  # nothing of it is durable
    AFTER = "after"  # it is durable, and nobody has been told


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one commit."""

    fails: bool = False
    before: float = 0  # seconds that it waits
    after: float = 0  # seconds from its being durable to the answer
    death: Moment | None = None


UNEVENTFUL: Final = Fate()


class Written(msgspec.Struct, frozen=True):
    """Rows of one table that a transaction has put or removed."""

    table: str
    rows: Sequence[Mapping[str, Any]]
    removed: bool = False


Durable = Callable[[Sequence[Written]], None]


class InlineDatabase(Database):
    """A `Database` without a thread."""

    def __init__(self, path: Path, *, fate: Callable[[], Fate], durable: Durable) -> None:
        """fate     asked at every commit
        durable  hears what a commit has written
        """
        super().__init__(path, pragmas=PRAGMAS, mode=IN_MEMORY)
        self._fate = fate
        self._durable = durable
        self._commit_turn = asyncio.Lock()

    async def write(self, work: Work[Result]) -> Result:
        """See Database. In order of arrival."""
        async with self._commit_turn:
            fate = self._fate()
            if fate.before:
                await asyncio.sleep(fate.before)
            if fate.fails:
                raise StorageUnavailable("database or disk is full")
            result = self._commit(work, fate.death)
            if fate.after:
                await asyncio.sleep(fate.after)
            return result

    def write_now(self, work: Work[Result]) -> Result:
        """See Database."""
        return self._commit(work, None)

    def _reader(self) -> sa.Connection:
        """In memory nobody may read beside a transaction: whoever does so in one reads by its connection."""
        if self._writer is not None and self._writer.in_transaction():
            return self._writer
        return super()._reader()

    def _commit(self, work: Work[Result], death: Moment | None) -> Result:
        if death is Moment.BEFORE:
            raise Death
        written: list[Written] = []
        [result] = self._transact([lambda connection: work(cast(sa.Connection, _Tapped(connection, written)))])
        if written:
            self._durable(written)
        if death is Moment.AFTER:
            raise Death
        return cast(Result, result)


class _Tapped:
    """A connection that notes which rows are put and removed."""

    def __init__(self, connection: sa.Connection, written: list[Written]) -> None:
        self._connection = connection
        self._written = written

    def execute(self, statement: sa.Executable, rows: Any = None) -> Any:
        result = self._connection.execute(statement, rows)
        note(self._written, statement, rows)
        return result

    def exec_driver_sql(self, statement: str, rows: Any = None) -> Any:
        """Many rows go straight to the driver: what SQLAlchemy does around that took 4 % of a world."""
        if not isinstance(rows, list):
            return self._connection.exec_driver_sql(statement, rows)
        self._connection.connection.cursor().executemany(statement, rows)
        note_driver_sql(self._written, statement, rows)
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class RowsOnly:
    """Takes the place of a connection where nothing has to be stored, only noted."""

    dialect: Final = sqlite.dialect()

    def __init__(self, written: list[Written]) -> None:
        self._written = written

    def execute(self, statement: sa.Executable, rows: Any = None) -> None:
        note(self._written, statement, rows)

    def exec_driver_sql(self, statement: str, rows: Any = None) -> None:
        note_driver_sql(self._written, statement, rows)


def note(written: list[Written], statement: sa.Executable, rows: Any) -> None:
    """Remember what `statement` does with `rows`, if it puts or removes rows that are given one by one."""
    listed = [rows] if isinstance(rows, dict) else rows
    if listed and isinstance(statement, sa.Insert | sa.Delete):
        written.append(Written(str(statement.table), listed, isinstance(statement, sa.Delete)))


def note_driver_sql(written: list[Written], statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """The same of a statement that was put together for the driver (database.Prepared)."""
    insert = _insert(statement)
    if insert is not None:
        table, names = insert
        written.append(Written(table, [dict(zip(names, row, strict=True)) for row in rows]))


@cache
def _insert(statement: str) -> tuple[str, Sequence[str]] | None:
    """The table and the columns that it puts rows into; None if it does something else."""
    insert = INSERT.match(statement)
    return None if insert is None else (insert["table"], insert["columns"].split(", "))


@cache
def _template() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A data directory as the first start leaves it; the second value keeps it there."""
    kept = tempfile.TemporaryDirectory(prefix="smarttrade-simulation-")
    directory = Path(kept.name)
    database = open_database(directory)
    database.write_now(lambda connection: write_meta(connection, INSTANCE, INSTANCE_TAG))
    open_vault(database, directory)
    database.close()
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as connection:
        connection.execute("PRAGMA journal_mode=delete")  # there is no write-ahead log in memory
    return directory, kept


class Disk:
    """A data directory as a first start leaves it, the same for every world. Its database outlives every process."""

    def __init__(self, directory: Path) -> None:
        """directory  empty"""
        self._path = directory.absolute() / DATABASE_NAME
        template, _ = _template()
        shutil.copy(template / KEY_NAME, directory / KEY_NAME)
        self._connection = sqlite3.connect(f"{self._path.as_uri()}?{urlencode(IN_MEMORY)}", uri=True)
        with closing(sqlite3.connect(template / DATABASE_NAME)) as kept:
            kept.backup(self._connection)

    def write_out(self) -> None:
        """Make the database a file, as it stands."""
        with closing(sqlite3.connect(self._path)) as file:
            self._connection.backup(file)

    def close(self) -> None:
        """Forget the database, when no process is left that has it open."""
        self._connection.close()
