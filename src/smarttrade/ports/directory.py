"""Who may call, and what is theirs: users, API keys, accounts."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from smarttrade.domain.account import Account, ApiKey, Mode, Permission, User

DEFAULT_USER: Final = "default"
ALL_PERMISSIONS: Final = frozenset(Permission)


class InvalidKeyRequest(Exception):
    """A wish for an API key that cannot be fulfilled; str() is one line for whoever asked."""


class CreatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. `secret` is shown this once; None for RSA, where the caller keeps the private key."""

    key: ApiKey
    secret: str | None

    def __repr__(self) -> str:
        return f"CreatedKey(key={self.key!r})"


def parse_permissions(names: Iterable[str]) -> frozenset[Permission]:
    """Permissions by name, in any case; the singular SMART_TRADE_... is an alias (auth.md 2).

    Raises InvalidKeyRequest.
    """
    permissions = set()
    for name in names:
        wanted = name.strip().upper().replace("SMART_TRADE_", "SMART_TRADES_")
        if wanted not in Permission.__members__:
            raise InvalidKeyRequest(f"unknown permission {name!r}: choose from {', '.join(Permission)}")
        permissions.add(Permission(wanted))
    return frozenset(permissions)


class Directory(Protocol):
    """Reads see what any process has committed; writes raise StorageUnavailable."""

    # users

    async def ensure_user(self, name: str = DEFAULT_USER) -> User:
        """The user of this name, made on first use."""

    def user(self, user_id: int) -> User | None: ...

    async def set_mode(self, user_id: int, mode: Mode) -> None:
        """Which accounts lists show from now on (auth.md 8). Raises LookupError."""

    async def set_locale(self, user_id: int, locale: str) -> None:
        """Raises LookupError."""

    # API keys

    async def create_key(
        self,
        user_id: int,
        name: str,
        *,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        rsa_public_key: bytes | None = None,
        networks: Iterable[str] = (),
    ) -> CreatedKey:
        """A key of the system's making (HMAC), or for the caller's RSA public key (PEM, 2048 bits or more).

        networks  CIDR or single addresses that may use it; empty: every address
        Raises InvalidKeyRequest.
        """

    def find_key(self, api_key: str) -> ApiKey | None:
        """The key that a request names, unless there is none or it is revoked."""

    def keys(self, user_id: int) -> Sequence[ApiKey]:
        """All keys of a user by id, revoked ones included."""

    async def revoke_key(self, key_id: int) -> ApiKey:
        """End a key; ending it twice is success. Raises LookupError."""

    # accounts

    async def add_account(
        self,
        user_id: int,
        name: str | None,
        *,
        type: str,
        market: str,
        opening_balances: Mapping[str, Decimal] = MappingProxyType({}),
    ) -> Account:
        """A new account. Without a name it is called `Paper Account <id>` (api.md D3.3).

        opening_balances  what a paper account begins with, by currency
        """

    def account(self, account_id: int) -> Account | None:
        """The account, unless there is none or it is removed."""

    def known_account(self, account_id: int) -> Account | None:
        """The account, also when it is removed: its trades go on naming it."""

    def accounts(self, user_id: int) -> Sequence[Account]:
        """Accounts of a user by id, without removed ones."""

    def all_accounts(self) -> Sequence[Account]:
        """Accounts of everybody by id, without removed ones."""

    async def update_account(
        self, account_id: int, *, name: str | None = None, include_in_summary: bool | None = None
    ) -> Account:
        """Change what is not None. Raises LookupError."""

    async def remove_account(self, account_id: int) -> None:
        """Hide an account for good; its trades keep naming it. Raises LookupError."""
