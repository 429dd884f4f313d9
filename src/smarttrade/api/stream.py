"""SmartTradesChannel: every stored change of a caller's trades over a WebSocket, in ActionCable's frames (api.md e).

A change is encoded once, however many listen. A listener that does not keep up is sent away rather than allowed to fill
the memory: it comes back and reads the list, as after any reconnect, since frames carry no numbers.

What cannot be understood is ignored, as the original does; what cannot be believed is rejected.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from smarttrade.api.auth import client_address, is_within, signature_matches
from smarttrade.domain.account import Account, ApiKey, Permission
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.ports.directory import Directory
from smarttrade.ports.storage import StorageUnavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATHS: Final = frozenset({"/websocket", "/websocket/smart_trades", "/websocket/deals"})
SUBPROTOCOL: Final = "actioncable-v1-json"

TRADES_CHANNEL: Final = "SmartTradesChannel"
SIGNED_NAMES: Final = {TRADES_CHANNEL: b"/smart_trades", "DealsChannel": b"/deals"}
"""What a subscription signs, by channel. Deals are not ours: that channel is confirmed and stays silent."""

PING_SECONDS: Final = 3.0

MAX_FRAME_BYTES: Final = 64 * 1024
"""A subscription of `MAX_USERS` keys with RSA signatures fits; given to the WebSocket layer."""

MAX_USERS: Final = 32
MAX_SUBSCRIPTIONS: Final = 32
"""Per connection: both bound what one frame, and one stranger, can make us verify and send."""

MAX_LISTENERS: Final = 10_000

MAX_WAITING: Final = 1_000
"""Frames that wait for one slow listener, some 5 MB that it shares with all others."""

TRY_AGAIN_LATER: Final = 1013

_encode: Final = msgspec.json.Encoder().encode


class _User(msgspec.Struct):
    """One set of credentials of a subscription."""

    api_key: str
    signature: str


class _Channel(msgspec.Struct):
    """What an identifier says."""

    channel: str
    users: list[_User]


class _Frame(msgspec.Struct):
    """What a client sends."""

    command: str
    identifier: str


_frame_of: Final = msgspec.json.Decoder(_Frame).decode
_channel_of: Final = msgspec.json.Decoder(_Channel).decode


class _Subscription(msgspec.Struct, frozen=True):
    """What one listener wants, and by which keys it may have it: names of keys by user."""

    head: str  # of every frame: the identifier character for character
    keys: dict[int, frozenset[str]]


class _Listener:
    """One connection: what waits to be sent to it, and its subscriptions by identifier."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.subscriptions: dict[str, _Subscription] = {}
        self._waiting: deque[tuple[str, str]] = deque()  # head and rest of a frame: the rest is shared by all
        self._wake = asyncio.Event()
        self._overrun = False

    def say(self, head: str, rest: str = "") -> None:
        """Queue a frame; never waits."""
        if len(self._waiting) >= MAX_WAITING:
            self._overrun = True
        else:
            self._waiting.append((head, rest))
        self._wake.set()

    async def send_all(self, send: Send) -> None:
        """Send what is queued, in order, until cancelled or overrun."""
        while not self._overrun:
            while self._waiting and not self._overrun:
                head, rest = self._waiting.popleft()
                await send({"type": "websocket.send", "text": head + rest})
            self._wake.clear()
            if not self._waiting and not self._overrun:
                await self._wake.wait()
        self._waiting.clear()
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "too slow: read the list"})


