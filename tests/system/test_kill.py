"""The server is killed (SIGKILL) at any moment and started again on the same directory (EX-36, faults F1 to F6).

Afterwards nothing that was acknowledged is missing, nothing is there twice, and every open position is guarded. The
paper exchange keeps books of its own, as a real one would, so both sides can be compared.
"""

import http.client
import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import py3cw.request  # type: ignore[import-untyped]
import pytest
from harness import Account, Client, Entity, Market, Server, ServerDied, Trade
from py3cw.request import Py3CW

FEE = Decimal("0.001")
GONE = (OSError, http.client.HTTPException)
"""What a caller sees when the server dies under its call: it cannot know whether the call was carried out."""

OPEN = ("created", "waiting_position", "waiting_targets")


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests may kill. The directory goes through all their deaths."""
    with Server(tmp_path_factory.mktemp("mortal")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_broken_rule(mortal: Server) -> Iterator[None]:
    """A trade that cannot take what happens to it stays as it was: the tests might not see that, the log does."""
    before = len(mortal.log())
    yield
    assert "broke a rule" not in (written := mortal.log()[before:]), written
    assert "could not take an event" not in written, written


def targets(*steps: tuple[str, str, int]) -> dict[str, Any]:
    """A take-profit group of (order type, bid, volume)."""
    return {
        "enabled": True,
        "steps": [
            {"order_type": kind, "volume": volume, "price": {"type": "bid", "value": price}}
            for kind, price, volume in steps
        ],
    }


def stop(level: str, *, trailing: bool = False, **more: Any) -> dict[str, Any]:
    """A market stop at a bid."""
    conditional: dict[str, Any] = {"price": {"type": "bid", "value": level}}
    if trailing:
        conditional["trailing"] = {"enabled": True}
    return {"enabled": True, "order_type": "market", "conditional": conditional, **more}


def buy(units: str = "10", limit: str | None = None) -> dict[str, Any]:
    """A long entry, at market unless it has a price."""
    if limit is None:
        return {"type": "buy", "order_type": "market", "units": {"value": units}}
    return {"type": "buy", "order_type": "limit", "units": {"value": units}, "price": {"value": limit}}


class Scene(NamedTuple):
    """One trade on a pair and an account of its own."""

    market: Market
    account: Account
    trade: Trade

    def sold_at_market(self) -> list[str]:
        """Filled quantities of the market sells that were taken, oldest first."""
        return [
            order["filled_quantity"]
            for order in self.trade.orders()
            if (order["side"], order["type"]) == ("sell", "market") and order["status"] != "rejected"
        ]


def stage(server: Server, price: str = "100") -> tuple[Market, Account]:
    """A pair at a price, and an account that can pay."""
    market = server.market()
    account = server.account(market, USDT=100_000)
    market.quote(price)
    return market, account


def begin(server: Server, price: str = "100", **body: Any) -> Scene:
    """A trade of 10 units bought at 100, with one limit target at 110 and a stop at 90, unless told."""
    market, account = stage(server, price)
    whole = {"position": buy(), "take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90"), **body}
    return Scene(market, account, account.create(market, **whole))


def everything(scene: Scene) -> Entity:
    """All that anybody can see of a trade, on both sides."""
    return {
        "digest": scene.trade.account.server.state()["digest"],
        "now": scene.trade.account.server.now(),
        "trade": scene.trade.get(),
        "sub-trades": scene.trade.trades(),
        "orders": scene.trade.orders(),
        "balances": scene.account.balances(),
    }


def die_and_return(server: Server) -> None:
    server.kill()
    server.start()


def let_pass_by_chance(chance: random.Random) -> None:
    """Some milliseconds, about as many as a call under load takes, so that a kill may hit any part of it."""
    threading.Event().wait(chance.uniform(0, 0.02))


def kill_during(server: Server, call: Callable[[], object], chance: random.Random) -> None:
    """Kill the server a moment after `call` has begun in another thread; it may be carried out or not."""
    begun = threading.Event()

    def attempt() -> None:
        begun.set()
        with suppress(*GONE):
            call()

    caller = threading.Thread(target=attempt)
    caller.start()
    begun.wait()
    let_pass_by_chance(chance)
    os.kill(server.pid, signal.SIGKILL)  # not `server.kill`, which also closes the connection that is in use
    caller.join()
    server.kill()


# --- after each call ----------------------------------------------------------------------------------------------


def life(scene: Scene) -> Iterator[str]:
    """A long life, one call at a time; yields the name of what has just happened."""
    market, account, trade = scene
    yield "created"
    trade.edit(position=buy(limit="99"))
    yield "entry moved"
    account.fill(trade.order(), 4)
    yield "entry partly filled"
    account.fill(trade.order())
    yield "entry filled"
    market.quote("105")
    yield "extreme moved"
    trade.add_funds(5, price="95")
    yield "funds added"
    averaging = next(order for order in trade.orders("open") if order["side"] == "buy")
    account.fill(averaging, 2)
    trade.cancel_trade(averaging["trade_id"])
    yield "averaging cancelled"
    trade.reduce_funds(3, price="115")
    yield "reduction placed"
    reduction = next(order for order in trade.orders("open") if order["price"] == "115.0")
    account.fill(reduction, 1)
    trade.cancel_trade(reduction["trade_id"])
    yield "reduction cancelled"
    market.quote("110")
    yield "first target filled"
    trade.account.server.advance(60)
    trade.close_trade(trade.trades("take_profit")[1]["id"])
    yield "second target closed by hand"
    market.quote("99")
    yield "stopped"


def ledger(scene: Scene) -> Entity:
    """What a life has come to, without ids and instants."""
    data = scene.trade.get()["data"]
    order_figures = ("side", "type", "price", "quantity", "filled_quantity", "average_price", "status")
    return {
        "status": scene.trade.status,
        "data": {name: data[name] for name in sorted(data) if name.startswith(("entered_", "closed_t", "closed_a"))},
        "profit": scene.trade.get()["profit"]["volume"],
        "orders": [[order[figure] for figure in order_figures] for order in scene.trade.orders()],
        "USDT": scene.account.balances()["USDT"],
        "coins": scene.account.balances()[scene.market.base],
    }


def long_life(server: Server) -> Scene:
    return begin(
        server,
        position=buy(limit="98"),
        take_profit=targets(("limit", "110", 50), ("limit", "120", 25), ("market", "130", 25)),
        stop_loss=stop("90", trailing=True, breakeven=True),
    )


def test_server_killed_after_every_call_shows_the_same_and_comes_to_the_same_end_f1_f2(
    server: Server, mortal: Server
) -> None:
    undisturbed, disturbed = long_life(server), long_life(mortal)
    for _ in life(undisturbed):
        pass

    for happened in life(disturbed):
        before = everything(disturbed)
        die_and_return(mortal)
        assert everything(disturbed) == before, happened

    assert ledger(disturbed) == ledger(undisturbed)
    assert ledger(disturbed)["status"] == "stop_loss_finished"


def test_one_restart_after_the_other_gives_the_same_orders_f3_f4(mortal: Server) -> None:
    scenes = [
        begin(mortal, position=buy(limit="95")),
        begin(mortal, take_profit=targets(("limit", "110", 40), ("limit", "120", 60))),
        begin(mortal, stop_loss=stop("90", trailing=True)),
    ]
    scenes[0].account.fill(scenes[0].trade.order(), 4)
    scenes[1].trade.add_funds(5, price="95")
    scenes[2].trade.reduce_funds(3, price="115")
    before = [everything(scene) for scene in scenes]

    for _ in range(4):
        die_and_return(mortal)
        assert [everything(scene) for scene in scenes] == before


# --- in a storm of creates ----------------------------------------------------------------------------------------


Create = Callable[[Entity], Entity]
"""Creates a trade, and gives it as the server answered. Raises one of GONE when the server dies."""


@contextmanager
def our_client(server: Server) -> Iterator[Create]:
    with closing(server.client()) as client:
        yield partial(client.post, "/v2/smart_trades")


@contextmanager
def py3cw_client(server: Server) -> Iterator[Create]:
    """The most used client of 3Commas, as its users have it: a lost connection is an error without a status."""
    client = Py3CW(key=server.api_key, secret=server.secret)

    def create(body: Entity) -> Entity:
        error, created = client.request(entity="smart_trades_v2", action="new", payload=body)
        if error:
            assert error["status_code"] is None, error
            raise ConnectionResetError(error["msg"])
        answer: Entity = created
        return answer

    with client.session:
        yield create


class Storm:
    """Many clients that create trades at once, until the server is gone. Notes tell the trades apart."""

    def __init__(
        self,
        server: Server,
        account: Account,
        connect: Callable[[Server], AbstractContextManager[Create]],
        bodies: Callable[[int], Entity],
        enough: int,
    ) -> None:
        """`enough`: acknowledged creates after which `until_enough` returns."""
        self.asked: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self._server = server
        self._account = account
        self._connect = connect
        self._bodies = bodies
        self._left = threading.Semaphore(0)
        self._enough = enough
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._create_until_gone) for _ in range(6)]

    def until_enough(self) -> None:
        for thread in self._threads:
            thread.start()
        for _ in range(self._enough):
            self._left.acquire()

    def over(self) -> None:
        """Wait for the clients, who must have lost the server."""
        for thread in self._threads:
            thread.join()

    def _create_until_gone(self) -> None:
        with self._connect(self._server) as create:
            for _ in range(500):
                number = next(self._numbers)
                note = f"storm {self._account.id}-{number}"
                self.asked.append(note)
                try:
                    created = create({**self._bodies(number), "note": note})
                except GONE:
                    return
                self.acknowledged[note] = created["id"]
                self._left.release()


def all_trades(account: Account) -> list[Entity]:
    """Every trade of an account."""
    found: list[Entity] = []
    for page in itertools.count(1):
        listed = account.server.api.get("/v2/smart_trades", account_id=account.id, page=page, per_page=100)
        found += listed
        if len(listed) < 100:
            break
    return found


@pytest.mark.parametrize("connect", [our_client, py3cw_client])
@pytest.mark.parametrize("enough", [1, 5, 12, 30])
def test_creates_acknowledged_before_a_kill_are_there_once_with_one_order_and_their_stop_armed(
    mortal: Server,
    monkeypatch: pytest.MonkeyPatch,
    connect: Callable[[Server], AbstractContextManager[Create]],
    enough: int,
) -> None:
    monkeypatch.setattr(py3cw.request, "API_URL", mortal.url)
    market = mortal.market(maker_fee="0", taker_fee="0")
    account = mortal.account(market, USDT=10_000_000)
    market.quote(100)

    def body(number: int) -> Entity:
        position = buy("1") if number % 2 else buy("1", limit="50")
        exits = {"take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90")}
        return {"account_id": account.id, "pair": market.pair, "position": position, **exits}

    storm = Storm(mortal, account, connect, body, enough)
    storm.until_enough()
    let_pass_by_chance(random.Random(enough))
    mortal.kill()
    storm.over()
    mortal.start()

    trades = all_trades(account)
    notes = Counter(trade["note"] for trade in trades)
    assert set(notes.values()) == {1}, "a trade is there twice"
    assert storm.acknowledged.keys() <= notes.keys() <= set(storm.asked)
    assert {trade["note"]: trade["id"] for trade in trades}.items() >= storm.acknowledged.items()
    bought = [trade for trade in trades if trade["status"]["type"] == "waiting_targets"]
    waiting = [trade for trade in trades if trade["status"]["type"] == "waiting_position"]
    assert len(bought) + len(waiting) == len(trades)
    entries = Counter(order["smart_trade_id"] for order in account.orders() if order["side"] == "buy")
    assert entries == Counter(trade["id"] for trade in trades), "an entry was lost or sent twice"
    resting = Counter(order["smart_trade_id"] for order in account.orders("open"))
    assert resting == Counter(trade["id"] for trade in trades)
    assert account.balances().get(market.base, ("0.0", "0.0")) == ("0.0", f"{len(bought)}.0")
    assert account.balances()["USDT"][1] == f"{50 * len(waiting)}.0"

    market.quote(90)  # the proof that every stop is armed

    assert Counter(trade["status"]["type"] for trade in all_trades(account)) == Counter(
        {"stop_loss_finished": len(bought), "waiting_position": len(waiting)}
    )
    assert account.balances().get(market.base, ("0.0", "0.0")) == ("0.0", "0.0")


# --- between and within quotes ------------------------------------------------------------------------------------


class Cast(NamedTuple):
    """Trades of every kind on one pair."""

    market: Market
    account: Account
    trades: list[Trade]


def cast(server: Server) -> Cast:
    market, account = stage(server)
    follow = {"enabled": True, "percent": "1"}
    conditional = {"price": {"type": "ask", "value": "97"}, "order_type": "market", "trailing": follow}
    trailing_target = targets(("market", "103", 100))
    trailing_target["steps"][0]["trailing"] = follow
    bodies: list[Entity] = [
        {"position": buy(), "take_profit": targets(("limit", "104", 50), ("limit", "108", 50))},
        {"position": buy(), "take_profit": targets(("market", "103", 50), ("market", "107", 50))},
        {"position": buy(), "take_profit": trailing_target},
        {"position": buy(), "stop_loss": stop("96", trailing=True)},
        {"position": buy(limit="98")},
        {
            "position": {
                "type": "buy",
                "order_type": "conditional",
                "units": {"value": "10"},
                "conditional": conditional,
            }
        },
    ]
    exits = {"take_profit": targets(("market", "106", 100)), "stop_loss": stop("94", breakeven=False)}
    return Cast(market, account, [account.create(market, **{**exits, **body}) for body in bodies])


def walk(seed: int, quotes: int) -> list[Decimal]:
    """Prices of a random walk around 100."""
    chance, price, prices = random.Random(seed), Decimal(100), []
    for _ in range(quotes):
        price += Decimal(chance.randint(-150, 150)) / 100
        prices.append(price)
    return prices


def ends(played: Cast) -> list[Entity]:
    return [ledger(Scene(played.market, played.account, trade)) for trade in played.trades]


@pytest.mark.parametrize("seed", [1, 2])
def test_prices_that_the_server_dies_under_lead_to_the_same_trades_as_without(
    server: Server, mortal: Server, seed: int
) -> None:
    """A kill strikes while a quote is being applied; the caller, who has no answer, posts it again."""
    chance, prices = random.Random(seed), walk(seed, 60)
    reference, disturbed = cast(server), cast(mortal)
    for price in prices:
        reference.market.quote(price)
    deaths = set(chance.sample(range(len(prices)), 4))

    for number, price in enumerate(prices):
        if number in deaths:
            kill_during(mortal, partial(disturbed.market.quote, price), chance)
            mortal.start()
        disturbed.market.quote(price)

    assert ends(disturbed) == ends(reference)


# --- with sequences under way (EX-36) -----------------------------------------------------------------------------


def test_sequences_interrupted_by_a_kill_are_finished_once_ex_36(mortal: Server) -> None:
    scenes = {
        "stop_loss_finished": begin(mortal),
        "panic_sold": begin(mortal),
        "cancelled": begin(mortal),
        "finished": begin(mortal),
    }
    for scene in scenes.values():
        scene.account.fault("cancel", "hold")
    scenes["stop_loss_finished"].market.quote(90)
    scenes["panic_sold"].trade.close_by_market()
    scenes["cancelled"].trade.cancel()
    scenes["finished"].market.quote(90)
    before = [scene.trade.status for scene in scenes.values()]
    assert before == ["stop_loss_in_progress", "panic_sell_pending", "cancellation_in_progress", before[0]]

    die_and_return(mortal)

    assert [scene.trade.status for scene in scenes.values()] == before
    assert [scene.sold_at_market() for scene in scenes.values()] == [[], [], [], []]
    scenes["finished"].account.fill(scenes["finished"].trade.order())
    for scene in scenes.values():
        scene.account.release()
    assert {name: scene.trade.status for name, scene in scenes.items()} == {name: name for name in scenes}
    assert [scene.sold_at_market() for scene in scenes.values()] == [["10.0"], ["10.0"], [], []]


def test_extremes_conditions_and_levels_outlive_a_kill_ex_36_ex_37(mortal: Server) -> None:
    trailing_stop = begin(mortal, take_profit={"enabled": False}, stop_loss=stop("90", trailing=True))
    for bid in (105, 112, 108):
        trailing_stop.market.quote(bid)
    entry = {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "2"},
        "conditional": {
            "price": {"type": "ask", "value": "400"},
            "order_type": "market",
            "trailing": {"enabled": True, "percent": "10"},
        },
    }
    trailing_entry = begin(mortal, "420", position=entry, take_profit={"enabled": False}, stop_loss=stop("10"))
    for ask in (400, 350, 360):
        trailing_entry.market.quote(340, ask)
    breakout = {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "2"},
        "conditional": {"price": {"type": "ask", "value": "110"}, "order_type": "market"},
    }
    condition = begin(mortal, position=breakout, take_profit={"enabled": False}, stop_loss=stop("10"))
    condition.market.quote(105)
    followed = targets(("market", "105", 100))
    followed["steps"][0]["trailing"] = {"enabled": True, "percent": "1"}
    trailing_target = begin(mortal, take_profit=followed)
    for bid in (105, 107, 106):
        trailing_target.market.quote(bid)
    breakeven = begin(
        mortal,
        take_profit=targets(("limit", "110", 50), ("limit", "120", 50)),
        stop_loss=stop("90", breakeven=True),
    )
    breakeven.market.quote(110)
    scenes = (trailing_stop, trailing_entry, condition, trailing_target, breakeven)
    before = [everything(scene) for scene in scenes]

    die_and_return(mortal)

    assert [everything(scene) for scene in scenes] == before
    for scene, waits, fires, status in (
        (trailing_stop, ("100.81",), ("100.80",), "stop_loss_finished"),  # TR-50: 112 x 0.9
        (trailing_entry, (340, "384.99"), (340, "385"), "waiting_targets"),  # TR-22: 350 x 1.1
        (condition, ("109.99",), ("110",), "waiting_targets"),  # TR-10: from below, as at its creation
        (trailing_target, ("105.94",), ("105.93",), "finished"),  # TR-42: 107 x 0.99
        (breakeven, ("100.11",), ("100.10",), "stop_loss_finished"),  # BE-2: 100.1
    ):
        held = scene.trade.status
        scene.market.quote(*waits)
        assert scene.trade.status == held
        scene.market.quote(*fires)
        assert scene.trade.status == status


def test_stop_timer_begins_anew_after_a_kill_tr_64(mortal: Server) -> None:
    scene = begin(mortal, stop_loss=stop("90", timeout={"enabled": True, "value": 30}))
    scene.market.quote(90)
    mortal.advance(29)

    die_and_return(mortal)

    mortal.advance("29.999")
    scene.trade.expect({"status.type": "waiting_targets"})
    scene.market.quote(90)
    mortal.advance("0.001")
    scene.trade.expect({"status.type": "stop_loss_finished"})


def test_reports_lost_before_a_kill_are_asked_for_before_any_decision_ex_36(mortal: Server) -> None:
    target = begin(mortal)
    target.account.fault("stream", "drop")
    target.account.fill(target.trade.order())
    entry = begin(mortal, position=buy(limit="95"))
    entry.account.fault("stream", "drop")
    entry.account.fill(entry.trade.order())
    market, account = stage(mortal)
    account.fault("submit", "timeout_after")
    account.fault("stream", "drop")
    unanswered = account.create(market, position=buy(), stop_loss=stop("90"))
    assert (target.trade.status, entry.trade.status, unanswered.status) == (
        "waiting_targets",
        "waiting_position",
        "waiting_position",
    )

    die_and_return(mortal)

    target.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})
    entry.trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})
    unanswered.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})
    assert len(unanswered.orders()) == 1


def test_attempts_under_way_go_on_after_a_kill_ex_7_ex_12_ex_31(mortal: Server) -> None:
    market, account = stage(mortal)
    account.fault("submit", "timeout_before")
    never_arrived = account.create(market, position=buy(limit="95"))
    market, account = stage(mortal)
    account.fault("submit", "reject", text="Too many requests", **{"class": "transient"})
    too_fast = account.create(market, position=buy(limit="95"))
    blocked = begin(mortal)
    blocked.account.fault("submit", "reject", text="Filter failure: TEST", **{"class": "permanent"})
    blocked.market.quote(90)
    blocked.trade.expect({"status.error": "Filter failure: TEST"})

    die_and_return(mortal)
    mortal.advance(60)

    for trade in (never_arrived, too_fast):
        trade.expect({"position.status.type": "order_placed", "status.error": "absent"})
        assert Counter(order["status"] for order in trade.orders())["open"] == 1
    blocked.trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "10.0"})
    assert blocked.sold_at_market() == ["10.0"]


def test_start_that_is_killed_itself_is_simply_repeated_f3(mortal: Server) -> None:
    """Recovery asks, sends and cancels; a death in the middle of it must not make it do so twice."""
    lost = begin(mortal)
    lost.account.fault("stream", "drop")
    lost.account.fill(lost.trade.order(), 4)
    market, account = stage(mortal)
    account.fault("submit", "timeout_before")
    unsent = Scene(market, account, account.create(market, position=buy(limit="95")))
    fired = begin(mortal)
    fired.account.fault("cancel", "hold")
    fired.market.quote(90)
    chance = random.Random(30)
    mortal.kill()

    for _ in range(4):
        die_while_starting(mortal, chance)
    mortal.start()

    lost.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "4.0"})
    mortal.advance(60)
    assert [order["status"] for order in unsent.trade.orders()] == ["open"]
    assert fired.sold_at_market() == []
    fired.account.release()
    fired.trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "10.0"})
    lost.market.quote(90)
    lost.trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "10.0"})
    assert lost.sold_at_market() == ["6.0"]


def die_while_starting(server: Server, chance: random.Random) -> None:
    """Start the server and kill it at a moment at which it reads, asks or has just become ready."""
    begun = threading.Event()

    def strike() -> None:
        while not server.running:
            begun.wait(0.01)
        begun.wait(chance.uniform(0.2, 0.8))
        with suppress(ProcessLookupError, AssertionError):  # it is dead already
            os.kill(server.pid, signal.SIGKILL)

    killer = threading.Thread(target=strike)
    killer.start()
    with suppress(ServerDied):
        server.start()
    killer.join()
    server.kill()


def test_faults_and_held_cancellations_belong_to_the_exchange_and_outlive_a_kill(mortal: Server) -> None:
    scene = begin(mortal)
    scene.account.fault("submit", "reject", text="Filter failure: TEST", **{"class": "permanent"})

    die_and_return(mortal)
    scene.market.quote(90)

    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "Filter failure: TEST"})


# --- at any moment ------------------------------------------------------------------------------------------------


class User:
    """Somebody who creates, edits, closes and moves prices by chance, and remembers what was acknowledged."""

    def __init__(self, market: Market, account: Account, seed: int) -> None:
        self._market = market
        self._account = account
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self.notes: dict[str, int] = {}  # acknowledged creates
        self.asked: set[str] = set()
        self.left: dict[int, str] = {}  # trades that were acknowledged as closing or cancelled, and how
        self.price = Decimal(100)

    def act(self, client: Client) -> None:
        """One call. Raises what the connection raises."""
        action = self._chance.choices((self._create, self._move, self._add, self._leave), (5, 5, 2, 2))[0]
        action(client)

    def _create(self, client: Client) -> None:
        note = f"user {self._account.id}-{next(self._numbers)}"
        self.asked.add(note)
        limit = None if self._chance.random() < 0.6 else f"{self.price - 1}"
        body = {
            "account_id": self._account.id,
            "pair": self._market.pair,
            "position": buy("2", limit=limit),
            "take_profit": targets(("limit", f"{self.price + 2}", 50), ("market", f"{self.price + 3}", 50)),
            "stop_loss": stop(f"{self.price - 3}", trailing=self._chance.random() < 0.5),
            "note": note,
        }
        self.notes[note] = client.post("/v2/smart_trades", body)["id"]

    def _move(self, client: Client) -> None:
        self.price += Decimal(self._chance.randint(-100, 100)) / 100
        price = str(self.price)
        quote = {"market": self._market.code, "pair": self._market.pair, "bid": price, "ask": price}
        client.sandbox("POST", "/quotes", {"quotes": [quote]})

    def _add(self, client: Client) -> None:
        self._command(client, "POST", "/add_funds", {"order_type": "market", "units": {"value": "1"}})

    def _leave(self, client: Client) -> None:
        way = self._chance.choice(("close_by_market", "cancel"))
        trade_id = self._command(client, *(("DELETE", "") if way == "cancel" else ("POST", "/close_by_market")))
        if trade_id is not None:
            self.left[trade_id] = way

    def _command(self, client: Client, method: str, rest: str, body: Entity | None = None) -> int | None:
        """The trade that took the command; None when it was refused."""
        if not self.notes:
            return None
        trade_id = self._chance.choice(list(self.notes.values()))
        answer = client.call(method, f"/v2/smart_trades/{trade_id}{rest}", body)
        assert answer.status in (200, 201, 400, 404, 422), answer
        return trade_id if answer.status < 300 else None


def check_books(market: Market, account: Account) -> None:
    """Both sides agree to the last coin, and no trade offers more than it has (faults F5, F32)."""
    orders, balances, trades = account.orders(), account.balances(), all_trades(account)
    bought: Counter[int] = Counter()
    sold: Counter[int] = Counter()
    cash = Decimal(100_000)
    for order in orders:
        filled = Decimal(order["filled_quantity"])
        total = filled * Decimal(order["average_price"] or 0)
        if order["side"] == "buy":
            bought[order["smart_trade_id"]] += filled  # type: ignore[assignment]
            cash -= total * (1 + FEE)
        else:
            sold[order["smart_trade_id"]] += filled  # type: ignore[assignment]
            cash += total * (1 - FEE)
    assert sum(map(Decimal, balances["USDT"])) == cash
    coins = balances.get(market.base, ("0", "0"))
    assert sum(map(Decimal, coins)) == sum(bought.values()) - sum(sold.values())
    for trade in trades:
        assert Decimal(trade["data"]["entered_amount"]) == bought[trade["id"]], trade["id"]
        assert Decimal(trade["data"]["closed_amount"]) == sold[trade["id"]], trade["id"]
        offers = [each for each in orders if each["smart_trade_id"] == trade["id"] and each["status"] == "open"]
        offered = sum(
            Decimal(each["quantity"]) - Decimal(each["filled_quantity"]) for each in offers if each["side"] == "sell"
        )
        assert offered <= bought[trade["id"]] - sold[trade["id"]], trade["id"]
        assert len({each["trade_id"] for each in offers}) == len(offers), "a leg has two orders"


def test_whatever_moment_the_server_dies_at_nothing_acknowledged_is_lost_or_doubled(mortal: Server) -> None:
    market, account = stage(mortal)
    chance, user = random.Random(20), User(market, account, seed=21)

    for _ in range(6):
        calls = chance.randint(5, 25)
        with closing(mortal.client()) as client:
            for _ in range(calls):
                user.act(client)
            kill_during(mortal, partial(user.act, client), chance)
        mortal.start()

        trades = {trade["id"]: trade for trade in all_trades(account)}
        notes = Counter(trade["note"] for trade in trades.values())
        assert set(notes.values()) == {1}, "a trade is there twice"
        assert user.notes.keys() <= notes.keys() <= user.asked
        for trade_id in user.left:
            assert trades[trade_id]["status"]["type"] not in OPEN
        check_books(market, account)

    positions = [trade for trade in all_trades(account) if trade["status"]["type"] in OPEN]
    assert positions, "nothing was open at the end: choose another seed"
    market.quote(50, 200)  # beyond every stop, out of reach for every entry
    check_books(market, account)
    for trade in all_trades(account):
        if trade["status"]["type"] in OPEN:
            assert trade["data"]["entered_amount"] == "0.0", "a position was left without its stop"
