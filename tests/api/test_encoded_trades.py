"""Encoded entities are kept and put together again: no answer may be older than the question (entities.md 1)."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live import Server, running
from msgspec.structs import replace
from published import DOGE, DOGE_15, account, entry, published, quote, trade

from smarttrade.api.encoded_trades import MAX_KEPT, EncodedTrades
from smarttrade.api.entities import Surroundings, live_members, smart_trade_entity
from smarttrade.domain.account import Account
from smarttrade.domain.instrument import Instrument, MarketKind
from smarttrade.domain.plan import EntryType, MarginMode
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus
from smarttrade.ports.exchange import FuturesPosition
from smarttrade.ports.market_data import DayStatistics

D = Decimal
MARKET = {"market": "lab", "pair": "USDT_LAB", "lot": 1, "min_lot": 1, "maker_fee": 0, "taker_fee": 0}
BODY = published("waiting_position")
OWNER = account(BODY)
PLANNED = trade(BODY, entry(EntryType.MARKET, "15", None, StepStatus.TO_PROCESS))
ENTERED = replace(
    PLANNED, status=TradeStatus.WAITING_TARGETS, position=entry(EntryType.MARKET, "15", None, execution=DOGE_15)
)
CREATED = replace(PLANNED, status=TradeStatus.CREATED)
PRICE = quote(published("edit"))
FUTURES = replace(DOGE, kind=MarketKind.LINEAR)
HELD = FuturesPosition(
    key=DOGE.key,
    quantity=D(15),
    entry_price=D("0.1"),
    mode=MarginMode.CROSS,
    leverage=D(3),
    margin=D(1),
    liquidation_price=D("0.04"),
)


class World:
    """All that an entity depends on besides its trade and account, free to move."""

    def __init__(self) -> None:
        self.rules: Instrument = DOGE
        self.quote: Quote | None = None
        self.day = DayStatistics()
        self.rate: Decimal | None = D(1)
        self.required = self.balance = D(0)
        self.held: FuturesPosition | None = None
        self.encoded = EncodedTrades(
            view=self,  # type: ignore[arg-type]
            market=self,  # type: ignore[arg-type]
            rules_of=lambda _: self.rules,
            usd_rate=lambda *_: self.rate,
            balance_of=lambda *_: self.balance,
            position_of=lambda *_: self.held,
        )

    def latest(self, _: InstrumentKey) -> Quote | None:
        return self.quote

    def statistics(self, _: InstrumentKey) -> DayStatistics:
        return self.day

    def needed(self, *_: object) -> Decimal:
        return self.required

    def answers_as_if_new(self, made: SmartTrade, owner: Account = OWNER) -> bool:
        """Whether what is put together is what the entity says now, key by key and in its order."""
        linear = self.rules.is_linear
        missing = D(0) if linear else max(self.required - self.balance, D(0))
        around = Surroundings(self.quote, self.day, self.rate, missing, self.held if linear else None)
        sums = Sums.of(made)
        entity = smart_trade_entity(made, sums, owner, self.rules, live_members(made, sums, self.rules, around))
        return json.dumps(json.loads(self.encoded.encode(made, owner))) == json.dumps(entity)


CHANGES: dict[str, dict[str, Any]] = {
    "price": {"quote": PRICE},
    "the next price": {"quote": replace(PRICE, bid=PRICE.bid + 1, ask=PRICE.ask + 1)},
    "the day's figures": {"quote": PRICE, "day": DayStatistics(quote_volume=D(5))},
    "value of the currency": {"quote": PRICE, "rate": D("2.5")},
    "what other trades need": {"required": D(40)},
    "balance": {"required": D(40), "balance": D(7)},
    "trading rules": {"rules": replace(DOGE, taker_fee=D("0.002"))},
    "futures position": {"rules": FUTURES, "held": HELD},
}


@pytest.mark.parametrize("made", [CREATED, PLANNED, ENTERED], ids=["created", "planned", "entered"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_an_entity_depends_on_cannot_change_unnoticed(change: str, made: SmartTrade) -> None:
    world = World()
    assert world.answers_as_if_new(made)
    before = world.encoded.encode(made, OWNER)
    for name, value in CHANGES[change].items():
        setattr(world, name, value)
        assert world.answers_as_if_new(made)
    assert world.encoded.encode(made, OWNER) != before


def test_a_new_state_of_the_trade_and_a_new_name_of_its_account_show_at_once() -> None:
    world = World()
    for made in (PLANNED, ENTERED, replace(ENTERED, note='a "quoted" \x00 note', revision=9), PLANNED):
        assert world.answers_as_if_new(made)
    assert world.answers_as_if_new(PLANNED, replace(OWNER, name="renamed"))


def test_a_read_without_any_change_encodes_nothing() -> None:
    world = World()
    assert world.encoded.encode(PLANNED, OWNER) is world.encoded.encode(PLANNED, OWNER)


def test_a_new_trade_takes_no_place_from_those_that_are_read() -> None:
    """The state that a creation answers is left before it is read."""
    world = World()
    kept = world.encoded.encode(PLANNED, OWNER)
    for number in range(MAX_KEPT + 1):
        world.encoded.encode(replace(CREATED, id=PLANNED.id + 1 + number), OWNER)
    assert world.encoded.encode(PLANNED, OWNER) is kept


def test_only_so_many_are_kept() -> None:
    world = World()
    first = world.encoded.encode(PLANNED, OWNER)
    for number in range(MAX_KEPT):
        world.encoded.encode(replace(PLANNED, id=PLANNED.id + 1 + number), OWNER)
    assert world.encoded.encode(PLANNED, OWNER) is not first


def test_a_read_after_a_command_and_after_a_price_shows_the_new_state(tmp_path: Path) -> None:
    """The same through the whole server: fill, price, note and close, each between two reads."""
    with running(tmp_path) as server:
        assert server.sandbox("POST", "/markets", MARKET).status == 201
        _price(server, "10")
        plan = {
            "account_id": server.open_account(market="lab", USDT="1000"),
            "pair": "USDT_LAB",
            "position": {"type": "buy", "order_type": "limit", "units": {"value": 10}, "price": {"value": "9"}},
            "take_profit": {"enabled": False},
            "stop_loss": {"enabled": False},
        }
        created = server.ask("POST", "/v2/smart_trades", plan)
        assert created.status == 201, created
        path = f"/v2/smart_trades/{created.body['id']}"
        waiting = server.ask("GET", path).body
        assert (waiting["status"]["type"], waiting["data"]["current_price"]["bid"]) == ("waiting_position", "10.0")
        _price(server, "9")
        entered = server.ask("GET", path).body
        assert (entered["status"]["type"], entered["profit"]["volume"]) == ("waiting_targets", "0.0")
        _price(server, "12")
        risen = server.ask("GET", path).body
        assert (risen["data"]["current_price"]["bid"], risen["profit"]["volume"]) == ("12.0", "30.0")
        server.ask("POST", f"{path}/set_note", {"note": "seen"})
        assert server.ask("GET", path).body["note"] == "seen"
        server.ask("POST", f"{path}/close_by_market")
        assert server.ask("GET", path).body["status"]["type"] == "panic_sold"


def _price(server: Server, price: str) -> None:
    got = server.sandbox("POST", "/quotes", {"quotes": [{"pair": "USDT_LAB", "bid": price, "ask": price}]})
    assert got.status == 201, got
