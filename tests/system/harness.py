"""The whole server in a process of its own, in the sandbox, and short words for driving it over HTTP.

    server = Server(directory).start()
    market = server.market(tick="0.01", lot="0.1", min_total=5)      # a fresh pair
    account = server.account(market, USDT=100_000)                   # a fresh paper account
    market.quote(100)
    trade = account.create(market, position={...}, take_profit={...}, stop_loss={...})
    market.quote(bid="110", ask="110.02")
    trade.expect({"status.type": "finished", "take_profit.steps.0.units.value": "5.0"})

Nothing here waits for time to pass: every call of the sandbox lets the engine finish what it can do first, so an answer
is always settled (sandbox.md). Tests stay apart by a fresh account and a fresh pair each; the clock is common to all
tests of a server, so read it (`server.now()`) instead of assuming where it stands.
"""

import hashlib
import hmac
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

COMMAND = (sys.executable, "-m", "smarttrade.cli.main")

START_LIMIT = 60.0
"""Seconds after which a server that has not said that it is ready is given up; a guard, not a wait."""

LONGEST_IDLE = 2.0
"""Seconds after which a kept connection is not used again: the server closes those that are idle for 5."""

BASE = "/public/api"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

Number = str | int | Decimal
Entity = dict[str, Any]


class Answer(NamedTuple):
    """An HTTP answer; `body` is the decoded JSON."""

    status: int
    body: Any


