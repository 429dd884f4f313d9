"""The running server: where it listens, and signed calls to it over HTTP.

No proxy of the environment is asked: the server is on this machine, or at the address that the caller names.
"""

import hashlib
import hmac
import http.client
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

from smarttrade.cli.failures import CommandFailed, WrongUsage

if TYPE_CHECKING:
    from smarttrade.settings import Settings

ADDRESS_FILE: Final = "server.json"
"""Written by the server into its data directory while it runs: {"url": ..., "pid": ...}."""

BASE_PATH: Final = "/public/api"
HEALTH_PATH: Final = "/health"
TIMEOUT_SECONDS: Final = 15.0
"""The server answers in milliseconds, or is busy recovering."""

EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
"""A server that listens everywhere is called here."""


class Announced(NamedTuple):
    """What a running server says of itself."""

    url: str
    pid: int


class Credentials(NamedTuple):
    """An API key and its secret."""

    api_key: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(api_key={self.api_key!r})"


class NoAnswer(CommandFailed):
    """Nobody answers at the address."""


class Refused(CommandFailed):
    """The server refused, in the words of its error body; str() is one line."""

    def __init__(self, status: int, body: dict[str, Any], retry_after: int | None) -> None:
        super().__init__(refusal(body))
        self.status = status
        self.retry_after = retry_after  # seconds


def announced(directory: Path) -> Announced | None:
    """The server that says that it runs on a data directory. It may have died without taking that back."""
    try:
        said = json.loads((directory / ADDRESS_FILE).read_text(encoding="utf-8"))
        return Announced(url=str(said["url"]), pid=int(said["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_running(settings: "Settings") -> Announced | None:
    """The server that runs on the data directory and has just answered.

    Raises CommandFailed when there may be one that cannot be talked to.
    """
    found = announced(settings.data_dir)
    if found is None or not is_address(found.url):
        return None
    try:
        Server(found.url, certificate=settings.tls_certificate).get("/ver1/ping")
    except NoAnswer as error:
        if isinstance(error.__cause__, ConnectionRefusedError):
            return None
        raise
    return found


class Server:
    """Signed calls (auth.md 3 and 4): HMAC over target and body, exactly as sent."""

    def __init__(self, url: str, credentials: Credentials | None = None, certificate: str | None = None) -> None:
        """certificate: PEM file that the server is known by; None: the system's authorities decide.

        Raises WrongUsage for an address that is none.
        """
        self.url = url
        self._address = _parse(url)
        self._credentials = credentials
        self._certificate = certificate

    def get(self, path: str, **query: Any) -> Any:
        """The answer to GET. Parameters that are None are left out. Raises Refused, CommandFailed."""
        given = {name: value for name, value in query.items() if value is not None}
        return self.call("GET", f"{path}?{urlencode(given)}" if given else path)

    def health(self) -> str | None:
        """What keeps the server from watching every stop, in one line; None: nothing. Raises CommandFailed."""
        try:
            self._ask("GET", HEALTH_PATH, b"", {})
        except Refused as failing:
            return str(failing)
        return None

    def call(self, method: str, path: str, body: bytes = b"") -> Any:
        """The decoded answer to `method` on `path` below /public/api. Raises Refused, CommandFailed."""
        headers = {"Content-Type": "application/json"} if body else {}
        if self._credentials is not None:
            signed = (BASE_PATH + path).encode() + body
            headers["Apikey"] = self._credentials.api_key
            headers["Signature"] = hmac.new(self._credentials.secret.encode(), signed, hashlib.sha256).hexdigest()
        return self._ask(method, BASE_PATH + path, body, headers)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        connection = self._connect()
        try:
            connection.request(method, self._address.path + path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"no server answers at {self.url}: {_reason(error)}") from error
        finally:
            connection.close()
        return self._decoded(answer, content)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        host = EVERY_ADDRESS.get(host, host)
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=self._tls())

    def _tls(self) -> ssl.SSLContext:
        if self._certificate is None:
            return ssl.create_default_context()
        # Our own certificate is trusted for itself, whatever name it bears: we reach the server by its address.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(self._certificate)
        except OSError as error:
            raise CommandFailed(f"cannot read the certificate {self._certificate}: {_reason(error)}") from error
        return context

    def _decoded(self, answer: http.client.HTTPResponse, content: bytes) -> Any:
        try:
            body = json.loads(content)
        except ValueError:
            raise CommandFailed(f"{self.url} does not answer as a SmartTrade server (HTTP {answer.status})") from None
        if answer.status < 400:
            return body
        if not isinstance(body, dict):
            raise CommandFailed(f"{self.url} does not answer as a SmartTrade server (HTTP {answer.status})")
        wait = answer.getheader("Retry-After", "")
        raise Refused(answer.status, body, int(wait) if wait.isdigit() else None)


def refusal(body: dict[str, Any]) -> str:
    """One line from a 3Commas error body (auth.md 6)."""
    text = str(body.get("error_description") or body.get("error") or "refused without a reason")
    attributes = body.get("error_attributes")
    if not isinstance(attributes, dict) or not attributes:
        return text
    return f"{text}: " + "; ".join(f"{name} {_joined(messages)}" for name, messages in attributes.items())


def _joined(messages: Any) -> str:
    return " and ".join(map(str, messages)) if isinstance(messages, list) else str(messages)


def is_address(url: str) -> bool:
    """Whether `url` can name a server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _parse(url: str) -> SplitResult:
    if not is_address(url):
        raise WrongUsage(f"{url!r} is not an address like http://127.0.0.1:8080")
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/").removesuffix(BASE_PATH))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
