"""HTTP/1.1 on one connection: whole requests in, answers out in the order of their requests.

uvicorn serves the sockets and speaks WebSocket; this takes the place of its HTTP protocol. An answer that waits for
nothing is written in the callback that has read its request, in one piece and without a task. What a stranger may send
is bounded before anybody looks at it: the head, the body, and requests sent ahead.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import msgspec
import uvicorn
from uvicorn.server import ServerState

from smarttrade.api.errors import ApiError, body_too_large
from smarttrade.api.http import MAX_BODY_BYTES, Application, Request, Response

MAX_HEAD: Final = 64 * 1024
"""Bytes of request line and headers. The longest that a client sends is a create with everything in the query."""

MAX_DISCARDED_BYTES: Final = 64 * MAX_BODY_BYTES
"""So much of a body beyond the limit is read and thrown away: who is still writing when the connection ends gets a
reset instead of the refusal."""

MAX_AHEAD: Final = 16
"""Requests that wait behind the one that is being answered; beyond them the connection is not read from."""

MALFORMED: Final = ApiError(400, "invalid_request", "Request is not valid HTTP")
TOO_LARGE: Final = ApiError(431, "invalid_request", f"Request line and headers are larger than {MAX_HEAD} bytes")

CLOSE: Final = (b"connection", b"close")

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status >= 200
}
_FORWARDED: Final = b"x-forwarded-for"


class HttpProtocol(asyncio.Protocol):
    """One connection. Made by uvicorn, which calls `shutdown` when the server leaves."""

    def __init__(
        self,
        respond: Application,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._respond = respond
        self._config = config
        self._server = server_state
        self._connections = cast(set[Any], server_state.connections)
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # what follows a last request is ignored
        self._transport: asyncio.Transport
        self._peer: str | None = None
        # the request that is being read
        self._in_head = True
        self._head_bytes = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        # what is answered
        self._ahead: deque[tuple[Request, bool]] = deque()  # and whether the connection is kept after it
        self._answering = False
        self._reading = True
        self._write_paused = False
        self._leaving = False
        self._quiet_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else None
        self._connections.add(self)
        self._quiet_since = self._loop.time()
        self._watch_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was begun goes on to its end; nobody hears of it."""
        self._connections.discard(self)
        self._ahead.clear()
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def shutdown(self) -> None:
        """The server leaves: what is being answered is the last."""
        self._leaving = True
        self._ahead.clear()
        if not self._answering:
            self._transport.close()

    def pause_writing(self) -> None:
        """The other side reads more slowly than it asks."""
        self._write_paused = True
        self._regulate_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._answer_next()

    def _regulate_reading(self) -> None:
        wanted = not self._write_paused and len(self._ahead) < MAX_AHEAD
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _watch_idleness(self) -> None:
        """Close a connection on which nobody asks. One timer that comes round, not one per request."""
        patience: float = self._config.timeout_keep_alive
        is_idle = not (self._answering or self._ahead or self._target)
        rest = self._quiet_since + patience - self._loop.time() if is_idle else patience
        if rest <= 0:
            self._transport.close()
        else:
            self._idle_timer = self._loop.call_later(rest, self._watch_idleness)

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._wants_websocket():
                self._hand_over()
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
        else:
            if self._in_head:  # what came did not end the head
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD:
                    self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        self._in_head = True
        self._target = b""
        self._headers = []
        self._body = []
        self._body_bytes = 0

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if (b"expect", b"100-continue") in self._headers and not self._answering:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(part)
        elif self._body_bytes > MAX_DISCARDED_BYTES:
            self._refuse(body_too_large(MAX_BODY_BYTES))

    def on_message_complete(self) -> None:
        if self._transport.is_closing() or self._wants_websocket():
            return
        url = httptools.parse_url(self._target)
        headers = dict(reversed(self._headers))
        if _FORWARDED in headers:
            headers[_FORWARDED] = b",".join(value for name, value in self._headers if name == _FORWARDED)
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            path=url.path or b"",
            query=url.query or b"",
            headers=headers,
            body=None if self._body_bytes > MAX_BODY_BYTES else b"".join(self._body),
            peer=self._peer,
        )
        self._target = b""
        kept = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        if self._answering or self._ahead or self._write_paused:
            self._ahead.append((request, kept))
            self._regulate_reading()
        else:
            self._answer(request, kept)

    # --- answering ------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, kept: bool) -> None:
        response = self._respond(request)
        if isinstance(response, Response):
            self._send(response, kept)
            return
        self._answering = True
        task = self._loop.create_task(self._answer_later(response, kept))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer_later(self, coming: Coroutine[Any, Any, Response], kept: bool) -> None:
        try:
            response = await coming
        except asyncio.CancelledError:  # the server leaves and waits no longer
            self._transport.close()
            raise
        self._answering = False
        self._send(response, kept)
        self._answer_next()

    def _answer_next(self) -> None:
        while self._ahead and not (self._answering or self._write_paused):
            self._answer(*self._ahead.popleft())
        self._regulate_reading()

    def _send(self, response: Response, kept: bool) -> None:
        if self._transport.is_closing():
            return
        kept = kept and not self._leaving and CLOSE not in response.headers
        parts = [_STATUS_LINES[response.status]]
        for name, value in (*self._server.default_headers, *response.headers):
            parts += (name, b": ", value, b"\r\n")
        if not kept and CLOSE not in response.headers:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", response.body)
        self._transport.write(b"".join(parts))
        self._quiet_since = self._loop.time()
        if not kept:
            self._ahead.clear()
            self._transport.close()

    def _refuse(self, error: ApiError) -> None:
        """What cannot be read as a request ends the connection."""
        if self._transport.is_closing():
            return
        body = msgspec.json.encode(error.body)
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", b"application/json"), length, (b"cache-control", b"no-cache"), CLOSE]
        self._send(Response(status=error.status, headers=headers, body=body), kept=False)

    # --- WebSocket ------------------------------------------------------------------------------------------------

    def _wants_websocket(self) -> bool:
        return self._parser.should_upgrade() and any(
            name == b"upgrade" and value.lower() == b"websocket" for name, value in self._headers
        )

    def _hand_over(self) -> None:
        """Give the connection, and the head that asked for it, to uvicorn's WebSocket protocol."""
        head = [self._parser.get_method(), b" ", self._target, b" HTTP/1.1\r\n"]
        for name, value in self._headers:
            head += (name, b": ", value, b"\r\n")
        self.connection_lost(None)
        make: Any = self._config.ws_protocol_class
        protocol = make(config=self._config, server_state=self._server, app_state=self._app_state)
        protocol.connection_made(self._transport)
        protocol.data_received(b"".join((*head, b"\r\n")))
        self._transport.set_protocol(protocol)
