"""HTTP on one connection: order of answers, bounds, and how a connection ends (wire-quirks 4)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from smarttrade.api.http import MAX_BODY_BYTES, Request, Response
from smarttrade.api.protocol import MAX_AHEAD, MAX_DISCARDED_BYTES, MAX_HEAD, HttpProtocol

PATIENCE = 5


class Transport(asyncio.Transport):
    """Keeps what is written, and says whether anybody reads."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 5555)})
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Loop:
    """An event loop whose time stands still unless it is moved, and whose tasks run when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.tasks: list[Coroutine[Any, Any, None]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Loop":
        self.timer = (self.now + delay, callback)
        return self

    def cancel(self) -> None:
        self.timer = None

    def create_task(self, work: Coroutine[Any, Any, None]) -> "Loop":
        self.tasks.append(work)
        return self

    def add_done_callback(self, _: object) -> None:
        pass

    def go_to(self, now: float) -> None:
        while self.timer is not None and self.timer[0] <= now:
            self.now, ring = self.timer
            self.timer = None
            ring()
        self.now = now


class Line:
    """One connection to an application that echoes the body. Requests for /later wait until `finish`."""

    def __init__(self) -> None:
        self.loop, self.transport, self.server = Loop(), Transport(), ServerState()
        self.requests: list[Request] = []
        config = uvicorn.Config("", ws="none", lifespan="off", log_config=None, timeout_keep_alive=PATIENCE)
        self.protocol = HttpProtocol(self.respond, config, self.server, {}, self.loop)  # type: ignore[arg-type]
        self.protocol.connection_made(self.transport)

    def respond(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        self.requests.append(request)
        body = request.body or b"none"
        response = Response(status=200, headers=[(b"content-length", str(len(body)).encode())], body=body)

        async def later() -> Response:
            return response

        return later() if request.path == b"/later" else response

    def finish(self) -> None:
        """End the oldest answer that is under way."""
        with pytest.raises(StopIteration):
            self.loop.tasks.pop(0).send(None)

    def send(self, *parts: bytes) -> bytes:
        """What is answered to `parts` at once."""
        before = len(self.transport.written)
        for part in parts:
            self.protocol.data_received(part)
        return self.transport.written[before:]


def request(body: bytes, path: str = "/", *headers: str, version: str = "1.1") -> bytes:
    head = [f"POST {path} HTTP/{version}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def echoed(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_an_answer_that_waits_for_nothing_is_written_with_the_request_in_one_piece() -> None:
    line = Line()
    assert line.send(request(b"a")) == echoed(b"a")
    assert (line.loop.tasks, line.transport.closed) == ([], False)


def test_answers_keep_the_order_of_their_requests() -> None:
    line = Line()
    assert line.send(request(b"a", "/later") + request(b"b") + request(b"c", "/later") + request(b"d")) == b""
    line.finish()
    assert line.transport.written == echoed(b"a") + echoed(b"b")
    line.finish()
    assert line.transport.written == echoed(b"a") + echoed(b"b") + echoed(b"c") + echoed(b"d")


def test_who_sends_far_ahead_is_not_read_from_until_answers_have_caught_up() -> None:
    line = Line()
    line.send(request(b"a", "/later"), *[request(b"b")] * (MAX_AHEAD - 1))
    assert line.transport.reading
    line.send(request(b"b"))
    assert not line.transport.reading
    line.finish()
    assert line.transport.reading
    assert len(line.requests) == 1 + MAX_AHEAD


def test_who_reads_slowly_gets_no_more_until_it_has_read() -> None:
    line = Line()
    line.protocol.pause_writing()
    assert not line.transport.reading
    assert line.send(request(b"a")) == b""
    line.protocol.resume_writing()
    assert line.transport.written == echoed(b"a")
    assert line.transport.reading


def test_a_body_may_come_in_any_pieces_and_is_whole_before_anybody_decides() -> None:
    whole = request(b"x" * 10)
    line = Line()
    for byte in whole[:-1]:
        assert line.send(bytes([byte])) == b""
    assert line.requests == []
    assert line.send(whole[-1:]) == echoed(b"x" * 10)


def test_a_body_up_to_the_limit_is_taken_and_one_byte_more_is_not_held() -> None:
    line = Line()
    line.send(request(b"x" * MAX_BODY_BYTES), request(b"x" * (MAX_BODY_BYTES + 1)), request(b"y"))
    assert [None if each.body is None else len(each.body) for each in line.requests] == [MAX_BODY_BYTES, None, 1]


def test_a_body_beyond_all_measure_ends_the_connection() -> None:
    line = Line()
    head = f"POST / HTTP/1.1\r\nContent-Length: {2 * MAX_DISCARDED_BYTES}\r\n\r\n".encode()
    part = b"x" * MAX_BODY_BYTES
    line.send(head, *[part] * (MAX_DISCARDED_BYTES // MAX_BODY_BYTES))
    assert line.transport.written == b""
    assert line.send(part).startswith(b"HTTP/1.1 413 ")
    assert (line.transport.closed, line.requests) == (True, [])


def test_a_head_without_end_is_refused() -> None:
    line = Line()
    part = b"a: " + b"x" * 1000 + b"\r\n"
    answered = line.send(b"GET / HTTP/1.1\r\n", *[part] * (MAX_HEAD // len(part) + 1))
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert line.transport.closed


def test_noise_is_refused_in_our_own_form() -> None:
    line = Line()
    answered = line.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert b"connection: close\r\n" in answered
    assert line.transport.closed


def test_a_client_that_leaves_before_its_body_ends_has_asked_nothing() -> None:
    line = Line()
    line.send(request(b"abc")[:-1])
    line.protocol.connection_lost(None)
    assert (line.requests, line.server.connections) == ([], set())


def test_an_answer_to_somebody_who_has_left_is_thrown_away() -> None:
    line = Line()
    line.send(request(b"a", "/later"))
    line.transport.close()
    line.protocol.connection_lost(None)
    line.finish()
    assert line.transport.written == b""


@pytest.mark.parametrize(("version", "header"), [("1.1", "Connection: close"), ("1.0", "X: y")])
def test_the_last_request_of_a_client_is_told_so_and_what_follows_it_is_ignored(version: str, header: str) -> None:
    line = Line()
    answered = line.send(request(b"a", "/", header, version=version) + request(b"b"))
    assert answered == echoed(b"a", b"connection: close")
    assert line.transport.closed


def test_who_asks_before_it_sends_is_told_to_go_on() -> None:
    whole = request(b"a", "/", "Expect: 100-continue")
    line = Line()
    assert line.send(whole[:-1]) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert line.send(whole[-1:]) == echoed(b"a")


def test_of_a_repeated_header_the_first_counts_but_proxies_are_all_named() -> None:
    line = Line()
    line.send(request(b"", "/p?q=1", "A: 1", "a: 2", "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2"))
    got = line.requests[0]
    assert (got.method, got.path, got.query, got.peer) == ("POST", b"/p", b"q=1", "10.0.0.9")
    assert (got.headers[b"a"], got.headers[b"x-forwarded-for"]) == (b"1", b"1.1.1.1,2.2.2.2")


def test_the_date_of_the_server_stands_first() -> None:
    line = Line()
    line.server.default_headers = [(b"date", b"today")]
    assert line.send(request(b"a")).startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\n")


# --- ends -----------------------------------------------------------------------------------------------------------


def test_a_connection_on_which_nobody_asks_is_closed_and_one_that_is_used_is_not() -> None:
    line = Line()
    for second in range(1, 3 * PATIENCE):
        line.loop.go_to(second)
        line.send(request(b"a"))
    line.loop.go_to(4 * PATIENCE - 2)
    assert not line.transport.closed
    line.loop.go_to(4 * PATIENCE - 1)
    assert line.transport.closed


def test_nobody_is_left_while_an_answer_or_a_request_is_under_way() -> None:
    answering, asking = Line(), Line()
    answering.send(request(b"a", "/later"))
    asking.send(request(b"abc")[:-1])
    for line in (answering, asking):
        line.loop.go_to(10 * PATIENCE)
        assert not line.transport.closed
    answering.finish()
    assert asking.send(b"c") == echoed(b"abc")


def test_a_server_that_leaves_closes_what_is_idle_and_answers_what_it_has_begun() -> None:
    idle, busy = Line(), Line()
    busy.send(request(b"a", "/later") + request(b"b"))
    for line in (idle, busy):
        line.protocol.shutdown()
    assert (idle.transport.closed, busy.transport.closed) == (True, False)
    busy.finish()
    assert busy.transport.written == echoed(b"a", b"connection: close")
    assert busy.transport.closed
