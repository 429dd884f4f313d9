"""Fan-out of one stored change to everybody who listens: from the request that makes it to its last listener."""

import hashlib
import hmac
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Final
from urllib.parse import urlsplit

from bench.api import TRADE
from bench.listeners import subscription
from bench.table import Row

LISTENERS: Final = (10, 100, 1_000)
CHANGES: Final = 50


def run() -> list[Row]:
    """A demo server, a process of listeners, and a trade whose note is changed again and again."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        serve = [sys.executable, "-m", "smarttrade.cli.main", "serve", "--port", "0", "--data-dir", directory, "--json"]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            started = json.loads(server.stdout.readline())
            _post(started, "/public/api/v2/smart_trades", TRADE)
            for count in LISTENERS:
                rows += _measured(started, count)
        finally:
            server.terminate()
            server.wait()
    return rows


def _measured(started: dict[str, Any], count: int) -> list[Row]:
    address, key = urlsplit(started["url"]), started["api_key"]
    command = [sys.executable, "-m", "bench.listeners", str(address.hostname), str(address.port), str(count)]
    with subprocess.Popen([*command, str(CHANGES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listening:
        assert listening.stdin is not None
        assert listening.stdout is not None
        signature = hmac.new(key["secret"].encode(), b"/smart_trades", hashlib.sha256).hexdigest()
        listening.stdin.write(subscription(key["api_key"], signature))
        listening.stdin.close()
        assert listening.stdout.readline() == b"ready\n"
        delays = []
        for number in range(CHANGES):
            asked = time.perf_counter()
            _post(started, "/public/api/v2/smart_trades/1/set_note", {"note": f"change {number}"})
            delays.append(float(listening.stdout.readline()) - asked)
    middle = statistics.median(delays)
    return [
        Row(f"change to the last of {count:,} listeners", middle * 1000, "ms"),
        Row("  slowest of 50 changes", max(delays) * 1000, "ms"),
        Row("  messages per second", count / middle, "/s"),
    ]


def _post(started: dict[str, Any], path: str, document: dict[str, Any]) -> None:
    address, key, body = urlsplit(started["url"]), started["api_key"], json.dumps(document)
    signature = hmac.new(key["secret"].encode(), (path + body).encode(), hashlib.sha256).hexdigest()
    headers = {"Apikey": key["api_key"], "Signature": signature, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(address.netloc)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{path}: {answer.status}")
