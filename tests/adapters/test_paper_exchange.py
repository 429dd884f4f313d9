"""The paper exchange on spot: fill rules (sandbox.md, EX-5), filters (EX-16), balances, and that it survives a kill."""

import asyncio
import importlib.util
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from exchange_contract import ExchangeContract, Venue
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from paper_world import SPOT, D, PaperWorld

import smarttrade.adapters.storage.migrations.versions as versions
from smarttrade.adapters.exchanges.paper import store, tables
from smarttrade.adapters.exchanges.paper.exchange import PaperMarket, ScriptError, UnknownOrder
from smarttrade.adapters.exchanges.paper.state import KEPT_ORDERS
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.instrument import FeeAsset, Side
from smarttrade.domain.money import ZERO, Money
from smarttrade.domain.order import OrderRefused, OrderReport, RefusalKind, ReportedState
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.exchange import Balance, ExchangeUnavailable
from smarttrade.ports.market_data import MarketUpdate, Print

OPEN, FILLED, CANCELED = ReportedState.OPEN, ReportedState.FILLED, ReportedState.CANCELED


class PaperVenue:
    account_id = 1

    def __init__(self) -> None:
        self.world = PaperWorld()
        self.exchange = self.world.market.exchange(1)
        self.key = self.world.key

    async def move_market(self, bid: Decimal, ask: Decimal) -> None:
        quote = Quote(key=self.key, bid=min(bid, ask), ask=ask, last=bid, at=0)
        await self.world.market.apply(MarketUpdate(quote=quote))


class TestPaperExchangeKeepsTheContract(ExchangeContract):
    @pytest.fixture
    def venue(self) -> Venue:
        return PaperVenue()


@pytest.fixture(params=[0, KEPT_ORDERS], ids=["nothing kept", "all kept"])
def world(request) -> PaperWorld:
    """A world whose orders leave the memory as soon as they are over, or stay there."""
    return PaperWorld(keep=request.param)


def seen(reports: list) -> list[tuple]:
    """What of reports most tests care for: who, state, cumulative quantity, and the new fills."""
    return [
        (each.client_order_id, each.state, each.filled_quantity, [(fill.price, fill.quantity) for fill in each.fills])
        for each in reports
    ]


def accepted(answer: object) -> bool:
    return isinstance(answer, OrderReport)


# market and marketable orders


def test_a_market_buy_fills_at_the_ask_and_a_sell_at_the_bid_as_taker(world):
    world.quote("99", "101")
    world.buy("b", "1")
    world.sell("s", "1")
    assert seen(world.news()) == [("b", FILLED, 1, [(D(101), D(1))]), ("s", FILLED, 1, [(D(99), D(1))])]
    assert world.find("b").fills[0].fee == Money("USDT", D("0.202"))


def test_a_limit_order_that_is_marketable_on_arrival_fills_at_the_better_market_price_as_taker(world):
    """TR-40."""
    world.quote("99", "101")
    world.buy("b", "1", "105")
    world.sell("s", "1", "90")
    assert seen(world.news()) == [("b", FILLED, 1, [(D(101), D(1))]), ("s", FILLED, 1, [(D(99), D(1))])]
    assert world.find("s").fills[0].fee == Money("USDT", D("0.198"))


def test_a_resting_limit_fills_at_its_own_price_as_maker_when_the_opposite_quote_reaches_it(world):
    world.quote("99", "101")
    world.buy("b", "1", "100")
    world.sell("s", "1", "102")
    world.quote("100.01", "100.01")
    assert world.news() == []
    assert seen(world.quote("99", "100")) == [("b", FILLED, 1, [(D(100), D(1))])]
    assert seen(world.quote("103", "104")) == [("s", FILLED, 1, [(D(102), D(1))])]
    assert world.find("b").fills[0].fee == Money("USDT", D("0.1"))


