"""The data directory, and the schema on its way up."""

import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from smarttrade.adapters.storage import tables
from smarttrade.adapters.storage.data_directory import (
    DATABASE_NAME,
    DataDirectoryInUse,
    DataDirectoryLock,
    DataDirectoryUnusable,
    SchemaTooNew,
    known_schema,
    open_database,
    open_for_inspection,
    stored_schema,
)
from smarttrade.adapters.storage.database import read_meta, write_meta
from smarttrade.adapters.storage.migrate import configuration
from smarttrade.ports.storage import StorageUnavailable

OURS = set(tables.metadata.tables)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_the_migrations_build_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.read() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in OURS, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    database.close()


def test_the_migrations_build_the_indexes_of_trades_to_the_letter(tmp_path: Path) -> None:
    """Which trades an index holds is part of it, and what Alembic compares leaves this out."""
    open_database(tmp_path).close()
    fresh = sa.create_engine("sqlite://")
    tables.metadata.create_all(fresh)
    text = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'smart_trades'"
    with fresh.connect() as connection:
        expected = {row.name: row.sql for row in connection.exec_driver_sql(text)}
    built = sqlite3.connect(tmp_path / DATABASE_NAME)
    assert dict(built.execute(text).fetchall()) == expected
    built.close()


def test_the_newest_file_is_the_only_head_of_an_unbroken_line() -> None:
    scripts = ScriptDirectory.from_config(configuration())

    assert scripts.get_heads() == [known_schema()]
    line = [script.revision for script in scripts.walk_revisions()]
    assert line == [f"{number:04d}" for number in range(int(known_schema()), 0, -1)]


def test_a_new_data_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "here"
    database = open_database(directory)
    database.write_now(lambda connection: None)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}
    assert DATABASE_NAME in modes
    assert set(modes.values()) == {0o600}
    database.close()


def test_an_installation_keeps_its_four_letters(tmp_path: Path) -> None:
    first = open_database(tmp_path)
    instance = first.instance
    first.close()
    second = open_database(tmp_path)

    assert len(instance) == 4
    assert instance.isascii()
    assert instance.islower()
    assert second.instance == instance
    second.close()


def set_version(directory: Path, version: str) -> None:
    connection = sqlite3.connect(directory / DATABASE_NAME)
    connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.commit()
    connection.close()


def test_a_newer_schema_is_refused_with_not_a_byte_touched(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    set_version(tmp_path, "9999")
    before, changed_at = contents(tmp_path), tmp_path.stat().st_mtime_ns

    with pytest.raises(SchemaTooNew, match="schema 9999") as refusal:
        open_database(tmp_path)
    assert "\n" not in str(refusal.value)
    assert contents(tmp_path) == before
    assert tmp_path.stat().st_mtime_ns == changed_at  # no file came and went either


def test_a_newer_schema_that_is_only_in_the_write_ahead_log_is_refused_too(tmp_path: Path) -> None:
    alive, killed = tmp_path / "alive", tmp_path / "killed"
    database = open_database(alive)
    database.write_now(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'") and None)
    shutil.copytree(alive, killed)  # as a killed process leaves it: the change has not reached the main file
    database.close()
    before = contents(killed)

    with pytest.raises(SchemaTooNew):
        open_database(killed)
    after = contents(killed)
    assert {name: after[name] for name in (DATABASE_NAME, DATABASE_NAME + "-wal")} == {
        name: before[name] for name in (DATABASE_NAME, DATABASE_NAME + "-wal")
    }


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_an_inspection_sees_everything_and_touches_nothing(tmp_path: Path, state: str) -> None:
    alive, directory = tmp_path / "alive ?#", tmp_path / "copy ?#"
    database = open_database(alive)
    database.write_now(lambda connection: write_meta(connection, "last", "written"))
    if state == "closed":
        database.close()
    shutil.copytree(alive, directory)
    database.close()
    before = contents(directory)

    inspected = open_for_inspection(directory)
    with inspected.read() as connection:
        assert read_meta(connection, "last") == "written"
    with pytest.raises(StorageUnavailable):
        inspected.write_now(lambda connection: write_meta(connection, "last", "changed"))
    inspected.close()
    after = contents(directory)
    assert set(after) == set(before)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {DATABASE_NAME + "-shm"}  # where readers note what they are reading; no data is in it


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("CREATE TABLE meta (mine TEXT)")  # in the way of the last table of 0001
    connection.close()

    with pytest.raises(DataDirectoryUnusable, match="meta already exists") as refusal:
        open_database(tmp_path)
    assert "\n" not in str(refusal.value)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("meta",)]
    connection.close()
    assert stored_schema(tmp_path / DATABASE_NAME) is None


OPEN = """
import sys
from pathlib import Path
from smarttrade.adapters.storage.data_directory import open_database
database = open_database(Path(sys.argv[1]))
print(database.instance, "alembic" in sys.modules)
database.close()
"""


def test_processes_that_meet_in_a_new_directory_agree_on_one_database(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    instances = {child.communicate()[0].split()[0] for child in children}

    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(instances) == 1


def test_a_start_that_finds_the_schema_up_to_date_does_not_load_alembic(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    answer = subprocess.run([sys.executable, "-c", OPEN, str(tmp_path)], capture_output=True, text=True, check=True)

    assert answer.stdout.split()[1] == "False"


def test_a_directory_that_cannot_be_used_is_named_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database " * 100)

    for directory, reason in ((file, "not a directory"), (file / "below", "Not a directory"), (tmp_path, "not a data")):
        with pytest.raises(DataDirectoryUnusable, match=reason) as refusal:
            open_database(directory)
        assert str(directory) in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_only_one_process_may_serve_from_a_directory(tmp_path: Path) -> None:
    with DataDirectoryLock(tmp_path), pytest.raises(DataDirectoryInUse, match="served by another process"):
        DataDirectoryLock(tmp_path).acquire()
    with DataDirectoryLock(tmp_path):
        pass


HOLD = """
import sys, time
from pathlib import Path
from smarttrade.adapters.storage.data_directory import DataDirectoryLock
lock = DataDirectoryLock(Path(sys.argv[1]))
lock.acquire()
lock.sign()
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_server_leaves_its_directory_free(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(DataDirectoryInUse, match=f"pid {child.pid}"):
        DataDirectoryLock(tmp_path).acquire()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    with DataDirectoryLock(tmp_path):
        pass


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=str)
def test_every_table_and_index_can_be_made_in_postgresql(table: sa.Table) -> None:
    statements = [sa.schema.CreateTable(table), *map(sa.schema.CreateIndex, table.indexes)]

    assert all(str(statement.compile(dialect=postgresql.dialect())) for statement in statements)
