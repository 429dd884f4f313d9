"""HTTP as uvicorn speaks it, with a bound on what a stranger may send before the API sees anything of it."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from smarttrade.api.errors import ApiError

MAX_HEAD: Final = 64 * 1024
"""Bytes of request line and headers. The longest that a client sends is a create with everything in the query."""

MALFORMED: Final = ApiError(400, "invalid_request", "Request is not valid HTTP")
TOO_LARGE: Final = ApiError(431, "invalid_request", f"Request line and headers are larger than {MAX_HEAD} bytes")


class BoundedProtocol(HttpToolsProtocol):
    """Counts the bytes of a head, and answers noise in the form in which everything is answered: JSON."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:  # what came did not end the head
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
                self._refuse(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        self._refuse(MALFORMED)

    def _refuse(self, error: ApiError) -> None:
        body = msgspec.json.encode(error.body)
        head = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "content-type: application/json",
            "cache-control: no-cache",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        self.transport.close()
