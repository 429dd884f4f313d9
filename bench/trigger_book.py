"""What a price update costs in the trigger book, next to a plain scan over the same trades in the same run.

Every trade has one fixed and one trailing trigger. Half of them are long and follow the bid, half are short and follow
the ask. Each was armed at another point of one random walk, under a group id of its own, so that the book holds as many
group ids as trades and over a hundred groups. Step and group ids are the trades' own and not counted as memory of the
book. Prices are counted on the engine's grid, which is finer than the market's steps of 0.01.
"""

import random
import statistics
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import accumulate
from typing import Final

from bench.table import Goal, Row, held_bytes, median_seconds, timed
from smarttrade.domain.events import WatchRole
from smarttrade.domain.quote import PriceType
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.trigger_book import Crossing, TriggerBook

SIZES: Final = (100, 10_000, 1_000_000)
CRASHED: Final = 100_000  # exits that one crash update fires in the largest book
CRASHES: Final = 3  # one after the other
START: Final = 6_000_000  # price, in steps of 0.01
SCALE: Final = 10 ** (PRICE_DECIMALS - 2)  # grid steps of the book per step of the market
SWING: Final = 2_000  # quiet updates stay within this of the walk's end; the extremes have been there

Quotes = list[tuple[int, int, int]]


class Trades:
    """What the trades know of themselves; all prices in steps of the market."""

    def __init__(self, count: int) -> None:
        self.count = count
        chance = random.Random(count)
        moves = (chance.randint(-20, 20) for _ in range(count))
        # pulled back to the start, so that no trigger is reached while the trades are armed
        self.starts = list(accumulate(moves, lambda price, move: price + move + (START - price) // 500, initial=START))
        del self.starts[0]
        self.step_ids = list(range(1, 2 * count + 1))
        self.group_ids = list(range(1, count + 1))
        away = [chance.randint(500, 4500) for _ in range(count)]  # of 10,000
        near = [chance.randint(500, 4500) for _ in range(count)]
        self.targets = [p + self.side(i) * p * away[i] // 10_000 for i, p in enumerate(self.starts)]
        self.stops = [p - self.side(i) * p * near[i] // 10_000 for i, p in enumerate(self.starts)]
        self.highest = max(self.starts) + SWING
        self.lowest = min(self.starts) - SWING

    @staticmethod
    def side(index: int) -> int:
        """+1: long, -1: short."""
        return 1 - 2 * (index & 1)

    def armed_book(self) -> TriggerBook:
        book = TriggerBook(PRICE_DECIMALS)
        for index, price in enumerate(self.starts):
            long = self.side(index) > 0
            price_type = PriceType.BID if long else PriceType.ASK
            start = Decimal(price).scaleb(-2)
            _show(book, price)
            group = book.open_group(self.group_ids[index], price_type, long, start)
            target, stop = Decimal(self.targets[index]).scaleb(-2), Decimal(self.stops[index]).scaleb(-2)
            book.watch_level(self.step_ids[2 * index], WatchRole.LEVEL, price_type, target, rises=long)
            book.watch_trail(self.step_ids[2 * index + 1], group, stop, start)
            if index % 1000 == 0:
                book.take_changed_groups()
        book.take_changed_groups()
        return book

    def extremes(self) -> list[int]:
        """Best price of each trade since it was armed, up to the end of the walk and one swing to both sides."""
        end = self.starts[-1]
        best = {1: end + SWING, -1: end - SWING}
        found = [0] * self.count
        for index in range(self.count - 1, -1, -1):
            price = self.starts[index]
            best = {1: max(best[1], price), -1: min(best[-1], price)}
            found[index] = best[self.side(index)]
        return found


class PlainScan:
    """Looks at every trade on every update, as trading frameworks do; the same integers, the same rules."""

    def __init__(self, trades: Trades) -> None:
        rows = zip(trades.targets, trades.extremes(), trades.stops, trades.starts, strict=True)
        self.trades = [[trades.side(index), *row] for index, row in enumerate(rows)]

    def update(self, bid: int, ask: int) -> int:
        """Number of triggers that are true."""
        fired = 0
        for trade in self.trades:
            side, target, extreme, stop, start = trade
            if side > 0:
                if bid > extreme:
                    trade[2] = extreme = bid
                fired += (bid >= target) + (bid * start <= extreme * stop)
            else:
                if ask < extreme:
                    trade[2] = extreme = ask
                fired += (ask <= target) + (ask * start >= extreme * stop)
        return fired

    def crash_prices(self) -> list[int]:
        """Bids at which one crash after the other fires CRASHED more triggers, the ask being one step higher."""
        reached = [
            extreme * stop // start if side > 0 else target - 1 for side, target, extreme, stop, start in self.trades
        ]
        reached.sort(reverse=True)
        return [reached[CRASHED * crash - 1] for crash in range(1, CRASHES + 1)]


def run() -> list[Row]:
    rows: list[Row] = []
    quiet: dict[int, float] = {}
    for count in SIZES:
        trades = Trades(count)
        arming, book = timed(trades.armed_book)
        size = f"{count:.0e}".replace("e+0", "e")
        if count == SIZES[-1]:
            used = held_bytes(book, (trades.step_ids, trades.group_ids))
            rows.append(Row(f"memory per trade, {size} trades", used / count, "bytes", Goal("PF-8", at_most=250)))
        rows.append(Row(f"arm a trade, {size} trades", arming / count * 1e6, "us"))
        scan = PlainScan(trades)
        quiet[count] = _quiet_seconds(book, trades) * 1e9
        rows.append(Row(f"quiet update, {size} trades", quiet[count], "ns", Goal("PF-1", at_most=150)))
        end = trades.starts[-1]
        scanned = median_seconds(partial(scan.update, end, end + 1), rounds=3)
        rows.append(Row(f"  plain scan, {size} trades", scanned * 1e9, "ns"))
        if count == SIZES[-1]:
            rows += _crashes(book, scan)
        rows.append(Row(f"new extreme on every update, {size} trades", _trend_seconds(book, trades) * 1e9, "ns"))
    ratio = quiet[SIZES[-1]] / quiet[SIZES[0]]
    rows.append(Row("quiet update, 1e6 trades to 1e2", ratio, "times", Goal("PF-1", at_most=2)))
    return rows


def _quiet_seconds(book: TriggerBook, trades: Trades) -> float:
    """Per update, the call and the loop around it included."""
    end, chance = trades.starts[-1], random.Random(1)
    for price in (end + SWING, end - SWING):
        _show(book, price)
    near = SWING // 2
    prices = [(end + chance.randint(-near, near)) * SCALE for _ in range(1000)]
    quotes = [(price, price + SCALE, price) for price in prices]
    return median_seconds(_updates(book, quotes * 100)) / (100 * len(quotes))


def _trend_seconds(book: TriggerBook, trades: Trades) -> float:
    """Per update, from above every price so far: each one is a new extreme for all long trades."""
    updates, rounds = 2000, 7
    top = trades.highest
    _show(book, top)
    work: list[Callable[[], None]] = []
    for _ in range(rounds):
        work.append(
            _updates(book, [(p * SCALE, (p + 1) * SCALE, p * SCALE) for p in range(top + 1, top + updates + 1)])
        )
        top += updates
    return statistics.median(timed(each)[0] for each in work) / updates


def _crashes(book: TriggerBook, scan: PlainScan) -> list[Row]:
    took: list[float] = []
    fired = 0
    for price in scan.crash_prices():
        crash, crossings = timed(partial(_show, book, price))
        took.append(crash)
        fired += len(crossings)
        if fired != scan.update(price, price + 1):
            raise AssertionError("book and plain scan differ")
    name = f"crash that fires {fired // CRASHES:,} of 1e6"
    return [Row(name, statistics.median(took), "s", Goal("PF-3", at_most=0.25))]


def _show(book: TriggerBook, price: int) -> list[Crossing]:
    return book.update_scaled(price * SCALE, (price + 1) * SCALE, price * SCALE)


def _updates(book: TriggerBook, quotes: Quotes) -> Callable[[], None]:
    def work() -> None:
        update = book.update_scaled
        for bid, ask, last in quotes:
            update(bid, ask, last)

    return work
