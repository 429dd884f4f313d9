"""The table of routes: what each needs of its caller, what it answers, and how a path finds it."""

import enum
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from smarttrade.api.auth import Caller, Headers
from smarttrade.api.errors import invalid_parameters
from smarttrade.api.parameters import INVALID, MAX_INTEGER
from smarttrade.domain.account import Permission
from smarttrade.domain.quote import Instant

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Security(enum.StrEnum):
    """What a route asks of its caller (auth.md section 2)."""

    NONE = "NONE"  # no headers needed; those that are there are not looked at
    SIGNED = "SIGNED"  # a live key and its signature


class Answer(msgspec.Struct, frozen=True):
    """What a handler answers: a value that JSON can hold (Decimals included), or JSON already encoded."""

    body: Any
    status: int | None = None  # None: the route's own


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read and checked. `params` holds query and body merged; what is in the path is apart and wins."""

    path_values: Mapping[str, str]
    params: dict[str, Any]
    caller: Caller | None  # None: the route asks for none
    address: str | None  # where the request comes from; None for a local socket
    received_at: Instant
    request_id: str
    headers: Headers
    body: bytes

    def id(self, name: str = "id") -> int:
        """The number in the path at `:name`. Raises ApiError (400) for anything else."""
        text = self.path_values[name]
        if not (text.isascii() and text.isdigit()):
            raise invalid_parameters({name: [INVALID]})
        # Longer than any id: no entity has it, and no database could be asked for it.
        return int(text) if len(text) <= 18 else MAX_INTEGER

    @property
    def signer(self) -> Caller:
        """The caller of a signed route."""
        if self.caller is None:
            raise LookupError("the route is not signed")
        return self.caller


Handler = Callable[[Call], Answer | Awaitable[Answer]]
"""A plain function where nothing is waited for: its answer leaves without a task."""


async def answer_of(handler: Handler, call: Call) -> Answer:
    """What `handler` answers, waited for if need be."""
    answer = handler(call)
    return answer if isinstance(answer, Answer) else await answer


H = TypeVar("H", bound=Handler)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. The fields from `summary` on describe it for the OpenAPI document."""

    method: str
    path: str  # whole, with `:name` for what varies: /public/api/v2/smart_trades/:id
    handler: Handler
    security: Security = Security.SIGNED
    permissions: frozenset[Permission] = frozenset()  # one of them is enough; empty: any valid key
    status: int = 200  # of success
    missing_trade_status: int = 404  # 400 on two routes (api.md, contradiction 2)
    summary: str = ""
    tag: str = ""
    request_schema: str | None = None  # name of the schema of the parameters
    response_schema: str | None = None
    error_statuses: tuple[int, ...] = ()


class _Node:
    __slots__ = ("literal", "routes", "varying")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.varying: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


class Match(msgspec.Struct, frozen=True):
    """The operations at one path, by method, and the values of the path's varying segments."""

    routes: Mapping[str, tuple[Route, tuple[str, ...]]]
    values: tuple[str, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered here, in the order in which errors list them (auth.md section 6)."""
        offered = set(self.routes) | ({"HEAD"} if "GET" in self.routes else set())
        return ("OPTIONS", *(method for method in METHODS if method in offered))


class RouteTable:
    """Routes below one prefix. A literal segment is preferred to a varying one: `accounts/new` to `accounts/:id`."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._routes: list[Route] = []
        self._root = _Node()

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def route(
        self,
        method: str,
        path: str,
        *,
        security: Security = Security.SIGNED,
        permissions: Iterable[Permission] = (),
        status: int | None = None,
        **details: Any,
    ) -> Callable[[H], H]:
        """Decorator: the handler of `method` on `path`. `status` defaults to 201 for POST; `details` as in Route."""

        def register(handler: H) -> H:
            self.add(
                Route(
                    method=method,
                    path=self._prefix + path,
                    handler=handler,
                    security=security,
                    permissions=frozenset(permissions),
                    status=status if status is not None else (201 if method == "POST" else 200),
                    **details,
                )
            )
            return handler

        return register

    def add(self, route: Route) -> None:
        """Raises ValueError if the method is unknown or the place is taken."""
        if route.method not in METHODS or route.method == "HEAD":
            raise ValueError(f"no such method: {route.method}")
        node, names = self._root, []
        for segment in route.path.split("/")[1:]:
            if segment.startswith(":"):
                names.append(segment[1:])
                if node.varying is None:
                    node.varying = _Node()
                node = node.varying
            else:
                node = node.literal.setdefault(segment, _Node())
        if route.method in node.routes:
            raise ValueError(f"two handlers for {route.method} {route.path}")
        node.routes[route.method] = (route, tuple(names))
        self._routes.append(route)

    def include(self, other: "RouteTable") -> None:
        """Take over all routes of another table."""
        for route in other:
            self.add(route)

    def find(self, path: str) -> Match | None:
        """What is at `path`, percent-encoding untouched. One trailing slash makes no difference (auth.md section 1)."""
        segments = path.split("/")[1:]
        if len(segments) > 1 and not segments[-1]:
            segments.pop()
        return _descend(self._root, segments, ())


def _descend(node: _Node, segments: list[str], values: tuple[str, ...]) -> Match | None:
    for depth, segment in enumerate(segments):
        below, varying = node.literal.get(segment), node.varying if segment else None
        if below is not None and varying is not None:  # what leads nowhere as a literal segment may be a value
            found = _descend(below, segments[depth + 1 :], values)
            if found is not None:
                return found
            below = None
        if below is None:
            if varying is None:
                return None
            below, values = varying, (*values, unquote(segment))
        node = below
    return Match(node.routes, values) if node.routes else None
