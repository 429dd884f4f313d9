"""The 24 published create requests: accepted as they are, as JSON and as forms, and driven to every end they can have.

A path is a list of things that happen, in order:

    9000            the market stands at this price (bid, ask and last); `9000x0.004` with so much on both sides
    create          the request is sent; before it nothing concerns the trade
    is STATUS       the trade stands there now
    +8              so many seconds pass
    fill, fill Q    somebody takes the trade's oldest open order, whole or so much of it
    outside         somebody cancels it at the exchange
    refuse, busy    the exchange refuses the next order: for good, or for the moment
    poor            the account has nothing left that is free
    hold, release   the exchange confirms cancellations late
    cancel, close, force        commands: DELETE, close_by_market, force_start
    cancel N, close N           the same for target number N; `cancel stop` for the stop loss
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import FORM, Account, Answer, Market, Server, Trade

REQUESTS = sorted((Path(__file__).parents[1] / "data" / "seed_004").glob("*.json"))
SUCCESSES = ("finished", "stop_loss_finished", "panic_sold")
FLAGS = ("editable", "panic_sell_available", "add_funds_available", "reduce_funds_available", "force_start_available",
         "force_process_available", "cancel_available")  # fmt: skip


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of their own: all requests name account 1 and USDT_BTC."""
    with Server(tmp_path_factory.mktemp("seeds")) as running:
        yield running


class Seeds:
    """Account 1 and USDT_BTC of a server, where the requests act."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.market = Market(server, "binance", "USDT_BTC", "BTC")
        self.account: Account = server.first_account
        assert self.account.id == 1
        self.account.clear_faults()  # what a path before did not use up
        self.fund(100_000, 10)

    def fund(self, usdt: int, btc: int) -> None:
        self.account.set_balance("USDT", usdt)
        self.account.set_balance("BTC", btc)

    def create(self, body: str, content_type: str) -> Answer:
        return self.server.api.call("POST", "/v2/smart_trades", body, content_type=content_type)


@pytest.fixture
def seeds(own_server: Server) -> Seeds:
    return Seeds(own_server)


# --- accepted as they are ---------------------------------------------------------------------------------------


def pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """`value` as Rails clients flatten it: `take_profit[steps][][price][value]`."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from pairs(member, f"{name}[{key}]" if name else key)
    elif isinstance(value, list):
        for element in value:
            yield from pairs(element, f"{name}[]")
    else:
        yield name, json.dumps(value) if not isinstance(value, str) else value


def as_form(body: str, *, escape: bool = True) -> str:
    """The request as a form body, brackets escaped or not: clients do both."""
    written = quote if escape else str
    return "&".join(f"{written(name)}={quote(value)}" for name, value in pairs(json.loads(body)))


def kind_of(body: dict[str, Any]) -> str:
    """data.type by the table in behaviour 1.1."""
    long = body["position"]["type"] == "buy"
    if "instant" in body:
        return "simple_buy" if long else "simple_sell"
    if "skip_enter_step" in body:
        return "smart_sell" if long else "smart_buy"
    return "smart_trade" if long else "smart_cover"


@pytest.mark.parametrize("request_file", REQUESTS, ids=lambda path: path.stem)
def test_published_request_is_accepted_in_every_encoding_and_means_the_same(seeds: Seeds, request_file: Path) -> None:
    body = request_file.read_text()
    seeds.market.quote("9000")
    answers = []
    for text, content_type in (
        (body, "application/json"),
        (as_form(body), FORM),
        (as_form(body, escape=False), FORM + "; charset=utf-8"),
    ):
        answer = seeds.create(text, content_type)
        assert answer.status == 201, answer.body
        answers.append(answer.body)
        trade = Trade(seeds.account, answer.body)
        if trade.get()["data"]["cancel_available"]:
            trade.cancel()

    assert len(REQUESTS) == 24
    assert answers[0]["status"]["type"] == "created"
    assert answers[0]["data"]["type"] == kind_of(json.loads(body))
    assert answers[0]["leverage"] == {"enabled": False}  # a leverage group on spot is ignored (M-55)
    assert all(without_ids(answer) == without_ids(answers[0]) for answer in answers)


