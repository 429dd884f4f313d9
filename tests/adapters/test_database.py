"""Group commit, isolation and failures of the database."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from smarttrade.adapters.storage.data_directory import DATABASE_NAME, open_database
from smarttrade.adapters.storage.database import Database, Prepared, Work, read_meta, upsert, write_meta
from smarttrade.adapters.storage.tables import meta
from smarttrade.ports.storage import StorageUnavailable


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path)
    yield database
    database.close()


def put(key: str, value: str = "x") -> Work[str]:
    def work(connection: sa.Connection) -> str:
        write_meta(connection, key, value)
        return key

    return work


def fail_after(key: str) -> Work[None]:
    def work(connection: sa.Connection) -> None:
        write_meta(connection, key, "x")
        raise ValueError(key)

    return work


def stored(database: Database, key: str) -> str | None:
    with database.read() as connection:
        return read_meta(connection, key)


async def hold(database: Database) -> tuple[asyncio.Task[None], threading.Event]:
    """Keep the writing thread inside a transaction of its own until the event is set."""
    inside, release = threading.Event(), threading.Event()

    def work(_: sa.Connection) -> None:
        inside.set()
        release.wait()

    holding = asyncio.create_task(database.write(work))
    await asyncio.to_thread(inside.wait)
    return holding, release


async def all_at_once(database: Database, works: list[Work[object]]) -> list[object]:
    """Hold the writing thread until every work waits, so that all of them share its next turn."""
    holding, release = await hold(database)
    waiting = [asyncio.create_task(database.write(work)) for work in works]
    await asyncio.sleep(0)
    release.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_all_that_waits_shares_one_commit_and_each_gets_its_own_result(database: Database) -> None:
    results = asyncio.run(all_at_once(database, [put(f"k{n}") for n in range(50)]))

    assert results == [f"k{n}" for n in range(50)]
    assert database.commits == 2  # the one that held the thread, and the group


def test_a_work_that_raises_fails_alone_and_leaves_nothing(database: Database) -> None:
    works: list[Work[object]] = [put("before"), fail_after("guilty"), put("after")]
    before, guilty, after = asyncio.run(all_at_once(database, works))

    assert (before, after) == ("before", "after")
    assert isinstance(guilty, ValueError)
    assert [stored(database, key) for key in ("before", "guilty", "after")] == ["x", None, "x"]


def test_a_single_work_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ValueError, match="guilty"):
        database.write_now(fail_after("guilty"))

    assert stored(database, "guilty") is None
    assert database.commits == 0


def test_a_full_disk_fails_everybody_who_waits_and_the_next_write_works_again(database: Database) -> None:
    large = put("large", "x" * 1_000_000)

    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # of this connection: not one page more than now
        large(connection)

    results = asyncio.run(all_at_once(database, [put("small"), fill]))

    assert [type(result) for result in results] == [StorageUnavailable, StorageUnavailable]
    assert "full" in str(results[0])
    assert stored(database, "small") is None
    assert database.write_now(large) == "large"


def test_a_lock_that_another_process_keeps_is_reported_and_nothing_is_written(database: Database) -> None:
    impatient = Database(database.path, busy_timeout=0.02)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        impatient.write_now(put("late"))
    other.execute("ROLLBACK")

    assert stored(impatient, "late") is None
    assert impatient.write_now(put("late")) == "late"
    other.close()
    impatient.close()


COUNT_UP = """
import sys
from pathlib import Path
from typing import Any
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.database import read_meta, write_meta
database = open_database(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
    database.write_now(lambda c: write_meta(c, "count", str(int(read_meta(c, "count") or 0) + 1)))
database.close()
"""


def test_two_processes_that_write_at_once_lose_no_update(database: Database) -> None:
    command = [sys.executable, "-c", COUNT_UP, str(database.path.parent)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()

    assert [child.returncode for child in children] == [0, 0]
    assert stored(database, "count") == "400"


def test_a_read_neither_waits_for_a_write_under_way_nor_sees_it(database: Database) -> None:
    inside, release = threading.Event(), threading.Event()

    def work(connection: sa.Connection) -> None:
        write_meta(connection, "new", "x")
        inside.set()
        release.wait()

    writer = threading.Thread(target=database.write_now, args=(work,))
    writer.start()
    inside.wait()
    during = stored(database, "new")
    release.set()
    writer.join()

    assert (during, stored(database, "new")) == (None, "x")


def test_one_read_sees_one_state_even_when_a_commit_comes_between(database: Database) -> None:
    database.write_now(put("value", "old"))
    with database.read() as connection:
        first = read_meta(connection, "value")
        database.write_now(put("value", "new"))
        with database.read() as nested:
            assert read_meta(nested, "value") == "old"
        second = read_meta(connection, "value")

    assert (first, second, stored(database, "value")) == ("old", "old", "new")


def test_what_is_prepared_sees_the_state_of_its_read_too(database: Database) -> None:
    """Else a trade that changes while a page of the list is put together could be on it twice, or not at all."""
    value = Prepared(database.dialect, sa.select(meta.c.value).where(meta.c.key == sa.bindparam("wanted")))
    database.write_now(put("value", "old"))
    with database.read() as connection:
        first = value.rows(connection, wanted="value")
        database.write_now(put("value", "new"))
        with database.read() as nested:
            assert read_meta(nested, "value") == "old"
        second = value.rows(connection, wanted="value")

    assert (first, second, stored(database, "value")) == ([("old",)], [("old",)], "new")


def test_a_connection_for_reading_refuses_to_write(database: Database) -> None:
    with pytest.raises(StorageUnavailable, match="readonly"), database.read() as connection:
        write_meta(connection, "key", "x")

    assert stored(database, "key") is None


def test_a_watched_value_is_the_last_committed_one_whoever_committed_it(database: Database) -> None:
    """A key that another process has revoked is refused at once (auth.md 2)."""
    other = Database(database.path)
    seen = [database.watched_meta("key")]
    for owner, value in ((database, "ours"), (other, "theirs"), (database, "ours again")):
        owner.write_now(put("key", value))
        seen += [database.watched_meta("key"), database.watched_meta("key")]
    other.close()

    assert seen == [None, "ours", "ours", "theirs", "theirs", "ours again", "ours again"]
    assert database.watched_meta("another") is None


def test_a_turn_of_the_event_loop_looks_once_for_foreign_commits_and_the_next_turn_again(database: Database) -> None:
    """A request that arrives after a key was revoked meets the revocation, and none pays for two looks (auth.md 2)."""
    other = Database(database.path)

    async def turns() -> tuple[list[str | None], int]:
        seen = [database.watched_meta("key")]
        assert database._watch is not None
        driver: Any = database._watch.connection.dbapi_connection
        heard: list[str] = []
        driver.set_trace_callback(heard.append)
        other.write_now(put("key", "theirs"))
        seen.append(database.watched_meta("key"))
        in_this_turn = len(heard)
        await asyncio.sleep(0)
        return [*seen, database.watched_meta("key")], in_this_turn

    assert asyncio.run(turns()) == ([None, None, "theirs"], 0)
    assert asyncio.run(turns())[0] == ["theirs"] * 3
    other.close()


def test_a_prepared_statement_writes_many_rows_as_the_ordinary_one_does(database: Database) -> None:
    statement = Prepared(database.dialect, upsert(database.dialect, meta))

    def work(connection: sa.Connection) -> None:
        statement.execute(connection, [{"key": "a", "value": "1"}, {"value": "2", "key": "b"}])
        statement.execute(connection, [{"key": "a", "value": "3"}])

    database.write_now(work)

    assert (stored(database, "a"), stored(database, "b")) == ("3", "2")


def test_a_cancelled_wait_harms_nobody_else(database: Database) -> None:
    async def scenario() -> object:
        holding, release = await hold(database)
        gone = asyncio.create_task(database.write(put("gone")))
        staying = asyncio.create_task(database.write(put("staying")))
        await asyncio.sleep(0)
        gone.cancel()
        release.set()
        await holding
        return await staying

    assert asyncio.run(scenario()) == "staying"
    assert stored(database, "staying") == "x"


def test_closing_finishes_what_waits_and_refuses_what_comes_later(tmp_path: Path) -> None:
    database = open_database(tmp_path)

    async def scenario() -> list[str]:
        waiting = [asyncio.create_task(database.write(put(f"k{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        database.close()
        return await asyncio.gather(*waiting)

    assert asyncio.run(scenario()) == [f"k{n}" for n in range(10)]
    with pytest.raises(StorageUnavailable, match="closed"):
        database.write_now(put("late"))
    assert stored(open_database(tmp_path), "k9") == "x"


def test_closing_waits_for_a_read_of_another_thread_and_refuses_later_ones(tmp_path: Path) -> None:
    """A page of the list that is read aside when the server leaves: SQLite crashes if its connection is closed."""
    database = open_database(tmp_path)
    database.write_now(put("key"))

    def read_long() -> list[str | None]:
        with database.read() as connection:
            found = [read_meta(connection, "key")]
            closing.start()
            while not database._closed:
                found.append(read_meta(connection, "key"))
            return found + [read_meta(connection, "key") for _ in range(2_000)]

    with ThreadPoolExecutor(1) as aside:
        stored(database, "key")
        closing = threading.Thread(target=database.close)
        found = aside.submit(read_long).result()
        closing.join()
        with pytest.raises(StorageUnavailable, match="closed"):
            aside.submit(stored, database, "key").result()

    assert set(found) == {"x"}
    with ThreadPoolExecutor(1) as another, pytest.raises(StorageUnavailable, match="closed"):
        another.submit(stored, database, "key").result()
    with pytest.raises(StorageUnavailable, match="closed"):
        stored(database, "key")


def test_after_closing_nothing_is_left_beside_the_database(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    database.write_now(put("key"))
    stored(database, "key")
    database.watched_meta("key")
    database.close()

    assert [file.name for file in tmp_path.iterdir()] == [DATABASE_NAME]


def test_a_commit_is_flushed_to_the_disk_and_not_only_to_the_system(database: Database) -> None:
    def settings(connection: sa.Connection) -> tuple[object, object]:
        pragmas = ("journal_mode", "synchronous")
        mode, synchronous = (connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas)
        return mode, synchronous

    assert database.write_now(settings) == ("wal", 2)  # 2: FULL
