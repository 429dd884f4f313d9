"""Whatever is wrong with a request: the documented status and body, and nothing has changed.

One world of trades in every kind of status stands still while it is asked for impossible things. After each request
the digest of all trades, every trade as it is shown, the orders at the exchange and the accounts are what they were.
"""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from harness import Account, Client, Entity, Market, Server
from raw_http import FORM, JSON, TRADES, Reply, Wire, new_key

MISSING = ...
"""In a body: leave this member out."""

BUY = {"type": "buy", "order_type": "market", "units": {"value": "1"}}
LIMIT_BUY = {"type": "buy", "order_type": "limit", "units": {"value": "1"}, "price": {"value": "90"}}
OFF = {"enabled": False}


def target(value: object = "110", volume: object = 100, **more: Any) -> Entity:
    return {"order_type": "limit", "volume": volume, "price": {"type": "bid", "value": value}, **more}


def targets(*steps: Entity) -> Entity:
    return {"enabled": True, "steps": list(steps)}


def stop(value: object = "80", **more: Any) -> Entity:
    conditional = {"price": {"type": "bid", "value": value}}
    return {"enabled": True, "order_type": "market", "conditional": conditional, **more}


def plan(**changes: Any) -> Entity:
    """A create request that is fine until it is changed; `{account}` and `{pair}` are filled in later."""
    whole = {"account_id": "{account}", "pair": "{pair}", "position": BUY, "take_profit": OFF, "stop_loss": OFF}
    return {name: value for name, value in {**whole, **changes}.items() if value is not MISSING}


# --- what is documented ---------------------------------------------------------------------------------------------


def record_invalid(attributes: dict[str, list[str]]) -> Entity:
    return {"error": "record_invalid", "error_description": "Invalid parameters", "error_attributes": attributes}


def shape(**attributes: str) -> tuple[int, Entity]:
    """400: parameters of the wrong shape, one message each; the keys of `shapes` may be anything."""
    return shapes({name: [message] for name, message in attributes.items()})


def shapes(attributes: dict[str, list[str]]) -> tuple[int, Entity]:
    return 400, record_invalid(attributes)


def broken(attributes: dict[str, list[str]]) -> tuple[int, Entity]:
    """422: a rule of trading is broken."""
    return 422, record_invalid(attributes)


def wrong_state(action: str) -> tuple[int, Entity]:
    return 400, {"error": "Wrong param(s)", "error_description": f"{action} is not allowed in the current status"}


NO_TRADE = {"error": "Not found", "error_description": "Smart Trade not found"}
NO_STEP = 404, {"error": "Not found", "error_description": "Trade not found"}
NOT_FOUND = 404, {"error": "not_found", "error_description": "Not Found"}
NOT_OWNED = 403, {"error": "Forbidden", "error_description": "Account not owned by current user."}
BAD_SIGNATURE = 401, {"error": "signature_invalid", "error_description": "Provided signature is invalid"}
BAD_JSON = 400, {"error": "invalid_request", "error_description": "Request body is not valid JSON"}
BAD_TYPE = (
    415,
    {
        "error": "unsupported_media_type",
        "error_description": "Use application/json or application/x-www-form-urlencoded",
    },
)

ABSENT, INVALID, BAD_VALUE, EMPTY = "is missing", "is invalid", "does not have a valid value", "is empty"
EXCLUSIVE, ONE_OF_TWO = "are mutually exclusive", "are missing, exactly one parameter must be provided"
TOO_LONG = "too long. Max is 300 symbols"
FIRST = "take_profit[steps][0]"
FIRST_PRICE = f"{FIRST}[price][value],{FIRST}[price][percent]"
TRIGGER = "stop_loss[conditional][price]"
TRIGGER_PRICE = f"{TRIGGER}[value],{TRIGGER}[percent]"


class Bad(NamedTuple):
    """A request, and the answer that is documented for it. `{names}` in path and body are filled in by the world."""

    method: str
    path: str
    body: Any
    expected: tuple[int, Entity]


def create(expected: tuple[int, Entity], **changes: Any) -> Bad:
    return Bad("POST", "/v2/smart_trades", plan(**changes), expected)


def edit(expected: tuple[int, Entity], trade: str = "held", **body: Any) -> Bad:
    return Bad("PATCH", f"/v2/smart_trades/{{{trade}}}", body, expected)


def post(path: str, body: Any, expected: tuple[int, Entity]) -> Bad:
    return Bad("POST", path, body, expected)


def get(path: str, expected: tuple[int, Entity]) -> Bad:
    return Bad("GET", path, None, expected)


def held(action: str, body: Any, expected: tuple[int, Entity]) -> Bad:
    return post(f"/v2/smart_trades/{{held}}/{action}", body, expected)


# --- the world ------------------------------------------------------------------------------------------------------


