"""Who calls: signatures, permissions, address lists (auth.md sections 2 to 4, 8; wire-quirks 1).

A signature covers the request target and the body, byte for byte as they were sent. It covers neither the method nor
the headers nor a time: that is the protocol's own weakness, so the server belongs behind TLS or on loopback.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from smarttrade.api.errors import (
    api_key_invalid,
    forced_mode_invalid,
    ip_not_allowed,
    permission_missing,
    signature_invalid,
)
from smarttrade.domain.account import ApiKey, KeyKind, Mode, Permission, User

MIN_RSA_BITS: Final = 2048

Headers = Mapping[bytes, bytes]
"""Request headers by lower-case name; of a repeated header the first."""

_MODES: Final = {b"paper": Mode.PAPER, b"real": Mode.REAL}


class InvalidPublicKey(Exception):
    """A PEM that is no RSA public key, or one too short to trust."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller. `mode` is what lists show for this request; None: everything (auth.md section 8)."""

    key: ApiKey
    user: User
    mode: Mode | None


class Authenticator:
    """Tells who a request comes from.

    find_key        the key with this public name, revoked or not; None if there is none
    find_user       the owner of a key
    """

    def __init__(self, *, find_key: Callable[[str], ApiKey | None], find_user: Callable[[int], User | None]) -> None:
        self._find_key = find_key
        self._find_user = find_user

    def key_of(self, headers: Headers) -> ApiKey | None:
        """The live key that the request names; its signature is not checked here."""
        name = headers.get(b"apikey")
        if not name or not name.isascii():
            return None
        key = self._find_key(name.decode("ascii"))
        return None if key is None or key.revoked_at is not None else key

    def authenticate(
        self, key: ApiKey | None, headers: Headers, payloads: Sequence[bytes], address: str | None
    ) -> tuple[ApiKey, User]:
        """Check `key`, the signature over one of `payloads`, and the caller's address. Raises ApiError (401)."""
        if key is None:
            raise api_key_invalid()
        if not signature_matches(key, payloads, headers.get(b"signature", b"")):
            raise signature_invalid()
        if key.allowed_networks and not is_within(address, key.allowed_networks):
            raise ip_not_allowed()
        user = self._find_user(key.user_id)
        if user is None:
            raise api_key_invalid()
        return key, user


def authorize(key: ApiKey, user: User, headers: Headers, permissions: frozenset[Permission]) -> Caller:
    """The caller, if the key has one of `permissions`. Raises ApiError: 403, or 400 for a bad `Forced-Mode`."""
    if permissions and permissions.isdisjoint(key.permissions):
        raise permission_missing()
    forced = headers.get(b"forced-mode")
    if forced is None:
        return Caller(key=key, user=user, mode=user.mode)
    mode = _MODES.get(forced)
    if mode is None:
        raise forced_mode_invalid()
    return Caller(key=key, user=user, mode=mode)


# -- signatures -------------------------------------------------------------------------------------------------------


def payloads(path: bytes, query: bytes, body: bytes) -> tuple[bytes, ...]:
    """Every string that a client may have signed (auth.md section 3), likelier ones first.

    Without a query it cannot be told whether the target ended in a bare `?`; both readings are signed by real clients
    and both are accepted, so nothing is lost.
    """
    if not query:
        return (path + body, path + b"?" + body)
    signed = path + b"?" + query
    return (signed + body, signed + b"&" + body) if body else (signed,)


def signature_matches(key: ApiKey, signed: Iterable[bytes], signature: bytes) -> bool:
    """Whether `signature` is the key's over one of the strings `signed`. Only the key's own algorithm is tried."""
    if key.kind is KeyKind.HMAC:
        return _hmac_matches(key.secret, signed, signature)
    return _rsa_matches(rsa_public_key(key.secret), signed, signature)


def _hmac_matches(secret: bytes, signed: Iterable[bytes], signature: bytes) -> bool:
    given = signature.lower()  # hexadecimal digits of either case
    return any(hmac.compare_digest(hmac.digest(secret, payload, "sha256").hex().encode(), given) for payload in signed)


def _rsa_matches(key: RSAPublicKey, signed: Iterable[bytes], signature: bytes) -> bool:
    try:
        given = base64.b64decode(b"".join(signature.split()), validate=True)
    except binascii.Error:
        return False
    return any(_verifies(key, payload, given) for payload in signed)


def _verifies(key: RSAPublicKey, payload: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, payload, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=256)
def rsa_public_key(pem: bytes) -> RSAPublicKey:
    """The RSA key in `pem` (`PUBLIC KEY` or `RSA PUBLIC KEY`). Raises InvalidPublicKey: call it at registration."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidPublicKey("not a public key in PEM") from error
    if not isinstance(key, RSAPublicKey):
        raise InvalidPublicKey("not an RSA key")
    if key.key_size < MIN_RSA_BITS:
        raise InvalidPublicKey(f"shorter than {MIN_RSA_BITS} bits")
    return key


# -- addresses --------------------------------------------------------------------------------------------------------


def client_address(peer: str | None, forwarded_for: Sequence[bytes], trusted_proxies: tuple[str, ...]) -> str | None:
    """Where the request comes from.

    peer             address at the other end of the connection; None for a local socket
    forwarded_for    values of all `X-Forwarded-For` headers, in order
    trusted_proxies  networks whose last entry in that header is believed; anybody may write the entries before it
    """
    if not trusted_proxies or not forwarded_for or not is_within(peer, trusted_proxies):
        return peer
    return forwarded_for[-1].rpartition(b",")[2].strip().decode("latin-1")


def is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    """Whether `address` lies in one of `networks` (CIDR). False for what is not an address."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _networks(networks))


@lru_cache(maxsize=1024)
def _networks(networks: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network, strict=False) for network in networks)
