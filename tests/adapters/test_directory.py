"""Users, API keys and accounts."""

import asyncio
import base64
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.database import Database, write_meta
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.vault import KEY_NAME, open_vault
from smarttrade.domain.account import PAPER_TRADING, KeyKind, Mode, Permission
from smarttrade.ports.directory import DEFAULT_USER, CreatedKey, Directory, InvalidKeyRequest
from smarttrade.ports.key_vault import SecretUnreadable

PEM, DER_FORM = serialization.Encoding.PEM, serialization.PublicFormat


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path)
    yield database
    database.close()


@pytest.fixture
def directory(database: Database, tmp_path: Path) -> SqlDirectory:
    return SqlDirectory(database, open_vault(database, tmp_path), count(1_000).__next__)


@pytest.fixture
def user_id(directory: Directory) -> int:
    return asyncio.run(directory.ensure_user()).id


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def create(directory: Directory, user_id: int, name: str = "bot", **wishes: object) -> CreatedKey:
    return asyncio.run(directory.create_key(user_id, name, **wishes))  # type: ignore[arg-type]


def test_the_default_user_is_made_once(directory: SqlDirectory) -> None:
    first, second = (asyncio.run(directory.ensure_user()) for _ in range(2))

    assert first == second == directory.user(first.id)
    assert (first.id, first.name, first.mode, first.locale) == (1, DEFAULT_USER, None, "en")
    other = asyncio.run(directory.ensure_user("other"))
    assert other.id == 2
    assert directory.users() == [first, other]


def test_mode_and_locale_are_kept(directory: Directory, user_id: int) -> None:
    asyncio.run(directory.set_mode(user_id, Mode.PAPER))
    asyncio.run(directory.set_locale(user_id, "de"))

    user = directory.user(user_id)
    assert user is not None
    assert (user.mode, user.locale) == (Mode.PAPER, "de")


def test_what_does_not_exist_cannot_be_changed(directory: Directory) -> None:
    for change in (
        directory.set_mode(9, Mode.REAL),
        directory.set_locale(9, "en"),
        directory.revoke_key(9),
        directory.update_account(9, name="x"),
        directory.remove_account(9),
    ):
        with pytest.raises(LookupError):
            asyncio.run(change)
    assert (directory.user(9), directory.find_key("x"), directory.account(9)) == (None, None, None)


def test_a_new_key_is_found_by_its_text_with_the_secret_that_was_shown(directory: Directory, user_id: int) -> None:
    created = create(directory, user_id)

    assert created.secret is not None
    assert (len(created.key.api_key), len(created.secret)) == (64, 128)
    assert (created.key.api_key + created.secret).isalnum()
    found = directory.find_key(created.key.api_key)
    assert found == created.key
    assert found.secret == created.secret.encode()
    assert (found.kind, found.permissions, found.allowed_networks) == (KeyKind.HMAC, frozenset(Permission), ())
    assert directory.find_key(created.key.api_key.swapcase()) is None
    assert created.secret not in f"{created!r}{created.key!r}"


def test_ids_are_small_and_increase(directory: Directory, user_id: int) -> None:
    assert [create(directory, user_id, name).key.id for name in "abc"] == [1, 2, 3]
    assert [key.name for key in directory.keys(user_id)] == ["a", "b", "c"]
    assert directory.keys(user_id + 1) == []


def test_no_secret_is_in_plain_in_any_file(directory: Directory, user_id: int, tmp_path: Path) -> None:
    created = create(directory, user_id)
    master_key = base64.b64decode((tmp_path / KEY_NAME).read_text())
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.name != KEY_NAME)

    assert created.key.api_key.encode() in stored  # so this looks where a secret would be
    assert created.secret is not None
    for secret in (created.secret.encode(), base64.b64encode(created.secret.encode()), master_key, master_key.hex()):
        assert (secret.encode() if isinstance(secret, str) else secret) not in stored
    assert (tmp_path / KEY_NAME).read_bytes().strip() not in stored


