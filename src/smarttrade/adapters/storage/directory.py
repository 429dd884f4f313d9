"""Users, API keys and accounts as rows, read through a cache that any process's changes empty at once.

Every change here also changes one value of the `meta` table. Each read looks at that value first, and throws the cache
away when it has changed.
"""

import ipaddress
import secrets
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from smarttrade.adapters.storage.database import Database, Work, write_meta
from smarttrade.adapters.storage.tables import accounts, api_keys, users
from smarttrade.domain.account import Account, ApiKey, KeyKind, Mode, Permission, User
from smarttrade.domain.quote import Instant
from smarttrade.ports.directory import (
    ALL_PERMISSIONS,
    DEFAULT_USER,
    CreatedKey,
    InvalidKeyRequest,
    parse_permissions,
)
from smarttrade.ports.key_vault import KeyVault

API_KEY_LENGTH: Final = 64
SECRET_LENGTH: Final = 128
ALPHANUMERIC: Final = string.ascii_letters + string.digits
MIN_RSA_BITS: Final = 2048
REVISION: Final = "directory_revision"
"""Name of the value in `meta` that every change replaces."""

Key = TypeVar("Key")
Found = TypeVar("Found")
Result = TypeVar("Result")


class SqlDirectory:
    """ports.directory.Directory over a `Database`. `now` is the clock."""

    def __init__(self, database: Database, vault: KeyVault, now: Callable[[], Instant]) -> None:
        self._database = database
        self._vault = vault
        self._now = now
        self._revision: str | None = None
        self._users: dict[int, User] = {}
        self._keys: dict[str, ApiKey] = {}
        self._accounts: dict[int, Account] = {}

    async def ensure_user(self, name: str = DEFAULT_USER) -> User:
        """The user of this name, made on first use."""

        def work(connection: sa.Connection) -> User:
            row = connection.execute(sa.select(users).where(users.c.name == name)).one_or_none()
            if row is None:
                row = connection.execute(sa.insert(users).returning(users), {"name": name, "locale": "en"}).one()
            return user_from(row)

        return await self._change(work)

    def user(self, user_id: int) -> User | None:
        """The user with this id."""
        self._refresh()
        return self._cached(self._users, user_id, lambda: sa.select(users).where(users.c.id == user_id), user_from)

    def users(self) -> Sequence[User]:
        """Everybody, by id."""
        return self._all(sa.select(users).order_by(users.c.id), user_from)

    async def set_mode(self, user_id: int, mode: Mode) -> None:
        """Which accounts lists show from now on (auth.md 8). Raises LookupError."""
        await self._change(lambda connection: _update(connection, users, user_id, mode=mode.value))

    async def set_locale(self, user_id: int, locale: str) -> None:
        """Raises LookupError."""
        await self._change(lambda connection: _update(connection, users, user_id, locale=locale))

    async def create_key(
        self,
        user_id: int,
        name: str,
        *,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        rsa_public_key: bytes | None = None,
        networks: Iterable[str] = (),
    ) -> CreatedKey:
        """A key of the system's making (HMAC), or for the caller's RSA public key. Raises InvalidKeyRequest."""
        api_key = _random_text(API_KEY_LENGTH)
        shown = _random_text(SECRET_LENGTH) if rsa_public_key is None else None
        secret = shown.encode() if shown is not None else checked_public_key(rsa_public_key or b"")
        row = {
            "user_id": user_id,
            "name": name,
            "api_key": api_key,
            "kind": (KeyKind.HMAC if rsa_public_key is None else KeyKind.RSA).value,
            # a public key is no secret, but sealed nobody can put another in its place
            "sealed_secret": self._vault.seal(secret, _place(api_key)),
            "permissions": ",".join(sorted(parse_permissions(permissions))),
            "networks": ",".join(checked_networks(networks)),
            "created_at": self._now(),
        }

        def work(connection: sa.Connection) -> sa.Row[Any]:
            return connection.execute(sa.insert(api_keys).returning(api_keys), row).one()

        return CreatedKey(key=self._key_from(await self._change(work)), secret=shown)

    def find_key(self, api_key: str) -> ApiKey | None:
        """The key that a request names, unless there is none or it is revoked. Raises SecretUnreadable."""

        self._refresh()
        return self._cached(
            self._keys, api_key, lambda: _live_keys().where(api_keys.c.api_key == api_key), self._key_from
        )

    def keys(self, user_id: int) -> Sequence[ApiKey]:
        """All keys of a user by id, revoked ones included."""
        return self._all(
            sa.select(api_keys).where(api_keys.c.user_id == user_id).order_by(api_keys.c.id), self._key_from
        )

    async def revoke_key(self, key_id: int) -> ApiKey:
        """End a key; ending it twice is success. Raises LookupError."""
        at = self._now()

        def work(connection: sa.Connection) -> sa.Row[Any]:
            return _update(connection, api_keys, key_id, revoked_at=sa.func.coalesce(api_keys.c.revoked_at, at))

        return self._key_from(await self._change(work))

    async def add_account(
        self,
        user_id: int,
        name: str | None,
        *,
        type: str,
        market: str,
        opening_balances: Mapping[str, Decimal] = MappingProxyType({}),
    ) -> Account:
        """A new account. Without a name it is called `Paper Account <id>` (api.md D3.3)."""
        at = self._now()
        row = {
            "user_id": user_id,
            "name": name or "",
            "type": type,
            "market": market,
            "include_in_summary": True,
            "opening_balances": {currency: str(amount) for currency, amount in opening_balances.items()},
            "created_at": at,
            "updated_at": at,
        }

        def work(connection: sa.Connection) -> Account:
            added = connection.execute(sa.insert(accounts).returning(accounts), row).one()
            if name is None:
                added = _update(connection, accounts, added.id, name=f"Paper Account {added.id}")
            return account_from(added)

        return await self._change(work)

    def account(self, account_id: int) -> Account | None:
        """The account, unless there is none or it is removed."""
        found = self.known_account(account_id)
        return found if found is not None and found.removed_at is None else None

    def known_account(self, account_id: int) -> Account | None:
        """The account, also when it is removed: its trades go on naming it."""

        self._refresh()
        return self._cached(
            self._accounts, account_id, lambda: sa.select(accounts).where(accounts.c.id == account_id), account_from
        )

    def accounts(self, user_id: int) -> Sequence[Account]:
        """Accounts of a user by id, without removed ones."""
        return self._all(_present_accounts().where(accounts.c.user_id == user_id), account_from)

    def all_accounts(self) -> Sequence[Account]:
        """Accounts of everybody by id, without removed ones."""
        return self._all(_present_accounts(), account_from)

    async def update_account(
        self, account_id: int, *, name: str | None = None, include_in_summary: bool | None = None
    ) -> Account:
        """Change what is not None. Raises LookupError."""
        wanted = {"name": name, "include_in_summary": include_in_summary}
        values = {column: value for column, value in wanted.items() if value is not None}
        return await self._change_account(account_id, updated_at=self._now(), **values)

    async def remove_account(self, account_id: int) -> None:
        """Hide an account for good; its trades keep naming it. Raises LookupError."""
        at = self._now()
        await self._change_account(account_id, updated_at=at, removed_at=at)

    async def _change_account(self, account_id: int, **values: object) -> Account:
        present = accounts.c.removed_at.is_(None)
        row = await self._change(lambda connection: _update(connection, accounts, account_id, present, **values))
        return account_from(row)

    async def _change(self, work: Work[Result]) -> Result:
        """Commit a change, and tell every process's cache."""

        def marked(connection: sa.Connection) -> Result:
            result = work(connection)
            write_meta(connection, REVISION, secrets.token_hex(8))
            return result

        return await self._database.write(marked)

    def _cached(
        self,
        cache: dict[Key, Found],
        key: Key,
        statement: Callable[[], sa.Select[Any]],
        build: Callable[[sa.Row[Any]], Found],
    ) -> Found | None:
        """The entry of `key`, loaded if need be. What does not exist is not remembered: it would have no limit."""
        found = cache.get(key)
        if found is not None:
            return found
        with self._database.read() as connection:
            row = connection.execute(statement()).one_or_none()
        if row is None:
            return None
        return cache.setdefault(key, build(row))

    def _refresh(self) -> None:
        """Empty the cache if anything in the directory has changed since it was filled."""
        revision = self._database.watched_meta(REVISION)
        if revision != self._revision:
            self._users, self._keys, self._accounts = {}, {}, {}
            self._revision = revision

    def _all(self, statement: sa.Select[Any], build: Callable[[sa.Row[Any]], Found]) -> list[Found]:
        with self._database.read() as connection:
            return [build(row) for row in connection.execute(statement)]

    def _key_from(self, row: sa.Row[Any]) -> ApiKey:
        return ApiKey(
            id=row.id,
            user_id=row.user_id,
            name=row.name,
            api_key=row.api_key,
            kind=KeyKind(row.kind),
            secret=self._vault.open(row.sealed_secret, _place(row.api_key)),
            permissions=frozenset(map(Permission, filter(None, row.permissions.split(",")))),
            allowed_networks=tuple(filter(None, row.networks.split(","))),
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )


