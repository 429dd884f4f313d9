"""From ASGI to a handler and back: bodies, checks in their order, answers, one log line (auth.md sections 1, 5, 6).

The order of checks: route, method, rate limit, authentication, permission, shape of the parameters. What follows
(entity, ownership, state, rules) is the handler's. The body is read before anything is answered, so that the connection
stays usable after a refusal.

Query strings and bodies are never logged: some clients put their secret there.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from decimal import Decimal
from typing import Any, Final

import msgspec
import structlog

from smarttrade.api import errors
from smarttrade.api.auth import Authenticator, Caller, Headers, authorize, client_address, payloads
from smarttrade.api.errors import ApiError, Overloaded
from smarttrade.api.form import MalformedForm, merge, parse_form
from smarttrade.api.notation import decimal_text
from smarttrade.api.parameters import INVALID, InvalidParameters, MalformedJson, parse_json
from smarttrade.api.rate_limit import RateLimiter
from smarttrade.api.routing import Answer, Call, Match, Route, RouteTable, Security
from smarttrade.domain.errors import Denied
from smarttrade.domain.quote import Instant
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.ports.storage import StorageUnavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES: Final = 1024 * 1024
"""A full create request is below 4 KiB; this bounds what one caller can make us hold and parse."""

MAX_DISCARDED_BYTES: Final = 64 * MAX_BODY_BYTES
"""So much of a body beyond the limit is read and thrown away: who is still writing when the connection ends gets a
reset instead of the refusal."""

MAX_LOGGED_PATH: Final = 200

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"

_CONTENT_TYPE: Final = (b"content-type", b"application/json")
_FRESH: Final = (b"cache-control", b"max-age=0, private, must-revalidate")
_NO_CACHE: Final = (b"cache-control", b"no-cache")

log = structlog.get_logger("smarttrade.api")
_encode = msgspec.json.Encoder().encode


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Which pages of other origins may call. Calls carry their own signature, so credentials are never allowed."""

    origins: frozenset[str]  # `*` for all
    max_age_seconds: int = 1_728_000

    def headers(self, origin: bytes | None, methods: Iterable[str] | None) -> list[tuple[bytes, bytes]]:
        """What an answer to a page of `origin` carries; `methods` only in the answer to OPTIONS."""
        varies = [] if "*" in self.origins else [(b"vary", b"origin")]
        if origin is None or not ("*" in self.origins or origin.decode("latin-1") in self.origins):
            return varies
        allowed = [*varies, (b"access-control-allow-origin", b"*" if "*" in self.origins else origin)]
        if methods is not None:
            allowed += [
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", b"Content-Type, Signature, Apikey, Forced-Mode, Cache-Control"),
                (b"access-control-max-age", str(self.max_age_seconds).encode()),
            ]
        return allowed


class ClientLeft(Exception):
    """The connection was closed before the request was complete."""


class _Request(msgspec.Struct, kw_only=True):
    """The raw facts of one request, and what became known of it on the way."""

    method: str
    path: bytes
    query: bytes
    headers: Headers
    address: str | None
    request_id: str
    received_at: Instant
    body: bytes = b""
    match: Match | None = None
    route: Route | None = None
    key_id: int | None = None


