"""Entries, fills, quantities: F43 to F52 of the failure catalogue."""

import random
from decimal import Decimal

import pytest
from driver import FEE, FEE_IN_BASE, D, Story, limit, market, sl, tp
from harness import Account, Market, Server, Trade
from msgspec.structs import replace
from scenes import FUTURES, SPOT, STOPPED, begin, buy, stage, stop, targets

from smarttrade.domain.order import ReportedState

both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])


@both_kinds
def test_an_entry_that_stops_at_a_part_is_guarded_at_once_and_its_exits_have_the_size_of_the_part(
    server: Server, kind: str
) -> None:
    """Faults F43, F44, P-16, P-18, S-12: 4.1 of 341.2 were bought."""
    market, account = stage(server, kind)
    trade = account.create(
        market,
        position=buy("341.2", limit="95"),
        take_profit=targets(("limit", "110", 50), ("limit", "120", 50)),
        stop_loss=stop("90"),
    )
    trade.expect({"take_profit.steps.*.units.value": [None, None]})
    account.fill(trade.order(), "4.1")
    trade.expect({"status.type": "waiting_position", "data.entered_amount": "4.1", "stop_loss.units.value": "4.1"})

    account.cancel_outside(trade.order())

    trade.expect({"status.type": "waiting_targets", "take_profit.steps.*.units.value": ["2.1", "2.0"]})
    assert [(order["quantity"], order["price"]) for order in trade.orders("open")] == [
        ("2.1", "110.0"),
        ("2.0", "120.0"),
    ]
    account.fill(trade.orders("open")[0])
    market.quote(90)
    trade.expect(STOPPED | {"data.closed_amount": "4.1"})


def test_a_stop_over_a_partly_filled_entry_sells_the_part_and_takes_the_rest_out(server: Server) -> None:
    """Faults F43, F44, P-18."""
    market, account = stage(server)
    trade = account.create(market, position=buy("341.2", limit="95"), stop_loss=stop("90"))
    account.fill(trade.order(), "4.1")
    account.fault("stream", "drop", times=2)  # and nobody says that the price bought more on its way down
    account.fill(trade.order(), "1")

    market.quote(90)
    server.advance(30)

    entity = trade.get()
    assert entity["status"]["type"] == "stop_loss_finished"
    assert entity["data"]["entered_amount"] == entity["data"]["closed_amount"]
    assert trade.orders("open") == []


def test_profit_follows_from_executions_whatever_an_orders_end_is_called() -> None:
    """Fault F45, EX-1: a target that ends as cancelled, or rejected, after a part has closed that part."""
    for state in (ReportedState.CANCELED, ReportedState.REJECTED, ReportedState.OPEN):
        story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90), **FEE)
        order = story._alive("tp1")
        story.fill_unheard("tp1", 4)
        order.state = state
        story.tell(order.report(*order.fills))
        story.tell(order.report(*order.fills))
        assert story.trade.closed.amount == 4
        assert story.trade.closed.total == D("439.56")
        story.quote(90)
        assert (story.status, story.held, story.trade.closed.amount) == ("stop_loss_finished", 0, 10)


@both_kinds
def test_a_partial_close_is_in_the_figures_before_and_after_the_end(server: Server, kind: str) -> None:
    """Fault F45, M-40, M-45: the same figures on both sides."""
    scene = begin(server, kind)
    scene.account.fill(scene.trade.order(), 4)
    scene.trade.expect({"data.closed_amount": "4.0", "data.closed_total": "439.56"})
    scene.market.quote(105)
    volume = Decimal(scene.trade.get()["profit"]["volume"])
    assert volume == Decimal("439.56") + 6 * 105 * Decimal("0.999") - 1001

    scene.trade.close_by_market()

    ended = scene.trade.expect({"status.type": "panic_sold", "data.closed_amount": "10.0"})
    assert Decimal(ended["profit"]["volume"]) == volume
    assert scene.is_settled()


def test_a_word_that_nobody_knows_never_makes_an_order_new() -> None:
    """Fault F46: with fills it is what its quantities say; the entry is not bought again and again."""
    story = Story(limit(95), [tp(110)], sl(90))
    story.heard()
    order = story._alive("entry")
    for text in ("ENTERED_BOOK", "", "PARTIALLY_FILLED_CANCELED?"):
        story.fill_unheard("entry", 2)
        story.tell(order.report(*order.fills, text=text))
        story.wait(60)
    assert story.trade.entered.amount == 6
    assert story.heard() == []
    story.fill_unheard("entry")
    story.tell(replace(order.report(*order.fills, text="ENTERED_BOOK"), state=ReportedState.OPEN))
    assert story.status == "waiting_targets"
    assert [word for word in story.heard() if word.startswith("buy")] == []