def user_from(row: sa.Row[Any]) -> User:
    return User(id=row.id, name=row.name, mode=None if row.mode is None else Mode(row.mode), locale=row.locale)


def account_from(row: sa.Row[Any]) -> Account:
    opening = {currency: Decimal(amount) for currency, amount in row.opening_balances.items()}
    return Account(**{**row._mapping, "opening_balances": opening})


def checked_public_key(pem: bytes) -> bytes:
    """`pem` in the form BEGIN PUBLIC KEY; BEGIN RSA PUBLIC KEY is taken too. Raises InvalidKeyRequest."""
    if b"PRIVATE KEY" in pem:
        raise InvalidKeyRequest("this is a private key: register the public one, and keep this where nobody sees it")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyRequest("not a public key in PEM form") from None
    if not isinstance(key, RSAPublicKey):
        raise InvalidKeyRequest("not an RSA key")
    if key.key_size < MIN_RSA_BITS:
        raise InvalidKeyRequest(f"the RSA key has {key.key_size} bits: at least {MIN_RSA_BITS} are needed")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def checked_networks(networks: Iterable[str]) -> list[str]:
    """Networks in CIDR notation; a single address is one too. Raises InvalidKeyRequest."""
    try:
        return [str(ipaddress.ip_network(network.strip(), strict=False)) for network in networks]
    except ValueError as error:
        raise InvalidKeyRequest(f"not an address or network: {error}") from None


def _live_keys() -> sa.Select[Any]:
    return sa.select(api_keys).where(api_keys.c.revoked_at.is_(None))


def _present_accounts() -> sa.Select[Any]:
    return sa.select(accounts).where(accounts.c.removed_at.is_(None)).order_by(accounts.c.id)


def _update(
    connection: sa.Connection, table: sa.Table, row_id: int, *conditions: sa.ColumnElement[bool], **values: object
) -> sa.Row[Any]:
    """Change a row and return it. Raises LookupError."""
    statement = sa.update(table).where(table.c.id == row_id, *conditions).values(**values).returning(table)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise LookupError(f"nothing with id {row_id} in {table.name}")
    return row


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHANUMERIC) for _ in range(length))


def _place(api_key: str) -> str:
    """What a sealed secret is bound to."""
    return f"api_key:{api_key}"
