"""`smarttrade trades`: SmartTrades, through the API of the running server."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from smarttrade.cli.connection import ANY_SERVER, Connection, connect
from smarttrade.cli.failures import CommandFailed
from smarttrade.cli.options import COMMON, Common
from smarttrade.cli.output import (
    BAD,
    BUSY,
    GOOD,
    QUIET,
    Cell,
    Column,
    Value,
    is_terminal,
    print_facts,
    print_json,
    print_json_line,
    print_line,
    print_table,
    print_text,
    table,
)

if TYPE_CHECKING:
    from smarttrade.cli.server import Server

Entity = dict[str, Any]
"""A SmartTrade or sub-trade as the API shows it (entities.md 1 and 2)."""

Status = Literal["all", "active", "finished", "successfully_finished", "cancelled", "failed"]

PAGE: Final = 100
"""The most that one page of the API may hold."""

DEFAULT_LIMIT: Final = 100
DEFAULT_INTERVAL: Final = 0.5
"""Seconds between two looks of `watch`."""

KEPT_ENDED: Final = 10
"""Trades that `watch` keeps on the screen after their end."""

TOO_MANY_REQUESTS: Final = 429

COLUMNS: Final = (
    Column("id", is_figure=True),
    Column("pair"),
    Column("type"),
    Column("status"),
    Column("entered", is_figure=True),
    Column("price", is_figure=True),
    Column("profit %", is_figure=True),
    Column("steps"),
)
STEP_COLUMNS: Final = (
    Column("id", is_figure=True),
    Column("step"),
    Column("order"),
    Column("status"),
    Column("trigger", is_figure=True),
    Column("price", is_figure=True),
    Column("units", is_figure=True),
    Column("filled %", is_figure=True),
    Column("average", is_figure=True),
)

FINAL: Final = ("finished", "panic_sold", "stop_loss_finished", "cancelled", "failed")
STATUS_STYLES: Final = {
    "waiting_position": "",
    "waiting_targets": "cyan",
    "finished": GOOD,
    "panic_sold": QUIET,
    "stop_loss_finished": BAD,
    "cancelled": QUIET,
    "failed": BAD,
}
STEP_STYLES: Final = {"idle": QUIET, "cancelled": QUIET, "finished": GOOD, "panic_sold": GOOD, "failed": BAD}

MOVING: Final = ("current_price", "missing_funds_to_close", "liquidation_price")
"""Parts of a trade's data that follow the market and the account: their change is none of the trade."""

TradeId = Annotated[int, Parameter(help="Number of the trade, as listed.")]

app = App(
    name="trades",
    help="List, watch, create, close and cancel trades of the running server.",
    help_epilogue="Example:\n\n    smarttrade trades list --status active",
)


@app.command(name="list", help_epilogue="Example:\n\n    smarttrade trades list --status active")
def list_(
    *,
    status: Status = "all",
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = DEFAULT_LIMIT,
    server: Connection = ANY_SERVER,
    common: Common = COMMON,
) -> None:
    """List trades: active ones first, the newest first in each group.

    Parameters
    ----------
    status
        Which trades: all (the default), active, finished, successfully_finished, cancelled or failed.
    limit
        How many at most: 100.
    """
    found = _listed(connect(common, server), status, limit)
    if common.as_json:
        print_json(found)
    else:
        print_table(COLUMNS, map(_row, found), "There are no trades.")


@app.command(help_epilogue="Example:\n\n    smarttrade trades show 1")
def show(id: TradeId, /, *, server: Connection = ANY_SERVER, common: Common = COMMON) -> None:
    """Show a trade with all its steps, their statuses and prices."""
    called = connect(common, server)
    trade = called.get(f"/v2/smart_trades/{id}")
    steps = called.get(f"/v2/smart_trades/{id}/trades")
    if common.as_json:
        print_json({**trade, "trades": steps})
        return
    _print_trade(trade)
    print_text()
    print_table(STEP_COLUMNS, map(_step_row, steps), "It has no steps.")


@app.command(help_epilogue="Example:\n\n    smarttrade trades create trade.json")
def create(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    server: Connection = ANY_SERVER,
    common: Common = COMMON,
) -> None:
    """Create a trade from a file that holds the body of POST /v2/smart_trades as JSON.

    Parameters
    ----------
    file
        The file, or - for standard input.
    """
    body = _body(file)
    _answer(connect(common, server).call("POST", "/v2/smart_trades", body), common)