def without_ids(value: Any) -> Any:
    """An entity without what two equal trades differ in."""
    if isinstance(value, dict):
        return {key: without_ids(member) for key, member in value.items() if key != "id"}
    return [without_ids(element) for element in value] if isinstance(value, list) else value


# --- driven to every end ----------------------------------------------------------------------------------------

SIMPLE_MARKET = "01 02 03"
AT_MARKET = "12 14 15 16 17 18 19 20 21 24"  # smart trades whose entry is a market order
TARGETS = "14 15 16 17"  # targets and no stop
STOPS = "18 19 20 21"  # a stop and no target

ENDS = [
    # --- entries at market ---
    (SIMPLE_MARKET, "9000 · create", "finished"),
    (SIMPLE_MARKET, "9000x0.004 · create", "finished"),  # not enough to be had: what was filled is the trade (EX-5)
    (AT_MARKET, "9000x0.004 · create · is waiting_targets · 9000 · close", "panic_sold"),  # the part is the position
    (SIMPLE_MARKET, "9000 · busy · create · is waiting_position · +1", "finished"),
    (SIMPLE_MARKET, "9000 · busy · create · force · +1", "finished"),
    (f"{SIMPLE_MARKET} {AT_MARKET}", "9000 · refuse · create", "failed"),
    (f"{SIMPLE_MARKET} {AT_MARKET}", "9000 · poor · create", "failed"),
    (f"{SIMPLE_MARKET} {AT_MARKET}", "9000 · busy · create · is waiting_position · cancel", "cancelled"),
    (AT_MARKET, "9000 · busy · create · +1 · is waiting_targets · close", "panic_sold"),
    (AT_MARKET, "9000 · create · is waiting_targets · close", "panic_sold"),
    (AT_MARKET, "9000 · create · is waiting_targets · cancel", "cancelled"),
    ("12 14 17 18 19 20 21", "9000 · create · poor · close", "failed"),  # the coins are gone (EX-10)
    # --- limit entries ---
    ("04", "10001 · create · is waiting_position · 10000", "finished"),
    ("05", "9999 · create · is waiting_position · 10000", "finished"),
    ("04", "9000 · create", "finished"),
    ("05", "11000 · create", "finished"),
    ("13", "9000 · create · is waiting_targets · close", "panic_sold"),
    ("13", "9000 · create · is waiting_targets · cancel", "cancelled"),
    ("13", "11000 · create · is waiting_position · 10000 · is waiting_targets · close", "panic_sold"),
    ("04 13", "11000 · refuse · create", "failed"),
    ("04 13", "11000 · poor · create", "failed"),
    ("04 13", "11000 · create · cancel", "cancelled"),
    ("04 13", "11000 · create · fill 0.004 · is waiting_position · cancel", "cancelled"),
    ("04 13", "11000 · create · hold · cancel · is cancellation_in_progress · fill · release", "cancelled"),
    ("04 13", "11000 · create · outside", "cancelled"),  # S-11
    ("04", "11000 · create · fill 0.004 · outside", "finished"),  # what was filled is the trade (S-12, S-9)
    ("13", "11000 · create · fill 0.004 · outside · is waiting_targets · close", "panic_sold"),  # S-12
    ("04", "11000 · create · force", "finished"),
    ("04", "11000 · create · fill 0.004 · force", "finished"),
    ("04", "11000 · create · hold · force · is waiting_position · fill · release", "finished"),
    ("13", "11000 · create · force · is waiting_targets · close", "panic_sold"),
    ("05", "9000 · refuse · create", "failed"),
    ("05", "9000 · poor · create", "failed"),
    ("05", "9000 · create · cancel", "cancelled"),
    ("05", "9000 · create · fill 0.004 · cancel", "cancelled"),
    ("05", "9000 · create · outside", "cancelled"),
    ("05", "9000 · create · force", "finished"),
    # --- conditional entries at market ---
    ("06", "9000 · create · is waiting_position · 10000 · is waiting_targets · close", "panic_sold"),
    ("06", "11000 · create · is waiting_position · 9999 · is waiting_targets · close", "panic_sold"),
    ("06", "10000 · create · is waiting_targets · cancel", "cancelled"),
    ("07", "9000 · create · is waiting_position · 8500 · is waiting_targets · close", "panic_sold"),
    ("07", "8000 · create · is waiting_position · 9000 · is waiting_targets · cancel", "cancelled"),
    ("06 07", "9000 · create · cancel", "cancelled"),
    ("06 07", "9000 · create · force · is waiting_targets · close", "panic_sold"),
    ("06 07", "9000 · create · force · is waiting_targets · cancel", "cancelled"),
    ("06", "9000 · create · refuse · 10000", "failed"),
    ("06", "9000 · create · poor · 10000", "failed"),
    ("06", "9000 · create · busy · 10000 · is waiting_position · cancel", "cancelled"),
    ("07", "9000 · create · refuse · 8500", "failed"),
    ("07", "9000 · create · poor · 8500", "failed"),
    ("06 07", "9000 · create · refuse · force", "failed"),
    # --- conditional entries with a limit order ---
    ("08", "9000 · create · is waiting_position · 10000 · is waiting_targets · close", "panic_sold"),
    ("08", "9000 · create · 11000 · is waiting_position · 10500 · is waiting_targets · close", "panic_sold"),
    ("08", "9000 · create · 11000 · is waiting_position · fill · is waiting_targets · cancel", "cancelled"),
    ("08", "9000 · create · 11000 · cancel", "cancelled"),
    ("08", "9000 · create · 11000 · outside", "cancelled"),
    ("08", "9000 · create · 11000 · force · is waiting_targets · close", "panic_sold"),
    ("09", "9000 · create · is waiting_position · 8800 · is waiting_targets · close", "panic_sold"),
    ("09", "9000 · create · 8000 · is waiting_position · 8500 · is waiting_targets · close", "panic_sold"),
    ("09", "9000 · create · 8000 · is waiting_position · fill · is waiting_targets · cancel", "cancelled"),
    ("09", "9000 · create · 8000 · cancel", "cancelled"),
    ("09", "9000 · create · 8000 · outside", "cancelled"),
    ("09", "9000 · create · 8000 · force · is waiting_targets · close", "panic_sold"),
    ("08 09", "9000 · create · cancel", "cancelled"),
    ("08 09", "9000 · create · force · is waiting_targets · close", "panic_sold"),
    ("08", "9000 · create · refuse · 11000", "failed"),
    ("08", "9000 · create · poor · 11000", "failed"),
    ("09", "9000 · create · refuse · 8000", "failed"),
    ("09", "9000 · create · poor · 8000", "failed"),
    # --- trailing entries ---
    ("10 22", "11000 · create · 10000 · 9000 · 9895 · is waiting_position · 9896 · is waiting_targets · close",
     "panic_sold"),
    ("10 22", "9000 · create · 10000 · is waiting_position · 10995 · is waiting_targets · cancel", "cancelled"),
    ("11", "9000 · create · 10000 · 11000 · 9906 · is waiting_position · 9905 · is waiting_targets · close",
     "panic_sold"),
    ("11", "11000 · create · 10000 · is waiting_position · 9005 · is waiting_targets · cancel", "cancelled"),
    ("10 11 22", "9000 · create · cancel", "cancelled"),
    ("10 11 22", "9000 · create · 10000 · is waiting_position · cancel", "cancelled"),
    ("10 11 22", "9000 · create · force · is waiting_targets · close", "panic_sold"),
    ("10 11 22", "9000 · create · 10000 · force · is waiting_targets · close", "panic_sold"),
    ("10 22", "9000 · create · 10000 · refuse · 10995", "failed"),
    ("10 22", "9000 · create · 10000 · poor · 10995", "failed"),
    ("11", "11000 · create · 10000 · refuse · 9005", "failed"),
    ("11", "11000 · create · 10000 · poor · 9005", "failed"),
    # --- targets ---
    ("14 15", "9000 · create · 9999 · is waiting_targets · 10000", "finished"),
    ("14 15", "10500 · create", "finished"),  # reached already
    ("16 17", "9000 · create · 10000 · 10500 · 11000 · 11500 · 12000 · 10741 · is waiting_targets · 10740", "finished"),
    ("16 17", "9000 · create · 12000 · is waiting_targets · 10740", "finished"),
    ("16 17", "9000 · create · 10500 · is waiting_targets · close", "panic_sold"),
    ("16 17", "9000 · create · 10500 · is waiting_targets · cancel", "cancelled"),
    ("16 17", "9000 · create · 12000 · is waiting_targets · close", "panic_sold"),
    ("16 17", "9000 · create · 12000 · is waiting_targets · cancel", "cancelled"),
    ("16 17", "9000 · create · 12000 · is waiting_targets · close 4", "finished"),
    ("16 17", "9000 · create · 12000 · is waiting_targets · cancel 4", "cancelled"),
    ("16 17", "9000 · create · close 1 · close 2 · close 3 · is waiting_targets · close 4", "finished"),
    ("16 17", "9000 · create · cancel 1 · cancel 2 · cancel 3 · is waiting_targets · cancel 4", "cancelled"),
    ("16", "9000 · create · fill · fill · fill · is waiting_targets · 11500 · 10292", "finished"),
    ("16", "9000 · create · outside · outside · outside · is waiting_targets · 12000 · 10740", "finished"),  # S-14
    ("16", "9000 · create · outside · outside · outside · is waiting_targets · close", "panic_sold"),
    ("14 15", "9000 · create · close 1", "finished"),  # S-34
    ("14 15", "9000 · create · cancel 1", "cancelled"),
    ("15", "9000 · create · fill", "finished"),
    ("15", "9000 · create · fill 0.004 · is waiting_targets · close", "panic_sold"),
    ("15", "9000 · create · fill 0.004 · is waiting_targets · cancel", "cancelled"),
    ("15", "9000 · create · fill 0.004 · is waiting_targets · 10000", "finished"),
    ("15", "9000 · create · outside", "cancelled"),  # EX-30, S-30
    ("15", "9000 · create · hold · close · is panic_sell_pending · fill · release", "finished"),
    ("15", "9000 · create · hold · cancel · is cancellation_in_progress · fill · release", "finished"),  # S-29
    ("15", "9000 · create · hold · cancel 1 · fill · release", "finished"),
    ("14 17", "9000 · create · poor · 12000", "failed"),  # EX-10
    ("14", "9000 · create · busy · 10000 · is waiting_targets · +1", "finished"),
    # --- stops ---
    (STOPS, "9000 · create · cancel stop", "cancelled"),
    ("18", "9000 · create · 8501 · is waiting_targets · 8500", "stop_loss_finished"),
    ("18 20", "9000 · create · 8000", "stop_loss_finished"),
    ("18 20", "8400 · create", "stop_loss_finished"),  # reached already
    ("18 20", "9000 · create · poor · 8000", "failed"),
    ("18 20", "9000 · create · busy · 8000 · is stop_loss_in_progress · +1", "stop_loss_finished"),
    ("18", "9000 · create · busy · 8000 · is stop_loss_in_progress · cancel", "cancelled"),
    ("18", "9000 · create · busy · 8000 · is stop_loss_in_progress · close · +1", "panic_sold"),
    ("19", "9000 · create · 8500", "stop_loss_finished"),
    ("19", "9000 · create · 8000 · is stop_loss_in_progress · 8300", "stop_loss_finished"),
    ("19", "9000 · create · 8000 · is stop_loss_in_progress · fill 0.004 · fill", "stop_loss_finished"),
    ("19", "9000 · create · 8000 · is stop_loss_in_progress · close", "panic_sold"),
    ("19", "9000 · create · 8000 · is stop_loss_in_progress · cancel", "cancelled"),
    ("19", "9000 · create · 8000 · outside · +1 · is stop_loss_in_progress · 8300", "stop_loss_finished"),  # EX-30
    ("20", "9000 · create · 10000 · 9151 · is waiting_targets · 9150", "stop_loss_finished"),
    ("21", "9000 · create · 8500 · +7 · is waiting_targets · +1", "stop_loss_finished"),
    ("21", "9000 · create · 8500 · +7 · 8501 · +1 · is waiting_targets · 8500 · +8", "stop_loss_finished"),
    ("21", "9000 · create · 8500 · +7 · close", "panic_sold"),
    ("21", "9000 · create · 8500 · +7 · cancel", "cancelled"),
    # --- everything together: entered at 9009.01 with commission, targets 11 % and 13 % above, stop 6 % below ---
    ("22", "9000 · create · force · 10000 · 10500 · is waiting_targets · 9150", "stop_loss_finished"),  # TR-45
    ("22", "9000 · create · force · 10000 · cancel stop · 10500 · 9398 · is waiting_targets · 9397", "finished"),
    ("22", "9000 · create · force · 8460", "stop_loss_finished"),
    ("22", "9000 · create · force · 10100 · is waiting_targets · 9000", "stop_loss_finished"),
    ("22", "9000 · create · force · 10100 · is waiting_targets · close", "panic_sold"),
    ("22", "9000 · create · force · 10500 · is waiting_targets · cancel", "cancelled"),
    ("22", "9000 · create · force · close 1 · is waiting_targets · close 2", "finished"),
    ("22", "9000 · create · force · cancel 1 · cancel 2 · is waiting_targets · cancel stop", "cancelled"),
    # --- smart sell ---
    ("23", "9000 · create · is waiting_targets · 10000", "finished"),
    ("23", "10500 · create", "finished"),
    ("23", "9000 · create · 7500", "stop_loss_finished"),
    ("23", "7000 · create", "stop_loss_finished"),
    ("23", "9000 · create · close", "panic_sold"),
    ("23", "9000 · create · cancel", "cancelled"),
    ("23", "9000 · create · close 1", "finished"),
    ("23", "9000 · create · cancel stop · is waiting_targets · cancel 1", "cancelled"),
    ("23", "9000 · create · hold · 7500 · is stop_loss_in_progress · fill · release", "finished"),
    ("23", "9000 · create · hold · 7500 · fill 0.004 · release", "stop_loss_finished"),
    ("23", "9000 · poor · create · is waiting_targets · 7500", "failed"),  # nothing to close (EX-10)
    ("23", "9000 · poor · create · is waiting_targets · cancel", "cancelled"),
    # --- two targets and a stop that moves to breakeven ---
    ("24", "9000 · create · 10000 · is waiting_targets · 10500", "finished"),
    ("24", "10600 · create", "finished"),
    ("24", "9000 · create · 7500", "stop_loss_finished"),
    ("24", "9000 · create · 10000 · is waiting_targets · 9009", "stop_loss_finished"),
    ("24", "9000 · create · 10000 · is waiting_targets · close", "panic_sold"),
    ("24", "9000 · create · 10000 · is waiting_targets · cancel", "cancelled"),
    ("24", "9000 · create · close 1", "stop_loss_finished"),  # breakeven lies above the price (BE-8)
    ("24", "9000 · create · 9100 · fill · is waiting_targets · close 2", "finished"),
]  # fmt: skip

