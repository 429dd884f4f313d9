"""One writing thread, shared commits, and readers that never wait for them.

Everything asked for while a commit is under way shares the next one: a commit costs as much as hundreds of row writes.
A work that raises spoils nobody else's: the group is rolled back and each work runs again in a transaction of its own.
Another process may write too (`smarttrade keys create` beside a running server); one then waits for the other.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from smarttrade.adapters.storage import tables
from smarttrade.ports.storage import StorageUnavailable

Result = TypeVar("Result")
Work = Callable[[sa.Connection], Result]
"""What a transaction does. It may run twice (see the module's rules), so it changes nothing but the database."""

INSTANCE: Final = "instance"
"""Name of a value in `meta`."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that is writing. Its transactions take milliseconds."""

STORAGE_FAILURES: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Result codes that speak of the storage, not of the statement: repeating one by one would not help."""

WRITER_PRAGMAS: Final = (
    "journal_mode=wal",
    "synchronous=full",  # a commit survives the loss of power, not only of the process
    "fullfsync=on",  # macOS: a plain fsync stops at the drive's cache
    "foreign_keys=on",
)
READER_PRAGMAS: Final = ("query_only=on",)
BEGIN_READING: Final = "BEGIN"

KEPT_STATEMENTS: Final = 1_000
"""Statements whose SQL is remembered, those used last."""


class Database:
    """A SQLite file. One per process and file; made by `open_database`, which also brings the schema up to date."""

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout: float = BUSY_TIMEOUT,
        read_only: bool = False,
        pragmas: Iterable[str] = WRITER_PRAGMAS,
        mode: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """busy_timeout  seconds that a writer waits for another process
        read_only     open without creating or changing any file; writes raise StorageUnavailable
        pragmas       how the writing connection is tuned
        mode          URI parameters of SQLite; none: a file, for writing
        """
        self.path = path
        self.commits = 0  # transactions committed by this object
        mode = read_only_mode(path) if read_only else mode
        self._writing = sqlite_engine(path, () if read_only else pragmas, "BEGIN IMMEDIATE", busy_timeout, mode)
        self._reading = sqlite_engine(path, READER_PRAGMAS, BEGIN_READING, busy_timeout, mode)
        self._queue: SimpleQueue[_Waiting[Any] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._writer: sa.Connection | None = None  # used by the writing thread alone
        self._local = threading.local()
        self._readers: list[sa.Connection] = []
        self._reads: list[threading.RLock] = []  # one for each thread that reads, held while it does
        self._watch: sa.Connection | None = None
        self._watched: dict[str, tuple[int, str | None]] = {}  # values of `meta`, and when they were read
        self._mark_of_turn: int | None = None  # of the newest commit when this turn of the event loop looked

    @property
    def dialect(self) -> sa.Dialect:
        return self._writing.dialect

    @property
    def instance(self) -> str:
        """Four lower-case letters, drawn with the database: they tell its orders from another installation's."""
        with self.read() as connection:
            tag = read_meta(connection, INSTANCE)
        assert tag is not None, "open_database gives every database one"
        return tag

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in the writing thread; returns its result once it is durable.

        Raises StorageUnavailable (nothing of it is durable), or whatever `work` raises. A cancelled wait does not take
        the work back.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._put(_Waiting(work, future, loop))
        return await future

    def write_now(self, work: Work[Result]) -> Result:
        """The same, for callers without an event loop. Blocks."""
        future: Future[Result] = Future()
        self._put(_Waiting(work, future, None))
        return future.result()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read-only connection that sees one committed state from its first query to the end of the block.

        Raises StorageUnavailable.
        """
        with self._reading_here():
            if self._closed:
                raise StorageUnavailable(f"{self.path} is closed")
            try:
                connection = self._reader()
                driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
                nested = driver.in_transaction
                try:
                    if not nested:
                        driver.execute(BEGIN_READING)  # SQLAlchemy's own takes ten times as long, and skips `Prepared`
                    yield connection
                finally:
                    if not nested:
                        connection.rollback()
                        driver.rollback()
            except (sa.exc.DBAPIError, sqlite3.Error) as error:
                cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
                if _is_storage_failure(cause):
                    raise StorageUnavailable(f"{self.path}: {cause}") from error
                raise

    def watched_meta(self, key: str) -> str | None:
        """A value of the `meta` table as last committed by anybody, in any process. Raises StorageUnavailable.

        Commits are looked for once in a turn of the event loop, however often this is called: what a turn works on had
        arrived before it began.
        """
        seen, value = self._watched.get(key, (None, None))
        if seen is not None and seen == self._mark_of_turn:
            return value
        try:
            with self._lock:
                if self._watch is None:
                    self._watch = self._reading.connect()
                driver: sqlite3.Connection = self._watch.connection.dbapi_connection  # type: ignore[assignment]
                mark = self._mark_of_turn
                if mark is None:
                    mark = self._look(driver)
                if seen != mark:
                    row = driver.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
                    value = None if row is None else str(row[0])
                    self._watched[key] = mark, value
                return value
        except (sqlite3.Error, sa.exc.DBAPIError) as error:
            raise StorageUnavailable(f"{self.path}: {error}") from error

    def _look(self, driver: sqlite3.Connection) -> int:
        """The mark of the newest commit, another one after each; 2 us while nobody commits."""
        mark: int = driver.execute("PRAGMA data_version").fetchone()[0]
        with suppress(RuntimeError):  # there is no event loop: the next question looks again
            asyncio.get_running_loop().call_soon(self._end_turn)
            self._mark_of_turn = mark
        return mark

    def _end_turn(self) -> None:
        self._mark_of_turn = None

    def close(self) -> None:
        """Finish what waits and what is being read, then let go of the files. Reads and writes are over after this."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        for held in self._reads:  # SQLite crashes if a connection is closed while another thread uses it
            with held:
                pass
        for connection in (*self._readers, *filter(None, (self._watch, self._writer))):
            connection.close()

    def _reading_here(self) -> threading.RLock:
        """What this thread holds while it reads."""
        held: threading.RLock | None = getattr(self._local, "reading", None)
        if held is None:
            held = self._local.reading = threading.RLock()
            with self._lock:
                self._reads.append(held)
        return held

    def _reader(self) -> sa.Connection:
        connection: sa.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._reading.connect()
            with self._lock:
                self._readers.append(connection)
        return connection

    def _put(self, waiting: "_Waiting[Any]") -> None:
        with self._lock:
            if self._closed:
                raise StorageUnavailable(f"{self.path} is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="storage-writer", daemon=True)
                self._thread.start()
            self._queue.put(waiting)

    def _serve(self) -> None:
        """Body of the writing thread: take all that waits, commit once, answer, again."""
        while True:
            group, last = self._take()
            self._commit_group(group)
            _deliver(group)
            if last:
                return

    def _take(self) -> "tuple[list[_Waiting[Any]], bool]":
        """Wait for a work; return it with all others that wait, and whether the database is being closed."""
        group: list[_Waiting[Any]] = []
        try:
            while True:
                waiting = self._queue.get(block=not group)
                if waiting is None:
                    return group, True
                group.append(waiting)
        except Empty:
            return group, False

    def _commit_group(self, group: "Sequence[_Waiting[Any]]") -> None:
        """Run `group` in one transaction and note each outcome; one by one when a work fails."""
        if not group:
            return
        try:
            results = self._transact([waiting.work for waiting in group])
        except StorageUnavailable as error:
            for waiting in group:
                waiting.error = StorageUnavailable(*error.args)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked for the work
            if len(group) == 1:
                group[0].error = error
                return
            for waiting in group:
                self._commit_group((waiting,))
        else:
            for waiting, result in zip(group, results, strict=True):
                waiting.result = result

    def _transact(self, works: Sequence[Work[Any]]) -> list[Any]:
        """One transaction. After a failure of the storage the next one starts with a new connection."""
        try:
            if self._writer is None:
                self._writer = self._writing.connect()
            with self._writer.begin():
                results = [work(self._writer) for work in works]
        except sa.exc.DBAPIError as error:
            if _is_storage_failure(error.orig):
                self._drop_writer()
                raise StorageUnavailable(f"{self.path}: {error.orig}") from error
            raise
        self.commits += 1
        return results

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()
            writer.close()


class _Waiting(Generic[Result]):
    """A work, what became of it, and who wants to know."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(
        self,
        work: Work[Result],
        future: "asyncio.Future[Result] | Future[Result]",
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.work = work
        self.future = future
        self.loop = loop
        self.result: Result | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # the caller has gone away
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


def _deliver(group: Sequence[_Waiting[Any]]) -> None:
    """Answer everybody; callers in an event loop are woken once per loop, not once each."""
    loops: dict[asyncio.AbstractEventLoop, list[_Waiting[Any]]] = {}
    for waiting in group:
        if waiting.loop is None:
            waiting.settle()
        else:
            loops.setdefault(waiting.loop, []).append(waiting)
    for loop, members in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_all, members)


def _settle_all(members: Iterable[_Waiting[Any]]) -> None:
    for waiting in members:
        waiting.settle()


def read_only_mode(path: Path) -> dict[str, str]:
    """SQLite's URI parameters for reading the database at `path` without creating or changing a file.

    Its newest rows may be in a write-ahead log. Without one, `immutable` spares the -shm and -wal files that even a
    reader would create.
    """
    log, index = path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")
    if index.exists() or (log.exists() and log.stat().st_size > 0):
        return {"mode": "ro"}
    return {"mode": "ro", "immutable": "1"}


def sqlite_engine(
    path: Path, pragmas: Iterable[str], begin: str, busy_timeout: float, mode: Mapping[str, str] = MappingProxyType({})
) -> sa.Engine:
    """An engine whose transactions start with `begin`, instead of where the driver thinks fit.

    mode  URI parameters of SQLite; none: open for writing, create if need be
    """
    query = "&".join(f"{name}={value}" for name, value in mode.items())
    database = f"{path.absolute().as_uri()}?{query}" if mode else str(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            database, timeout=busy_timeout, isolation_level=None, check_same_thread=False, uri=bool(mode)
        )
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    pool = sa.NullPool(connect)  # type: ignore[arg-type]  # connections are kept by whoever uses them
    url = sa.URL.create("sqlite", database=database)
    return sa.Engine(pool, _dialect(begin), url, execution_options={"compiled_cache": COMPILED})


class _Dialect(SQLiteDialect_pysqlite):
    """SQLite's, but for where a transaction begins."""

    supports_statement_cache = True

    def __init__(self, begin: str) -> None:
        super().__init__(dbapi=sqlite3)
        self.server_version_info = sqlite3.sqlite_version_info  # else asked for with the first connection of an engine
        self._begin = begin

    def do_begin(self, dbapi_connection: Any) -> None:
        if self._begin != BEGIN_READING or not dbapi_connection.in_transaction:
            dbapi_connection.execute(self._begin)


@cache
def _dialect(begin: str) -> _Dialect:
    """The same for all databases of this process: a statement put together for one is ready for the next."""
    return _Dialect(begin)


COMPILED: Final = LRUCache[Any, Any](KEPT_STATEMENTS)
"""What SQLAlchemy remembers of statements, by dialect."""


def _is_storage_failure(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in STORAGE_FAILURES  # the low byte is the class, the rest a detail


class Prepared:
    """A statement that is executed often, or for many rows; put together once.

    SQLAlchemy prepares the parameters of every row anew, which takes longer than SQLite needs to write it. Here they go
    to the driver as they are, so this is for columns of plain types: numbers, text, bytes, booleans.
    """

    def __init__(self, dialect: sa.Dialect, statement: sa.ClauseElement) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        self.sql = str(compiled)
        self._names = compiled.positiontup  # None: this driver takes parameters by name

    def execute(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Once for each row."""
        if self._names is None:
            connection.exec_driver_sql(self.sql, rows)
        else:
            connection.exec_driver_sql(self.sql, [tuple(map(row.__getitem__, self._names)) for row in rows])

    def rows(self, connection: sa.Connection, **values: Any) -> list[tuple[Any, ...]]:
        """What a query finds, as the driver gives it: 4 us against SQLAlchemy's 50 for a row by its key."""
        cursor = connection.connection.cursor()
        cursor.execute(self.sql, values if self._names is None else [values[name] for name in self._names])
        return list(cursor.fetchall())


@lru_cache(KEPT_STATEMENTS)
def prepared(dialect: sa.Dialect, statement: sa.ClauseElement) -> Prepared:
    """`statement`, which is a constant, put together once in this process."""
    return Prepared(dialect, statement)


def upsert(dialect: sa.Dialect, table: sa.Table, fixed: Iterable[str] = ()) -> sa.Insert:
    """An INSERT of whole rows that replaces the row with the same primary key, but for its `fixed` columns."""
    return _upsert(dialect.name, table, tuple(fixed))


@cache
def _upsert(dialect_name: str, table: sa.Table, fixed: Sequence[str]) -> sa.Insert:
    """Made once: putting a statement together takes longer than executing it."""
    insert = postgresql.insert(table) if dialect_name == "postgresql" else sqlite.insert(table)
    kept = {*fixed, *(column.name for column in table.primary_key)}
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={column.name: insert.excluded[column.name] for column in table.columns if column.name not in kept},
    )


SELECT_META: Final = sa.select(tables.meta.c.value).where(tables.meta.c.key == sa.bindparam("wanted"))


def read_meta(connection: sa.Connection, key: str) -> str | None:
    """A value of the `meta` table."""
    value: str | None = connection.scalar(SELECT_META, {"wanted": key})
    return value


def write_meta(connection: sa.Connection, key: str, value: str) -> None:
    """Set a value of the `meta` table."""
    connection.execute(upsert(connection.dialect, tables.meta), {"key": key, "value": value})
