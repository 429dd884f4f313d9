"""The data directory: who may serve from it, and opening its database without harm to a newer one."""

import fcntl
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from smarttrade.adapters.storage.database import BUSY_TIMEOUT, WRITER_PRAGMAS, Database, read_only_mode, sqlite_engine

DATABASE_NAME: Final = "smarttrade.db"
LOCK_NAME: Final = "serve.lock"

MIGRATIONS: Final = Path(__file__).parent / "migrations" / "versions"
"""One file per revision, named after it: four digits, an underline, a word."""


class DataDirectoryError(Exception):
    """The server cannot work on this data directory; str() is one line for its owner."""


class DataDirectoryUnusable(DataDirectoryError):
    """It cannot be created, read or written, or its database is none."""


class DataDirectoryInUse(DataDirectoryError):
    """Another server works on it."""


class SchemaTooNew(DataDirectoryError):
    """Its database was written by a newer version of this program; nothing has been touched."""


class DataDirectoryLock:
    """Held by the one process that serves from a data directory. The system releases it when that process dies."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._file: int | None = None

    def acquire(self) -> None:
        """Raises DataDirectoryInUse, DataDirectoryUnusable."""
        _create_directory(self._path.parent)
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirectoryUnusable(f"cannot use data directory {self._path.parent}: {_reason(error)}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise DataDirectoryInUse(
                f"data directory {self._path.parent} is served by another process (pid {holder})"
            ) from None
        self._file = file

    def sign(self) -> None:
        """Write down who serves, once it does: a start that is refused leaves the directory as it was."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process serve. The file stays: removing it would race with one that has just opened it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def open_database(directory: Path) -> Database:
    """The database of `directory`, created or brought up to date if need be.

    Raises SchemaTooNew (nothing touched), DataDirectoryUnusable.
    """
    path = directory / DATABASE_NAME
    _create_directory(directory)
    stored = refuse_newer_schema(directory)
    try:
        if stored != known_schema():
            _create_file(path)
            _migrate(path)
    except (sqlite3.Error, sa.exc.DBAPIError, OSError) as error:
        raise DataDirectoryUnusable(f"cannot use {path}: {_reason(error)}") from error
    return Database(path)


def refuse_newer_schema(directory: Path) -> str | None:
    """The schema of the directory's database, None without one; touches nothing.

    Raises SchemaTooNew, DataDirectoryUnusable.
    """
    path = directory / DATABASE_NAME
    try:
        stored, known = stored_schema(path), known_schema()
    except (sqlite3.Error, sa.exc.DBAPIError, OSError) as error:
        raise DataDirectoryUnusable(f"cannot use {path}: {_reason(error)}") from error
    if stored is not None and stored > known:
        raise SchemaTooNew(
            f"{path} has schema {stored}, written by a newer version of smarttrade; this one knows {known}"
        )
    return stored


def open_for_inspection(directory: Path) -> Database:
    """The database of `directory`, whose schema must be `known_schema()`, for reading: no file is made or changed."""
    return Database(directory / DATABASE_NAME, read_only=True)


def known_schema() -> str:
    """The newest revision that this program brings along."""
    return max(file.name[:4] for file in MIGRATIONS.glob("[0-9]*_*.py"))


def stored_schema(path: Path) -> str | None:
    """Revision of the database at `path`, read without creating or changing any file; None: no schema yet.

    Raises sqlite3.Error.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    mode = "&".join(f"{name}={value}" for name, value in read_only_mode(path).items())
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT)
    try:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is None:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    finally:
        connection.close()


def _create_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryUnusable(f"cannot use data directory {directory}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return "it is not a directory"
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)


def _create_file(path: Path) -> None:
    """Make the file ours alone before SQLite does; its -wal and -shm files take the same permissions."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _migrate(path: Path) -> None:
    from smarttrade.adapters.storage.migrate import upgrade  # Alembic: 50 ms that most starts needn't pay

    engine = sqlite_engine(path, WRITER_PRAGMAS, "BEGIN IMMEDIATE", BUSY_TIMEOUT)
    with engine.connect() as connection, connection.begin():
        upgrade(connection)
