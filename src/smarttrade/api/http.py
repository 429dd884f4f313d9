"""From a request to a handler and back: checks in their order, answers, one log line (auth.md sections 1, 5, 6).

The order of checks: size of the body, route, method, rate limit, authentication, permission, shape of the parameters.
What follows (entity, ownership, state, rules) is the handler's. A handler that waits for nothing is a plain function,
and so is then everything around it: its answer is there when `Api.respond` returns.

Query strings and bodies are never logged: some clients put their secret there.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
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
from smarttrade.api.routing import Answer, Call, Handler, Match, Route, RouteTable, Security, answer_of
from smarttrade.domain.errors import Denied
from smarttrade.domain.quote import Instant
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.ports.storage import StorageUnavailable

MAX_BODY_BYTES: Final = 1024 * 1024
"""A full create request is below 4 KiB; this bounds what one caller can make us hold and parse."""

MAX_LOGGED_PATH: Final = 200

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"

_CONTENT_TYPE: Final = (b"content-type", b"application/json")
_FRESH: Final = (b"cache-control", b"max-age=0, private, must-revalidate")
_NO_CACHE: Final = (b"cache-control", b"no-cache")

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


class Request(msgspec.Struct, kw_only=True):
    """The raw facts of one request, and what became known of it on the way."""

    method: str
    path: bytes  # percent-encoding untouched
    query: bytes
    headers: Headers  # X-Forwarded-For: all of them, joined by commas
    body: bytes | None = b""  # None: larger than MAX_BODY_BYTES
    peer: str | None  # address at the other end of the connection; None for a local socket
    request_id: str = ""
    received_at: Instant = 0
    started: float = 0.0
    address: str | None = None  # where it comes from, proxies believed
    match: Match | None = None
    route: Route | None = None
    key_id: int | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back. `headers` names everything but the date and, where it is the protocol's wish, the close."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


Application = Callable[[Request], Response | Coroutine[Any, Any, Response]]
"""Answers every request, whatever happens: at once, or later."""


class Api:
    """The HTTP API, by its method `respond` an Application.

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
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._now = now
        self._limiter = limiter
        self._cors = cors
        self._trusted_proxies = trusted_proxies
        self._before_handler = before_handler
        self._request_ids = _request_ids()
        self._log = structlog.get_logger("smarttrade.api").bind()
        self._logs_requests = self._log.is_enabled_for(logging.INFO)

    def respond(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """The answer, or a coroutine that ends with it where the handler has to wait."""
        request.started = time.perf_counter()
        request.request_id = next(self._request_ids)
        try:
            answer = self._answer(request)
        except Exception as error:  # noqa: BLE001 -- the outermost place: whatever it was, the caller gets an answer
            return self._refused(request, error)
        return self._finished(request, answer) if isinstance(answer, Answer) else self._wait_for(request, answer)

    async def _wait_for(self, request: Request, coming: Awaitable[Answer]) -> Response:
        try:
            answer = await coming
        except Exception as error:  # noqa: BLE001 -- as in `respond`
            return self._refused(request, error)
        return self._finished(request, answer)

    def _answer(self, request: Request) -> Answer | Awaitable[Answer]:
        request.received_at = self._now()
        request.address = request.peer
        if self._trusted_proxies:
            forwarded = request.headers.get(b"x-forwarded-for")
            request.address = client_address(
                request.peer, () if forwarded is None else (forwarded,), self._trusted_proxies
            )
        if request.body is None:
            raise errors.body_too_large(MAX_BODY_BYTES)
        match = request.match = self._routes.find(request.path.decode("latin-1"))
        if match is None:
            raise errors.not_found()
        if request.method == "OPTIONS":
            return Answer(b"{}")
        found = match.routes.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            raise errors.wrong_method(match.methods)
        route, names = found
        request.route = route
        caller = self._admit(request, route, request.body)
        call = Call(
            path_values=dict(zip(names, match.values, strict=True)),
            params=_parameters(request, request.body),
            caller=caller,
            address=request.address,
            received_at=request.received_at,
            request_id=request.request_id,
            headers=request.headers,
            body=request.body,
        )
        if self._before_handler is not None:
            return _after(self._before_handler(), route.handler, call)
        return route.handler(call)

    def _admit(self, request: Request, route: Route, body: bytes) -> Caller | None:
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
        signable = payloads(request.path, request.query, body)
        key, user = self._authenticator.authenticate(key, request.headers, signable, request.address)
        request.key_id = key.id
        return authorize(key, user, request.headers, route.permissions)

    def _finished(self, request: Request, answer: Answer) -> Response:
        status = answer.status or (200 if request.route is None else request.route.status)
        return self._response(request, status, encode(answer))

    def _refused(self, request: Request, error: Exception) -> Response:
        refusal = _refusal(error, request)
        if refusal is None:
            path = _logged_path(request.path)
            self._log.error("request failed", request_id=request.request_id, path=path, exc_info=error)
            refusal = errors.unknown_error()
        extra = [(name.encode(), value.encode()) for name, value in refusal.headers]
        return self._response(request, refusal.status, _encode(refusal.body), extra)

    def _response(
        self, request: Request, status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
    ) -> Response:
        headers = [
            _CONTENT_TYPE,
            (b"content-length", str(len(body)).encode()),
            _FRESH if status < 400 else _NO_CACHE,
            (b"x-request-id", request.request_id.encode()),
            *extra,
        ]
        offered = request.match.methods if request.method == "OPTIONS" and request.match is not None else None
        if offered is not None:
            headers.append((b"allow", ", ".join(offered).encode()))
        if self._cors is not None:
            headers += self._cors.headers(request.headers.get(b"origin"), offered)
        if self._logs_requests:
            self._log.info(
                "request",
                method=request.method,
                path=_logged_path(request.path),
                status=status,
                milliseconds=round((time.perf_counter() - request.started) * 1000, 3),
                request_id=request.request_id,
                caller=request.key_id,
                address=request.address,
            )
        return Response(status=status, headers=headers, body=b"" if request.method == "HEAD" else body)


async def _after(quiet: Awaitable[None], handler: Handler, call: Call) -> Answer:
    await quiet
    return await answer_of(handler, call)


def _request_ids() -> Iterator[str]:
    """32 hexadecimal digits, of which the first 16 tell this start of the server from all others."""
    start = secrets.token_hex(8)
    return (f"{start}{number:016x}" for number in itertools.count(1))


# -- in ---------------------------------------------------------------------------------------------------------------


def _parameters(request: Request, body: bytes) -> dict[str, Any]:
    """Query and body as one object; the query wins leaf by leaf, and GET ignores its body (auth.md 5.1)."""
    in_query = parse_form(request.query)
    if request.method in ("GET", "HEAD") or not body.strip():
        return in_query
    in_body = _body_parameters(request.headers.get(b"content-type", b""), body)
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


def _refusal(error: Exception, request: Request) -> ApiError | None:
    """The answer to what a request ended with; None: to nothing that was meant to happen."""
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
    return None


def _logged_path(path: bytes) -> str:
    return path[:MAX_LOGGED_PATH].decode("ascii", errors="backslashreplace")
