"""Durable signed creates and signed GETs per second, over HTTP, from a second process (PF-6, PF-7).

Where other processes share the machine, the figure to look at is requests per second of the server's own processor
time: user and system, all threads.
"""

import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.table import Goal, Row

CONNECTIONS: Final = (32, 256)
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


def run() -> list[Row]:
    """A demo server in a process of its own, loaded from another."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-m",
            "smarttrade.cli.main",
            "serve",
            "--port",
            "0",
            "--data-dir",
            directory,
            "--json",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            started = json.loads(server.stdout.readline())
            for connections in CONNECTIONS:
                goal = Goal("PF-6", at_least=5_000) if connections == CONNECTIONS[0] else None
                rows += _measured("signed POST, durable", "POST", "", connections, started, server.pid, goal)
            for connections in CONNECTIONS:
                goal = Goal("PF-7", at_least=10_000) if connections == CONNECTIONS[0] else None
                rows += _measured("signed GET of one trade", "GET", "/1", connections, started, server.pid, goal)
        finally:
            server.terminate()
            server.wait()
    return rows


def _measured(
    name: str, method: str, below: str, connections: int, started: dict[str, Any], server: int, goal: Goal | None
) -> list[Row]:
    address = urlsplit(started["url"])
    request = _request(method, f"/public/api/v2/smart_trades{below}", started)
    command = [
        sys.executable,
        "-m",
        "bench.load",
        str(address.hostname),
        str(address.port),
        str(connections),
        str(SECONDS),
    ]
    before = _processor_seconds(server)
    result = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    used = _processor_seconds(server) - before
    figures = json.loads(result.stdout)
    if figures["failed"]:
        raise RuntimeError(f"{figures['failed']} of {figures['answered']} requests failed")
    return [
        Row(f"{name}, {connections} connections", figures["answered"] / figures["seconds"], "/s", goal),
        Row("  per second of the server's processor time", figures["answered"] / used, "/s"),
        Row("  half of them within", figures["p50"], "ms"),
        Row("  99 of 100 within", figures["p99"], "ms"),
    ]


def _processor_seconds(process: int) -> float:
    """User and system time of a process so far, all threads (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _request(method: str, path: str, started: dict[str, Any]) -> bytes:
    """The bytes of one signed request; the protocol has no nonce, so they may be sent again."""
    body = json.dumps(TRADE) if method == "POST" else ""
    key = started["api_key"]
    signature = hmac.new(key["secret"].encode(), (path + body).encode(), hashlib.sha256).hexdigest()
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Apikey: {key['api_key']}",
        f"Signature: {signature}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()
