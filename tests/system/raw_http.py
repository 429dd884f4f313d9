"""Requests byte for byte as somebody else's client puts them on the wire, and keys of every kind for a server."""

import asyncio
import hmac
import http.client
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from harness import Server

from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.vault import open_vault
from smarttrade.ports.directory import ALL_PERMISSIONS, DEFAULT_USER

BASE = "/public/api"
TRADES = f"{BASE}/v2/smart_trades"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

Header = tuple[str, str | bytes]


class Key(NamedTuple):
    """What a caller signs with; `secret` is empty for an RSA key."""

    id: int
    api_key: str
    secret: str


class Reply(NamedTuple):
    """An answer as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Wire:
    """One kept connection to a server. Nothing is added to a request but Host and, where there is one, a length."""

    def __init__(self, server: Server) -> None:
        self.key = Key(0, server.api_key, server.secret)
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc)

    def send(self, method: str, target: str, body: bytes = b"", headers: Iterable[Header] = ()) -> Reply:
        """One request. Bodies have a Content-Length; an empty one is announced as such where a body is usual."""
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            self._connection.putheader(name, value)
        if body or method in ("POST", "PUT", "PATCH", "DELETE"):
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def signed(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        *,
        payload: bytes | None = None,
        key: Key | None = None,
        headers: Iterable[Header] = (),
    ) -> Reply:
        """A request with the signature over `payload`; unless given: the target as sent, then the body."""
        signer = self.key if key is None else key
        said: list[Header] = [("Apikey", signer.api_key), ("Signature", sign(signer, payload or _all(target, body)))]
        if content_type is not None:
            said.append(("Content-Type", content_type))
        return self.send(method, target, body, [*said, *headers])

    @property
    def socket(self) -> object:
        """The connection's socket, to tell whether it is still the same one."""
        return self._connection.sock

    def close(self) -> None:
        self._connection.close()


def sign(key: Key, payload: bytes) -> str:
    """The signature of an HMAC key (auth.md section 4)."""
    return hmac.new(key.secret.encode(), payload, "sha256").hexdigest()


def _all(target: str, body: bytes) -> bytes:
    return target.encode() + body


# --- keys -----------------------------------------------------------------------------------------------------------


@contextmanager
def directory_of(server: Server) -> Iterator[SqlDirectory]:
    """Users and keys of a running server, opened beside it as the command line does."""
    database = open_database(server.directory)
    try:
        yield SqlDirectory(database, open_vault(database, server.directory, None), SystemClock().now)
    finally:
        database.close()


def new_key(
    server: Server,
    permissions: Iterable[str] = ALL_PERMISSIONS,
    *,
    user: str = DEFAULT_USER,
    networks: Iterable[str] = (),
    rsa_public_key: bytes | None = None,
) -> Key:
    """A key that the server knows at once."""

    async def create(directory: SqlDirectory) -> Key:
        owner = await directory.ensure_user(user)
        created = await directory.create_key(
            owner.id, "test", permissions=permissions, networks=networks, rsa_public_key=rsa_public_key
        )
        return Key(created.key.id, created.key.api_key, created.secret or "")

    with directory_of(server) as directory:
        return asyncio.run(create(directory))


def revoke(server: Server, key: Key) -> None:
    """End a key."""
    with directory_of(server) as directory:
        asyncio.run(directory.revoke_key(key.id))


class RsaPair(NamedTuple):
    """An RSA key in PEM: the half that a client keeps, and the half that the server gets."""

    private_pem: bytes
    public_pem: bytes


@cache
def rsa_pair() -> RsaPair:
    """A fresh pair of the smallest size that the server takes, the same for all tests of a process."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return RsaPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