class TradeStream:
    """All listeners, as an ASGI application for `websocket` scopes."""

    def __init__(
        self,
        *,
        directory: Directory,
        encode_trade: Callable[[SmartTrade, Account], bytes],
        now: Callable[[], Instant],
        admit: Callable[[str], bool] = lambda who: True,
        trusted_proxies: tuple[str, ...] = (),
    ) -> None:
        """encode_trade  the JSON that a GET of the trade would answer
        admit         whether this address may try to subscribe now (the rate limit)
        """
        self._directory = directory
        self._encode_trade = encode_trade
        self._now = now
        self._admit = admit
        self._trusted_proxies = trusted_proxies
        self._listeners: set[_Listener] = set()
        self._by_user: dict[int, dict[tuple[_Listener, str], _Subscription]] = {}

    @property
    def listeners(self) -> int:
        """Connections that are open."""
        return len(self._listeners)

    # --- what happens to trades -----------------------------------------------------------------------------------

    def publish(self, changed: Sequence[SmartTrade]) -> None:
        """Tell of trades as they are stored now."""
        if not self._by_user:
            return
        live: dict[str, bool] = {}
        for trade in changed:
            account = self._directory.known_account(trade.account_id)
            wanted = None if account is None else self._by_user.get(account.user_id)
            if account is None or not wanted:
                continue
            rest = self._encode_trade(trade, account).decode() + "}"
            for (listener, _), subscription in wanted.items():
                if self._any_live(subscription.keys[account.user_id], live):
                    listener.say(subscription.head, rest)

    def _any_live(self, names: Iterable[str], live: dict[str, bool]) -> bool:
        """Whether one of the keys may still read: a revoked one ends what was subscribed by it."""
        for name in names:
            if name not in live:
                live[name] = self._readable(name) is not None
            if live[name]:
                return True
        return False

    def _readable(self, name: str) -> ApiKey | None:
        key = self._directory.find_key(name) if name.isascii() else None
        if key is None or key.revoked_at is not None or Permission.SMART_TRADES_READ not in key.permissions:
            return None
        return key

    # --- one connection -------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if scope["path"].rstrip("/") not in PATHS:
            await send({"type": "websocket.close"})  # before it is accepted: the client sees 403
            return
        offered = scope.get("subprotocols") or ()
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        if len(self._listeners) >= MAX_LISTENERS:
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "too many listeners"})
            return
        listener = _Listener(self._address(scope))
        self._listeners.add(listener)
        listener.say('{"type":"welcome"}')
        tasks = [asyncio.create_task(listener.send_all(send)), asyncio.create_task(self._ping(listener))]
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                self._hear(listener, message.get("text"))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for identifier in list(listener.subscriptions):
                self._unsubscribe(listener, identifier)
            self._listeners.discard(listener)

    def _address(self, scope: Scope) -> str | None:
        peer = scope.get("client")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return client_address(peer[0] if peer else None, forwarded, self._trusted_proxies)

    async def _ping(self, listener: _Listener) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            listener.say(f'{{"type":"ping","message":{self._now() // SECOND}}}')

    def _hear(self, listener: _Listener, text: Any) -> None:
        """A frame of the client; noise is ignored."""
        if not isinstance(text, str):
            return
        try:
            frame = _frame_of(text)
            wanted = _channel_of(frame.identifier)
        except msgspec.DecodeError:
            return
        except UnicodeEncodeError:  # a lone surrogate, written as an escape
            return
        if wanted.channel not in SIGNED_NAMES:
            return
        if frame.command == "unsubscribe":
            self._unsubscribe(listener, frame.identifier)
        elif frame.command == "subscribe":
            accepted = self._subscribe(listener, frame.identifier, wanted)
            verdict = "confirm_subscription" if accepted else "reject_subscription"
            listener.say(f'{_head(frame.identifier)}"type":"{verdict}"}}')

    # --- subscriptions --------------------------------------------------------------------------------------------

    def _subscribe(self, listener: _Listener, identifier: str, wanted: _Channel) -> bool:
        """Whether one of the credentials at least is good. The same identifier again changes nothing."""
        if identifier in listener.subscriptions:
            return True
        if len(wanted.users) > MAX_USERS or len(listener.subscriptions) >= MAX_SUBSCRIPTIONS:
            return False
        if not self._admit(f"address {listener.address}"):
            return False
        keys: dict[int, frozenset[str]] = {}
        try:
            for user in wanted.users:
                key = self._verified(user, SIGNED_NAMES[wanted.channel], listener.address)
                if key is not None:
                    keys[key.user_id] = keys.get(key.user_id, frozenset()) | {user.api_key}
        except StorageUnavailable:
            return False
        if not keys:
            return False
        subscription = _Subscription(_head(identifier) + '"message":', keys)
        listener.subscriptions[identifier] = subscription
        if wanted.channel == TRADES_CHANNEL:
            for user_id in keys:
                self._by_user.setdefault(user_id, {})[listener, identifier] = subscription
        return True

    def _verified(self, user: _User, signed: bytes, address: str | None) -> ApiKey | None:
        key = self._readable(user.api_key)
        if key is None or not user.signature.isascii():
            return None
        if not signature_matches(key, (signed,), user.signature.encode("ascii")):
            return None
        if key.allowed_networks and not is_within(address, key.allowed_networks):
            return None
        return key

    def _unsubscribe(self, listener: _Listener, identifier: str) -> None:
        subscription = listener.subscriptions.pop(identifier, None)
        if subscription is None:
            return
        for user_id in subscription.keys:
            wanted = self._by_user.get(user_id)
            if wanted is not None:
                wanted.pop((listener, identifier), None)
                if not wanted:
                    del self._by_user[user_id]


def _head(identifier: str) -> str:
    """The beginning of a frame that answers `identifier`."""
    return f'{{"identifier":{_encode(identifier).decode()},'
