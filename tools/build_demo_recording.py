"""Build src/smarttrade/data/demo_recording.json.gz from recorded trades and best bids and asks.

    python tools/build_demo_recording.py --from-ms 1723161256000 --length-ms 343000 \
        --instrument binance,USDT_BTC,0.01,0.00001,spot_btc.quotes.csv.gz,spot_btc.trades.csv.gz ... \
        --output src/smarttrade/data/demo_recording.json.gz

An instrument is MARKET,PAIR,PRICE_STEP,QUANTITY_STEP,QUOTES,TRADES. Quotes have the columns local_time_ns, bid_price,
bid_qty, ask_price, ask_qty; trades have local_time_ns, price, qty, buyer_is_maker. Rows are joined on the recorder's
own time. Every change of the best bid or ask is kept; where only a size changes, one quote in 100 ms is. Trades of
one millisecond that follow each other at the same price and side become one print. The layout of the result is
documented in src/smarttrade/data/README.md. Needed only to refresh the shipped file, never to run the server.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

SIZE_PAUSE_MS: Final = 100
"""Between two kept quotes that differ in size only."""


class QuoteRow(NamedTuple):
    at_ms: int
    bid: int
    ask: int
    bid_size: int
    ask_size: int


class PrintRow(NamedTuple):
    at_ms: int
    price: int
    quantity: int  # negative: the buyer was the maker


def in_steps(value: str, step: Decimal) -> int:
    steps = Decimal(value) / step
    if steps != int(steps):
        raise SystemExit(f"{value} is not a multiple of {step}")
    return int(steps)


def rows(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield int(row["local_time_ns"]) // 1_000_000, row


def read_quotes(path: str, price_step: Decimal, quantity_step: Decimal) -> Iterator[QuoteRow]:
    for at_ms, row in rows(path):
        yield QuoteRow(
            at_ms,
            in_steps(row["bid_price"], price_step),
            in_steps(row["ask_price"], price_step),
            in_steps(row["bid_qty"], quantity_step),
            in_steps(row["ask_qty"], quantity_step),
        )


def read_prints(path: str, price_step: Decimal, quantity_step: Decimal) -> Iterator[PrintRow]:
    for at_ms, row in rows(path):
        quantity = in_steps(row["qty"], quantity_step)
        signed = -quantity if row["buyer_is_maker"] == "true" else quantity
        yield PrintRow(at_ms, in_steps(row["price"], price_step), signed)


def thinned(quotes: Iterator[QuoteRow], begin: int, end: int) -> list[QuoteRow]:
    """The quote that stands at `begin`, then what is worth keeping before `end`."""
    kept: list[QuoteRow] = []
    for quote in quotes:
        if quote.at_ms < begin:
            kept = [quote._replace(at_ms=begin)]
        elif quote.at_ms < end and (
            (quote.bid, quote.ask) != (kept[-1].bid, kept[-1].ask) or quote.at_ms - kept[-1].at_ms >= SIZE_PAUSE_MS
        ):
            kept.append(quote)
    return kept


def merged(prints: Iterator[PrintRow], begin: int, end: int) -> tuple[int, list[PrintRow]]:
    """The last price before `begin`, and the prints before `end`."""
    last_price, kept = 0, list[PrintRow]()
    for row in prints:
        if row.at_ms < begin:
            last_price = row.price
        elif row.at_ms < end:
            before = kept[-1] if kept else None
            same_side = before is not None and (before.quantity < 0) == (row.quantity < 0)
            if before is not None and same_side and (before.at_ms, before.price) == (row.at_ms, row.price):
                kept[-1] = before._replace(quantity=before.quantity + row.quantity)
            else:
                kept.append(row)
    return last_price, kept


def deltas(values: Sequence[int], origin: int = 0) -> list[int]:
    return [value - before for before, value in zip([origin, *values], values, strict=False)]


def recorded_instrument(described: str, begin: int, end: int) -> dict[str, Any]:
    market, pair, price_step, quantity_step, quotes_path, trades_path = described.split(",")
    steps = Decimal(price_step), Decimal(quantity_step)
    quotes = thinned(read_quotes(quotes_path, *steps), begin, end)
    last_price, prints = merged(read_prints(trades_path, *steps), begin, end)
    if not quotes or quotes[0].at_ms != begin or not last_price:
        raise SystemExit(f"{market}:{pair} has no quote or no trade before --from-ms")
    return {
        "market": market,
        "pair": pair,
        "price_step": price_step,
        "quantity_step": quantity_step,
        "last": last_price,
        "quotes": {
            "at_ms": deltas([quote.at_ms for quote in quotes], begin),
            "bid": deltas([quote.bid for quote in quotes]),
            "spread": [quote.ask - quote.bid for quote in quotes],
            "bid_size": [quote.bid_size for quote in quotes],
            "ask_size": [quote.ask_size for quote in quotes],
        },
        "prints": {
            "at_ms": deltas([row.at_ms for row in prints], begin),
            "price": deltas([row.price for row in prints]),
            "quantity": [row.quantity for row in prints],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from-ms", type=int, required=True, help="start of the window, recorder's ms since 1970")
    parser.add_argument("--length-ms", type=int, required=True)
    parser.add_argument("--instrument", action="append", required=True, help="see above; once per instrument")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    begin, end = arguments.from_ms, arguments.from_ms + arguments.length_ms
    recording = {
        "recorded_from_ms": begin,
        "length_ms": arguments.length_ms,
        "instruments": [recorded_instrument(described, begin, end) for described in arguments.instrument],
    }
    text = json.dumps(recording, separators=(",", ":"))
    arguments.output.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