@app.command(help_epilogue="Example:\n\n    smarttrade trades close 1")
def close(id: TradeId, /, *, server: Connection = ANY_SERVER, common: Common = COMMON) -> None:
    """Close a trade now: what it holds is sold, or bought back, at the market's price."""
    _answer(connect(common, server).call("POST", f"/v2/smart_trades/{id}/close_by_market"), common)


@app.command(help_epilogue="Example:\n\n    smarttrade trades cancel 1")
def cancel(id: TradeId, /, *, server: Connection = ANY_SERVER, common: Common = COMMON) -> None:
    """Cancel a trade: its orders are taken back, and what it holds stays on the account."""
    _answer(connect(common, server).call("DELETE", f"/v2/smart_trades/{id}"), common)


@app.command(help_epilogue="Example:\n\n    smarttrade trades watch\n    smarttrade trades watch 1 --json")
def watch(
    id: int | None = None,
    /,
    *,
    interval: Annotated[float, Parameter(validator=Number(gt=0))] = DEFAULT_INTERVAL,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = DEFAULT_LIMIT,
    server: Connection = ANY_SERVER,
    common: Common = COMMON,
) -> None:
    """Follow trades until Ctrl-C, or until the one that is watched has ended.

    A terminal shows a table that is redrawn on every change. Elsewhere every change of a trade is a line; with --json
    it is the trade as one JSON document on a line of its own.

    Parameters
    ----------
    id
        The trade to watch; without it all active trades.
    interval
        Seconds between two looks: 0.5.
    limit
        How many active trades at most: 100.
    """
    looks = _looks(connect(common, server), id, limit, interval)
    try:
        if is_terminal() and not common.as_json:
            _draw(looks)
        else:
            write_changes(looks, as_json=common.as_json)
    except KeyboardInterrupt:
        return


# --- asking ---------------------------------------------------------------------------------------------------------