CASES = [
    pytest.param(seed, path, end, id=f"{seed} {end} {path}")
    for seeds_of_row, path, end in ENDS
    for seed in seeds_of_row.split()
]


@pytest.mark.parametrize(("seed", "path", "end"), CASES)
def test_published_request_reaches_its_end(seeds: Seeds, seed: str, path: str, end: str) -> None:
    (request_file,) = (file for file in REQUESTS if file.name.startswith(seed))
    trade = None
    for event in path.split(" · "):
        if event == "create":
            answer = seeds.create(request_file.read_text(), "application/json")
            assert answer.status == 201, answer.body
            trade = Trade(seeds.account, answer.body)
        else:
            happen(seeds, trade, event)
    assert trade is not None
    assert trade.status == end
    check_ended(trade, end)


def happen(seeds: Seeds, trade: Trade | None, event: str) -> None:
    """Let one event of a path happen; see the top of this file."""
    word, *rest = event.split()
    if word[0].isdigit():
        price, _, size = word.partition("x")
        seeds.market.quote(price, **({"bid_size": size, "ask_size": size} if size else {}))
    elif word[0] == "+":
        seeds.server.advance(word[1:])
    elif word in ("refuse", "busy"):
        failure = "permanent" if word == "refuse" else "transient"
        seeds.account.fault("submit", "reject", text="The exchange says no.", **{"class": failure})
    elif word == "poor":
        seeds.fund(0, 0)
    elif word == "hold":
        seeds.account.fault("cancel", "hold")
    elif word == "release":
        seeds.account.release()
    else:
        assert trade is not None
        act(trade, word, rest)


