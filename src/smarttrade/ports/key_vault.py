"""Secrets at rest: what is stored can be read again only with a key that is kept elsewhere."""

from typing import Protocol


class SecretUnreadable(Exception):
    """A sealed value was damaged, moved to another place, or sealed under another master key."""


class KeyVault(Protocol):
    def seal(self, secret: bytes, belongs_to: str) -> bytes:
        """Encrypt and authenticate `secret`. `belongs_to` names its place (e.g. one API key): it opens only there."""

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """The secret. Raises SecretUnreadable."""
