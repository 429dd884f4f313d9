"""Pages of the list of trades (api.md A1) by the number of stored trades: no order and no filter may cost the whole.

Each figure is the slowest of the wishes named; what they find is frequent, or one trade in ten thousand.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.population import KEY, RARE_KEY, populate
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
    {"status": StatusFilter.FAILED},
    {"status": StatusFilter.CANCELLED},  # there is none
    {"pair": KEY.pair, "status": StatusFilter.FAILED},  # nor here
    {"base": "XRP"},
)


def run() -> list[Row]:
    """Milliseconds for a page of ten, per order."""
    figures: dict[tuple[str, OrderBy], list[float]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            populate(Path(name), open_trades=size // 10, closed_trades=size - size // 10)
            for wish, seconds in measure(Path(name)).items():
                figures.setdefault(wish, []).append(seconds)
    rows: list[Row] = []
    for (name, order_by), times in figures.items():
        rows += [
            Row(f"{name}, by {order_by.value}, {SIZES[0]:,} trades", times[0] * 1000, "ms"),
            *(
                Row(f"  {size:,} trades", seconds * 1000, "ms")
                for size, seconds in zip(SIZES[1:], times[1:], strict=True)
            ),
            Row("  times slower", times[-1] / times[0], "times", Goal("list", at_most=MOST)),
        ]
    return rows


def measure(directory: Path) -> dict[tuple[str, OrderBy], float]:
    """Seconds of the slowest wish, by kind of wish and order."""
    database = open_database(directory)
    store = SqlTradeStore(database)
    newest = store.find_trades(TradeQuery(account_ids=(1,), limit=1))[0].created_at
    window = {"created_from": newest - 5 * SECOND, "created_to": newest - 2 * SECOND}
    slowest: dict[tuple[str, OrderBy], float] = {}
    for order_by in OrderBy:
        for name, wishes in (("frequent", FREQUENT), ("rare", (*RARE, window))):
            slowest[name, order_by] = max(
                _seconds(store, TradeQuery(account_ids=(1,), order_by=order_by, ascending=ascending, **wish))
                for wish in wishes
                for ascending in (False, True)
            )
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