def test_a_sealed_secret_put_into_another_keys_row_does_not_open(
    directory: Directory, user_id: int, database: Database
) -> None:
    ours, theirs = create(directory, user_id).key, create(directory, user_id).key
    swap = "UPDATE api_keys SET sealed_secret = (SELECT sealed_secret FROM api_keys WHERE id = ?) WHERE id = ?"
    database.write_now(lambda connection: connection.exec_driver_sql(swap, (ours.id, theirs.id)) and None)

    with pytest.raises(SecretUnreadable):
        directory.find_key(theirs.api_key)


def test_a_revoked_key_is_not_found_but_still_listed(directory: Directory, user_id: int) -> None:
    created = create(directory, user_id)
    assert directory.find_key(created.key.api_key) is not None
    revoked = asyncio.run(directory.revoke_key(created.key.id))
    again = asyncio.run(directory.revoke_key(created.key.id))

    assert directory.find_key(created.key.api_key) is None
    assert revoked.revoked_at is not None
    assert again.revoked_at == revoked.revoked_at  # the first time counts
    assert directory.keys(user_id) == [revoked]


def test_a_change_by_another_connection_is_seen_at_once(directory: Directory, user_id: int, tmp_path: Path) -> None:
    database = open_database(tmp_path)
    other = SqlDirectory(database, open_vault(database, tmp_path), lambda: 5)

    created = create(other, user_id)
    assert directory.find_key(created.key.api_key) == created.key
    asyncio.run(other.revoke_key(created.key.id))
    assert directory.find_key(created.key.api_key) is None
    account = asyncio.run(other.add_account(user_id, "paper", type=PAPER_TRADING, market="binance"))
    assert directory.account(account.id) == account
    renamed = asyncio.run(other.update_account(account.id, name="new"))
    assert directory.account(account.id) == renamed
    asyncio.run(other.remove_account(account.id))
    assert directory.account(account.id) is None
    asyncio.run(other.set_mode(user_id, Mode.REAL))
    changed = directory.user(user_id)
    assert changed is not None
    assert changed.mode is Mode.REAL
    database.close()


CREATE_KEY = """
import asyncio, sys
from pathlib import Path
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.vault import open_vault
path = Path(sys.argv[1])
database = open_database(path)
directory = SqlDirectory(database, open_vault(database, path), lambda: 5)
print(asyncio.run(directory.create_key(int(sys.argv[2]), "from the shell")).key.api_key)
database.close()
"""


def test_a_key_made_by_another_process_is_found_at_once(directory: Directory, user_id: int, tmp_path: Path) -> None:
    assert directory.find_key("unknown") is None
    command = [sys.executable, "-c", CREATE_KEY, str(tmp_path), str(user_id)]
    api_key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    found = directory.find_key(api_key)
    assert found is not None
    assert found.name == "from the shell"


def test_commits_that_change_no_key_leave_the_cache_alone(
    directory: Directory, user_id: int, database: Database
) -> None:
    created = create(directory, user_id)
    first = directory.find_key(created.key.api_key)
    database.write_now(lambda connection: write_meta(connection, "other", "x"))
    second = directory.find_key(created.key.api_key)
    create(directory, user_id)
    third = directory.find_key(created.key.api_key)

    assert first is second
    assert third is not second
    assert third == second


def test_permissions_are_kept_and_the_singular_spelling_is_an_alias(directory: Directory, user_id: int) -> None:
    wanted = ["SMART_TRADE_READ", "smart_trades_write", " BOTS_READ "]
    key = create(directory, user_id, permissions=wanted).key

    expected = {Permission.SMART_TRADES_READ, Permission.SMART_TRADES_WRITE, Permission.BOTS_READ}
    assert key.permissions == expected
    assert create(directory, user_id, permissions=[]).key.permissions == frozenset()


def test_networks_are_kept_in_one_notation(directory: Directory, user_id: int) -> None:
    key = create(directory, user_id, networks=["10.1.2.3", "192.168.7.9/16", "2001:db8::/32"]).key

    assert key.allowed_networks == ("10.1.2.3/32", "192.168.0.0/16", "2001:db8::/32")


