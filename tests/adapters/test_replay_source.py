"""A recording is checked before it is played, and played with its own time: every row, in order, timers in between."""

import asyncio
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.replay import ReplayMarket
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.ports.market_data import BadRecording, MarketUpdate

BTC = InstrumentKey("binance", "USDT_BTC")
HEADER = "time,market,pair,bid,ask,bid_size,ask_size,last,price,quantity,buyer_is_maker"
BEGIN_MS = 1_735_689_600_000
BEGIN: Instant = BEGIN_MS * 1000
ROWS = [
    f"{BEGIN_MS},binance,USDT_BTC,100.00,100.03,2,0.5,,,,",
    f"{BEGIN_MS + 1000},binance,USDT_BTC,,,,,,100.02,0.25,true",
    f"{BEGIN_MS + 1000},binance,USDT_BTC,100.01,100.02,1,,,,,",
    f"{BEGIN_MS + 9000},binance,USDT_BTC,101,102,,,101.5,,,",
]

CsvFile = Callable[..., Path]


@pytest.fixture
def csv_file(tmp_path: Path) -> CsvFile:
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "recording.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def played(market: ReplayMarket) -> list[MarketUpdate]:
    seen: list[MarketUpdate] = []

    async def see(update: MarketUpdate) -> None:
        assert market.clock.now() == update.quote.at
        seen.append(update)

    async def main() -> None:
        market.listen(see)
        await market.run()

    asyncio.run(main())
    return seen


def complaint(path: Path) -> str:
    with pytest.raises(BadRecording) as caught:
        ReplayMarket(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_quotes_and_trades_become_updates_in_the_order_of_the_file(csv_file: CsvFile) -> None:
    first, trade, second, third = played(ReplayMarket(csv_file(*ROWS), speed=0))
    assert (first.quote.bid, first.quote.ask) == (Decimal("100.00"), Decimal("100.03"))
    assert (first.quote.bid_size, first.quote.ask_size) == (Decimal(2), Decimal("0.5"))
    assert first.quote.last == Decimal("100.01"), "nobody has traded: the middle, rounded down to the tick"
    assert (trade.quote.bid, trade.quote.ask, trade.quote.last) == (Decimal(100), Decimal("100.03"), Decimal("100.02"))
    assert [(p.price, p.quantity, p.buyer_is_maker) for p in trade.prints] == [
        (Decimal("100.02"), Decimal("0.25"), True)
    ]
    assert (second.quote.last, second.quote.ask_size, second.prints) == (Decimal("100.02"), None, ())
    assert (third.quote.last, third.quote.at) == (Decimal("101.5"), BEGIN + 9 * SECOND)


def test_trades_alone_make_a_market_without_a_spread(csv_file: CsvFile) -> None:
    path = csv_file(f"{BEGIN_MS},binance,USDT_BTC,99.5,1", header="time,market,pair,price,quantity")
    (update,) = played(ReplayMarket(path, speed=0))
    assert update.quote.bid == update.quote.ask == update.quote.last == Decimal("99.5")
    assert update.prints[0].buyer_is_maker is None


def test_one_row_may_hold_a_quote_and_a_trade(csv_file: CsvFile) -> None:
    (update,) = played(ReplayMarket(csv_file(f"{BEGIN_MS},binance,USDT_BTC,9,11,,,,10,2,f"), speed=0))
    assert (update.quote.bid, update.quote.last, len(update.prints)) == (Decimal(9), Decimal(10), 1)


@pytest.mark.parametrize(
    "time",
    [
        "2025-01-01T00:00:00Z",
        "2025-01-01 00:00:00",
        "2025-01-01T02:00:00.000000+02:00",
        str(BEGIN_MS),
        str(BEGIN),
        str(BEGIN * 1000),
    ],
)
def test_a_time_may_be_written_in_every_documented_way(
    csv_file: CsvFile, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")  # a time without a zone is UTC on every machine
    market = ReplayMarket(csv_file(f"{time},binance,USDT_BTC,1,2,,,,,,"), speed=0)
    assert market.clock.now() == BEGIN
    assert [update.quote.at for update in played(market)] == [BEGIN]


def test_figures_keep_every_digit(csv_file: CsvFile) -> None:
    (update,) = played(
        ReplayMarket(csv_file(f"{BEGIN_MS},binance,USDT_BTC,,,,,,0.1,0.123456789012345678901,"), speed=0)
    )
    assert update.prints[0].quantity == Decimal("0.123456789012345678901")


@pytest.mark.parametrize("time_type", ["timestamp", "timestamptz", "timestamp_ns", "bigint"])
def test_parquet_plays_like_csv(csv_file: CsvFile, tmp_path: Path, time_type: str) -> None:
    expected = played(ReplayMarket(csv_file(*ROWS), speed=0))
    path = tmp_path / "it's.parquet"
    time = "time::bigint" if time_type == "bigint" else f"(to_timestamp(time::bigint / 1000)::{time_type})"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        table = connection.read_csv(str(tmp_path / "recording.csv"), all_varchar=True)
        columns = (
            "try_cast(bid as decimal(20, 4)) as bid, price::double as price, buyer_is_maker::boolean as buyer_is_maker"
        )
        table.project(f"* replace ({time} as time, {columns})").write_parquet(str(path))
    assert played(ReplayMarket(path, speed=0)) == expected


def test_gzipped_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recording.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEADER, *ROWS]).encode()))
    assert len(played(ReplayMarket(path, speed=0))) == len(ROWS)