def test_a_market_order_without_any_quote_is_refused_while_a_limit_order_rests(world):
    answer = world.buy("m", "1")
    assert (answer.kind, answer.text) == (RefusalKind.RECOVERABLE, "No market price")
    assert accepted(world.buy("l", "1", "100"))
    assert [order.client_order_id for order in world.market.orders(open_only=True)] == ["l"]


def test_a_quote_without_a_usable_price_moves_nothing_tr_6(world):
    world.buy("b", "1", "100")
    world.quote("101", "99")
    assert not accepted(world.buy("m", "1"))
    assert world.news() == []


# sizes and trades


def test_a_market_order_that_finds_less_is_filled_partly_and_ends_cancelled_ex_5(world):
    world.quote("99", "101", sizes=("2", "0.4"))
    world.buy("b", "1")
    assert seen(world.news()) == [("b", CANCELED, D("0.4"), [(D(101), D("0.4"))])]


def test_a_size_is_used_up_by_all_who_take_it_until_the_next_quote_ex_5(world):
    world.add_account(2, {"BTC": "10"})
    world.quote("99", "101", sizes=("1", None))
    world.sell("s1", "0.7")
    world.sell("s2", "0.7", account_id=2)
    world.sell("s3", "0.7")
    assert seen(world.news(2)) == [("s2", CANCELED, D("0.3"), [(D(99), D("0.3"))])]
    assert seen(world.news()) == [
        ("s1", FILLED, D("0.7"), [(D(99), D("0.7"))]),
        ("s3", CANCELED, ZERO, []),
    ]
    world.quote("99", "101", sizes=("1", None))
    world.sell("s4", "0.7")
    assert seen(world.news()) == [("s4", FILLED, D("0.7"), [(D(99), D("0.7"))])]


def test_a_marketable_limit_takes_what_there_is_and_rests_with_the_remainder(world):
    world.quote("99", "101", sizes=(None, "0.4"))
    world.buy("b", "1", "102")
    assert seen(world.news()) == [("b", OPEN, D("0.4"), [(D(101), D("0.4"))])]
    assert world.balance("USDT").locked == D("0.6") * 102 * D("1.001")
    assert seen(world.quote("100", "102")) == [("b", FILLED, 1, [(D(102), D("0.6"))])]


def test_the_size_of_the_opposite_quote_bounds_resting_orders_better_price_then_older_first(world):
    world.quote("99", "101")
    for name, price in (("old", "100"), ("better", "100.5"), ("young", "100")):
        world.buy(name, "1", price)
    assert seen(world.quote("99", "100", sizes=(None, "1.5"))) == [
        ("better", FILLED, 1, [(D("100.5"), D(1))]),
        ("old", OPEN, D("0.5"), [(D(100), D("0.5"))]),
    ]
    world.buy("late", "1", "100")
    world.quote("99", "100", sizes=(None, "1"))
    assert [report.client_order_id for report in world.news()] == ["better", "old", "old", "young"]


def test_trades_that_print_through_a_resting_order_fill_it_up_to_their_size(world):
    world.quote("99", "101")
    world.buy("a", "1", "98")
    world.buy("b", "1", "98.5")
    world.sell("c", "1", "103")
    told = world.quote("99", "101", prints=(("98", "1.2"), ("97.99", "0.3"), ("103.5", "5")))
    assert seen(told) == [
        ("b", FILLED, 1, [(D("98.5"), D(1))]),  # 98 is through 98.5, but not through 98
        ("a", OPEN, D("0.3"), [(D(98), D("0.3"))]),
        ("c", FILLED, 1, [(D(103), D(1))]),
    ]


def test_prints_come_before_the_quote_and_the_quote_takes_the_rest(world):
    world.quote("99", "101")
    world.buy("b", "1", "98")
    told = world.quote("96", "97", prints=(("97", "0.4"),))
    assert seen(told) == [("b", OPEN, D("0.4"), [(D(98), D("0.4"))]), ("b", FILLED, 1, [(D(98), D("0.6"))])]