class World:
    """Trades that stand in many statuses, and somebody else with trades of their own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.market = server.market()
        self.futures = server.market(kind="linear", max_leverage=20)
        for market in (self.market, self.futures):
            market.quote("99", "100")
        self.account = server.account(self.market, USDT=100_000, BASE=100)
        self.stranger = Client(server, **_credentials(server, "stranger"))
        self.names: dict[str, str] = {
            "account": str(self.account.id),
            "futures_account": str(server.account(self.futures, USDT=1000).id),
            "pair": self.market.pair,
            "futures_pair": self.futures.pair,
        }
        self._at_work()
        self._on_the_way_out()
        self._over()
        self._foreign()

    def _at_work(self) -> None:
        exits: Entity = {"take_profit": targets(target(volume=50), target("120", 50)), "stop_loss": stop()}
        trails = {"price": {"value": "105", "type": "ask"}, "order_type": "market",
                  "trailing": {"enabled": True, "percent": "1"}}  # fmt: skip
        waits = {"price": {"value": "105", "type": "ask"}, "order_type": "market"}
        self._add("waiting", position=LIMIT_BUY, **exits)
        self._add("held", position=BUY, **exits)
        self._add("other", position=BUY, **exits)
        self._add("bare", position=BUY)
        self._add("simple", position=LIMIT_BUY, instant=True)
        self._add("trailed", position={**BUY, "order_type": "conditional", "conditional": trails}, **exits)
        self._add("conditional", position={**BUY, "order_type": "conditional", "conditional": waits}, **exits)
        self._add("own", position={**BUY, "price": {"value": "100"}}, skip_enter_step=True, **exits)
        self._add("reducing", position=BUY, **exits).reduce_funds("0.5", "150")

    def _on_the_way_out(self) -> None:
        for name, command in (("leaving", "close_by_market"), ("cancelling", "cancel")):
            account = self.server.account(self.market, USDT=1000)
            trade = self._add(name, account, position=BUY, take_profit=targets(target()))
            account.fault("cancel", "hold")
            getattr(trade, command)()

    def _over(self) -> None:
        self._add("sold", position=BUY).close_by_market()
        self._add("cancelled", position=LIMIT_BUY).cancel()
        self._add("failed", self.server.account(self.market, USDT=1), position=BUY)
        self._add("bought", position=BUY, instant=True)

    def _add(self, name: str, account: Account | None = None, **body: Any) -> Any:
        trade = (self.account if account is None else account).create(self.market, **body)
        self.names[name] = str(trade.id)
        for step in trade.trades():
            self.names.setdefault(f"{name}_{step['trade_purpose']}", str(step["id"]))
        return trade

    def _foreign(self) -> None:
        body = {"type": "paper_trading", "paper_market": self.market.code, "paper_balances": {"USDT": "1000"}}
        account_id = self.stranger.post("/ver1/accounts/new", body)["id"]
        exits = {"take_profit": targets(target()), "stop_loss": stop()}
        wanted = {"account_id": account_id, "pair": self.market.pair, "position": BUY, **exits}
        trade = self.stranger.post("/v2/smart_trades", wanted)
        steps = self.stranger.get(f"/v2/smart_trades/{trade['id']}/trades")
        self.names |= {"foreign_account": str(account_id), "foreign": str(trade["id"])}
        self.names["foreign_take_profit"] = str(steps[1]["id"])

    def filled_in(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def ask(self, bad: Bad) -> tuple[int, Any]:
        body = None if bad.body is None else self.filled_in(json.dumps(bad.body))
        answer = self.server.api.call(bad.method, self.filled_in(bad.path), body)
        return answer.status, answer.body

    def everything(self) -> Any:
        """All that a request could have changed."""
        api, everyone = self.server.api, {"per_page": 100, "order_by": "created_at"}
        return [
            self.server.state(),
            api.get("/v2/smart_trades", **everyone),
            self.stranger.get("/v2/smart_trades", **everyone),
            api.sandbox("GET", "/orders?status=all"),
            api.get("/ver1/accounts"),
            self.stranger.get("/ver1/accounts"),
            api.get("/ver1/users/current_mode"),
        ]


def _credentials(server: Server, user: str) -> dict[str, str]:
    key = new_key(server, user=user)
    return {"api_key": key.api_key, "secret": key.secret}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Server(tmp_path_factory.mktemp("world")) as server:
        world = World(server)
        yield world
        world.stranger.close()
        assert server.running, server.log()
        assert '"level":"error"' not in server.log().replace('": "', '":"'), server.log()


@pytest.fixture
def still(world: World) -> Iterator[World]:
    """The world, of which everything must be as before when the test is over."""
    before = world.everything()
    yield world
    assert world.everything() == before


@pytest.fixture
def wire(world: World) -> Iterator[Wire]:
    wire = Wire(world.server)
    yield wire
    wire.close()


def got(reply: Reply) -> tuple[int, Any]:
    return reply.status, reply.body


def test_the_world_has_trades_in_the_statuses_that_the_tables_name(world: World) -> None:
    listed = world.server.api.get("/v2/smart_trades", per_page=100)
    statuses = {str(trade["id"]): trade["status"]["type"] for trade in listed}
    named = {name: statuses[number] for name, number in world.names.items() if number in statuses and "_" not in name}
    named.pop("account", None)
    assert named == {
        "waiting": "waiting_position",
        "simple": "waiting_position",
        "trailed": "waiting_position",
        "conditional": "waiting_position",
        "held": "waiting_targets",
        "other": "waiting_targets",
        "bare": "waiting_targets",
        "own": "waiting_targets",
        "reducing": "reduce_funds_in_progress",
        "leaving": "panic_sell_pending",
        "cancelling": "cancellation_in_progress",
        "sold": "panic_sold",
        "cancelled": "cancelled",
        "failed": "failed",
        "bought": "finished",
    }


# --- create (A2) ----------------------------------------------------------------------------------------------------

NINE = targets(*(target(110 + number, volume) for number, volume in enumerate([12] * 8 + [4])))
TRAILING = {"enabled": True, "percent": "1"}
CONDITION = {"price": {"value": "105"}, "order_type": "market"}
CREATE = {
    "nothing at all": post(
        "/v2/smart_trades",
        {},
        shapes(
            {
                "account_id": [ABSENT],
                "pair": [ABSENT],
                "position": [ABSENT],
                "position[type]": [ABSENT, BAD_VALUE],
                "position[order_type]": [ABSENT, BAD_VALUE],
                "position[units]": [ABSENT],
                "position[units][value]": [ABSENT],
                "take_profit": [ABSENT],
                "stop_loss": [ABSENT],
            }
        ),
    ),
    "as in an issue": create(
        shapes({FIRST + "[price][type]": [ABSENT], FIRST_PRICE: [ONE_OF_TWO]}),
        take_profit=targets({"order_type": "limit", "volume": 100, "price": {}}),
    ),
    "account_id of a wrong type": create(shape(account_id=INVALID), account_id="one"),
    "account_id with a fraction": create(shape(account_id=INVALID), account_id=1.5),
    "account unknown": create(NOT_OWNED, account_id=987654321),
    "account zero": create(NOT_OWNED, account_id=0),
    "account negative": create(NOT_OWNED, account_id=-1),
    "account of somebody else": create(NOT_OWNED, account_id="{foreign_account}"),
    "pair missing": create(shape(pair=ABSENT), pair=MISSING),
    "pair empty": create(shape(pair=ABSENT), pair=""),
    "pair of a wrong type": create(shape(pair=INVALID), pair=["{pair}"]),
    "pair unknown": create(broken({"pair": ["No market data for this pair: USDT_XXX"]}), pair="USDT_XXX"),
    "pair of another market": create(
        broken({"pair": ["No market data for this pair: {futures_pair}"]}), pair="{futures_pair}"
    ),
    "pair in lower case": create(broken({"pair": ["No market data for this pair: usdt_t1"]}), pair="usdt_t1"),
    "type unknown": create(shapes({"position[type]": [BAD_VALUE]}), position={**BUY, "type": "long"}),
    "type in capitals": create(shapes({"position[type]": [BAD_VALUE]}), position={**BUY, "type": "BUY"}),
    "order_type unknown": create(shapes({"position[order_type]": [BAD_VALUE]}), position={**BUY, "order_type": "stop"}),
    "position as a list": create(
        shapes({"position": [INVALID], "position[type]": [ABSENT, INVALID, BAD_VALUE],
                "position[order_type]": [ABSENT, INVALID, BAD_VALUE], "position[units]": [ABSENT, INVALID],
                "position[units][value]": [ABSENT]}),
        position=[BUY],
    ),
    "units missing": create(
        shapes({"position[units]": [ABSENT], "position[units][value]": [ABSENT]}),
        position={"type": "buy", "order_type": "market"},
    ),
    "limit without a price": create(
        shapes({"position[price]": [ABSENT], "position[price][value]": [ABSENT]}),
        position={**BUY, "order_type": "limit"},
    ),
    "condition missing": create(
        shapes({"position[conditional]": [ABSENT], "position[conditional][price]": [ABSENT],
                "position[conditional][price][value]": [ABSENT], "position[conditional][order_type]": [ABSENT]}),
        position={**BUY, "order_type": "conditional"},
    ),
    "conditional limit without a price": create(
        shapes({"position[price]": [ABSENT], "position[price][value]": [ABSENT]}),
        position={**BUY, "order_type": "conditional", "conditional": {**CONDITION, "order_type": "limit"}},
    ),
    "condition on an unknown price": create(
        shapes({"position[conditional][price][type]": [BAD_VALUE]}),
        position={**BUY, "order_type": "conditional",
                  "conditional": {**CONDITION, "price": {"value": "105", "type": "mid"}}},
    ),
    "entry trailing without a percent": create(
        shapes({"position[conditional][trailing][percent]": [ABSENT]}),
        position={**BUY, "order_type": "conditional", "conditional": {**CONDITION, "trailing": {"enabled": True}}},
    ),
    "instant and skip_enter_step": create(
        shapes({"instant,skip_enter_step": [EXCLUSIVE]}), instant=True, skip_enter_step=True
    ),
    "instant is no boolean": create(shape(instant=INVALID), instant="yes"),
    "instant with take profit": create(broken({"take_profit": [INVALID]}), instant=True, take_profit=targets(target())),
    "instant with stop loss": create(broken({"stop_loss": [INVALID]}), instant=True, stop_loss=stop()),
    "own funds with a condition": create(
        shapes({"position[order_type]": [BAD_VALUE]}),
        skip_enter_step=True,
        position={**BUY, "order_type": "conditional", "conditional": CONDITION},
    ),
    "take profit missing": create(shape(take_profit=ABSENT), take_profit=MISSING),
    "stop loss missing": create(shape(stop_loss=ABSENT), stop_loss=MISSING),
    "take profit does not say whether it is on": create(
        shapes({"take_profit[enabled]": [ABSENT]}), take_profit={"steps": [target()]}
    ),
    "stop loss does not say whether it is on": create(
        shapes({"stop_loss[enabled]": [ABSENT]}), stop_loss=stop(enabled=None)
    ),
    "steps missing": create(shapes({"take_profit[steps]": [ABSENT]}), take_profit={"enabled": True}),
    "steps empty": create(shapes({"take_profit[steps]": [EMPTY]}), take_profit=targets()),
    "steps no list": create(
        shapes({"take_profit[steps]": [INVALID]}), take_profit={"enabled": True, "steps": target()}
    ),
    "a step no object": create(
        shapes({"take_profit[steps][1]": [INVALID]}), take_profit={"enabled": True, "steps": [target(), 5]}
    ),
    "an empty step": create(
        shapes({f"{FIRST}[order_type]": [ABSENT], f"{FIRST}[volume]": [ABSENT], f"{FIRST}[price]": [ABSENT],
                f"{FIRST}[price][type]": [ABSENT], FIRST_PRICE: [ONE_OF_TWO]}),
        take_profit=targets({}),
    ),
    "value and percent": create(
        shapes({FIRST_PRICE: [EXCLUSIVE]}),
        take_profit=targets(target() | {"price": {"type": "bid", "value": "110", "percent": "5"}}),
    ),
    "step trailing without a percent": create(
        shapes({f"{FIRST}[trailing][percent]": [ABSENT]}), take_profit=targets(target(trailing={"enabled": True}))
    ),
    "volumes below 100": create(
        broken({"take_profit.steps.volume": ["must be equal to 100.0"]}),
        take_profit=targets(target(volume=50), target("120", "49.98")),
    ),
    "volumes above 100": create(
        broken({"take_profit.steps.volume": ["must be equal to 100.0"]}),
        take_profit=targets(target(volume=50), target("120", "50.02")),
    ),
    "nine steps": create(broken({"take_profit.steps": ["is too long (maximum is 8)"]}),
                         position={**BUY, "units": {"value": "50"}}, take_profit=NINE),
    "trailing on a step before the last": create(
        broken({"take_profit.steps.trailing": [INVALID]}),
        take_profit=targets(target(volume=50, trailing=TRAILING), target("120", 50)),
    ),
    "a step too small to be placed": create(
        broken({"units": ["Too small"]}), take_profit=targets(target(volume=99), target("120", 1))
    ),
    "stop without its trigger": create(
        shapes({"stop_loss[conditional]": [ABSENT], TRIGGER: [ABSENT], TRIGGER_PRICE: [ONE_OF_TWO]}),
        stop_loss={"enabled": True, "order_type": "market"},
    ),
    "stop without its order type": create(
        shapes({"stop_loss[order_type]": [ABSENT]}), stop_loss=stop(order_type=None)
    ),
    "limit stop without a price": create(
        shapes({"stop_loss[price]": [ABSENT], "stop_loss[price][value]": [ABSENT]}), stop_loss=stop(order_type="limit")
    ),
    "stop value and percent": create(
        shapes({TRIGGER_PRICE: [EXCLUSIVE]}),
        stop_loss=stop(conditional={"price": {"type": "bid", "value": "80", "percent": "5"}}),
    ),
    "stop above a target": create(
        broken({"stop_loss.conditional.price": [INVALID]}), take_profit=targets(target()), stop_loss=stop("110")
    ),
    "timeout without seconds": create(
        shapes({"stop_loss[timeout][value]": [ABSENT]}), stop_loss=stop(timeout={"enabled": True})
    ),
    "breakeven with one step": create(
        broken({"stop_loss.breakeven": [INVALID]}), take_profit=targets(target()), stop_loss=stop(breakeven=True)
    ),
    "breakeven without steps": create(broken({"stop_loss.breakeven": [INVALID]}), stop_loss=stop(breakeven=True)),
    "note of 301 characters": create(shape(note=TOO_LONG), note="\U0001f680" * 301),
    "note with NUL": create(shape(note=INVALID), note="a\x00b"),
    "note with half a character": create(BAD_JSON, note="\ud83d"),
    "note as an object": create(shape(note=INVALID), note={"text": "a"}),
    "leverage does not say whether it is on": create(
        shapes({"leverage[enabled]": [ABSENT]}), leverage={"type": "cross", "value": "5"}
    ),
    "leverage without a type": create(shapes({"leverage[type]": [ABSENT]}), leverage={"enabled": True, "value": 5}),
    "leverage without a value": create(
        shapes({"leverage[value]": [ABSENT]}), leverage={"enabled": True, "type": "isolated"}
    ),
    "leverage of an unknown type": create(
        shapes({"leverage[type]": [BAD_VALUE]}), leverage={"enabled": True, "type": "all", "value": 5}
    ),
    "leverage above the market's": create(
        broken({"leverage[value]": [INVALID]}),
        account_id="{futures_account}",
        pair="{futures_pair}",
        leverage={"enabled": True, "type": "isolated", "value": 21},
    ),
    "units below the lot": create(
        broken({"position": [INVALID], "units_to_buy": ["must be greater than or equal to 0.1"],
                "position.total": ["must be greater than or equal to 5.0"]}),
        position={**BUY, "units": {"value": "0.099999"}},
    ),
    "total below the minimum": create(
        broken({"position": [INVALID], "position.total": ["must be greater than or equal to 5.0"]}),
        position={**LIMIT_BUY, "price": {"value": "4.99"}},
    ),
    "price below the tick": create(
        broken({"position": [INVALID], "position.total": ["must be greater than or equal to 5.0"],
                "position.price": ["must be greater than or equal to 0.01"]}),
        position={**LIMIT_BUY, "price": {"value": "0.009"}},
    ),
    "smart sell on futures without a long": create(
        broken({"position": ["Long position should be opened in order to use smart sell"]}),
        account_id="{futures_account}",
        pair="{futures_pair}",
        skip_enter_step=True,
    ),
    "smart buy on futures without a short": create(
        broken({"position": ["Short position should be opened in order to use smart buy"]}),
        account_id="{futures_account}",
        pair="{futures_pair}",
        skip_enter_step=True,
        position={**BUY, "type": "sell"},
    ),
    "a wrong shape before a foreign account": create(
        shapes({"position[type]": [BAD_VALUE]}), account_id="{foreign_account}", position={**BUY, "type": "x"}
    ),
    "a foreign account before a broken rule": create(NOT_OWNED, account_id="{foreign_account}", pair="USDT_XXX"),
    "several broken rules at once": create(
        broken({"take_profit.steps.volume": ["must be equal to 100.0"], "stop_loss.breakeven": [INVALID]}),
        take_profit=targets(target(volume=50)),
        stop_loss=stop(breakeven=True),
    ),
}  # fmt: skip

# --- the other commands (A4 to A12, B2, B3) -------------------------------------------------------------------------

EDIT = {
    "as published": edit(
        shapes({FIRST_PRICE: [EXCLUSIVE], "stop_loss[order_type]": [ABSENT]}),
        take_profit=targets(target() | {"price": {"type": "bid", "value": "110", "percent": "5"}}),
        stop_loss=stop(order_type=None),
    ),
    "another side": edit(broken({"position.type": [INVALID]}), position={"type": "sell"}),
    "another order type": edit(broken({"position.order_type": ["is not editable"]}), position={"order_type": "limit"}),
    "units after the entry": edit(broken({"position.units": ["is not editable"]}), position={"units": {"value": "2"}}),
    "price after the entry": edit(broken({"position.price": ["is not editable"]}), position={"price": {"value": "2"}}),
    "units of a resting order": edit(
        broken({"position.units": ["is not editable"]}), "waiting", position={"units": {"value": "2"}}
    ),
    "price below the minimum": edit(
        broken({"position": [INVALID], "position.total": ["must be greater than or equal to 5.0"]}),
        "waiting",
        position={"price": {"value": "1"}},
    ),
    "price no number": edit(
        shapes({"position[price][value]": [INVALID]}), "waiting", position={"price": {"value": "x"}}
    ),
    "volumes of no sum": edit(
        broken({"take_profit[steps]": [INVALID]}), take_profit=targets(target(volume=30), target("120", 30))
    ),
    "step of another trade": edit(
        broken({f"{FIRST}[id]": [INVALID]}), take_profit=targets(target(id="{other_take_profit}"))
    ),
    "step of somebody else": edit(
        broken({f"{FIRST}[id]": [INVALID]}), take_profit=targets(target(id="{foreign_take_profit}"))
    ),
    "nine steps": edit(broken({"take_profit.steps": ["is too long (maximum is 8)"]}), take_profit=NINE),
    "the same place twice": edit(
        broken({"take_profit.steps.position": [INVALID]}),
        take_profit=targets(target(volume=50, position=1), target("120", 50, position=1)),
    ),
    "trailing before the last step": edit(
        broken({"take_profit.steps.trailing": [INVALID]}),
        take_profit=targets(target(volume=50, trailing=TRAILING), target("120", 50)),
    ),
    "stop above a target": edit(broken({"stop_loss.conditional.price": [INVALID]}), stop_loss=stop("115")),
    "breakeven with one step": edit(
        broken({"stop_loss.breakeven": [INVALID]}), take_profit=targets(target()), stop_loss=stop(breakeven=True)
    ),
    "empty take profit": edit(shapes({"take_profit[enabled]": [ABSENT]}), take_profit={"steps": None}),
    "empty stop loss": edit(shapes({"stop_loss[enabled]": [ABSENT]}), stop_loss={}),
    "note of 301 characters": edit(shape(note=TOO_LONG), note="n" * 301),
    "one good group, one bad": edit(
        broken({"take_profit[steps]": [INVALID]}), take_profit=targets(target(volume=1)), stop_loss=stop("70")
    ),
}

PUBLISHED_ADD = shapes({"order_type": [ABSENT, BAD_VALUE], "units": [ABSENT], "units[value]": [ABSENT]})
NO_LIMIT_PRICE = shapes({"price": [ABSENT], "price[value]": [ABSENT]})
LARGE = {"order_type": "market", "units": {"value": "1"}}
COMMANDS = {
    "add funds, as published": held("add_funds", {}, PUBLISHED_ADD),
    "add funds, units as a list": held(
        "add_funds", {"order_type": "market", "units": [{"value": "1"}, {"value": "2"}]},
        shapes({"units": [INVALID], "units[value]": [ABSENT, INVALID]}),
    ),
    "add funds, limit without price": held("add_funds", {**LARGE, "order_type": "limit"}, NO_LIMIT_PRICE),
    "add funds, conditional": held(
        "add_funds", {**LARGE, "order_type": "conditional"}, shapes({"order_type": [BAD_VALUE]})
    ),
    "add funds, total too small": held(
        "add_funds", {"order_type": "limit", "units": {"value": "0.1"}, "price": {"value": "11.25"}},
        broken({"total": ["must be greater than or equal to 5.0"]}),
    ),
    "add funds, less than a lot": held(
        "add_funds", {"order_type": "market", "units": {"value": "0.05"}},
        broken({"units": ["must be greater than or equal to 0.1"], "total": ["must be greater than or equal to 5.0"]}),
    ),
    "reduce funds, nothing given": held("reduce_funds", {}, PUBLISHED_ADD),
    "reduce funds, limit without price": held("reduce_funds", {**LARGE, "order_type": "limit"}, NO_LIMIT_PRICE),
    "reduce funds, all of it": held("reduce_funds", LARGE, broken({"entered_amount": ["Too small"]})),
    "reduce funds, more than all": held(
        "reduce_funds", {**LARGE, "units": {"value": "1000"}}, broken({"entered_amount": ["Too small"]})
    ),
    "reduce funds, a rest too small": held(
        "reduce_funds", {**LARGE, "units": {"value": "0.99"}}, broken({"entered_amount": ["Too small"]})
    ),
    "note missing": held("set_note", {}, shape(note=ABSENT)),
    "note null": held("set_note", {"note": None}, shape(note=ABSENT)),
    "note empty": held("set_note", {"note": ""}, shape(note=EMPTY)),
    "note of 301 characters": held("set_note", {"note": "ä" * 301}, shape(note=TOO_LONG)),
    "note of 301 after the trade has ended": post(
        "/v2/smart_trades/{sold}/set_note", {"note": "n" * 301}, shape(note=TOO_LONG)
    ),
    "note of a wrong type": held("set_note", {"note": True}, shape(note=INVALID)),
}  # fmt: skip

# --- unknown ids, routes and methods --------------------------------------------------------------------------------

ANY = "/v2/smart_trades/{}"
ONE_TRADE = [
    ("GET", "", None, 400),
    ("PATCH", "", {"note": "x"}, 404),
    ("DELETE", "", None, 400),
    ("GET", "/reduce_funds_info", None, 404),
    ("POST", "/reduce_funds_info", None, 404),
    ("POST", "/reduce_funds", LARGE, 404),
    ("POST", "/add_funds", LARGE, 404),
    ("POST", "/close_by_market", None, 404),
    ("POST", "/force_start", None, 404),
    ("POST", "/force_process", None, 404),
    ("POST", "/set_note", {"note": "x"}, 404),
    ("GET", "/trades", None, 404),
    ("POST", "/trades/{held_take_profit}/close_by_market", None, 404),
    ("DELETE", "/trades/{held_take_profit}", None, 404),
    ("POST", "/trades/{foreign_take_profit}/close_by_market", None, 404),
    ("DELETE", "/trades/{foreign_take_profit}", None, 404),
]
"""Every route of one trade, and the status of a missing one (api.md, contradiction 2)."""


def methods(*allowed: str) -> tuple[int, Entity]:
    return 405, {
        "error": "invalid_request_method",
        "error_description": "Your request method is not supported by this endpoint. "
        f"Please use one of [{', '.join(('OPTIONS', *allowed))}].",
    }


OUTSIDE = {
    "id no number": get("/v2/smart_trades/one", shape(id=INVALID)),
    "id negative": get("/v2/smart_trades/-1", shape(id=INVALID)),
    "id with a fraction": get("/v2/smart_trades/1.0", shape(id=INVALID)),
    "id too long for a number": get("/v2/smart_trades/" + "9" * 100, (400, NO_TRADE)),
    "id zero": get("/v2/smart_trades/0", (400, NO_TRADE)),
    "smart_trade_id no number": get("/v2/smart_trades/x/trades", shapes({"smart_trade_id": [INVALID]})),
    "step id no number": Bad("DELETE", "/v2/smart_trades/{held}/trades/x", None, shape(id=INVALID)),
    "step unknown, close": post("/v2/smart_trades/{held}/trades/987654321/close_by_market", None, NO_STEP),
    "step unknown, cancel": Bad("DELETE", "/v2/smart_trades/{held}/trades/987654321", None, NO_STEP),
    "step of another trade, close": post(
        "/v2/smart_trades/{held}/trades/{other_take_profit}/close_by_market", None, NO_STEP
    ),
    "step of another trade, cancel": Bad(
        "DELETE", "/v2/smart_trades/{held}/trades/{other_take_profit}", None, NO_STEP
    ),
    "step of somebody else": Bad("DELETE", "/v2/smart_trades/{held}/trades/{foreign_take_profit}", None, NO_STEP),
    "unknown route": get("/v2/smart_trades_of_mine", NOT_FOUND),
    "bots": get("/ver1/bots", NOT_FOUND),
    "V1": get("/ver1/smart_trades", NOT_FOUND),
    "below a trade": get("/v2/smart_trades/{held}/orders", NOT_FOUND),
    "two slashes": get("/v2//smart_trades", NOT_FOUND),
    "upwards": get("/v2/smart_trades/../smart_trades", NOT_FOUND),
    "wrong method for the list": Bad("DELETE", "/v2/smart_trades", None, methods("GET", "HEAD", "POST")),
    "wrong method for one": post("/v2/smart_trades/{held}", None, methods("GET", "HEAD", "PATCH", "DELETE")),
    "wrong method for a command": get("/v2/smart_trades/{held}/force_start", methods("POST")),
    "a method of their own": Bad("PROPFIND", "/ver1/ping", None, methods("GET", "HEAD")),
    "list: page 0": get("/v2/smart_trades?page=0", shape(page=BAD_VALUE)),
    "list: page x": get("/v2/smart_trades?page=x", shape(page=INVALID)),
    "list: per_page 101": get("/v2/smart_trades?per_page=101", shape(per_page=BAD_VALUE)),
    "list: status": get("/v2/smart_trades?status=open", shape(status=BAD_VALUE)),
    "list: type": get("/v2/smart_trades?type=smart", shape(type=BAD_VALUE)),
    "list: order_by": get("/v2/smart_trades?order_by=id", shape(order_by=BAD_VALUE)),
    "list: direction": get("/v2/smart_trades?order_direction=up", shape(order_direction=BAD_VALUE)),
    "list: from in Unix seconds": get("/v2/smart_trades?from=1722450000", shapes({"from": [INVALID]})),
    "list: to, a day that is none": get("/v2/smart_trades?to=2024-02-30", shapes({"to": [INVALID]})),
    "list: account": get("/v2/smart_trades?account_id=x", shape(account_id=INVALID)),
    "list: pair as an object": get("/v2/smart_trades?pair[a]=b", shape(pair=INVALID)),
    "list: a name of two shapes": get("/v2/smart_trades?page=1&page[a]=2", shape(page=INVALID)),
    "mode missing": post("/ver1/users/change_mode", {}, shapes({"mode": [ABSENT, BAD_VALUE]})),
    "mode unknown": post("/ver1/users/change_mode", {"mode": "demo"}, shape(mode=BAD_VALUE)),
    "locale unknown": Bad("PUT", "/ver1/users/locale", {"locale": "xx"}, shape(locale=BAD_VALUE)),
    "account unknown": get("/ver1/accounts/987654321", NOT_FOUND),
    "account of somebody else": get("/ver1/accounts/{foreign_account}", NOT_FOUND),
    "account no number": get("/ver1/accounts/mine", shapes({"account_id": [INVALID]})),
    "account of a type that is not offered": post(
        "/ver1/accounts/new", {"type": "kraken", "name": "mine"}, shape(type=BAD_VALUE)
    ),
    "account without a type": post("/ver1/accounts/new", {}, shapes({"type": [ABSENT, BAD_VALUE]})),
    "account with a short name": post(
        "/ver1/accounts/new", {"type": "paper_trading", "name": "x"},
        shape(name="is too short (minimum is 2 characters)"),
    ),
    "account with an owing balance": post(
        "/ver1/accounts/new", {"type": "paper_trading", "paper_balances": {"USDT": "-1"}},
        shapes({"paper_balances[USDT]": [BAD_VALUE]}),
    ),
    "account on an unknown market": post(
        "/ver1/accounts/new", {"type": "paper_trading", "paper_market": "kraken"}, shape(paper_market=BAD_VALUE)
    ),
    "account at work removed": post("/ver1/accounts/{account}/remove", None, (
        422,
        {"error": "account_not_deletable", "error_description":
         "There are active trading deals on this exchange. Close all trading operations and try again"},
    )),
    "somebody's account removed": post("/ver1/accounts/{foreign_account}/remove", None, NOT_FOUND),
    "somebody's account renamed": post("/ver1/accounts/{foreign_account}/rename", {"name": "mine"}, NOT_FOUND),
    "somebody's account changed": post(
        "/ver1/accounts/update", {"account_id": "{foreign_account}", "name": "mine"}, NOT_FOUND
    ),
    "renamed without a name": post("/ver1/accounts/{account}/rename", {}, shape(name=ABSENT)),
    "pairs of an unknown market": get("/ver1/accounts/market_pairs?market_code=x", shape(market_code=BAD_VALUE)),
    "rates of an unknown pair": get(
        "/ver1/accounts/currency_rates?market_code=binance&pair=USDT_XXX", (404, {"error": "Unknown pair"})
    ),
    "rates without a pair": get("/ver1/accounts/currency_rates?market_code=binance", shape(pair=ABSENT)),
    "types without a type": get("/ver1/accounts/types_to_connect", shapes({"type": [ABSENT, BAD_VALUE]})),
}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(bad, id=f"{table}: {name}")
        for table, rows in (("create", CREATE), ("edit", EDIT), ("command", COMMANDS), ("outside", OUTSIDE))
        for name, bad in rows.items()
    ],
)
def test_a_bad_request_gets_its_documented_answer_and_changes_nothing(still: World, bad: Bad) -> None:
    status, body = bad.expected
    assert still.ask(bad) == (status, json.loads(still.filled_in(json.dumps(body))))


@pytest.mark.parametrize("number", ["{foreign}", "987654321"], ids=["somebody else's", "unknown"])
def test_a_trade_of_somebody_else_is_treated_as_missing_on_every_route(still: World, number: str) -> None:
    for method, rest, body, status in ONE_TRADE:
        answer = still.ask(Bad(method, f"/v2/smart_trades/{number}{rest}", body, (0, {})))
        assert (method, rest, *answer) == (method, rest, status, NO_TRADE)


def test_lists_show_nobody_elses_trades_and_accounts(still: World) -> None:
    assert still.server.api.get("/v2/smart_trades", account_id=still.names["foreign_account"]) == []
    mine = {trade["account"]["id"] for trade in still.server.api.get("/v2/smart_trades", per_page=100)}
    assert int(still.names["foreign_account"]) not in mine
    accounts = {account["id"] for account in still.server.api.get("/ver1/accounts")}
    assert int(still.names["foreign_account"]) not in accounts


# --- actions in the wrong status ------------------------------------------------------------------------------------

ACTIONS: dict[str, tuple[str, str, Any]] = {
    "Edit": ("PATCH", "", {"note": "x"}),
    "Cancel": ("DELETE", "", None),
    "Close by market": ("POST", "/close_by_market", None),
    "Add funds": ("POST", "/add_funds", LARGE),
    "Reduce funds": ("POST", "/reduce_funds", LARGE),
    "Force start": ("POST", "/force_start", None),
    "Force process": ("POST", "/force_process", None),
}
EXITING = ("Edit", "Add funds", "Reduce funds", "Force start")
LEAVING = (*EXITING, "Cancel", "Close by market")
OVER = tuple(ACTIONS)
WRONG = {
    "waiting": ("Close by market", "Reduce funds"),
    "conditional": ("Close by market", "Reduce funds"),
    "trailed": ("Close by market", "Reduce funds", "Add funds"),
    "simple": ("Close by market", "Reduce funds", "Add funds"),
    "held": ("Force start",),
    "bare": ("Force start",),
    "own": ("Force start",),
    "reducing": EXITING,
    "leaving": LEAVING,
    "cancelling": LEAVING,
    "sold": OVER,
    "cancelled": OVER,
    "failed": OVER,
    "bought": OVER,
}


@pytest.mark.parametrize(("name", "actions"), WRONG.items(), ids=WRONG.keys())
def test_an_action_in_the_wrong_status_is_refused_and_changes_nothing(
    still: World, name: str, actions: tuple[str, ...]
) -> None:
    for action in actions:
        method, rest, body = ACTIONS[action]
        answer = still.ask(Bad(method, f"/v2/smart_trades/{{{name}}}{rest}", body, (0, {})))
        assert (action, *answer) == (action, *wrong_state(action))
    if "Reduce funds" in actions:
        for method in ("GET", "POST"):
            info = Bad(method, f"/v2/smart_trades/{{{name}}}/reduce_funds_info", None, (0, {}))
            assert still.ask(info) == wrong_state("Reduce funds")


WRONG_STEPS = [
    ("held", "position", "close"),
    ("held", "stop_loss", "close"),
    ("held", "position", "cancel"),
    ("waiting", "take_profit", "close"),  # idle until the entry is filled
    ("waiting", "position", "cancel"),
    ("leaving", "take_profit", "close"),
    ("leaving", "take_profit", "cancel"),
    ("cancelling", "take_profit", "cancel"),
    ("sold", "position", "close"),
    ("sold", "position", "cancel"),
    ("bought", "position", "cancel"),
]


@pytest.mark.parametrize(("name", "purpose", "action"), WRONG_STEPS)
def test_a_step_that_cannot_be_closed_or_cancelled_says_so_and_stays(
    still: World, name: str, purpose: str, action: str
) -> None:
    step = f"/v2/smart_trades/{{{name}}}/trades/{{{name}_{purpose}}}"
    if action == "close":
        assert still.ask(Bad("POST", f"{step}/close_by_market", None, (0, {}))) == wrong_state("Close trade")
    else:
        assert still.ask(Bad("DELETE", step, None, (0, {}))) == wrong_state("Cancel trade")


# --- numbers --------------------------------------------------------------------------------------------------------

NO_NUMBERS: list[Any] = [
    "NaN", "nan", "sNaN", "Infinity", "-inf", "1e999", "-1e999", "1e-999", "1e22", "1,5", "0x10", "1_000", "1 000",
    " 1", "1 ", "--1", "1.2.3", ".", "e5", "1e", "one", "١٢", "½", "9" * 22, "9" * 40, "1." + "3" * 59,
    "1" * 10_000, True, [], {}, ["1"], {"value": "1"},
]  # fmt: skip
FIGURES: dict[str, Callable[[Any], Entity]] = {
    "position[units][value]": lambda x: {"position": {**LIMIT_BUY, "units": {"value": x}}},
    "position[price][value]": lambda x: {"position": {**LIMIT_BUY, "price": {"value": x}}},
    "position[conditional][price][value]": lambda x: {
        "position": {**BUY, "order_type": "conditional", "conditional": {**CONDITION, "price": {"value": x}}}
    },
    "position[conditional][trailing][percent]": lambda x: {
        "position": {**BUY, "order_type": "conditional",
                     "conditional": {**CONDITION, "trailing": {"enabled": True, "percent": x}}}
    },
    f"{FIRST}[volume]": lambda x: {"take_profit": targets(target(volume=x))},
    f"{FIRST}[price][value]": lambda x: {"take_profit": targets(target(x))},
    f"{FIRST}[price][percent]": lambda x: {
        "take_profit": targets(target() | {"price": {"type": "bid", "percent": x}})
    },
    f"{FIRST}[trailing][percent]": lambda x: {"take_profit": targets(target(trailing={"enabled": True, "percent": x}))},
    f"{TRIGGER}[value]": lambda x: {"stop_loss": stop(x)},
    f"{TRIGGER}[percent]": lambda x: {"stop_loss": stop(conditional={"price": {"type": "bid", "percent": x}})},
    "stop_loss[conditional][trailing][percent]": lambda x: {
        "stop_loss": stop(conditional={"price": {"type": "bid", "value": "80"},
                                       "trailing": {"enabled": True, "percent": x}})
    },
    "stop_loss[price][value]": lambda x: {"stop_loss": stop(order_type="limit", price={"value": x})},
    "stop_loss[timeout][value]": lambda x: {"stop_loss": stop(timeout={"enabled": True, "value": x})},
    "leverage[value]": lambda x: {"leverage": {"enabled": True, "type": "isolated", "value": x}},
    "account_id": lambda x: {"account_id": x},
}  # fmt: skip


@pytest.mark.parametrize("key", FIGURES)
def test_what_is_no_finite_number_is_invalid_wherever_a_number_is_wanted(still: World, key: str) -> None:
    for value in NO_NUMBERS:
        answer = still.ask(create((0, {}), **FIGURES[key](value)))
        assert (value, *answer) == (value, *shapes({key: [INVALID]}))


OUT_OF_RANGE: dict[str, list[Any]] = {
    "position[units][value]": ["0", 0, "-1", "-0.0", "-1e-9"],
    "position[price][value]": ["0", "-1"],
    "position[conditional][price][value]": ["0", "-1"],
    "position[conditional][trailing][percent]": ["99.01", "-100"],
    f"{FIRST}[volume]": ["0", "-100"],
    f"{FIRST}[price][value]": ["0", "-1"],
    f"{FIRST}[trailing][percent]": ["0", "0.009", "100.01", "-100.01"],
    f"{TRIGGER}[value]": ["0", "-1"],
    "stop_loss[conditional][trailing][percent]": ["0", "0.009", "100.01"],
    "stop_loss[price][value]": ["0", "-1"],
    "stop_loss[timeout][value]": [0, "-1", 2**31],
}


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_a_number_out_of_its_range_has_no_valid_value(still: World, key: str) -> None:
    for value in OUT_OF_RANGE[key]:
        answer = still.ask(create((0, {}), **FIGURES[key](value)))
        assert (value, *answer) == (value, *shapes({key: [BAD_VALUE]}))


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("NaN", BAD_JSON),
        ("Infinity", BAD_JSON),
        ("01", BAD_JSON),
        ("1e999", shapes({"position[units][value]": [INVALID]})),
        ("1e999999999999999999999", shapes({"position[units][value]": [INVALID]})),
        ("-1e-999", shapes({"position[units][value]": [INVALID]})),
        ("9" * 400, shapes({"position[units][value]": [INVALID]})),
        ("true", shapes({"position[units][value]": [INVALID]})),
    ],
)
def test_json_numbers_beyond_all_measure_are_refused_in_words(
    still: World, wire: Wire, literal: str, expected: tuple[int, Entity]
) -> None:
    text = still.filled_in(json.dumps(plan())).replace('{"value": "1"}', f'{{"value": {literal}}}')
    assert got(wire.signed("POST", TRADES, text.encode(), JSON)) == expected


# --- bodies, types, signatures --------------------------------------------------------------------------------------

BROKEN_BODIES = [
    b"{",
    b"}",
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"nonsense",
    b"{'note': 'a'}",
    b'{"note": "a",}',
    b'{"note": "a"}}',
    b'{"note": "a"} {"note": "b"}',
    b'{"note": "\xff\xfe"}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b'{"a":' * 100_000,
    b"[" * 500_000,
]


@pytest.mark.parametrize("body", BROKEN_BODIES, ids=lambda body: repr(body[:20]))
def test_broken_json_is_400_on_every_route_with_a_body(still: World, wire: Wire, body: bytes) -> None:
    for method, path in (("POST", ""), ("PATCH", "/{held}"), ("POST", "/{held}/add_funds"), ("DELETE", "/{held}")):
        assert got(wire.signed(method, still.filled_in(TRADES + path), body, JSON)) == BAD_JSON


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonp", "json"],
)
def test_another_media_type_is_415(still: World, wire: Wire, content_type: str) -> None:
    body = still.filled_in(json.dumps(plan())).encode()
    assert got(wire.signed("POST", TRADES, body, content_type)) == BAD_TYPE


MALFORMED_FORMS = {
    "two shapes": (b"position=1&position[type]=buy", "position"),
    "two shapes, the other way round": (b"position[type]=buy&position[]=1", "position"),
    "too deep": (b"a" + b"[b]" * 100 + b"=1", "a"),
}


@pytest.mark.parametrize(("body", "key"), MALFORMED_FORMS.values(), ids=MALFORMED_FORMS.keys())
def test_a_form_that_contradicts_itself_is_invalid_by_name(still: World, wire: Wire, body: bytes, key: str) -> None:
    assert got(wire.signed("POST", TRADES, body, FORM)) == shapes({key: [INVALID]})
    assert got(wire.signed("POST", f"{TRADES}?{body.decode()}")) == shapes({key: [INVALID]})


@pytest.mark.parametrize(
    "form", [b"&&&===", b"%zz=%", b"=", b"[=]", b"a" * 100_000, b"%ff=%fe", b"a=1&" * 5000, b"\xff\xfe\x00"]
)
def test_any_bytes_at_all_in_a_form_are_a_400(still: World, wire: Wire, form: bytes) -> None:
    reply = wire.signed("POST", TRADES, form, FORM)
    assert (reply.status, reply.body["error"]) == (400, "record_invalid")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_wrong_signature_stops_everything_else(still: World, wire: Wire, method: str) -> None:
    for path, body in (("/{held}", b"{}"), ("/{held}", b"{broken"), ("/987654321", b"")):
        target = still.filled_in(TRADES + path)
        if method == "POST":
            target += "/close_by_market"
        forged = wire.key._replace(secret="another")
        assert got(wire.signed(method, target, body, JSON, key=forged)) == BAD_SIGNATURE


@pytest.mark.parametrize("mode", ["", "demo", "PAPER", "paper,real"])
def test_a_forced_mode_that_is_none_is_refused(still: World, wire: Wire, mode: str) -> None:
    reply = wire.signed("DELETE", still.filled_in(f"{TRADES}/{{held}}"), headers=[("Forced-Mode", mode)])
    assert got(reply) == (
        400,
        {
            "error": "forced_mode_invalid",
            "error_description": "Forced mode is not included in the ['real', 'paper']",
        },
    )


MEBIBYTE = 1024 * 1024


def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_413(still: World) -> None:
    for size, status in ((MEBIBYTE, 400), (MEBIBYTE + 1, 413), (20 * MEBIBYTE, 413)):
        wire, body = Wire(still.server), b'{"a":"' + b"x" * (size - 8) + b'"}'
        reply = wire.signed("POST", TRADES, body, JSON)
        assert reply.status == status
        if status == 413:
            assert reply.body["error"] == "payload_too_large"
        wire.close()


def test_a_body_too_large_is_refused_before_anybody_is_asked_who_they_are(still: World) -> None:
    wire = Wire(still.server)
    assert wire.send("POST", TRADES, b"x" * (MEBIBYTE + 1)).status == 413
    wire.close()
    assert still.server.api.get("/ver1/ping") == {"pong": "pong"}


# --- what looks bad and is not (A2) ---------------------------------------------------------------------------------


@pytest.fixture
def desk(server: Server) -> tuple[Account, Market]:
    market = server.market(tick="0.01", lot="0.1", min_total=5)
    market.quote("99", "100")
    return server.account(market, USDT=10_000), market


Desk = tuple[Account, Market]


def test_both_exits_off_is_a_trade_that_waits_to_be_closed(desk: Desk) -> None:
    trade = desk[0].create(desk[1], position=BUY)
    assert (trade.status, trade.close_by_market()["status"]["type"]) == ("waiting_targets", "panic_sell_pending")


@pytest.mark.parametrize("price_type", ["bid", "ask", "last"])
def test_a_target_on_the_wrong_side_of_the_market_fires_at_once(desk: Desk, price_type: str) -> None:
    step = {"order_type": "market", "volume": 100, "price": {"type": price_type, "value": "50"}}
    assert desk[0].create(desk[1], position=BUY, take_profit=targets(step)).status == "finished"


def test_a_stop_on_the_wrong_side_of_the_market_fires_at_once(desk: Desk) -> None:
    assert desk[0].create(desk[1], position=BUY, stop_loss=stop("500")).status == "stop_loss_finished"


def test_units_are_floored_to_the_lot_and_limit_prices_brought_to_the_tick(desk: Desk) -> None:
    account, market = desk
    buy = {"type": "buy", "order_type": "limit", "units": {"value": "1.19999"}, "price": {"value": "90.019"}}
    (order,) = account.create(market, position=buy).orders()
    assert (order["quantity"], order["price"]) == ("1.1", "90.01")
    account.set_balance(market.base, 5)
    (order,) = account.create(market, position={**buy, "type": "sell", "price": {"value": "120.011"}}).orders()
    assert (order["quantity"], order["price"]) == ("1.1", "120.02")


def test_forty_digits_after_the_point_are_a_price(desk: Desk) -> None:
    price = "90." + "0" * 39 + "1"
    shown = desk[0].create(desk[1], position={**LIMIT_BUY, "price": {"value": price}}).created
    assert Decimal(shown["position"]["price"]["value"]) == 90


def test_trailing_makes_a_market_order_of_entry_and_stop_v_10(desk: Desk) -> None:
    condition = {"price": {"value": "105"}, "order_type": "limit", "trailing": TRAILING}
    entry = {**LIMIT_BUY, "order_type": "conditional", "conditional": condition}
    trails = {"price": {"type": "bid", "value": "80"}, "trailing": TRAILING}
    asked = {"position": entry, "stop_loss": stop(order_type="limit", conditional=trails)}
    shown = desk[0].create(desk[1], **asked).created
    assert (shown["position"]["conditional"]["order_type"], shown["stop_loss"]["order_type"]) == ("market", "market")


@pytest.mark.parametrize("volume", ["99.99", "100.01"])
def test_volumes_may_miss_a_hundred_by_a_hundredth(desk: Desk, volume: str) -> None:
    assert desk[0].create(desk[1], position=BUY, take_profit=targets(target(volume=volume))).status == "waiting_targets"


def test_eight_steps_and_a_note_of_three_hundred_characters_are_accepted(desk: Desk) -> None:
    eight = targets(*(target(110 + number, "12.5") for number in range(8)))
    position = {**BUY, "units": {"value": "50"}}
    trade = desk[0].create(desk[1], position=position, take_profit=eight, note="\U0001f680" * 300)
    assert (len(trade.get()["take_profit"]["steps"]), len(trade.get()["note"])) == (8, 300)


def test_too_little_money_is_no_refusal_but_a_trade_that_fails(desk: Desk) -> None:
    trade = desk[0].create(desk[1], position={**BUY, "units": {"value": "500"}})
    entity = trade.get()
    assert (trade.created["status"]["type"], entity["status"]["type"]) == ("created", "failed")
    assert entity["status"]["error"]
    assert entity["status"]["error"] == entity["position"]["status"]["error"]


def test_the_same_request_twice_is_two_trades(desk: Desk) -> None:
    first, second = (desk[0].create(desk[1], position=BUY) for _ in range(2))
    assert first.id != second.id
    assert len(desk[0].orders()) == 2


def test_own_funds_without_a_price_count_from_the_last_one_m_9(desk: Desk) -> None:
    account, market = desk
    account.set_balance(market.base, 5)
    market.quote("99", "100", last="99.5")
    shown = account.create(market, position=BUY, skip_enter_step=True, stop_loss=stop()).get()
    assert shown["position"]["price"]["value"] == "99.5"