def act(trade: Trade, word: str, rest: list[str]) -> None:
    """What somebody does to the trade or to its orders."""
    match word:
        case "is":
            assert trade.status == rest[0]
        case "fill":
            trade.account.fill(trade.orders("open")[0], *rest)
        case "outside":
            trade.account.cancel_outside(trade.orders("open")[0])
        case "force":
            trade.force_start()
        case "cancel" if rest:
            trade.cancel_trade(leg(trade, rest[0]))
        case "close" if rest:
            trade.close_trade(leg(trade, rest[0]))
        case "cancel":
            trade.cancel()
        case "close":
            trade.close_by_market()
        case _:
            raise AssertionError(f"no such event: {word}")


def leg(trade: Trade, name: str) -> int:
    """Id of the stop loss, or of target number `name`."""
    if name == "stop":
        return int(trade.trades("stop_loss")[0]["id"])
    return next(step["id"] for step in trade.get()["take_profit"]["steps"] if step["position"] == int(name))


def check_ended(trade: Trade, end: str) -> None:
    """What holds for every trade that is over."""
    entity = trade.get()
    data = entity["data"]
    assert trade.orders("open") == [], "an order was left at the exchange"
    assert data["finished"] is (end in SUCCESSES)  # S-35
    assert data["closed_at"] is not None  # S-36
    assert not any(data[flag] for flag in FLAGS)
    if end in ("cancelled", "failed"):
        assert entity["take_profit"]["steps"] == []  # TP-19
    if end == "failed":
        assert entity["status"]["error"]
    exit_side = "sell" if entity["position"]["type"] == "buy" else "buy"
    filled = {"buy": Decimal(0), "sell": Decimal(0)}
    for order in trade.orders():
        filled[order["side"]] += Decimal(order["filled_quantity"])
    assert Decimal(data["closed_amount"]) == filled[exit_side]  # M-15
    if not entity["skip_enter_step"]:
        kept = Decimal("0.999") if exit_side == "sell" else 1  # a buy pays its commission in BTC (M-2), a sell in USDT
        assert Decimal(data["entered_amount"]) == filled[entity["position"]["type"]] * kept
