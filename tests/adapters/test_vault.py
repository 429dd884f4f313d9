"""Sealed secrets and the master key."""

import base64
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.database import Database
from smarttrade.adapters.vault import KEY_NAME, MasterKeyUnusable, Vault, WrongMasterKey, open_vault
from smarttrade.ports.key_vault import SecretUnreadable

KEY = bytes(range(32))
OTHER_KEY = bytes(32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path)
    yield database
    database.close()


def test_a_sealed_secret_opens_in_its_own_place_only() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"secret", "api_key:a")

    assert vault.open(sealed, "api_key:a") == b"secret"
    with pytest.raises(SecretUnreadable):
        vault.open(sealed, "api_key:b")


def test_a_change_of_any_byte_is_noticed() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"secret", "here")

    for position in range(len(sealed)):
        damaged = bytes(byte ^ (index == position) for index, byte in enumerate(sealed))
        with pytest.raises(SecretUnreadable):
            vault.open(damaged, "here")
    for length in range(len(sealed)):
        with pytest.raises(SecretUnreadable):
            vault.open(sealed[:length], "here")


def test_the_same_secret_never_looks_the_same_and_never_shows() -> None:
    vault = Vault(KEY)
    sealed = {vault.seal(b"secret", "here") for _ in range(100)}

    assert len(sealed) == 100
    assert not any(b"secret" in value for value in sealed)


def test_the_first_use_makes_a_key_that_only_its_owner_can_read_and_later_ones_keep_it(
    database: Database, tmp_path: Path
) -> None:
    sealed = open_vault(database, tmp_path).seal(b"secret", "here")
    path = tmp_path / KEY_NAME
    text = path.read_text()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(text)) == 32
    assert open_vault(database, tmp_path).open(sealed, "here") == b"secret"
    assert path.read_text() == text
    assert [file.name for file in tmp_path.glob(f"{KEY_NAME}*")] == [KEY_NAME]  # no draft is left


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), base64.b64encode(KEY).decode(), f" {KEY.hex()}\n"])
def test_a_configured_key_is_used_and_no_file_is_made(database: Database, tmp_path: Path, text: str) -> None:
    vault = open_vault(database, tmp_path, text)

    assert Vault(KEY).open(vault.seal(b"secret", "here"), "here") == b"secret"
    assert not (tmp_path / KEY_NAME).exists()


@pytest.mark.parametrize("text", ["", "secret", KEY.hex()[:-2], base64.b64encode(KEY + b"1").decode(), "z" * 64])
def test_a_malformed_key_is_refused_without_repeating_it(database: Database, tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyUnusable, match="SMARTTRADE_MASTER_KEY must hold 32 bytes") as refusal:
        open_vault(database, tmp_path, text)

    assert text == "" or text not in str(refusal.value)


def test_a_wrong_key_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    open_vault(database, tmp_path, KEY.hex())
    database.close()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    database = open_database(tmp_path)
    with pytest.raises(WrongMasterKey, match="SMARTTRADE_MASTER_KEY is not the one") as refusal:
        open_vault(database, tmp_path, OTHER_KEY.hex())
    database.close()
    assert "\n" not in str(refusal.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_lost_key_file_is_not_replaced_by_a_new_key(database: Database, tmp_path: Path) -> None:
    open_vault(database, tmp_path)
    (tmp_path / KEY_NAME).unlink()

    with pytest.raises(MasterKeyUnusable, match=r"master\.key is missing"):
        open_vault(database, tmp_path)
    assert not (tmp_path / KEY_NAME).exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_may_read_or_write_is_refused(database: Database, tmp_path: Path, mode: int) -> None:
    open_vault(database, tmp_path)
    path = tmp_path / KEY_NAME
    path.chmod(mode)

    with pytest.raises(MasterKeyUnusable, match=f"mode {mode:04o}.*chmod 600"):
        open_vault(database, tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 44])
def test_a_damaged_key_file_is_refused(database: Database, tmp_path: Path, content: bytes) -> None:
    open_vault(database, tmp_path)
    (tmp_path / KEY_NAME).write_bytes(content)

    with pytest.raises(MasterKeyUnusable, match=KEY_NAME):
        open_vault(database, tmp_path)
