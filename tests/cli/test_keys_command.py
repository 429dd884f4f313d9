"""`smarttrade keys` (cli.md, auth.md 2 and 4)."""

import asyncio
from pathlib import Path

import pytest
from commands import Shell, contents
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.vault import KEY_NAME, open_vault
from smarttrade.domain.account import ApiKey, KeyKind, Permission


def stored(directory: Path, api_key: str) -> ApiKey | None:
    """The key as the server would find it."""
    database = open_database(directory)
    try:
        return SqlDirectory(database, open_vault(database, directory), lambda: 0).find_key(api_key)
    finally:
        database.close()


@pytest.fixture(scope="module")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pair = rsa.generate_private_key(65537, 2048)
    path = tmp_path_factory.mktemp("pem") / "public.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(pair.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


def test_a_new_key_is_shown_with_its_secret_and_works(shell: Shell) -> None:
    made = shell("keys", "create", "bot", "--json").json

    assert set(made) == {"id", "name", "api_key", "secret", "permissions"}
    assert (made["id"], made["name"], made["permissions"]) == (1, "bot", sorted(Permission))
    key = stored(shell.directory, made["api_key"])
    assert key is not None
    assert key.secret == made["secret"].encode()


def test_people_see_the_secret_whole_and_only_once(shell: Shell) -> None:
    shown = shell("keys", "create", "bot").out
    key = dict(line.split(maxsplit=1) for line in shown.splitlines() if line.startswith("secret"))

    assert len(key["secret"]) == 128
    assert "shown only now" in shown
    listed = shell("keys", "list").out + shell("keys", "list", "--json").out
    assert key["secret"] not in listed


def test_permissions_and_addresses_are_as_asked(shell: Shell) -> None:
    wishes = ["--permissions", "SMART_TRADE_READ, accounts_read", "--allow-ip", "10.0.0.0/8", "--allow-ip", "::1"]
    made = shell("keys", "create", "bot", *wishes, "--json").json

    assert made["permissions"] == ["ACCOUNTS_READ", "SMART_TRADES_READ"]  # the singular is an alias (auth.md 2)
    key = stored(shell.directory, made["api_key"])
    assert key is not None
    assert key.allowed_networks == ("10.0.0.0/8", "::1/128")
    assert "10.0.0.0/8, ::1/128" in shell("keys", "list").out


def test_an_rsa_key_has_no_secret(shell: Shell, public_key: Path) -> None:
    made = shell("keys", "create", "bot", "--rsa-public-key", public_key, "--json").json

    assert made["secret"] is None
    key = stored(shell.directory, made["api_key"])
    assert key is not None
    assert key.kind is KeyKind.RSA
    assert "secret" not in shell("keys", "create", "other", "--rsa-public-key", public_key).out


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        (["--permissions", "EVERYTHING"], "unknown permission 'EVERYTHING'"),
        (["--allow-ip", "example.org"], "not an address or network"),
        (["--rsa-public-key", "/does/not/exist"], "cannot read /does/not/exist"),
        (["--rsa-public-key", __file__], "not a public key"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_in_one_line(shell: Shell, wishes: list[str], reason: str) -> None:
    assert reason in shell("keys", "create", "bot", *wishes).failure()
    shell("keys", "create", "good")
    assert [key["name"] for key in shell("keys", "list", "--json").json] == ["good"]


def test_keys_are_listed_by_number_with_their_users(shell: Shell) -> None:
    shell("keys", "create", "a")
    shell("keys", "create", "b", "--user", "eve")
    shell("keys", "create", "c")

    listed = shell("keys", "list", "--json").json
    assert [(key["id"], key["name"], key["user"]) for key in listed] == [
        (1, "a", "default"),
        (2, "b", "eve"),
        (3, "c", "default"),
    ]
    assert [key["name"] for key in shell("keys", "list", "--user", "eve", "--json").json] == ["b"]
    assert "there is no user 'bob'" in shell("keys", "list", "--user", "bob").failure()


def test_a_revoked_key_is_found_no_more_and_listed_as_such(shell: Shell) -> None:
    made = shell("keys", "create", "bot", "--json").json
    revoked = shell("keys", "revoke", made["id"], "--json").json

    assert revoked["revoked_at"] is not None
    assert stored(shell.directory, made["api_key"]) is None
    assert "revoked" in shell("keys", "list").out
    assert shell("keys", "revoke", made["id"], "--json").json == revoked  # ending it twice is success
    assert "there is no key 7" in shell("keys", "revoke", 7).failure()


def test_a_wrong_master_key_is_one_line_and_nothing_is_touched(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("keys", "create", "bot")
    before = contents(shell.directory)
    monkeypatch.setenv("SMARTTRADE_MASTER_KEY", "ab" * 32)

    assert "the master key in SMARTTRADE_MASTER_KEY is not the one" in shell("keys", "create", "two").failure()
    monkeypatch.setenv("SMARTTRADE_MASTER_KEY", "short")
    assert "must hold 32 bytes" in shell("keys", "list").failure()
    monkeypatch.delenv("SMARTTRADE_MASTER_KEY")
    (shell.directory / KEY_NAME).chmod(0o644)
    assert "can be read by others" in shell("keys", "list").failure()
    assert contents(shell.directory) == before


def test_a_newer_schema_is_one_line_and_nothing_is_touched(shell: Shell) -> None:
    shell("keys", "create", "bot")
    database = open_database(shell.directory)
    asyncio.run(database.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'") and None))
    database.close()
    before = contents(shell.directory)

    assert "written by a newer version" in shell("keys", "list").failure()
    assert "written by a newer version" in shell("keys", "create", "two").failure()
    assert contents(shell.directory) == before