class Refused(AssertionError):
    """A call that was expected to succeed did not; `.answer` says what came instead."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer.status} {json.dumps(answer.body)}")
        self.answer = answer


class ServerDied(AssertionError):
    """The server process ended before it was ready; the text carries what it wrote to standard error."""


class Server:
    """A server process over one data directory. `kill`, `stop` and `restart` keep directory, key and names."""

    def __init__(self, directory: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """
        directory    data directory; it may hold what an earlier server left, but the first start must be this object's
        options      further command line options of `serve`; the market is the sandbox unless `--market` says otherwise
        environment  further variables, e.g. SMARTTRADE_PROTECT_PARTIAL_ENTRY
        """
        self.directory = directory
        self.url = ""
        self.api_key = ""
        self.secret = ""
        self.first_account_id = 0
        self._options = options
        self._environment = {**os.environ, "SMARTTRADE_LOG_LEVEL": "warning", **(environment or {})}
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[str] | None = None
        self._client: Client | None = None

    # --- the process ----------------------------------------------------------------------------------------------

    def start(self) -> "Server":
        """Start the process and return once it says where it answers. Raises ServerDied."""
        assert self._process is None, "already running"
        market = [] if "--market" in self._options else ["--market", "sandbox"]
        command = [*COMMAND, "serve", *market, "--port", "0", "--data-dir", str(self.directory), "--json"]
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "stderr.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        announced = self._read_announcement(self._process)
        self.url = announced["url"]
        if announced["api_key"] is not None:  # the first start
            self.api_key, self.secret = announced["api_key"]["api_key"], announced["api_key"]["secret"]
            self.first_account_id = announced["account"]["id"]
        return self

    def _read_announcement(self, process: "subprocess.Popen[str]") -> Entity:
        """The line of JSON on standard output that says: ready."""
        assert process.stdout is not None
        guard = threading.Timer(START_LIMIT, process.kill)
        guard.start()
        line = process.stdout.readline()
        guard.cancel()
        if not line:
            raise ServerDied(f"exit code {self._reap(process)}\n{self.log()}")
        document: Entity = json.loads(line)
        return document

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive; false also when it died by itself."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is flushed. Harmless when the server is dead already."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> "Server":
        """Start again on the same directory, after `kill` if the server still runs. Clients find the new port."""
        self.kill()
        return self.start()

    def log(self) -> str:
        """What all runs on this directory wrote to standard error."""
        path = self.directory / "stderr.log"
        return path.read_text() if path.exists() else ""

    def _end(self, number: signal.Signals) -> int:
        if self._client is not None:
            self._client.close()
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        return self._reap(process)

    def _reap(self, process: "subprocess.Popen[str]") -> int:
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return code

    def __enter__(self) -> "Server":
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    # --- what lives in it -----------------------------------------------------------------------------------------

    def client(self) -> "Client":
        """A connection of its own; a thread that calls at the same time as others needs one."""
        return Client(self)

    @property
    def api(self) -> "Client":
        """The connection that markets, accounts and trades of this server use."""
        if self._client is None:
            self._client = Client(self)
        return self._client

    def market(self, *, kind: str = "spot", currency: str = "USDT", **rules: Number) -> "Market":
        """A pair that nobody used before, e.g. `USDT_T17`; contracts are `USDT_T17USDT` on `binance_futures`.

        currency  what the coin is priced in
        rules     members of `POST /sandbox/markets`. Unless given: tick 0.01, lot 0.1, min_lot the lot, min_total 5,
                  min_market_total as min_total, fees 0.001, fee_in quote
        """
        base = f"T{next(self._numbers)}"
        linear = kind == "linear"
        total = rules.get("min_total", 5)
        body = {
            "market": "binance_futures" if linear else "binance",
            "pair": f"{currency}_{base}{currency if linear else ''}",
            "kind": kind,
            "tick": "0.01",
            "lot": "0.1",
            "min_lot": rules.get("lot", "0.1"),
            "min_total": total,
            "min_market_total": total,
            "maker_fee": "0.001",
            "taker_fee": "0.001",
            "fee_in": "quote",
            **rules,
        }
        defined = self.api.sandbox("POST", "/markets", body)
        return Market(self, defined["market"], defined["pair"], base)

    def account(self, market: "Market | str" = "binance", **balances: Number) -> "Account":
        """A fresh paper account on the market (code, or the market of a pair) with exactly these free balances.

        `BASE=5` means 5 of the pair's base coin. Without balances the account has none.
        """
        code, named = market, {currency: str(amount) for currency, amount in balances.items()}
        if isinstance(market, Market):
            code = market.code
            if "BASE" in named:
                named[market.base] = named.pop("BASE")
        body = {"type": "paper_trading", "paper_market": code, "paper_balances": named or {"USDT": "0"}}
        return Account(self, self.api.post("/ver1/accounts/new", body)["id"])

    @property
    def first_account(self) -> "Account":
        """The account that the first start made."""
        return Account(self, self.first_account_id)

    def quotes(self, *quotes: Entity) -> None:
        """`POST /sandbox/quotes` as it is: several quotes, applied one after the other."""
        self.api.sandbox("POST", "/quotes", {"quotes": list(quotes)})

    def now(self) -> datetime:
        """The sandbox clock, UTC."""
        return datetime.fromisoformat(self.state()["now"])

    def advance(self, seconds: Number) -> None:
        """Let sandbox time pass; timers due fire in order."""
        self.api.sandbox("POST", "/clock", {"advance_seconds": str(seconds)})

    def state(self) -> Entity:
        """`GET /sandbox/state`: now, open_smart_trades, pending_effects, digest."""
        state: Entity = self.api.sandbox("GET", "/state")
        return state


class Client:
    """Calls with the server's key over one kept connection. Not for several threads at once: make one each."""

    def __init__(self, server: Server, *, api_key: str | None = None, secret: str | None = None) -> None:
        self._server = server
        self._api_key = server.api_key if api_key is None else api_key
        self._secret = (server.secret if secret is None else secret).encode()
        self._url = ""
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def call(self, method: str, path: str, body: Any = None, *, content_type: str = JSON) -> Answer:
        """A signed request to `path` below /public/api, whatever comes of it.

        body  an object to be sent as JSON, or text to be sent as it is under `content_type`
        """
        raw = _encoded(body)
        target = BASE + path
        # Every spelling in auth.md section 3 begins with the target as sent and ends with the raw body.
        signature = hmac.new(self._secret, target.encode() + raw, hashlib.sha256).hexdigest()
        return self._send(method, target, raw, {"Apikey": self._api_key, "Signature": signature}, content_type)

    def get(self, path: str, **query: object) -> Any:
        """Body of a successful GET. Raises Refused."""
        return self._success("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Any = None) -> Any:
        """Body of a successful POST. Raises Refused."""
        return self._success("POST", path, body)

    def patch(self, path: str, body: Any = None) -> Any:
        """Body of a successful PATCH. Raises Refused."""
        return self._success("PATCH", path, body)

    def delete(self, path: str) -> Any:
        """Body of a successful DELETE. Raises Refused."""
        return self._success("DELETE", path)

    def sandbox(self, method: str, path: str, body: Any = None) -> Any:
        """Body of a successful unsigned call below /sandbox. Raises Refused."""
        answer = self.call_sandbox(method, path, body)
        if answer.status >= 400:
            raise Refused(f"{method} /sandbox{path} {body}", answer)
        return answer.body

    def call_sandbox(self, method: str, path: str, body: Any = None) -> Answer:
        """An unsigned call below /sandbox, whatever comes of it."""
        return self._send(method, "/sandbox" + path, _encoded(body), {}, JSON)

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _success(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        if answer.status >= 400:
            raise Refused(f"{method} {path} {body}", answer)
        return answer.body

    def _send(self, method: str, target: str, raw: bytes, headers: dict[str, str], content_type: str) -> Answer:
        idle, self._used_at = time.monotonic() - self._used_at, time.monotonic()
        if self._url != self._server.url or idle > LONGEST_IDLE:  # the server may have come back on another port
            self.close()
            self._url = self._server.url
        if self._connection is None:
            self._connection = http.client.HTTPConnection(urlsplit(self._url).netloc)
        if raw:
            headers = {**headers, "Content-Type": content_type}
        try:
            self._connection.request(method, target, raw or None, headers)
            response = self._connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        except (OSError, http.client.HTTPException):
            self.close()  # a request is never repeated by itself: it may have been carried out
            raise


def _encoded(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body, default=_number).encode()


def _number(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"not for JSON: {value!r}")


class Market:
    """One pair. `code` is the market's (`binance`), `pair` is QUOTE_BASE, `base` the coin's name."""

    def __init__(self, server: Server, code: str, pair: str, base: str) -> None:
        self.server = server
        self.code = code
        self.pair = pair
        self.base = base

    def quote(self, bid: Number, ask: Number | None = None, *, at: datetime | None = None, **more: Number) -> None:
        """Post a quote and let the engine finish with it.

        ask   defaults to the bid
        at    moves the clock forward to this instant first
        more  last, bid_size, ask_size
        """
        quote: Entity = {"market": self.code, "pair": self.pair, "bid": bid, "ask": bid if ask is None else ask, **more}
        quote = {name: str(value) for name, value in quote.items()}
        if at is not None:
            quote["at"] = at.isoformat()
        self.server.quotes(quote)

    def rules(self, **changed: Number) -> Entity:
        """Change some rules of the pair; returns all of them."""
        body = {"market": self.code, "pair": self.pair, **changed}
        rules: Entity = self.server.api.sandbox("POST", "/markets", body)
        return rules


class Account:
    """One paper account, and what the exchange side knows of it."""

    def __init__(self, server: Server, account_id: int) -> None:
        self.server = server
        self.id = account_id

    def request(self, market: Market, **body: Any) -> Answer:
        """Ask for a SmartTrade, whatever comes of it."""
        whole = {"account_id": self.id, "pair": market.pair, **body}
        return self.server.api.call("POST", "/v2/smart_trades", whole)

    def create(self, market: Market, **body: Any) -> "Trade":
        """A SmartTrade. A group that is left out of `body` (take_profit, stop_loss) is sent as disabled.

        Raises Refused.
        """
        groups = {} if body.get("instant") else {"take_profit": {"enabled": False}, "stop_loss": {"enabled": False}}
        answer = self.request(market, **{**groups, **body})
        if answer.status != 201:
            raise Refused("create", answer)
        return Trade(self, answer.body)

    def orders(self, status: str = "all", **query: object) -> list[Entity]:
        """`GET /sandbox/orders` of this account, oldest first. `status` is all or open."""
        parameters = urlencode({"account_id": self.id, "status": status, **query})
        orders: list[Entity] = self.server.api.sandbox("GET", f"/orders?{parameters}")
        return orders

    def balances(self) -> dict[str, tuple[str, str]]:
        """Currency -> (free, locked), as texts."""
        found = self.server.api.sandbox("GET", f"/balances?account_id={self.id}")
        listed = found["balances"] if isinstance(found, dict) else found
        return {each["currency"]: (each["free"], each["locked"]) for each in listed}

    def positions(self) -> list[Entity]:
        """Futures positions."""
        found: list[Entity] = self.server.api.sandbox("GET", f"/balances?account_id={self.id}")["positions"]
        return found

    def set_balance(self, currency: str, free: Number) -> None:
        """Set a free balance."""
        body = {"account_id": self.id, "currency": currency, "free": str(free)}
        self.server.api.sandbox("POST", "/balances", body)

    def fault(self, on: str, fault: str, **more: object) -> None:
        """Queue a fault: `fault("cancel", "hold")`, `fault("submit", "reject", text=..., **{"class": "permanent"})`."""
        self.server.api.sandbox("POST", "/faults", {"account_id": self.id, "on": on, "fault": fault, **more})

    def release(self) -> None:
        """Let held cancels proceed."""
        self.server.api.sandbox("POST", "/faults/release", {"account_id": self.id})

    def clear_faults(self) -> None:
        """Remove queued and held faults."""
        self.server.api.sandbox("POST", "/faults/clear", {"account_id": self.id})

    def close_position(self, market: Market, reason: str = "liquidation") -> None:
        """The exchange reports the futures position gone; `reason` is liquidation or outside."""
        body = {"account_id": self.id, "pair": market.pair, "reason": reason}
        self.server.api.sandbox("POST", "/positions/close", body)

    def fill(self, order: Entity, quantity: Number | None = None, price: Number | None = None, **more: object) -> None:
        """Somebody else trades with an order (an element of `orders`)."""
        body = {
            **({} if quantity is None else {"quantity": str(quantity)}),
            **({} if price is None else {"price": str(price)}),
            **more,
        }
        self.server.api.sandbox("POST", f"/orders/{order['client_order_id']}/fill", body)

    def cancel_outside(self, order: Entity) -> None:
        """Somebody else cancels an order (an element of `orders`)."""
        self.server.api.sandbox("POST", f"/orders/{order['client_order_id']}/cancel")


class Trade:
    """One SmartTrade. Every command returns the entity of its answer and raises Refused when it is refused."""

    def __init__(self, account: Account, created: Entity) -> None:
        self.account = account
        self.created = created
        self.id: int = created["id"]
        self._api = account.server.api

    # --- reading --------------------------------------------------------------------------------------------------

    def get(self) -> Entity:
        """The SmartTrade as it stands."""
        entity: Entity = self._api.get(self.path())
        return entity

    @property
    def status(self) -> str:
        """status.type as it stands."""
        status: str = self.get()["status"]["type"]
        return status

    def trades(self, purpose: str | None = None) -> list[Entity]:
        """The sub-trades, all or of one purpose (position, take_profit, stop_loss, ...)."""
        found: list[Entity] = self._api.get(self.path("/trades"))
        return [each for each in found if purpose in (None, each["trade_purpose"])]

    def orders(self, status: str = "all") -> list[Entity]:
        """Orders of this trade at the exchange, oldest first."""
        return [order for order in self.account.orders(status) if order["smart_trade_id"] == self.id]

    def order(self) -> Entity:
        """The only open order of this trade."""
        (order,) = self.orders("open")
        return order

    def expect(self, figures: Mapping[str, Any]) -> Entity:
        """Fail unless the entity shows `figures` (see `shown`); returns it."""
        entity = self.get()
        seen, expected = shown(entity, figures), dict(figures)
        assert seen == expected
        return entity

    # --- commands -------------------------------------------------------------------------------------------------

    def path(self, rest: str = "") -> str:
        """`/v2/smart_trades/:id` and `rest`."""
        return f"/v2/smart_trades/{self.id}{rest}"

    def edit(self, **groups: Any) -> Entity:
        """PATCH."""
        return self._command("PATCH", "", groups)

    def cancel(self) -> Entity:
        """DELETE."""
        return self._command("DELETE", "")

    def close_by_market(self) -> Entity:
        """POST close_by_market."""
        return self._command("POST", "/close_by_market")

    def force_start(self) -> Entity:
        """POST force_start."""
        return self._command("POST", "/force_start")

    def force_process(self) -> Entity:
        """POST force_process."""
        return self._command("POST", "/force_process")

    def add_funds(self, units: Number, price: Number | None = None) -> Entity:
        """POST add_funds: at market, or as a limit order at `price`."""
        return self._command("POST", "/add_funds", _funds(units, price))

    def reduce_funds(self, units: Number, price: Number | None = None) -> Entity:
        """POST reduce_funds: at market, or as a limit order at `price`."""
        return self._command("POST", "/reduce_funds", _funds(units, price))

    def max_reduce(self) -> str:
        """max_reduce_funds_amount."""
        most: str = self._api.get(self.path("/reduce_funds_info"))["max_reduce_funds_amount"]
        return most

    def close_trade(self, sub_trade_id: int) -> Entity:
        """POST close_by_market of one sub-trade."""
        return self._command("POST", f"/trades/{sub_trade_id}/close_by_market")

    def cancel_trade(self, sub_trade_id: int) -> Entity:
        """DELETE of one sub-trade."""
        return self._command("DELETE", f"/trades/{sub_trade_id}")

    def _command(self, method: str, rest: str, body: Any = None) -> Entity:
        answer = self._api.call(method, self.path(rest), body)
        if answer.status >= 400:
            raise Refused(f"{method} {self.path(rest)} {body}", answer)
        entity: Entity = answer.body
        return entity


def _funds(units: Number, price: Number | None) -> Entity:
    body: Entity = {"order_type": "market" if price is None else "limit", "units": {"value": str(units)}}
    return body if price is None else {**body, "price": {"value": str(price)}}


def shown(entity: Any, paths: Mapping[str, Any]) -> Entity:
    """What `entity` shows at each dotted path; `steps.0.id` goes into lists, `steps.*.id` collects from a whole list.

    What is not there is "absent".
    """
    return {path: _at(entity, path.split(".")) for path in paths}


def _at(value: Any, path: list[str]) -> Any:
    if not path:
        return value
    name, rest = path[0], path[1:]
    if name == "*":
        return [_at(each, rest) for each in value]
    if isinstance(value, list):
        return _at(value[int(name)], rest) if int(name) < len(value) else "absent"
    return _at(value[name], rest) if isinstance(value, dict) and name in value else "absent"
