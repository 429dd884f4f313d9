"""Who owns what: users, their API keys, and the exchange accounts that trades run on."""

import enum
from decimal import Decimal

import msgspec

from smarttrade.domain.quote import Instant


class Permission(enum.StrEnum):
    """What an API key may do (auth.md section 2). WRITE does not imply READ."""

    BOTS_READ = "BOTS_READ"
    BOTS_WRITE = "BOTS_WRITE"
    ACCOUNTS_READ = "ACCOUNTS_READ"
    ACCOUNTS_WRITE = "ACCOUNTS_WRITE"
    SMART_TRADES_READ = "SMART_TRADES_READ"
    SMART_TRADES_WRITE = "SMART_TRADES_WRITE"


class Mode(enum.StrEnum):
    """Which accounts lists show; it never changes where a trade runs (auth.md section 8)."""

    PAPER = "paper"
    REAL = "real"


class User(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    mode: Mode | None = None  # None: unset, no filtering
    locale: str = "en"


class KeyKind(enum.StrEnum):
    HMAC = "hmac"
    RSA = "rsa"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key. `secret` is the HMAC secret, or the PEM of the registered RSA public key."""

    id: int
    user_id: int
    name: str
    api_key: str
    kind: KeyKind
    secret: bytes
    permissions: frozenset[Permission]
    allowed_networks: tuple[str, ...] = ()  # CIDR; empty: every address
    created_at: Instant
    revoked_at: Instant | None = None

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id}, name={self.name!r}, kind={self.kind})"


PAPER_TRADING = "paper_trading"
"""Market code of a paper account (entities.md 5.6)."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account at an exchange, or a paper account that simulates one."""

    id: int
    user_id: int
    name: str
    type: str  # market code shown to clients: `paper_trading`, later `binance`, ...
    market: str  # market whose pairs, prices and rules apply: `binance`, `binance_futures`
    include_in_summary: bool = True
    opening_balances: dict[str, Decimal] = {}  # paper accounts: what they begin with, by currency
    created_at: Instant
    updated_at: Instant
    removed_at: Instant | None = None

    @property
    def is_paper(self) -> bool:
        return self.type == PAPER_TRADING