def test_a_step_passes_by_unless_its_quote_or_a_print_reaches_an_order(world):
    """Performance: of prices and prints at which nothing happens nothing is done."""
    world.quote("99", "101")
    world.buy("b", "1", "98")
    world.sell("s", "1", "103")

    def passes(bid: str, ask: str, *prints: str) -> bool:
        quote = Quote(key=world.key, bid=D(bid), ask=D(ask), last=D(bid), at=0)
        printed = tuple(Print(key=world.key, price=D(price), quantity=D(1)) for price in prints)
        return world.market.passes_by(MarketUpdate(quote=quote, prints=printed))

    assert passes("99", "101")
    assert passes("98", "99", "98", "103", "100")
    assert not passes("99", "101", "97.99")
    assert not passes("99", "101", "100", "103.01")
    assert not passes("97", "98")
    assert not passes("103", "104")


# refusals


@pytest.mark.parametrize(
    ("quantity", "price", "text"),
    [
        ("0.15", "100", "Filter failure: LOT_SIZE"),
        ("0", "100", "Filter failure: LOT_SIZE"),
        ("50.1", "100", "Filter failure: LOT_SIZE"),
        ("9", None, "Filter failure: MARKET_LOT_SIZE"),
        ("1", "100.005", "Filter failure: PRICE_FILTER"),
        ("1", "0", "Filter failure: PRICE_FILTER"),
        ("1", "9", "Filter failure: PRICE_FILTER"),
        ("1", "501", "Filter failure: PRICE_FILTER"),
        ("0.1", "49", "Filter failure: NOTIONAL"),
        ("0.1", None, "Filter failure: NOTIONAL"),
        ("20", "400", "Filter failure: NOTIONAL"),
    ],
)
def test_an_order_that_breaks_a_filter_is_refused_with_the_exchanges_kind_of_text(world, quantity, price, text):
    world.rules[world.key] = replace(
        SPOT, max_lot=D(50), max_market_lot=D(8), min_price=D(10), max_price=D(500), max_total=D(7000),
        min_market_total=D(20),
    )  # fmt: skip
    world.quote("99", "101")
    answer = world.buy("b", quantity, price)
    assert isinstance(answer, OrderRefused)
    assert (answer.kind, answer.text) == (RefusalKind.RECOVERABLE, text)


def test_a_pair_of_another_market_is_refused_for_good(world):
    foreign = InstrumentKey("kraken", "USDT_BTC")
    world.rules[foreign] = replace(SPOT, key=foreign)
    answer = world.buy("b", "1", "100", key=foreign)
    assert answer.kind is RefusalKind.PERMANENT


def test_not_enough_balance_is_refused_to_the_last_digit(world):
    world.quote("99", "100")
    asyncio.run(world.market.set_balance(1, "USDT", D("200.399999")))
    answer = world.buy("b", "2")
    assert (answer.kind, answer.text) == (
        RefusalKind.INSUFFICIENT_FUNDS,
        "Account has insufficient balance for requested action.",
    )
    asyncio.run(world.market.set_balance(1, "USDT", D("200.4")))
    assert accepted(world.buy("b", "2"))
    assert world.balance("USDT") == Balance(D(0), D(0))


def test_a_refused_order_is_listed_but_its_id_may_be_sent_again_ex_7(world):
    world.quote("99", "100")
    assert not accepted(world.sell("s", "101"))
    assert accepted(world.sell("s", "1"))
    listed = [(order.sequence, order.client_order_id, order.status) for order in world.market.orders()]
    assert listed == [(1, "s", ReportedState.REJECTED), (2, "s", FILLED)]


def test_another_account_neither_sees_nor_cancels_an_order(world):
    world.add_account(2, {})
    world.buy("b", "1", "90")
    assert world.find("b", account_id=2) is None
    assert isinstance(world.cancel("b", account_id=2), CancelRefused)
    assert world.find("b").state is OPEN


# balances


