"""Build src/smarttrade/data/market_rules.csv from recorded answers of Binance's exchangeInfo calls.

    python tools/build_market_rules.py \
        --spot 2021-10-12=spot-old.json.gz --spot 2025-08-07=spot-new.json.gz \
        --linear 2025-03-27=usdm-old.json.gz --linear 2025-08-07=usdm-new.json.gz \
        --output src/smarttrade/data/market_rules.csv

Each input is DATE=PATH, oldest first; a later snapshot of a symbol replaces an earlier one, also when it says that
the symbol is not traded any more. A file is the exchange's answer (it has "symbols") or ccxt's markets, which carry
the exchange's own object as "info". Needed only to refresh the shipped file, never to run the server.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

COLUMNS: Final = (
    "market", "pair", "kind", "base", "quote", "tick", "lot", "min_lot", "max_lot", "max_market_lot", "min_total",
    "min_market_total", "max_total", "min_price", "max_price", "maker_fee", "taker_fee", "fee_in", "max_leverage",
    "maintenance_rate", "snapshot",
)  # fmt: skip

SPOT_FEES: Final = {"maker_fee": "0.001", "taker_fee": "0.001", "fee_in": "base"}
LINEAR_FEES: Final = {"maker_fee": "0.0002", "taker_fee": "0.0005", "fee_in": "quote"}

DEEP_BASES: Final = frozenset({"BTC", "ETH"})
DEEP_QUOTES: Final = frozenset({"USDT", "USDC"})
DEEP_TIER: Final = {"max_leverage": "125", "maintenance_rate": "0.004"}
"""The smallest risk tier of BTC and ETH. Tiers are not in exchangeInfo: see data/README.md."""

Symbol = Mapping[str, Any]
Row = dict[str, str]


def plain(value: str) -> str:
    """The same number without trailing zeros and without an exponent."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def limit(value: str) -> str:
    """The exchange writes zero for a limit that it doesn't apply; we leave the cell empty."""
    return plain(value) if Decimal(value) else ""


def symbols(source: str) -> tuple[str, list[Symbol]]:
    """Split DATE=PATH and return the date and the exchange's symbol objects."""
    date, _, path = source.partition("=")
    with gzip.open(Path(path), "rt", encoding="utf-8") as file:
        answer = json.load(file)
    return date, answer["symbols"] if "symbols" in answer else [market["info"] for market in answer.values()]


def newest(sources: Iterable[str]) -> list[tuple[str, Symbol]]:
    """The latest known object of every symbol, with the date of its snapshot."""
    found: dict[str, tuple[str, Symbol]] = {}
    for source in sources:
        date, listed = symbols(source)
        found.update({symbol["symbol"]: (date, symbol) for symbol in listed})
    return list(found.values())


def shared_limits(filters: Mapping[str, Mapping[str, Any]]) -> Row:
    """What spot and futures write the same way."""
    price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    market_lot = filters.get("MARKET_LOT_SIZE")  # one pair of 2021 has none
    return {
        "tick": plain(price["tickSize"]),
        "min_price": limit(price["minPrice"]),
        "max_price": limit(price["maxPrice"]),
        "lot": plain(lot["stepSize"]),
        "min_lot": plain(lot["minQty"]),
        "max_lot": limit(lot["maxQty"]),
        "max_market_lot": limit(market_lot["maxQty"]) if market_lot else "",
    }


def spot_row(date: str, symbol: Symbol) -> Row:
    filters = {entry["filterType"]: entry for entry in symbol["filters"]}
    notional = filters.get("NOTIONAL") or filters["MIN_NOTIONAL"]
    minimum = plain(notional["minNotional"])
    to_market = notional["applyMinToMarket"] if "applyMinToMarket" in notional else notional["applyToMarket"]
    return {
        "market": "binance",
        "pair": f"{symbol['quoteAsset']}_{symbol['baseAsset']}",
        "kind": "spot",
        "base": symbol["baseAsset"],
        "quote": symbol["quoteAsset"],
        **shared_limits(filters),
        "min_total": minimum,
        "min_market_total": minimum if to_market else "0",
        "max_total": limit(notional.get("maxNotional", "0")),
        **SPOT_FEES,
        "max_leverage": "1",
        "maintenance_rate": "0",
        "snapshot": date,
    }


def linear_row(date: str, symbol: Symbol) -> Row:
    filters = {entry["filterType"]: entry for entry in symbol["filters"]}
    base, quote = symbol["baseAsset"], symbol["quoteAsset"]
    minimum = plain(filters["MIN_NOTIONAL"]["notional"])
    tier = {
        "max_leverage": plain(str(100 / Decimal(symbol["requiredMarginPercent"]))),
        "maintenance_rate": plain(str(Decimal(symbol["maintMarginPercent"]) / 100)),
    }
    return {
        "market": "binance_futures",
        "pair": f"{quote}_{symbol['symbol']}",
        "kind": "linear",
        "base": base,
        "quote": quote,
        **shared_limits(filters),
        "min_total": minimum,
        "min_market_total": minimum,
        "max_total": "",
        **LINEAR_FEES,
        **(DEEP_TIER if base in DEEP_BASES and quote in DEEP_QUOTES else tier),
        "snapshot": date,
    }


def is_traded_on_spot(symbol: Symbol) -> bool:
    """Leveraged tokens are left out: they are funds with rules of their own."""
    permissions = symbol.get("permissions") or [name for group in symbol.get("permissionSets", ()) for name in group]
    return symbol["status"] == "TRADING" and "SPOT" in permissions


def is_traded_perpetual(symbol: Symbol) -> bool:
    return bool(symbol["status"] == "TRADING" and symbol["contractType"] == "PERPETUAL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spot", action="append", required=True, metavar="DATE=PATH")
    parser.add_argument("--linear", action="append", required=True, metavar="DATE=PATH")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [spot_row(date, symbol) for date, symbol in newest(arguments.spot) if is_traded_on_spot(symbol)]
    rows += [linear_row(date, symbol) for date, symbol in newest(arguments.linear) if is_traded_perpetual(symbol)]
    rows.sort(key=lambda row: (row["market"], row["pair"]))
    with arguments.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
