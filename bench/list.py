"""Pages of the list of trades (api.md A1) by the number of stored trades: no order and no filter may cost the whole.

Each figure is the slowest of the wishes named. What they find is frequent; one trade in ten thousand, or none; nothing,
though each of two filters fits thousands; or among the oldest alone, while the newest are wanted first.
"""

import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.population import KEY, OTHER_KEY, RARE_KEY, populate
from bench.table import Goal, Row
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.trade_store import SqlTradeStore
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import SECOND
from smarttrade.ports.storage import OrderBy, StatusFilter, TradeQuery

SIZES: Final = (20_000, 200_000, 1_000_000)
ROUNDS: Final = 15
MOST: Final = 2.0
"""Times slower that the largest directory may be than the smallest."""

FREQUENT: Final[Sequence[dict[str, Any]]] = (
    {},
    {"pair": KEY.pair},
    {"base": "BTC"},
    {"quote": "USDT"},
    {"kind": TradeKind.SMART_SELL},
    *({"status": status} for status in StatusFilter if status is not StatusFilter.CANCELLED),
)
RARE: Final[Sequence[dict[str, Any]]] = (
    {"pair": RARE_KEY.pair},
    {"base": "ETH"},
    {"quote": "BTC"},
    {"kind": TradeKind.SMART_BUY},
    {"status": StatusFilter.CANCELLED},  # there is none
    {"base": "XRP"},
)
NEVER_TOGETHER: Final[Sequence[dict[str, Any]]] = (
    {"pair": OTHER_KEY.pair, "status": StatusFilter.FAILED},
    {"base": "LTC", "status": StatusFilter.FAILED},
    {"kind": TradeKind.SMART_COVER, "status": StatusFilter.FAILED},
    {"pair": OTHER_KEY.pair, "kind": TradeKind.SMART_COVER},
    {"base": "LTC", "kind": TradeKind.SMART_COVER, "status": StatusFilter.FINISHED},
    {"quote": "USDT", "kind": TradeKind.SMART_COVER, "status": StatusFilter.ACTIVE},
)
LONG_AGO: Final[Sequence[dict[str, Any]]] = (
    {"kind": TradeKind.SMART_COVER},
    {"kind": TradeKind.SMART_COVER, "quote": "USDT", "status": StatusFilter.FINISHED},
    {"kind": TradeKind.SMART_COVER, "pair": KEY.pair},
)
CREATED_LONG_AGO: Final = 3_000  # trades: more than are sorted at once
LATER: Final = 1_000
MUCH_LATER: Final = 10_000
COUNTED: Final = f"{MUCH_LATER:,} trades further, by {OrderBy.UPDATED_AT.value}"
"""So many trades are counted in every run that has them: it grows as long as some runs have less."""
WALKED: Final = f"created long ago, by {OrderBy.UPDATED_AT.value}"
"""The one search that is known to grow with all trades: two ranges at once."""
UNBOUNDED: Final = (COUNTED, WALKED)


def run() -> list[Row]:
    """Milliseconds for a page of ten, per order."""
    figures: dict[str, list[float]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            populate(Path(name), open_trades=size // 10, closed_trades=size - size // 10)
            for wish, seconds in measure(Path(name)).items():
                figures.setdefault(wish, []).append(seconds)
    rows: list[Row] = []
    for name, times in figures.items():
        rows += [
            Row(f"{name}, {SIZES[0]:,} trades", times[0] * 1000, "ms"),
            *(
                Row(f"  {size:,} trades", seconds * 1000, "ms")
                for size, seconds in zip(SIZES[1:], times[1:], strict=True)
            ),
            Row(
                "  times slower",
                times[-1] / times[0],
                "times",
                None if name in UNBOUNDED else Goal("list", at_most=MOST),
            ),
        ]
    return rows


def measure(directory: Path) -> dict[str, float]:
    """Seconds of the slowest wish, by kind of wish and order."""
    database = open_database(directory)
    store = SqlTradeStore(database)
    newest = store.find_trades(TradeQuery(account_ids=(1,), limit=1))[0].created_at
    window = {"created_from": newest - 5 * SECOND, "created_to": newest - 2 * SECOND}
    kinds_of_wish: dict[str, Sequence[dict[str, Any]]] = {
        "frequent": FREQUENT,
        "rare": (*RARE, window),
        "two filters that fit nothing together": NEVER_TOGETHER,
        "a kind no longer used": LONG_AGO,
        f"{LATER:,} trades further": ({"offset": LATER},),
    }
    slowest: dict[str, float] = {}
    for (name, wishes), order_by in product(kinds_of_wish.items(), OrderBy):
        slowest[f"{name}, by {order_by.value}"] = max(
            _seconds(store, TradeQuery(account_ids=(1,), order_by=order_by, ascending=ascending, **wish))
            for wish in wishes
            for ascending in (False, True)
        )
    first = store.find_trades(TradeQuery(account_ids=(1,), order_by=OrderBy.CREATED_AT, ascending=True, limit=1))[0]
    until = first.created_at + CREATED_LONG_AGO * SECOND
    slowest[COUNTED] = _seconds(store, TradeQuery(account_ids=(1,), order_by=OrderBy.UPDATED_AT, offset=MUCH_LATER))
    slowest[WALKED] = _seconds(store, TradeQuery(account_ids=(1,), order_by=OrderBy.UPDATED_AT, created_to=until))
    database.close()
    return slowest


def _seconds(store: SqlTradeStore, query: TradeQuery) -> float:
    """Of this process: others on the machine count for nothing."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        store.find_trades(query)
        times.append(time.process_time() - started)
    return median(times)