def test_a_buy_pays_its_commission_in_base_where_the_pair_says_so_m_2(world):
    world.rules[world.key] = replace(SPOT, fee_in=FeeAsset.BASE)
    world.quote("99", "100")
    world.buy("b", "10")
    assert world.balance("BTC") == Balance(D("109.98"), ZERO)
    assert world.balance("USDT") == Balance(D(9000), ZERO)


def test_a_resting_buy_locks_price_and_commission_and_gives_back_what_a_better_price_saves(world):
    world.quote("99", "101")
    world.buy("b", "2", "100")
    assert world.balance("USDT") == Balance(D(10000) - D("200.2"), D("200.2"))
    asyncio.run(world.market.fill_order("b", D(1), D(90)))
    assert world.balance("USDT") == Balance(D(10000) - D("100.1") - D("90.09"), D("100.1"))
    world.cancel("b")
    assert world.balance("USDT") == Balance(D(10000) - D("90.09"), ZERO)


ACTIONS = st.one_of(
    st.tuples(st.just("quote"), st.integers(90, 110), st.integers(0, 3), st.sampled_from([None, "0.5", "2"])),
    st.tuples(
        st.just("order"),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 30),
        st.one_of(st.none(), st.integers(88, 112)),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("fill"), st.integers(0, 20), st.integers(1, 5)),
    st.tuples(st.just("print"), st.integers(88, 112), st.integers(1, 20)),
)


def act(world: PaperWorld, number: int, action: tuple) -> None:
    orders = world.market.orders(open_only=True)
    match action:
        case ("quote", bid, spread, size):
            world.quote(str(bid), str(bid + spread), sizes=(size, size))
        case ("order", side, tenths, price):
            world.submit(f"o{number}", side, str(D(tenths) / 10), None if price is None else str(price))
        case ("cancel", index) if orders:
            world.cancel(orders[index % len(orders)].client_order_id)
        case ("fill", index, tenths) if orders:
            order = orders[index % len(orders)]
            quantity = min(D(tenths) / 10, order.leaves_quantity)
            asyncio.run(world.market.fill_order(order.client_order_id, quantity))
        case ("print", price, tenths):
            world.quote("99", "101", prints=((str(price), str(D(tenths) / 10)),))


@settings(max_examples=120, deadline=None)
@given(
    actions=st.lists(ACTIONS, max_size=30),
    fee_in=st.sampled_from(FeeAsset),
    kills=st.sets(st.integers(0, 30), max_size=3),
    keep=st.sampled_from([0, 1, KEPT_ORDERS]),
)
def test_no_history_makes_or_loses_money_and_every_kill_goes_unnoticed(actions, fee_in, kills, keep):
    """However few orders that are over are kept in memory."""
    world = PaperWorld(replace(SPOT, fee_in=fee_in), {"USDT": "1000", "BTC": "5"}, keep)
    for number, action in enumerate(actions):
        act(world, number, action)
        before = world.everything()
        if number in kills:
            world.kill_and_restart()
            assert world.everything() == before
    usdt, btc = D(1000), D(5)
    for order in world.market.orders():
        for fill in world.find(order.client_order_id).fills if order.filled_quantity else ():
            sign = 1 if order.side is Side.BUY else -1
            btc += sign * fill.quantity - (fill.fee.amount if fill.fee.asset == "BTC" else 0)
            usdt -= sign * fill.quantity * fill.price + (fill.fee.amount if fill.fee.asset == "USDT" else 0)
            assert order.price is None or (order.price - fill.price) * sign >= 0
    waiting = world.market.orders(open_only=True)
    for currency, total in (("USDT", usdt), ("BTC", btc)):
        balance = world.balance(currency)
        assert balance.total == total
        assert min(balance.free, balance.locked) >= 0
        assert balance.locked == sum(order.locked for order in waiting if order.lock_asset == currency)


# durability


