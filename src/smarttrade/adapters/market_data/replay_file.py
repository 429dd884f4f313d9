"""A file of trades and quotes, checked and read with DuckDB. Its columns are documented in docs/market-data.md.

Figures are read as text and become decimals as they are written: no binary float comes near them.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.ports.market_data import BadRecording, Print

REQUIRED_COLUMNS: Final = ("time", "market", "pair")
POSITIVE_COLUMNS: Final = ("bid", "ask", "last", "price", "quantity")
SIZE_COLUMNS: Final = ("bid_size", "ask_size")
OPTIONAL_COLUMNS: Final = (*POSITIVE_COLUMNS, *SIZE_COLUMNS, "buyer_is_maker")

ROWS_AT_ONCE: Final = 2_000
"""Fetched in about 2 ms, during which nothing else runs."""

FINEST_PLACES: Final = 8
"""Decimals looked at to find the tick of a pair without rules: more are the noise of binary floats."""

DECIMAL_PATTERN: Final = r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"

# Whole numbers are milli-, micro- or nanoseconds since 1970, told apart by their size: 1e11 ms lie in 1973, and
# 1e14 ms in the year 5138.
TIME_FROM_TEXT: Final = """
    case when regexp_full_match(time, '[0-9]+') then
        case when length(time) > 19 or try_cast(time as bigint) < 100000000000 then null
             when try_cast(time as bigint) < 100000000000000 then try_cast(time as bigint) * 1000
             when try_cast(time as bigint) < 100000000000000000 then try_cast(time as bigint)
             else try_cast(time as bigint) // 1000 end
    else epoch_us(try_cast(time as timestamptz)) end"""


class Book(msgspec.Struct, frozen=True):
    """Best bid and ask of a row; quote asset per unit of base, sizes in base, None: unlimited."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal | None
    ask_size: Decimal | None


class RecordedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the file: a quote, a trade, or both."""

    at: Instant
    key: InstrumentKey
    book: Book | None
    last: Decimal | None
    trade: Print | None


class RecordedPair(msgspec.Struct, frozen=True):
    """A pair of the file, and the decimals that its prices and quantities have (at most FINEST_PLACES)."""

    key: InstrumentKey
    price_places: int
    quantity_places: int


class RecordingFile:
    """An open recording. Raises BadRecording when it cannot be used; the check reads all of it once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self._connection.execute("set TimeZone = 'UTC'")  # of times that name no zone
        try:
            self._create_view()
            self._check()
            self.pairs: Final = self._find_pairs()
            self.begin: Final[Instant] = self._first_instant()
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def rows(self) -> Iterator[RecordedRow]:
        """Every row in the order of the file. Raises BadRecording when it can't be read any more."""
        try:
            rows = self._connection.execute(
                "select instant, market, pair, bid, ask, bid_size, ask_size, last, price, quantity,"
                " try_cast(buyer_is_maker as boolean) from recorded"
            )
            while part := rows.fetchmany(ROWS_AT_ONCE):
                yield from map(_row, part)
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def _create_view(self) -> None:
        """Make `recorded`: numbered rows, the time in microseconds, everything else as text or NULL."""
        source = self._open()
        missing = [name for name in REQUIRED_COLUMNS if name not in source.columns]
        if missing:
            raise self._bad(f"the column {missing[0]} is missing")
        is_timestamp = str(source.types[source.columns.index("time")]).startswith("TIMESTAMP")
        source.create_view("source")
        texts = ", ".join(_text(name, name in source.columns) for name in OPTIONAL_COLUMNS)
        self._connection.execute(f"""
            create view texts as select row_number() over () as n,
                {"epoch_us(time::timestamptz)" if is_timestamp else "trim(time::varchar)"} as time,
                {_text("market", True)}, {_text("pair", True)}, {texts} from source""")  # noqa: S608 - built from the constants above
        instant = "time" if is_timestamp else TIME_FROM_TEXT
        self._connection.execute(f"create view recorded as select {instant} as instant, * exclude (time) from texts")  # noqa: S608

    def _open(self) -> duckdb.DuckDBPyRelation:
        if not self._path.is_file():
            raise self._bad("there is no such file")
        name = self._path.name.lower()
        if name.endswith(".parquet"):
            return self._connection.read_parquet(str(self._path))
        if name.endswith((".csv", ".csv.gz")):
            return self._connection.read_csv(str(self._path), header=True, sep=",", all_varchar=True)
        raise self._bad("a recording ends in .parquet, .csv or .csv.gz")

    def _check(self) -> None:
        problems = " ".join(f"when {condition} then '{text}'" for text, condition in _problems())
        found = self._connection.execute(f"""
            select n, problem from (
                select n, case {problems} end as problem
                from (select *, lag(instant) over () as instant_before from recorded)
            ) where problem is not null order by n limit 1""").fetchone()  # noqa: S608
        if found is not None:
            raise self._bad(f"row {found[0]}: {found[1]}")

    def _find_pairs(self) -> list[RecordedPair]:
        price_places = ", ".join(_places(name) for name in ("bid", "ask", "last", "price"))
        quantity_places = ", ".join(_places(name) for name in (*SIZE_COLUMNS, "quantity"))
        found = self._connection.execute(f"""
            select market, pair, max(greatest({price_places})), max(greatest({quantity_places}))
            from recorded group by market, pair order by market, pair""").fetchall()  # noqa: S608
        return [
            RecordedPair(InstrumentKey(market, pair), min(prices, FINEST_PLACES), min(quantities, FINEST_PLACES))
            for market, pair, prices, quantities in found
        ]

    def _first_instant(self) -> Instant:
        found = self._connection.execute("select min(instant) from recorded").fetchone()
        if found is None or found[0] is None:
            raise self._bad("it has no rows")
        begin: Instant = found[0]
        return begin

    def _bad(self, reason: str) -> BadRecording:
        return BadRecording(f"{self._path}: {reason}")

    def _unreadable(self, error: duckdb.Error) -> BadRecording:
        return self._bad(" ".join(str(error).split("\n\n")[0].split()))