def _listed(server: "Server", status: str, limit: int) -> list[Entity]:
    """The first `limit` trades of this status."""
    found: list[Entity] = []
    size = min(PAGE, limit)
    for page in range(1, -(-limit // size) + 1):
        part = server.get("/v2/smart_trades", status=status, per_page=size, page=page)
        found += part
        if len(part) < size:
            break
    return found[:limit]


def _looks(server: "Server", trade_id: int | None, limit: int, interval: float) -> Iterator[list[Entity]]:
    """The watched trades, again and again; ends after the only one has ended.

    A trade that is no longer active is shown once more, as it ended.
    """
    from smarttrade.cli.server import Refused

    active: set[int] = set()
    while True:
        try:
            if trade_id is not None:
                trades = [server.get(f"/v2/smart_trades/{trade_id}")]
            else:
                trades = _listed(server, "active", limit)
                now_active = {trade["id"] for trade in trades}
                trades += [server.get(f"/v2/smart_trades/{number}") for number in sorted(active - now_active)]
                active = now_active  # only now: a look that was refused half way is repeated whole
        except Refused as refused:
            if refused.status != TOO_MANY_REQUESTS or refused.retry_after is None:
                raise
            time.sleep(refused.retry_after)
            continue
        yield trades
        if trade_id is not None and _status(trades[0]) in FINAL:
            return
        time.sleep(interval)


def _body(file: str) -> bytes:
    """The content of a file, or of standard input for `-`, if it is a JSON object. Raises CommandFailed."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}") from None
    source = "standard input" if file == "-" else file
    try:
        plan = json.loads(content)
    except ValueError as error:
        raise CommandFailed(f"{source} is not JSON: {error}") from None
    if not isinstance(plan, dict):
        raise CommandFailed(f"{source} does not hold one JSON object")
    return content


# --- showing --------------------------------------------------------------------------------------------------------


def _draw(looks: Iterator[list[Entity]]) -> None:
    """On a terminal: one table, redrawn when a figure in it has changed. The last that ended stay in it."""
    from rich.live import Live

    from smarttrade.cli.output import console

    shown: list[list[Value]] | None = None
    ended: dict[int, list[Value]] = {}
    with Live(console=console(), auto_refresh=False) as live:
        for trades in looks:
            rows = {trade["id"]: _row(trade) for trade in trades}
            ended |= {trade["id"]: rows[trade["id"]] for trade in trades if _status(trade) in FINAL}
            ended = dict(list(ended.items())[-KEPT_ENDED:])
            newest_first = [row for _, row in sorted((ended | rows).items(), reverse=True)]
            if newest_first != shown:
                shown = newest_first
                live.update(table(COLUMNS, shown) if shown else "There are no active trades.", refresh=True)


def write_changes(looks: Iterator[list[Entity]], *, as_json: bool) -> None:
    """Into a pipe or file: one line per change of a trade."""
    known: dict[int, Entity] = {}
    for trades in looks:
        for trade in trades:
            lasting = _lasting(trade)
            if known.get(trade["id"]) == lasting:
                continue
            known[trade["id"]] = lasting
            if as_json:
                print_json_line(trade)
            else:
                print_line(trade["data"]["updated_at"], *_row(trade))


def _lasting(trade: Entity) -> Entity:
    """A trade without what moves with the market: profit and prices."""
    data = {key: value for key, value in trade["data"].items() if key not in MOVING}
    return {**trade, "data": data, "profit": None}


def _answer(trade: Entity, common: Common) -> None:
    """What the server made of a command."""
    if common.as_json:
        print_json(trade)
    else:
        print_table(COLUMNS, [_row(trade)], "")


def _status(trade: Entity) -> str:
    return str(trade["status"]["type"])


def _row(trade: Entity) -> list[Value]:
    data, status = trade["data"], _status(trade)
    ticker = data["current_price"]
    return [
        trade["id"],
        trade["pair"],
        data["type"],
        Cell(status, STATUS_STYLES.get(status, BUSY)),
        data["entered_amount"],
        None if ticker is None else ticker["last"],
        _signed(trade["profit"]["percent"], known=trade["profit"]["volume"] is not None),
        _steps(trade),
    ]


def _signed(figure: str, *, known: bool) -> Cell | None:
    """A gain in green, a loss in red."""
    if not known:
        return None
    if figure.startswith("-"):
        return Cell(figure, BAD)
    return Cell(figure, GOOD if figure.strip("0.") else "")


def _steps(trade: Entity) -> str | None:
    """Targets done of all, and whether there is a stop loss: `TP 1/3, SL`."""
    targets = trade["take_profit"]["steps"]
    done = sum(target["status"]["type"] in ("finished", "panic_sold") for target in targets)
    parts = [f"TP {done}/{len(targets)}"] if targets else []
    if trade["stop_loss"]["enabled"]:
        parts.append("SL")
    return ", ".join(parts) or None


def _print_trade(trade: Entity) -> None:
    data, status, profit = trade["data"], _status(trade), trade["profit"]
    entered = (
        None if data["average_enter_price"] is None else f"{data['entered_amount']} at {data['average_enter_price']}"
    )
    closed = (
        None if data["average_close_price"] is None else f"{data['closed_amount']} at {data['average_close_price']}"
    )
    ticker = data["current_price"]
    percent = _signed(profit["percent"], known=profit["volume"] is not None)
    quote = trade["pair"].partition("_")[0]
    print_facts(
        [
            ("trade", trade["id"]),
            ("pair", trade["pair"]),
            ("type", data["type"]),
            ("account", f"{trade['account']['id']} ({trade['account']['name']})"),
            ("status", Cell(status, STATUS_STYLES.get(status, BUSY))),
            ("error", Cell(trade["status"]["error"], BAD) if "error" in trade["status"] else None),
            ("entered", entered),
            ("closed", closed),
            ("bid, ask, last", None if ticker is None else ", ".join(ticker[name] for name in ("bid", "ask", "last"))),
            (
                "profit",
                None if percent is None else Cell(f"{percent.text} % ({profit['volume']} {quote})", percent.style),
            ),
            ("note", trade["note"] or None),
            ("created", data["created_at"]),
            ("updated", data["updated_at"]),
            ("ended", data.get("closed_at")),
        ]
    )


def _step_row(step: Entity) -> list[Value]:
    return [
        step["id"],
        step["trade_purpose"],
        f"{step['order_type']} {step['order_side']}",
        Cell(step["status"], STEP_STYLES.get(step["status"], BUSY)),
        step["trigger_price"],
        step["order_price"],
        step["initial_amount"],
        step["realised_percentage"],
        step["realised_price"],
    ]