def test_what_was_answered_and_what_sizes_were_taken_survives_a_kill(world):
    world.quote("99", "101", sizes=("1", "1"))
    world.buy("a", "0.4")
    world.buy("b", "1", "90")
    before = world.everything()
    world.kill_and_restart()
    assert world.everything() == before
    world.buy("c", "1")
    assert seen(world.news())[-1] == ("c", CANCELED, D("0.6"), [(D(101), D("0.6"))])
    assert world.buy("a", "1").kind is RefusalKind.DUPLICATE_ID
    assert seen(world.quote("89", "90")) == [("b", FILLED, 1, [(D(90), D(1))])]
    assert [order.exchange_order_id for order in world.market.orders()] == ["P1", "P2", "P3"]


def test_a_commit_that_fails_leaves_nothing_behind_and_tells_nobody(world):
    world.quote("99", "101")
    world.buy("resting", "1", "98")
    before = world.everything()
    world.broken = True
    for call in (
        lambda: world.buy("lost", "1"),
        lambda: world.buy("lost", "1", "95"),
        lambda: world.cancel("resting"),
        lambda: world.quote("97", "98"),
    ):
        with pytest.raises(ExchangeUnavailable):
            call()
        assert (world.everything(), world.news()) == (before, [])
    world.broken = False
    assert seen(world.quote("97", "98")) == [("resting", FILLED, 1, [(D(98), D(1))])]
    assert accepted(world.buy("lost", "1"))


def test_calls_that_come_while_a_commit_fails_fail_with_it_because_they_were_built_on_it(world):
    world.quote("99", "101")
    before = world.everything()
    exchange = world.market.exchange(1)

    async def story() -> list:
        calls = [exchange.submit_order(world.intent(f"o{number}", Side.BUY, "1")) for number in range(3)]
        world.broken = True
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(exchange.balances()))
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(answer, ExchangeUnavailable) for answer in asyncio.run(story()))
    assert world.everything() == before


def test_calls_that_come_together_share_a_commit_and_are_told_in_order(world):
    world.quote("99", "101")
    commits = world.commits
    exchange = world.market.exchange(1)

    async def story() -> None:
        await asyncio.gather(*(exchange.submit_order(world.intent(f"o{n}", Side.BUY, "1")) for n in range(20)))

    asyncio.run(story())
    assert [report.client_order_id for report in world.news()] == [f"o{n}" for n in range(20)]
    assert world.commits - commits <= 2


def test_a_quote_that_touches_no_order_costs_no_commit(world):
    world.quote("99", "101")
    world.buy("b", "1", "90")
    commits = world.commits
    world.quote("98", "100")
    assert world.commits == commits


def test_the_report_is_heard_before_the_answer_returns(world):
    world.quote("99", "101")
    order_of_events: list[str] = []
    world.market.exchange(1).listen(lambda report: order_of_events.append("report"))

    async def story() -> None:
        await world.market.exchange(1).submit_order(world.intent("b", Side.BUY, "1"))
        order_of_events.append("answer")

    asyncio.run(story())
    assert order_of_events == ["report", "answer"]


def test_books_on_the_projects_own_database_are_there_after_a_restart(tmp_path: Path):
    order = PaperWorld().intent("s", Side.SELL, "1.5", "100")

    async def first(market: PaperMarket) -> None:
        await market.add_account(1, "binance", {"USDT": D("0.100000000000000000000000001"), "BTC": D(7)})
        await market.exchange(1).submit_order(order)

    def start(database) -> PaperMarket:
        market = PaperMarket(write=database.write, instrument={SPOT.key: SPOT}.get, instruments=dict, now=lambda: 0)
        with database.read() as connection:
            market.load(connection)
        return market

    with closing(open_database(tmp_path)) as database:
        asyncio.run(first(start(database)))
    with closing(open_database(tmp_path)) as database:
        market = start(database)
        assert market.balances(1) == {
            "BTC": Balance(D("5.5"), D("1.5")),
            "USDT": Balance(D("0.100000000000000000000000001"), ZERO),
        }
        assert [order.client_order_id for order in market.orders(open_only=True)] == ["s"]


