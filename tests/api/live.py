"""A whole server for one test: the sandbox's market, a real database, asked through its application."""

import asyncio
import hmac
import json
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.api.http import Api, Application, Request, Response
from smarttrade.app import System, make_api, open_system
from smarttrade.domain.account import PAPER_TRADING
from smarttrade.ports.directory import ALL_PERMISSIONS, DEFAULT_USER, CreatedKey
from smarttrade.settings import Settings

LOCAL = "127.0.0.1"
PREFIX = "/public/api"

Result = TypeVar("Result")


class Got(msgspec.Struct, frozen=True):
    """An answer."""

    status: int
    body: Any


async def answered(respond: Application, request: Request) -> Response:
    """The response to a request, waited for if need be."""
    response = respond(request)
    return response if isinstance(response, Response) else await response


class Server:
    """A running server, and a key that may do everything. Nothing moves between two calls."""

    def __init__(self, loop: asyncio.Runner, system: System) -> None:
        self._loop = loop
        self.system = system
        self.api: Api = make_api(system)
        self.key = self.new_key()

    def new_key(self, *permissions: str, user: str = DEFAULT_USER) -> CreatedKey:
        """A key of a user; without named permissions it may do everything."""
        directory = self.system.directory
        owner = self._loop.run(directory.ensure_user(user))
        return self._loop.run(directory.create_key(owner.id, "test", permissions=permissions or ALL_PERMISSIONS))

    def open_account(self, user: str = DEFAULT_USER, market: str = "binance", **balances: str) -> int:
        """A paper account as the command line makes it: the exchange hears of it on first use."""
        directory = self.system.directory
        owner = self._loop.run(directory.ensure_user(user))
        opening = {currency: Decimal(amount) for currency, amount in balances.items()}
        account = self._loop.run(
            directory.add_account(owner.id, None, type=PAPER_TRADING, market=market, opening_balances=opening)
        )
        return account.id

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Something that no route does."""
        return self._loop.run(work)

    def ask(
        self,
        method: str,
        path: str,
        params: Any = None,
        *,
        key: CreatedKey | None = None,
        headers: Mapping[str, str] | None = None,
        address: str | None = LOCAL,
    ) -> Got:
        """A signed call below /public/api; the parameters of a GET are its query, all others a JSON body."""
        target, body = f"{PREFIX}{path}", b""
        if method == "GET" and params:
            target += "?" + "&".join(f"{name}={value}" for name, value in params.items())
        elif params is not None:
            body = json.dumps(params).encode()
        key = key or self.key
        assert key.secret is not None
        signature = hmac.new(key.secret.encode(), target.encode() + body, "sha256").hexdigest()
        signed = {"apikey": key.key.api_key, "signature": signature, **(headers or {})}
        return self._send(method, target, body, signed, address)

    def sandbox(self, method: str, path: str, params: Any = None, *, address: str | None = LOCAL) -> Got:
        """An unsigned call below /sandbox; `params` are a JSON body."""
        body = b"" if params is None else json.dumps(params).encode()
        return self._send(method, f"/sandbox{path}", body, {}, address)

    def unsigned(self, path: str) -> Got:
        """A GET below /public/api without any header."""
        return self.plain(f"{PREFIX}{path}")

    def plain(self, path: str) -> Got:
        """A GET of a whole path without any header."""
        return self._send("GET", path, b"", {}, LOCAL)

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str], address: str | None) -> Got:
        path, _, query = target.encode().partition(b"?")
        named = {name.lower().encode(): value.encode() for name, value in headers.items()}
        request = Request(method=method, path=path, query=query, headers=named, body=body, peer=address)
        response = self._loop.run(answered(self.api.respond, request))
        return Got(response.status, json.loads(response.body))


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Server]:
    """A server on `directory`, until the end of the block; the same directory may be used again afterwards."""
    with asyncio.Runner() as loop:

        async def start() -> System:
            configured = Settings(data_dir=directory, market="sandbox", **settings)
            return await open_system(configured, open_database(directory))

        system = loop.run(start())
        try:
            yield Server(loop, system)
        finally:
            loop.run(system.close())