def _text(name: str, present: bool) -> str:
    return f"nullif(trim({name}::varchar), '') as {name}" if present else f"null::varchar as {name}"


def _places(name: str) -> str:
    exact = f"try_cast({name} as decimal(38, 18))::varchar"
    return f"coalesce(length(rtrim(split_part({exact}, '.', 2), '0')), 0)"


def _problems() -> Iterator[tuple[str, str]]:
    """What may be wrong with a row: the text of the error, and SQL that is true then. The first that applies counts."""
    yield "the time is neither ISO 8601 nor whole milli-, micro- or nanoseconds since 1970", "instant is null"
    yield "the time lies before that of the row above", "instant < instant_before"
    yield "market and pair must be given", "market is null or pair is null"
    yield "pair is not QUOTE_BASE", "not regexp_full_match(pair, '[^_]+_.+')"
    yield "bid and ask belong together", "(bid is null) <> (ask is null)"
    yield "price and quantity belong together", "(price is null) <> (quantity is null)"
    yield "neither bid and ask nor price and quantity", "bid is null and price is null"
    for name in POSITIVE_COLUMNS:
        yield f"{name} is not a number above zero", f"{name} is not null and not ({_number(name)} > 0)"
    for name in SIZE_COLUMNS:
        yield f"{name} is not a number", f"{name} is not null and not ({_number(name)} >= 0)"
    yield "bid is above ask", f"{_number('bid')} > {_number('ask')}"
    yield (
        "buyer_is_maker is neither true nor false",
        "buyer_is_maker is not null and try_cast(buyer_is_maker as boolean) is null",
    )


def _number(name: str) -> str:
    """SQL for a figure to compare with; -1 where the text is none."""
    is_figure = f"regexp_full_match({name}, '{DECIMAL_PATTERN}')"
    return f"(case when {is_figure} then coalesce(try_cast({name} as decimal(38, 18)), -1) else -1 end)"


def _row(row: tuple[Any, ...]) -> RecordedRow:
    at, market, pair, bid, ask, bid_size, ask_size, last, price, quantity, buyer_is_maker = row
    key = InstrumentKey(market, pair)
    book, trade = None, None
    if bid is not None:
        book = Book(Decimal(bid), Decimal(ask), _decimal(bid_size), _decimal(ask_size))
    if price is not None:
        trade = Print(key=key, price=Decimal(price), quantity=Decimal(quantity), buyer_is_maker=buyer_is_maker)
    return RecordedRow(at=at, key=key, book=book, last=_decimal(last), trade=trade)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