def test_the_migration_builds_the_tables_that_the_code_uses():
    path = Path(versions.__file__).with_name("0002_paper_exchange.py")
    spec = importlib.util.spec_from_file_location("migration", path)
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        migration.upgrade()

    def shape(table: sa.Table) -> list[tuple]:
        return [(column.name, str(column.type), column.nullable, column.primary_key) for column in table.columns]

    built = sa.MetaData()
    built.reflect(engine)
    assert {name: shape(table) for name, table in built.tables.items()} == {
        name: shape(table) for name, table in tables.metadata.tables.items()
    }


# accounts and scripts


def test_opening_an_account_again_changes_nothing(world):
    world.add_account(1, {"USDT": "5"})
    assert world.balance("USDT").free == 10000


def test_a_removed_account_is_gone_with_all_that_was_its_own(world):
    world.add_account(2, {"BTC": "1"})
    world.quote("99", "101")
    world.buy("one", "1", "98")
    world.sell("two", "1", account_id=2)
    asyncio.run(world.market.remove_account(2))
    assert (world.market.balances(2), world.market.orders(account_id=2)) == ({}, [])
    assert len(world.everything()["fills"]) == 0
    assert world.sell("again", "1", account_id=2).kind is RefusalKind.PERMANENT
    assert world.find("one").state is OPEN


def test_orders_that_are_over_leave_the_memory_and_are_found_all_the_same():
    """Memory stays flat, and a client id is taken for good (EX-4)."""
    world = PaperWorld(keep=3)
    world.quote("99", "101")
    world.buy("waits", "1", "50")
    for number in range(20):
        world.buy(f"o{number}", "0.1")
        world.buy(f"refused{number}", "1000000")
    state = world.market._state
    assert (len(list(state.orders)), len(list(state.fills))) == (4, 1)  # those kept, and the one that waits
    assert len(world.market.orders()) == 41
    assert world.buy("o0", "0.1").kind is RefusalKind.DUPLICATE_ID
    assert isinstance(world.buy("refused0", "0.1"), OrderReport)  # a refused order has taken no id
    assert seen([world.find("o1")]) == [("o1", FILLED, D("0.1"), [(D(101), D("0.1"))])]
    world.news()
    asyncio.run(world.market.fill_order("o2", D("0.05"), D(98), late=True))
    assert seen(world.news()) == [("o2", FILLED, D("0.15"), [(D(98), D("0.05"))])]
    world.kill_and_restart()
    assert [order.client_order_id for order in world.market._state.orders] == ["waits"]
    assert [fill.price for fill in world.find("o2").fills] == [D(101), D(98)]


def test_what_a_failed_commit_takes_back_is_as_before_even_if_it_had_left_the_memory():
    world = PaperWorld(keep=0)
    world.quote("99", "101")
    world.buy("a", "1")
    before = world.everything()
    world.broken = True
    with pytest.raises(ExchangeUnavailable):
        asyncio.run(world.market.fill_order("a", D("0.5"), D(98), late=True))
    world.broken = False
    assert world.everything() == before
    asyncio.run(world.market.fill_order("a", D("0.5"), D(98), late=True))
    assert [fill.quantity for fill in world.find("a").fills] == [1, D("0.5")]


@pytest.mark.parametrize(
    ("statement", "index"),
    [(store.ORDER_BY_CLIENT_ID, "ix_paper_orders_client"), (store.FILLS_OF_ORDER, "ix_paper_fills_order")],
)
def test_no_question_about_one_order_reads_them_all(world, statement, index):
    with world.engine.connect() as connection:
        text = str(statement.compile(dialect=world.engine.dialect))
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("x",) * text.count("?"))]
    assert len(plan) == 1
    assert f"USING INDEX {index}" in plan[0]


