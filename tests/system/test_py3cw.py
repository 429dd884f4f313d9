"""The most used Python client, unmodified, from its package: every SmartTrade call, with an HMAC and an RSA key.

Its quirks, on which the tests rest: the answer is a pair (error, data) of which one is empty; a JSON body is signed
without a question mark; ids have to be text; a key `error` in an answer makes it a failure, whatever the status; and
because it expects an object under `error`, an error of 3Commas comes out as one line of text with the three parts of
the body, and the status in `status_code`.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import py3cw.request  # type: ignore[import-untyped]
import pytest
from harness import Account, Entity, Market, Server
from py3cw.request import Py3CW
from raw_http import Key, new_key, rsa_pair

POSITION = {"type": "buy", "order_type": "limit", "units": {"value": "2"}, "price": {"value": "100"}}
TARGETS = {
    "enabled": True,
    "steps": [
        {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": 110}},
        {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": 120.5}},
    ],
}
STOP = {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "value": "90"}}}


class Bot:
    """A user of py3cw. A call fails the test unless it succeeds; `refused` is for the others."""

    def __init__(self, client: Py3CW) -> None:
        self._client = client

    def __call__(
        self, action: str, id: object = None, payload: Any = None, *, entity: str = "smart_trades_v2", **more: Any
    ) -> Any:
        error, data = self._ask(entity, action, id, payload, more)
        assert error == {}, error
        return data

    def refused(
        self, action: str, id: object = None, payload: Any = None, *, entity: str = "smart_trades_v2", **more: Any
    ) -> Entity:
        error, data = self._ask(entity, action, id, payload, more)
        assert data == {}, data
        assert isinstance(error, dict)
        return error

    def _ask(self, entity: str, action: str, id: object, payload: Any, more: dict[str, Any]) -> Any:
        action_id = None if id is None else str(id)
        return self._client.request(entity=entity, action=action, action_id=action_id, payload=payload, **more)


class MakeBot(Protocol):
    def __call__(self, key: Key | None = None, *, rsa: bool = False) -> Bot: ...


@pytest.fixture
def make_bot(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeBot]:
    monkeypatch.setattr(py3cw.request, "API_URL", server.url)
    clients = []

    def make(key: Key | None = None, *, rsa: bool = False) -> Bot:
        if rsa:
            made = new_key(server, rsa_public_key=rsa_pair().public_pem)
            client = Py3CW(key=made.api_key, selfsigned=rsa_pair().private_pem.decode())
        else:
            client = Py3CW(key=key.api_key if key else server.api_key, secret=key.secret if key else server.secret)
        clients.append(client)
        return Bot(client)

    yield make
    for client in clients:
        client.session.close()


@pytest.fixture(params=["HMAC", "RSA"])
def bot(make_bot: MakeBot, request: pytest.FixtureRequest) -> Bot:
    return make_bot(rsa=request.param == "RSA")


@pytest.fixture
def market(server: Server) -> Market:
    market = server.market()
    market.quote("101", "102")
    return market


@pytest.fixture
def account(server: Server, market: Market) -> Account:
    return server.account(market, USDT=10_000)


@pytest.fixture
def plan(account: Account, market: Market) -> Entity:
    return {
        "account_id": account.id,
        "pair": market.pair,
        "position": POSITION,
        "take_profit": TARGETS,
        "stop_loss": STOP,
    }


def status(trade: Entity) -> str:
    kind: str = trade["status"]["type"]
    return kind


def test_a_trade_is_created_read_listed_and_runs_to_its_end(
    bot: Bot, account: Account, market: Market, plan: Entity
) -> None:
    created = bot("new", payload=plan)
    assert (status(created), created["account"]["id"], created["pair"]) == ("created", account.id, market.pair)
    assert bot("get_by_id", created["id"])["status"]["type"] == "waiting_position"

    listed = bot("", payload={"account_id": account.id, "status": "active", "order_by": "created_at"})
    assert [trade["id"] for trade in listed] == [created["id"]]
    assert bot("", payload={"account_id": account.id, "status": "finished", "per_page": 5}) == []

    market.quote("100")
    assert status(bot("get_by_id", created["id"])) == "waiting_targets"
    trades = bot("get_trades", created["id"])
    assert [trade["trade_purpose"] for trade in trades].count("take_profit") == 2
    for bid in ("110", "120.5"):
        market.quote(bid)
    assert status(bot("get_by_id", created["id"])) == "finished"


def test_a_trade_is_edited_annotated_and_cancelled(bot: Bot, plan: Entity) -> None:
    trade = bot("new", payload=plan)
    edited = bot("update", trade["id"], {**plan, "position": {**POSITION, "price": {"value": 99.5}}})
    assert edited["position"]["price"]["value"] == "99.5"
    assert bot("set_note", trade["id"], {"note": "Grüße, 100 % & more"})["note"] == "Grüße, 100 % & more"
    assert status(bot("cancel", trade["id"])) == "cancellation_pending"
    ended = bot("get_by_id", trade["id"])
    assert (status(ended), ended["note"]) == ("cancelled", "Grüße, 100 % & more")


def test_a_position_is_averaged_reduced_and_closed(bot: Bot, account: Account, market: Market, plan: Entity) -> None:
    trade = bot("new", payload={**plan, "position": {**POSITION, "order_type": "market"}})
    bot("add_funds", trade["id"], {"order_type": "market", "units": {"value": 1.5}})
    assert bot("get_by_id", trade["id"])["data"]["entered_amount"] == "3.5"
    reduced = bot("reduce_funds", trade["id"], {"order_type": "market", "units": {"value": "1"}})
    assert status(reduced) == "pending_reduce_funds"
    assert bot("get_by_id", trade["id"])["data"]["closed_amount"] == "1.0"
    assert status(bot("close_by_market", trade["id"])) == "panic_sell_pending"
    closed = bot("get_by_id", trade["id"])
    assert (status(closed), closed["data"]["closed_amount"]) == ("panic_sold", "3.5")
    assert account.orders("open") == []


def test_an_entry_is_forced_and_a_trade_refreshed(bot: Bot, plan: Entity) -> None:
    trade = bot("new", payload=plan)
    assert status(bot("force_process", trade["id"])) == "waiting_position"
    assert bot("force_start", trade["id"])["position"]["status"]["type"] == "panic_sell_pending"
    assert status(bot("get_by_id", trade["id"])) == "waiting_targets"


def test_single_steps_are_cancelled_and_closed(bot: Bot, market: Market, plan: Entity) -> None:
    trade = bot("new", payload={**plan, "position": {**POSITION, "order_type": "market"}})
    first, second = (
        str(step["id"]) for step in bot("get_trades", trade["id"]) if step["trade_purpose"] == "take_profit"
    )
    left = bot("cancel_trade", trade["id"], action_sub_id=second)
    assert [str(step["id"]) for step in left["take_profit"]["steps"]] == [first]
    bot("panic_close_by_market", trade["id"], action_sub_id=first)
    statuses = {str(step["id"]): step["status"] for step in bot("get_trades", trade["id"])}
    assert (statuses[first], statuses[second]) == ("panic_sold", "cancelled")
    assert bot("get_by_id", trade["id"])["data"]["closed_amount"] == "1.0"


def test_accounts_and_markets_are_read(bot: Bot, account: Account, market: Market) -> None:
    (listed,) = bot("", entity="accounts", payload={"per_page": 1, "page": 1})
    assert listed["market_code"] == "paper_trading"
    shown = bot("account_info", account.id, entity="accounts")
    assert (shown["id"], shown["market_code"]) == (account.id, "paper_trading")
    assert bot("load_balances", account.id, entity="accounts")["id"] == account.id
    (usdt,) = bot("account_table_data", account.id, entity="accounts")
    assert usdt["currency_code"] == "USDT"
    assert bot("pie_chart_data", account.id, entity="accounts")[0]["code"] == "USDT"
    assert bot("active_trading_entities", account.id, entity="accounts")["data"]["active_smart_trades_count"] == 0
    assert market.pair in bot("market_pairs", entity="accounts", payload={"market_code": market.code})
    rates = bot("currency_rates", entity="accounts", payload={"market_code": market.code, "pair": market.pair})
    assert (rates["bid"], rates["ask"]) == ("101.0", "102.0")


def test_an_account_is_opened_renamed_and_removed(bot: Bot) -> None:
    opened = bot("new", entity="accounts", payload={"type": "paper_trading", "name": "from py3cw"})
    assert bot("rename", opened["id"], {"name": "renamed"}, entity="accounts")["name"] == "renamed"
    assert bot("remove", opened["id"], entity="accounts") is True  # the bare literal
    assert "Not Found" in bot.refused("account_info", opened["id"], entity="accounts")["msg"]


def test_the_mode_is_changed_and_forced(server: Server, make_bot: MakeBot) -> None:
    bot = make_bot(new_key(server, user="a user with modes"))
    opened = bot("new", entity="accounts", payload={"type": "paper_trading", "name": "mine"})
    for mode, shown in (("real", []), ("paper", [opened["id"]])):
        assert bot("change_mode", entity="users", payload={"mode": mode}) is True
        assert bot("current_mode", entity="users") == {"mode": mode}
        assert [account["id"] for account in bot("", entity="accounts")] == shown
    forced = bot("", entity="accounts", additional_headers={"Forced-Mode": "real"})
    assert forced == []
    assert "SMART_TRADES_WRITE" in bot("permissions_info", entity="users")["permissions"]


# --- errors ---------------------------------------------------------------------------------------------------------


def line(error: str, description: str, attributes: object = None) -> str:
    """How py3cw prints an error of 3Commas."""
    return f"Other error occurred: {error} {description} {attributes}."


def test_errors_come_out_with_their_words_and_status(bot: Bot, plan: Entity) -> None:
    trade = bot("new", payload=plan)
    for error, code, said in (
        (bot.refused("get_by_id", 987654321), 400, line("Not found", "Smart Trade not found")),
        (bot.refused("close_by_market", 987654321), 404, line("Not found", "Smart Trade not found")),
        (bot.refused("cancel_trade", trade["id"], action_sub_id="7654321"), 404, line("Not found", "Trade not found")),
        (
            bot.refused("close_by_market", trade["id"]),
            400,
            line("Wrong param(s)", "Close by market is not allowed in the current status"),
        ),
        (
            bot.refused("set_note", trade["id"], {"note": "n" * 301}),
            400,
            line("record_invalid", "Invalid parameters", {"note": ["too long. Max is 300 symbols"]}),
        ),
        (
            bot.refused("new", payload={**plan, "account_id": 987654321}),
            403,
            line("Forbidden", "Account not owned by current user."),
        ),
        (
            bot.refused("new", payload={**plan, "pair": "USDT_XXX"}),
            422,
            line("record_invalid", "Invalid parameters", {"pair": ["No market data for this pair: USDT_XXX"]}),
        ),
    ):
        assert error == {"error": True, "msg": said, "status_code": code}


def test_a_caller_who_is_not_let_in_is_told_why(server: Server, make_bot: MakeBot, plan: Entity) -> None:
    stranger = make_bot(Key(0, "nobody", "nothing"))
    assert stranger.refused("") == {
        "error": True,
        "msg": line("api_key_invalid_or_expired", "Unauthorized. Invalid or expired api key."),
        "status_code": 401,
    }
    forger = make_bot(Key(0, server.api_key, "wrong"))
    assert forger.refused("new", payload=plan)["msg"] == line("signature_invalid", "Provided signature is invalid")
    reader = make_bot(new_key(server, ["SMART_TRADES_READ"]))
    assert reader.refused("new", payload=plan) == {
        "error": True,
        "msg": line("Forbidden", "Api key not authorized for this action"),
        "status_code": 403,
    }


def test_a_trade_that_failed_is_no_failed_request(bot: Bot, server: Server, market: Market, plan: Entity) -> None:
    # The key `error` at the top would make it one: the exchange's words are below `status`.
    poor = server.account(market, USDT=1)
    trade = bot("new", payload={**plan, "account_id": poor.id, "position": {**POSITION, "order_type": "market"}})
    shown = bot("get_by_id", trade["id"])
    assert (status(shown), bool(shown["status"]["error"])) == ("failed", True)