def test_more_rows_than_are_fetched_at_once_all_arrive(csv_file: CsvFile) -> None:
    rows = [f"{BEGIN_MS + number},binance,USDT_BTC,,,,,,{number + 1},1," for number in range(4_100)]
    prices = [update.quote.last for update in played(ReplayMarket(csv_file(*rows), speed=0))]
    assert prices == [Decimal(number + 1) for number in range(4_100)]


def test_known_pairs_have_their_rules_and_unknown_ones_steps_as_fine_as_their_figures(csv_file: CsvFile) -> None:
    market = ReplayMarket(csv_file(ROWS[0], f"{BEGIN_MS + 1},lab,EUR_NEW,1.250,1.26,3.5,10.00,,,,"))
    new = market.instruments()[InstrumentKey("lab", "EUR_NEW")]
    assert market.instruments()[BTC] == load_rules()[BTC]
    assert (new.tick, new.lot, new.base, new.quote) == (Decimal("0.01"), Decimal("0.1"), "NEW", "EUR")
    assert len(market.instruments()) == 2


def test_timers_fire_at_their_own_instant_before_later_rows_and_after_rows_of_the_same_instant(
    csv_file: CsvFile,
) -> None:
    market = ReplayMarket(csv_file(*ROWS), speed=0)
    happened: list[tuple[str, Instant]] = []

    async def see(update: MarketUpdate) -> None:
        happened.append(("quote", update.quote.at - BEGIN))

    async def timer(seconds: int) -> None:
        await market.clock.sleep_until(BEGIN + seconds * SECOND)
        happened.append(("timer", market.clock.now() - BEGIN))

    async def main() -> None:
        market.listen(see)
        async with asyncio.TaskGroup() as tasks:
            for seconds in (5, 1, 3, 60):
                tasks.create_task(timer(seconds))
            await asyncio.sleep(0)
            await market.run()
            assert market.clock.now() == BEGIN + 9 * SECOND, "the clock stays at the end of the file"
            market.clock.advance_to(BEGIN + 60 * SECOND)

    asyncio.run(main())
    times = [(name, at // SECOND) for name, at in happened]
    assert times == [
        ("quote", 0),
        ("quote", 1),
        ("timer", 1),
        ("quote", 1),
        ("timer", 3),
        ("timer", 5),
        ("quote", 9),
        ("timer", 60),
    ]


def test_at_speed_two_a_second_of_the_file_takes_half_a_second_and_the_clock_goes_along(csv_file: CsvFile) -> None:
    pace = ManualClock(0)
    market = ReplayMarket(csv_file(*ROWS), speed=2, pace=pace)
    arrived: list[tuple[Instant, Instant]] = []

    async def see(update: MarketUpdate) -> None:
        arrived.append((pace.now(), update.quote.at - BEGIN))

    async def main() -> None:
        market.listen(see)
        running = asyncio.create_task(market.run())
        while not running.done():
            for _ in range(10):
                await asyncio.sleep(0)
            deadline = pace.next_deadline()
            if deadline is None:
                break
            if deadline == 3 * SECOND:
                pace.advance_to(deadline)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert market.clock.now() == BEGIN + 6 * SECOND
            else:
                pace.advance_to(deadline)
        await running

    asyncio.run(main())
    assert arrived == [(0, 0), (SECOND // 2, SECOND), (SECOND // 2, SECOND), (9 * SECOND // 2, 9 * SECOND)]


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(csv_file: CsvFile, speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        ReplayMarket(csv_file(*ROWS), speed=speed)


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "none.csv")
    text = tmp_path / "recording.txt"
    text.write_text("x")
    assert ".parquet, .csv or .csv.gz" in complaint(text)
    fake = tmp_path / "fake.parquet"
    fake.write_text("x")
    complaint(fake)


def test_a_file_without_rows_is_refused(csv_file: CsvFile) -> None:
    assert "no rows" in complaint(csv_file())


@pytest.mark.parametrize("column", ["time", "market", "pair"])
def test_a_missing_column_is_named(csv_file: CsvFile, column: str) -> None:
    assert f"the column {column} is missing" in complaint(csv_file(header=HEADER.replace(column, "other")))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("yesterday,binance,USDT_BTC,1,2,,,,,,", "neither ISO 8601"),
        ("1735689600,binance,USDT_BTC,1,2,,,,,,", "neither ISO 8601"),  # seconds
        (",binance,USDT_BTC,1,2,,,,,,", "neither ISO 8601"),
        (f"{BEGIN_MS - 1},binance,USDT_BTC,1,2,,,,,,", "lies before that of the row above"),
        (f"{BEGIN_MS},,USDT_BTC,1,2,,,,,,", "market and pair must be given"),
        (f"{BEGIN_MS},binance,BTCUSDT,1,2,,,,,,", "pair is not QUOTE_BASE"),
        (f"{BEGIN_MS},binance,USDT_BTC,1,,,,,,,", "bid and ask belong together"),
        (f"{BEGIN_MS},binance,USDT_BTC,,,,,,1,,", "price and quantity belong together"),
        (f"{BEGIN_MS},binance,USDT_BTC,,,,,5,,,", "neither bid and ask nor price and quantity"),
        (f"{BEGIN_MS},binance,USDT_BTC,0,2,,,,,,", "bid is not a number above zero"),
        (f"{BEGIN_MS},binance,USDT_BTC,1,two,,,,,,", "ask is not a number above zero"),
        (f"{BEGIN_MS},binance,USDT_BTC,nan,2,,,,,,", "bid is not a number above zero"),
        (f"{BEGIN_MS},binance,USDT_BTC,,,,,,1,-1,", "quantity is not a number above zero"),
        (f"{BEGIN_MS},binance,USDT_BTC,1,2,-1,,,,,", "bid_size is not a number"),
        (f"{BEGIN_MS},binance,USDT_BTC,3,2,,,,,,", "bid is above ask"),
        (f"{BEGIN_MS},binance,USDT_BTC,,,,,,1,1,perhaps", "buyer_is_maker is neither true nor false"),
    ],
)
def test_a_bad_row_is_found_before_anything_is_played(csv_file: CsvFile, row: str, reason: str) -> None:
    text = complaint(csv_file(ROWS[0], row, ROWS[3]))
    assert reason in text
    assert "row 2: " in text


def test_a_torn_line_is_one_line_of_complaint(csv_file: CsvFile) -> None:
    complaint(csv_file(ROWS[0], f"{BEGIN_MS},binance,USDT_BTC,1,2,,,,,,,,,,,,,,,"))