def test_a_start_reads_open_orders_alone(world):
    with world.engine.connect() as connection:
        for table in (tables.orders, tables.fills):
            text = str(store.what_lives(table).compile(dialect=world.engine.dialect))
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
            assert any("ix_paper_orders_open" in step for step in plan), plan
            assert not any(step.startswith("SCAN paper_fills") for step in plan), plan


def test_the_listing_tells_what_became_of_each_order_oldest_first(world):
    world.quote("99", "101", sizes=(None, "0.4"))
    world.now = 5
    world.buy("a", "1", "102")
    world.now = 9
    world.quote("99", "100", sizes=(None, "0.2"))
    world.sell("b", "1000")
    (a, b) = world.market.orders(account_id=1, pair="USDT_BTC")
    assert (a.exchange_order_id, a.filled_quantity, a.created_at, a.updated_at) == ("P1", D("0.6"), 5, 9)
    assert a.average_price == D("101.333333333333333333")  # (0.4 x 101 + 0.2 x 102) / 0.6
    assert (b.status, b.price, b.average_price) == (ReportedState.REJECTED, None, None)
    assert [order.client_order_id for order in world.market.orders(open_only=True)] == ["a"]


def test_a_scripted_fill_trades_part_of_a_resting_order_at_its_own_price(world):
    world.buy("b", "1", "100")
    asyncio.run(world.market.fill_order("b", D("0.4")))
    asyncio.run(world.market.fill_order("b"))
    assert seen(world.news()) == [
        ("b", OPEN, D("0.4"), [(D(100), D("0.4"))]),
        ("b", FILLED, 1, [(D(100), D("0.6"))]),
    ]
    assert len(world.find("b").fills) == 2


@pytest.mark.parametrize("quantity", ["1.1", "0"])
def test_a_scripted_fill_that_cannot_be_is_refused(world, quantity):
    world.buy("b", "1", "100")
    with pytest.raises(ScriptError):
        asyncio.run(world.market.fill_order("b", D(quantity)))
    assert world.news() == []


def test_a_late_fill_of_a_cancelled_order_still_counts_ex_33(world):
    world.buy("b", "1", "100")
    world.cancel("b")
    with pytest.raises(ScriptError):
        asyncio.run(world.market.fill_order("b", D("0.4")))
    asyncio.run(world.market.fill_order("b", D("0.4"), late=True))
    asyncio.run(world.market.fill_order("b", late=True))
    assert seen(world.news()) == [
        ("b", CANCELED, D("0.4"), [(D(100), D("0.4"))]),
        ("b", FILLED, 1, [(D(100), D("0.6"))]),
    ]
    assert world.balance("USDT") == Balance(D(10000) - D("100.1"), ZERO)


def test_a_late_fill_of_a_filled_order_needs_a_quantity_and_never_makes_a_balance_negative(world):
    world.quote("99", "101")
    world.sell("s", "100")
    with pytest.raises(ScriptError):
        asyncio.run(world.market.fill_order("s", late=True))
    asyncio.run(world.market.fill_order("s", D(2), D(99), late=True))
    assert world.find("s").filled_quantity == 102
    assert world.balance("BTC") == Balance(ZERO, ZERO)


def test_an_order_cancelled_by_somebody_else_is_told_by_the_stream_ex_30(world):
    world.buy("b", "1", "100")
    asyncio.run(world.market.cancel_outside("b"))
    assert seen(world.news()) == [("b", CANCELED, ZERO, [])]
    with pytest.raises(ScriptError):
        asyncio.run(world.market.cancel_outside("b"))
    with pytest.raises(UnknownOrder):
        asyncio.run(world.market.cancel_outside("never sent"))


def test_setting_a_balance_keeps_what_is_locked(world):
    world.sell("s", "3", "120")
    asyncio.run(world.market.set_balance(1, "BTC", D("0.5")))
    assert world.balance("BTC") == Balance(D("0.5"), D(3))
    with pytest.raises(ScriptError):
        asyncio.run(world.market.set_balance(1, "BTC", D(-1)))