def test_nothing_is_booked_at_the_limit_price_while_the_price_of_an_execution_is_unknown() -> None:
    """Fault F47: the exchange counts more than it tells; what it really cost is asked for."""
    story = Story(limit(95), [tp(110)], sl(80))
    order = story._alive("entry")
    story.on_query = "silence"
    fill = story._new_fill(order, D(10), D("94.3"))
    order.fills.append(fill)
    order.state = ReportedState.FILLED
    story.tell(order.report())  # filled, without a word about the price
    assert (story.status, story.trade.entered.amount) == ("waiting_position", 0)
    story.on_query = "tell"
    story.wait(60)
    assert (story.status, story.trade.entered.total) == ("waiting_targets", D(943))


@both_kinds
def test_what_is_sold_is_what_was_bought_less_the_commission_in_the_coin(server: Server, kind: str) -> None:
    """Fault F48, M-2, M-22: 9.9 of 9.99 by target, stop and market close; nothing is refused."""
    market = server.market(kind=kind, fee_in="base") if kind == SPOT else server.market(kind=kind)
    account = server.account(market, USDT=100_000)
    market.quote(100)
    sold = "9.9" if kind == SPOT else "10.0"
    for way in ("target", "stop", "close"):
        market.quote(100)
        trade = account.create(market, position=buy(), take_profit=targets(("limit", "110", 100)), stop_loss=stop("90"))
        if way == "target":
            account.fill(trade.order())
        elif way == "stop":
            market.quote(90)
        else:
            trade.close_by_market()
        trade.expect({"data.closed_amount": sold, "status.error": "absent"})
        assert not [order for order in trade.orders() if order["status"] == "rejected"]


@pytest.mark.parametrize("way", ["target", "stop", "close"])
def test_dust_ends_the_trade_and_is_shown_as_what_is_left(way: str) -> None:
    """Fault F49, EX-18, M-22: nobody tries to sell it again."""
    story = Story(market(), [tp(110)], sl(90), **FEE_IN_BASE)
    if way == "target":
        story.fill("tp1")
    elif way == "stop":
        story.quote(90)
    else:
        story.close()
    story.heard()
    assert story.trade.status.is_final
    assert (story.trade.entered.amount, story.trade.closed.amount) == (D("9.99"), D("9.9"))
    assert story.wait(24 * 3600).heard() == []


def test_a_rest_below_the_minimum_total_ends_the_trade(server: Server) -> None:
    """Fault F49, C-6, S-14: 0.1 coins at 10 are worth less than the least that can be sold."""
    market, account = stage(server, price="10")
    trade = account.create(market, position=buy("10"), take_profit=targets(("limit", "11", 100)), stop_loss=stop("9"))
    account.fill(trade.order(), "9.9")
    account.cancel_outside(trade.order())
    market.quote(9)
    server.advance(600)

    trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "9.9", "data.entered_amount": "10.0"})
    assert [order["status"] for order in trade.orders()] == ["filled", "cancelled"]


@pytest.mark.parametrize("seed", range(10))
def test_every_quantity_and_price_that_leaves_is_on_its_step_to_the_last_digit(seed: int) -> None:
    """Fault F50, C-1, EX-14: fractions of fractions, with commission in the coin."""
    chance = random.Random(seed)
    lot, tick = D("0.00001"), D("0.0000001")
    story = Story(
        market("0.3"), [tp("0.0123456", 33), tp("0.0133333", 33), tp("0.0144444", 34)], sl("0.0099999"),
        bid="0.0111111", lot=lot, min_lot=lot, tick=tick, min_total=D("0.0000001"), min_market_total=D("0.0000001"),
        **FEE_IN_BASE,
    )  # fmt: skip
    for _ in range(20):
        alive = sorted(story.book)
        if story.trade.status.is_final or not alive:
            break
        leg = chance.choice(alive)
        leaves = story._alive(leg).leaves
        story.fill(leg, max(lot, story.instrument.floor_lot(leaves / 3)))
        if story.status == "waiting_targets" and chance.random() < 0.4:
            story.add(D(chance.randint(1, 30000)) / 100000)
    if not story.trade.status.is_final:
        story.quote("0.0099999")
    for order in story.orders.values():
        assert order.intent.quantity % lot == 0
        assert order.intent.price is None or order.intent.price % tick == 0
        assert order.filled <= order.intent.quantity
    assert 0 <= story.held < lot or story.status == "finished"


