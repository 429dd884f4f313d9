"""`smarttrade serve` as a process (cli.md, sandbox.md)."""

import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import GUARD_SECONDS, PROGRAM, contents, environment, execute, serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smarttrade.adapters.storage.data_directory import DATABASE_NAME
from smarttrade.adapters.vault import KEY_NAME
from smarttrade.cli.server import ADDRESS_FILE, Credentials, Server, announced
from smarttrade.domain.account import Permission


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that a server has been started on."""
    directory = tmp_path_factory.mktemp("used")
    with serving(directory) as server:
        assert server.stop().code == 0
    return directory


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_server_that_has_announced_itself_answers_and_leaves_in_order(tmp_path: Path) -> None:
    with serving(tmp_path, "--market", "sandbox") as server:
        said = server.json
        assert set(said) == {"url", "docs", "data_dir", "market", "account", "api_key"}
        assert (said["market"], said["data_dir"]) == ("sandbox", str(tmp_path))
        assert Server(said["url"]).get("/ver1/ping") == {"pong": "pong"}
        key = said["api_key"]
        assert key["permissions"] == sorted(Permission)
        client = Server(said["url"], Credentials(key["api_key"], key["secret"]))
        assert client.get("/ver1/validate") == {"valid": True}
        assert [account["id"] for account in client.get("/ver1/accounts")] == [said["account"]["id"]]
        assert announced(tmp_path) == (said["url"], server.process.pid)
        assert stat.S_IMODE((tmp_path / ADDRESS_FILE).stat().st_mode) == 0o600

        left = server.stop()
        assert (left.code, left.out) == (0, "")  # one document when ready, and nothing after it
        assert announced(tmp_path) is None


def test_account_and_key_are_made_and_shown_on_the_first_start_only(used: Path) -> None:
    with serving(used) as server:
        assert (server.json["account"], server.json["api_key"]) == (None, None)
        assert server.stop(signal.SIGINT).code == 0


def test_people_get_the_addresses_the_key_and_what_to_do_next(tmp_path: Path) -> None:
    command = [*PROGRAM, "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "trades watch" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_SECONDS) == 0
    shown = "".join(lines)
    facts = {name: value for name, _, value in (line.strip().partition("  ") for line in shown.splitlines())}

    assert facts["API"].endswith("/public/api")
    assert facts["docs"].endswith("/docs")
    assert len(facts["secret"].strip()) == 128  # whole, on one line
    plan = shown.partition("<<'JSON'\n")[2].partition("\nJSON")[0]
    with serving(tmp_path, "--market", "demo"):
        created = execute("trades", "create", "-", "--json", "--data-dir", tmp_path, input=plan)
        assert created.json["status"]["type"] == "created"


def test_a_taken_port_is_one_line_and_nothing_is_touched(tmp_path: Path, port: int) -> None:
    directory = tmp_path / "data"
    reason = execute("serve", "--port", port, "--data-dir", directory).failure()

    assert f"port {port} on 127.0.0.1 is taken" in reason
    assert not directory.exists()


def test_only_one_server_works_on_a_data_directory(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        reason = execute("serve", "--port", 0, "--data-dir", tmp_path).failure()
        assert "is served by another process" in reason
        assert announced(tmp_path) == (server.json["url"], server.process.pid)


def test_a_command_that_is_newer_than_the_server_leaves_its_tables_alone(tmp_path: Path) -> None:
    with serving(tmp_path):
        connection = sqlite3.connect(tmp_path / DATABASE_NAME)
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
        connection.close()

        reason = execute("keys", "create", "bot", "--data-dir", tmp_path).failure()
        assert "is older than this command: restart it first" in reason


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings with a certificate that no authority has signed."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trade.example.org")])
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36_500))
    signed = builder.sign(key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / "cert.pem").write_bytes(signed.public_bytes(pem))
    (directory / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    paths = {"SMARTTRADE_TLS_CERTIFICATE": "cert.pem", "SMARTTRADE_TLS_KEY": "key.pem"}
    return {name: str(directory / file) for name, file in paths.items()}


def test_commands_trust_the_certificate_that_both_sides_know_and_no_other(
    tmp_path: Path, certificate: dict[str, str]
) -> None:
    command = ("trades", "list", "--json", "--data-dir", tmp_path)
    with serving(tmp_path, variables=certificate) as server:
        assert server.json["url"].startswith("https://127.0.0.1:")
        assert execute(*command, variables=certificate).json == []
        assert "certificate verify failed" in execute(*command).failure()


def test_an_address_beyond_this_machine_needs_tls_or_a_proxy(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    assert "not a loopback address" in execute("serve", "--host", "0.0.0.0", "--data-dir", directory).failure()
    assert not directory.exists()


def test_a_data_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")

    assert str(file) in execute("serve", "--port", 0, "--data-dir", file).failure()
    assert str(file / "below") in execute("serve", "--port", 0, "--data-dir", file / "below").failure()
    assert file.read_text() == "mine"


def test_a_wrong_or_missing_master_key_is_one_line_and_nothing_is_touched(used: Path) -> None:
    command = ("serve", "--port", 0, "--data-dir", used)
    before = contents(used)
    wrong = execute(*command, variables={"SMARTTRADE_MASTER_KEY": "cd" * 32}).failure()
    assert "is not the one that sealed the secrets" in wrong
    key = used / KEY_NAME
    away = key.rename(used / "elsewhere")
    try:
        assert f"{key} is missing" in execute(*command).failure()
        assert not key.exists()
    finally:
        away.rename(key)

    assert contents(used) == before


def test_a_newer_schema_is_one_line_and_nothing_is_touched(tmp_path: Path) -> None:
    execute("keys", "create", "bot", "--data-dir", tmp_path)
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = contents(tmp_path)

    assert "schema 9999, written by a newer version" in execute("serve", "--port", 0, "--data-dir", tmp_path).failure()
    assert contents(tmp_path) == before


def test_a_recording_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    command = ("serve", "--port", 0, "--data-dir", tmp_path / "data", "--market")
    assert "/does/not/exist" in execute(*command, "replay:/does/not/exist").failure()