class Api:
    """The HTTP API as an ASGI application for `http` scopes.

    now              the present instant; the rate limit and `Call.received_at` follow it
    limiter          None: no rate limit
    cors             None: no page of another origin may call
    trusted_proxies  networks (CIDR) whose X-Forwarded-For is believed
    before_handler   awaited before each handler; the sandbox lets the engine come to rest there
    """

    def __init__(
        self,
        routes: RouteTable,
        *,
        authenticator: Authenticator,
        now: Callable[[], Instant],
        limiter: RateLimiter | None = None,
        cors: Cors | None = None,
        trusted_proxies: tuple[str, ...] = (),
        before_handler: Callable[[], Awaitable[None]] | None = None,
        new_request_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._now = now
        self._limiter = limiter
        self._cors = cors
        self._trusted_proxies = trusted_proxies
        self._before_handler = before_handler
        self._new_request_id = new_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = self._request(scope)
        extra: tuple[tuple[str, str], ...] = ()
        try:
            request.body = await _read_body(receive)
            status, body, extra = await self._answer(request)
        except ClientLeft:
            return
        except Exception as error:  # noqa: BLE001 -- the outermost place: whatever it was, the caller gets an answer
            refusal = _refusal(error, request)
            status, body, extra = refusal.status, _encode(refusal.body), refusal.headers
        await send(
            {"type": "http.response.start", "status": status, "headers": self._headers(request, status, body, extra)}
        )
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
        log.info(
            "request",
            method=request.method,
            path=_logged_path(request.path),
            status=status,
            milliseconds=round((time.perf_counter() - started) * 1000, 3),
            request_id=request.request_id,
            caller=request.key_id,
            address=request.address,
        )

    def _request(self, scope: Scope) -> _Request:
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        peer = scope.get("client")
        address = peer[0] if peer else None
        if self._trusted_proxies:
            forwarded = [value for name, value in pairs if name == b"x-forwarded-for"]
            address = client_address(address, forwarded, self._trusted_proxies)
        return _Request(
            method=scope["method"],
            path=scope.get("raw_path") or scope["path"].encode(),
            query=scope["query_string"],
            headers=dict(reversed(pairs)),
            address=address,
            request_id=self._new_request_id(),
            received_at=self._now(),
        )

    async def _answer(self, request: _Request) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        match = request.match = self._routes.find(request.path.decode("latin-1"))
        if match is None:
            raise errors.not_found()
        if request.method == "OPTIONS":
            return 200, b"{}", (("allow", ", ".join(match.methods)),)
        found = match.routes.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            raise errors.wrong_method(match.methods)
        route, names = found
        request.route = route
        caller = self._admit(request, route)
        call = Call(
            path_values=dict(zip(names, match.values, strict=True)),
            params=_parameters(request),
            caller=caller,
            address=request.address,
            received_at=request.received_at,
            request_id=request.request_id,
            headers=request.headers,
            body=request.body,
        )
        if self._before_handler is not None:
            await self._before_handler()
        answer = await route.handler(call)
        return answer.status or route.status, encode(answer), ()

    def _admit(self, request: _Request, route: Route) -> Caller | None:
        """Rate limit, authentication, permission. Raises ApiError."""
        signed = route.security is Security.SIGNED
        key = self._authenticator.key_of(request.headers) if signed else None
        if self._limiter is not None:
            who = f"address {request.address}" if key is None else f"key {key.id}"
            refused = self._limiter.admit(who, request.received_at)
            if refused is not None:
                make = errors.ip_banned if refused.banned else errors.too_many_requests
                raise make(refused.retry_after_seconds)
        if not signed:
            return None
        signable = payloads(request.path, request.query, request.body)
        key, user = self._authenticator.authenticate(key, request.headers, signable, request.address)
        request.key_id = key.id
        return authorize(key, user, request.headers, route.permissions)

    def _headers(
        self, request: _Request, status: int, body: bytes, extra: Iterable[tuple[str, str]]
    ) -> list[tuple[bytes, bytes]]:
        headers = [
            _CONTENT_TYPE,
            (b"content-length", str(len(body)).encode()),
            _FRESH if status < 400 else _NO_CACHE,
            (b"x-request-id", request.request_id.encode()),
        ]
        headers += [(name.encode(), value.encode()) for name, value in extra]
        if self._cors is not None:
            asked = request.match.methods if request.method == "OPTIONS" and request.match is not None else None
            headers += self._cors.headers(request.headers.get(b"origin"), asked)
        return headers


# -- in ---------------------------------------------------------------------------------------------------------------


async def _read_body(receive: Receive) -> bytes:
    """The whole body. Raises ApiError (413) beyond the limit, ClientLeft if it never ends."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise errors.body_too_large(MAX_BODY_BYTES)
        return body
    chunks, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
        if not message.get("more_body", False) or size > MAX_DISCARDED_BYTES:
            break
        message = await receive()
    if size > MAX_BODY_BYTES:
        raise errors.body_too_large(MAX_BODY_BYTES)
    return b"".join(chunks)


def _parameters(request: _Request) -> dict[str, Any]:
    """Query and body as one object; the query wins leaf by leaf, and GET ignores its body (auth.md 5.1)."""
    in_query = parse_form(request.query)
    if request.method in ("GET", "HEAD") or not request.body.strip():
        return in_query
    in_body = _body_parameters(request.headers.get(b"content-type", b""), request.body)
    return merge(in_body, in_query) if in_query else in_body


def _body_parameters(content_type: bytes, body: bytes) -> dict[str, Any]:
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if not media_type:
        media_type = JSON_TYPE if body.lstrip().startswith(b"{") else FORM_TYPE
    if media_type == JSON_TYPE:
        return parse_json(body)
    if media_type == FORM_TYPE:
        return parse_form(body)
    raise errors.unsupported_media_type()


# -- out --------------------------------------------------------------------------------------------------------------


def encode(answer: Answer) -> bytes:
    """The JSON of an answer; Decimals become strings in the documented notation."""
    return answer.body if isinstance(answer.body, bytes) else _encode(_plain(answer.body))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _refusal(error: Exception, request: _Request) -> ApiError:
    """The answer to whatever a request ended with."""
    match error:
        case ApiError():
            return error
        case Denied():
            return errors.denial(error.problems, request.route.missing_trade_status if request.route else 404)
        case InvalidParameters():
            return errors.invalid_parameters(error.attributes)
        case MalformedForm():
            return errors.invalid_parameters({error.key: [INVALID]})
        case MalformedJson():
            return errors.invalid_json()
        case Overloaded() | StorageUnavailable():
            return errors.service_unavailable()
        case ExchangeUnavailable():
            return errors.exchange_timeout()
    log.error("request failed", request_id=request.request_id, path=_logged_path(request.path), exc_info=error)
    return errors.unknown_error()


def _logged_path(path: bytes) -> str:
    return path[:MAX_LOGGED_PATH].decode("ascii", errors="backslashreplace")