def test_a_liquidation_settles_its_own_trades_and_no_other_pair_account_or_side(server: Server) -> None:
    """Fault F51, S-32, EX-29: the news is worked in once, with the fills that closed it."""
    market, other = server.market(kind=FUTURES), server.market(kind=FUTURES)
    ours, theirs = server.account(market, USDT=10_000), server.account(market, USDT=10_000)
    for pair in (market, other):
        pair.quote(100)
    leverage = {"enabled": True, "type": "isolated", "value": "10"}
    gone = ours.create(market, position=buy(), leverage=leverage, take_profit=targets(("limit", "150", 100)))
    kept = ours.create(other, position=buy(), leverage=leverage, take_profit=targets(("limit", "150", 100)))
    strangers = theirs.create(market, position=buy(), take_profit=targets(("limit", "150", 100)))

    market.quote(85)

    gone.expect(
        {
            "status.type": "failed",
            "status.error": "Position was liquidated on the exchange",
            "data.closed_amount": "10.0",
            "data.finished": False,
        }
    )
    assert Decimal(gone.get()["data"]["closed_total"]) > 0  # it has a closing execution, if no order
    assert gone.orders("open") == []
    for trade in (kept, strangers):
        trade.expect({"status.type": "waiting_targets", "data.closed_amount": "0.0"})
        assert len(trade.orders("open")) == 1
    before = ours.orders()
    market.quote(80)
    server.advance(600)
    assert ours.orders() == before


def open_amount(trade: Trade) -> Decimal:
    data = trade.get()["data"]
    amount = Decimal(data["entered_amount"]) - Decimal(data["closed_amount"])
    return amount if trade.get()["position"]["type"] == "buy" else -amount


def net_position(account: Account) -> Decimal:
    return sum((Decimal(each["quantity"]) for each in account.positions()), Decimal(0))


def long_of(account: Account, market: Market, units: int, level: str) -> Trade:
    return account.create(
        market, position=buy(str(units)), take_profit=targets(("limit", "150", 100)), stop_loss=stop(level)
    )


def test_trades_that_share_one_position_each_keep_their_own_part_and_the_parts_add_up_to_it(server: Server) -> None:
    """Fault F52, EX-27: after every turn the sum over the trades is what the exchange holds."""
    market, account = stage(server, FUTURES)
    first, second = long_of(account, market, 10, "90"), long_of(account, market, 4, "80")
    third = account.create(market, position=buy("6", limit="97"), stop_loss=stop("70"))
    trades = [first, second, third]

    def adds_up() -> None:
        assert sum(map(open_amount, trades)) == net_position(account)

    adds_up()
    account.fill(third.order(), 2)
    adds_up()
    account.fill(first.orders("open")[0], 3)
    adds_up()
    second.add_funds(2)
    adds_up()
    second.reduce_funds(1)
    adds_up()
    market.quote(97)
    adds_up()
    market.quote(90)  # the first one's stop: its own seven, nobody else's
    adds_up()
    first.expect(STOPPED | {"data.closed_amount": "10.0"})
    second.expect({"status.type": "waiting_targets", "data.closed_amount": "1.0"})
    second.cancel()  # its position stays, and belongs to nobody any more
    left = open_amount(second)
    trades.remove(second)
    third.close_by_market()
    third.expect({"status.type": "panic_sold", "data.closed_amount": "6.0"})
    assert net_position(account) == left == 5


def test_trades_that_share_the_coins_of_one_account_each_sell_their_own(server: Server) -> None:
    """Fault F52, EX-4: on spot the coins are shared like a position; nobody sells another one's, or the user's."""
    market, account = stage(server)
    account.set_balance(market.base, 3)  # the user's own
    trades = [long_of(account, market, units, level) for units, level in ((10, "90"), (4, "80"), (6, "90"))]

    market.quote(90)
    for trade, expected in zip(trades, ("10.0", "0.0", "6.0"), strict=True):
        trade.expect({"data.closed_amount": expected})
    market.quote(80)

    assert [trade.status for trade in trades] == ["stop_loss_finished"] * 3
    assert account.balances()[market.base] == ("3.0", "0.0")