@pytest.mark.parametrize("form", [DER_FORM.SubjectPublicKeyInfo, DER_FORM.PKCS1])
def test_an_rsa_key_is_taken_in_both_pem_forms_and_has_no_secret(
    directory: Directory, user_id: int, private_key: rsa.RSAPrivateKey, form: serialization.PublicFormat
) -> None:
    pem = private_key.public_key().public_bytes(PEM, form)
    created = create(directory, user_id, rsa_public_key=pem)

    assert created.secret is None
    assert created.key.kind is KeyKind.RSA
    assert created.key.secret == private_key.public_key().public_bytes(PEM, DER_FORM.SubjectPublicKeyInfo)
    assert directory.find_key(created.key.api_key) == created.key


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(PEM, form, serialization.NoEncryption())


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(PEM, DER_FORM.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"permissions": ["SMART_TRADES_ALL"]}, "unknown permission 'SMART_TRADES_ALL'"),
        ({"networks": ["10.0.0.0/40"]}, "not an address or network"),
        ({"networks": ["localhost"]}, "not an address or network"),
        ({"rsa_public_key": b""}, "not a public key"),
        ({"rsa_public_key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "not a public key"),
        ({"rsa_public_key": public_pem(rsa.generate_private_key(65537, 1024))}, "1024 bits: at least 2048"),
        ({"rsa_public_key": public_pem(ec.generate_private_key(ec.SECP256R1()))}, "not an RSA key"),
        ({"rsa_public_key": private_pem(rsa.generate_private_key(65537, 1024))}, "private key"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_makes_no_key(
    directory: Directory, user_id: int, wishes: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidKeyRequest, match=reason):
        create(directory, user_id, **wishes)

    assert directory.keys(user_id) == []


def test_accounts_are_listed_per_user_until_they_are_removed(directory: Directory, user_id: int) -> None:
    other = asyncio.run(directory.ensure_user("other")).id
    add = directory.add_account
    first = asyncio.run(add(user_id, "first", type=PAPER_TRADING, market="binance"))
    second = asyncio.run(add(user_id, None, type=PAPER_TRADING, market="binance_futures"))
    third = asyncio.run(add(other, "third", type="binance", market="binance"))

    assert [account.id for account in (first, second, third)] == [1, 2, 3]
    assert second.name == "Paper Account 2"  # api.md D3.3
    assert (first.is_paper, third.is_paper) == (True, False)
    assert directory.accounts(user_id) == [first, second]
    assert directory.all_accounts() == [first, second, third]
    asyncio.run(directory.remove_account(first.id))
    assert directory.accounts(user_id) == [second]
    assert directory.all_accounts() == [second, third]
    assert directory.account(first.id) is None
    with pytest.raises(LookupError):
        asyncio.run(directory.update_account(first.id, name="back"))
    assert asyncio.run(add(user_id, "next", type=PAPER_TRADING, market="binance")).id == 4


def test_opening_balances_are_kept_to_the_last_digit(directory: Directory, user_id: int) -> None:
    opening = {"USDT": Decimal("10000.00"), "SHIB": Decimal("123456789012345678.000000000000000001")}
    add = directory.add_account(user_id, "paper", type=PAPER_TRADING, market="binance", opening_balances=opening)
    account = asyncio.run(add)

    assert account.opening_balances == opening
    assert directory.account(account.id) == account
    renamed = asyncio.run(directory.update_account(account.id, name="new"))
    assert renamed.opening_balances == opening
    plain = asyncio.run(directory.add_account(user_id, "plain", type=PAPER_TRADING, market="binance"))
    assert plain.opening_balances == {}


def test_an_update_changes_what_it_names_and_nothing_else(directory: Directory, user_id: int) -> None:
    account = asyncio.run(directory.add_account(user_id, "old", type=PAPER_TRADING, market="binance"))
    renamed = asyncio.run(directory.update_account(account.id, name="new"))
    hidden = asyncio.run(directory.update_account(account.id, include_in_summary=False))

    assert (renamed.name, renamed.include_in_summary) == ("new", True)
    assert (hidden.name, hidden.include_in_summary) == ("new", False)
    assert account.updated_at < renamed.updated_at < hidden.updated_at
    assert account.created_at == hidden.created_at
    assert directory.account(account.id) == hidden
