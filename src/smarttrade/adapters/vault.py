"""AES-256-GCM under a master key that is not in the database: in the environment, or in a file only its owner can read.

The database keeps a check value, so a wrong key is noticed at start-up and not when the first secret is needed.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smarttrade.adapters.storage.data_directory import DataDirectoryError
from smarttrade.adapters.storage.database import Database, read_meta, write_meta
from smarttrade.ports.key_vault import SecretUnreadable

KEY_NAME: Final = "master.key"
KEY_VARIABLE: Final = "SMARTTRADE_MASTER_KEY"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORMAT: Final = b"\x01"
"""First byte of every sealed value: AES-256-GCM, 12 bytes of nonce, ciphertext, 16 bytes of tag."""

CHECK_NAME: Final = "vault_check"
CHECK_TEXT: Final = b"smarttrade master key"


class MasterKeyUnusable(DataDirectoryError):
    """The key is missing, malformed, or readable by others; str() is one line."""


class WrongMasterKey(DataDirectoryError):
    """The database's secrets were sealed under another key; nothing has been touched."""


class Vault:
    """ports.key_vault.KeyVault. Nonces are random: 2^32 secrets may be sealed before one key is worn out."""

    def __init__(self, master_key: bytes) -> None:
        """`master_key`: 32 bytes."""
        self._cipher = AESGCM(master_key)

    def seal(self, secret: bytes, belongs_to: str) -> bytes:
        """Encrypt and authenticate `secret`, bound to its place."""
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + self._cipher.encrypt(nonce, secret, FORMAT + belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """The secret. Raises SecretUnreadable."""
        if sealed[:1] != FORMAT:
            raise SecretUnreadable(f"{belongs_to}: unknown format")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, FORMAT + belongs_to.encode())
        except (InvalidTag, ValueError):
            raise SecretUnreadable(f"{belongs_to}: damaged, or sealed under another key") from None


def open_vault(database: Database, directory: Path, configured: str | None = None) -> Vault:
    """The vault of a data directory. `configured` is the key from the environment (hex or base64), if it is set.

    The first use makes a key file unless a key is configured. Raises MasterKeyUnusable, WrongMasterKey; both leave the
    directory as it was.
    """
    with database.read() as connection:
        check = read_meta(connection, CHECK_NAME)
    key = _configured_key(configured) if configured is not None else _stored_key(directory, may_create=check is None)
    vault = Vault(key)
    if check is None:
        ours = base64.b64encode(vault.seal(CHECK_TEXT, CHECK_NAME)).decode()
        check = database.write_now(lambda connection: _keep_first_check(connection, ours))
    try:
        vault.open(base64.b64decode(check), CHECK_NAME)
    except (SecretUnreadable, binascii.Error):
        source = KEY_VARIABLE if configured is not None else directory / KEY_NAME
        raise WrongMasterKey(
            f"the master key in {source} is not the one that sealed the secrets in {database.path}"
        ) from None
    return vault


def _keep_first_check(connection: sa.Connection, ours: str) -> str:
    """The check value in force: ours, unless another process was faster."""
    theirs = read_meta(connection, CHECK_NAME)
    if theirs is None:
        write_meta(connection, CHECK_NAME, ours)
    return ours if theirs is None else theirs


def _configured_key(text: str) -> bytes:
    key = _decoded(text)
    if key is None:
        raise MasterKeyUnusable(f"{KEY_VARIABLE} must hold {KEY_BYTES} bytes as base64 or hexadecimal digits")
    return key


def _decoded(text: str) -> bytes | None:
    """A key from 64 hexadecimal digits or base64; None: it is none."""
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _stored_key(directory: Path, *, may_create: bool) -> bytes:
    """The key in the directory's file. It is made only while nothing is sealed: a new key opens no old secret."""
    path = directory / KEY_NAME
    try:
        if may_create and not path.exists():
            _create_key(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii") if mode & 0o077 == 0 else ""
    except FileNotFoundError:
        raise MasterKeyUnusable(
            f"{path} is missing, and {KEY_VARIABLE} is not set: the secrets in the database cannot be opened without it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyUnusable(f"cannot use {path}: {getattr(error, 'strerror', None) or 'not a key'}") from error
    if mode & 0o077:
        raise MasterKeyUnusable(f"{path} can be read by others (mode {mode:04o}): run chmod 600 {path}")
    key = _decoded(text)
    if key is None:
        raise MasterKeyUnusable(f"{path} does not hold {KEY_BYTES} bytes as base64 or hexadecimal digits")
    return key


def _create_key(path: Path) -> None:
    """Write a new key, whole or not at all; when another process does the same at once, its key stands."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(draft, path)  # unlike a rename it never replaces a key that is already there
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # a key that is lost with the power takes every secret with it
    finally:
        os.close(directory)
