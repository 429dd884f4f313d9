"""Durable signed creates and signed GETs per second, over HTTP, from a second process (PF-6, PF-7).

Where other processes share the machine, the figure to look at is requests per second of the server's own processor
time: user and system, all threads. What a server without any trading could reach is measured in the same run: answers
to an unsigned ping, and SQLite alone with the rows that the creates have left.
"""

import hashlib
import hmac
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from bench.table import Goal, Row
from smarttrade.adapters.storage.data_directory import DATABASE_NAME

SECONDS: Final = 4.0

TRADE: Final = {
    "account_id": 1,
    "pair": "USDT_BTC",
    "position": {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "0.01"},
        "conditional": {"price": {"value": "50000"}, "order_type": "market"},
    },
    "take_profit": {
        "enabled": True,
        "steps": [
            {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": "70000"}},
            {"order_type": "market", "volume": 50, "price": {"type": "bid", "value": "71000"}},
        ],
    },
    "stop_loss": {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "value": "45000"}}},
}
"""Waits for a price that the demo never reaches, so that nothing but the creation is measured."""


class Load(NamedTuple):
    """Requests that are sent in turn over so many connections."""

    name: str
    method: str
    targets: Sequence[str]
    connections: int
    goal: Goal | None = None


TRADES: Final = "/public/api/v2/smart_trades"
THOUSAND: Final = [f"{TRADES}/{number}" for number in range(1, 1_001)]
PING: Final = "/public/api/ver1/ping"
LOADS: Final = (
    Load("signed POST, durable", "POST", [TRADES], 32, Goal("PF-6", at_least=5_000)),
    Load("signed POST, durable", "POST", [TRADES], 256),
    Load("signed GET of one trade", "GET", THOUSAND[:1], 32, Goal("PF-7", at_least=10_000)),
    Load("signed GET of one trade", "GET", THOUSAND[:1], 256),
    Load("signed GET of 1,000 trades in turn", "GET", THOUSAND, 32),
    Load("ping: HTTP alone", "GET", [PING], 32),
)

AT_ONCE: Final = 32
"""Creates to a commit where SQLite is measured alone."""
MOST_CREATES: Final = 10_000


def run() -> list[Row]:
    """A demo server in a process of its own, loaded from another."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "smarttrade.cli.main", "serve", "--port", "0", "--data-dir", directory]
        server = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            started = json.loads(server.stdout.readline())
            rows = [row for load in LOADS for row in _measured(load, started, server.pid)]
        finally:
            server.terminate()
            server.wait()
        return [*rows, *_storage_alone(Path(directory))]


def _measured(load: Load, started: dict[str, Any], server: int) -> list[Row]:
    before = _processor_seconds(server)
    found = answered(load, started["url"], started["api_key"]["api_key"], started["api_key"]["secret"])
    used = _processor_seconds(server) - before
    return [
        Row(f"{load.name}, {load.connections} connections", found["answered"] / found["seconds"], "/s", load.goal),
        Row("  per second of the server's processor time", found["answered"] / used, "/s"),
        Row("  half of them within", found["p50"], "ms"),
        Row("  99 of 100 within", found["p99"], "ms"),
    ]


def answered(load: Load, url: str, api_key: str, secret: str) -> dict[str, float]:
    """Put a load on a server for SECONDS; what bench.load prints."""
    address = urlsplit(url)
    requests = b"\0".join(_request(load.method, target, api_key, secret) for target in load.targets)
    where = [str(address.hostname), str(address.port), str(load.connections), str(SECONDS)]
    command = [sys.executable, "-m", "bench.load", *where]
    result = subprocess.run(command, input=requests, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} of {found['answered']} requests failed")
    return found


def _storage_alone(directory: Path) -> list[Row]:
    """Write what creates have left into an empty database of the same shape, as durable, by SQLite and nothing else."""
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as source:
        [creates] = source.execute("SELECT min(count(*), ?) FROM smart_trades", [MOST_CREATES]).fetchone()
        shape = [sql for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        names = [name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        written = {name: source.execute(f"SELECT * FROM {name} LIMIT {creates}").fetchall() for name in names}
    tables = {name: rows for name, rows in written.items() if len(rows) == creates}
    with closing(sqlite3.connect(directory / "alone.sqlite3", isolation_level=None)) as empty:
        empty.execute("PRAGMA journal_mode = WAL")
        empty.execute("PRAGMA synchronous = FULL")
        for sql in shape:
            empty.execute(sql)
        began, used = time.perf_counter(), time.process_time()
        for first in range(0, creates, AT_ONCE):
            empty.execute("BEGIN IMMEDIATE")
            for name, rows in tables.items():
                places = ", ".join("?" * len(rows[0]))
                empty.executemany(f"INSERT INTO {name} VALUES ({places})", rows[first : first + AT_ONCE])
            empty.execute("COMMIT")
        seconds, used = time.perf_counter() - began, time.process_time() - used
    return [
        Row(f"SQLite alone: rows of a create, {AT_ONCE} to a commit", creates / seconds, "/s"),
        Row("  per second of processor time", creates / used, "/s"),
    ]


def _processor_seconds(process: int) -> float:
    """User and system time of a process so far, all threads (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _request(method: str, path: str, api_key: str, secret: str) -> bytes:
    """The bytes of one signed request; the protocol has no nonce, so they may be sent again."""
    body = json.dumps(TRADE) if method == "POST" else ""
    signature = hmac.new(secret.encode(), (path + body).encode(), hashlib.sha256).hexdigest()
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Apikey: {api_key}",
        f"Signature: {signature}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()
