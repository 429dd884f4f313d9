"""`smarttrade serve`: the whole server in one process."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from smarttrade.cli.connection import hint
from smarttrade.cli.failures import CommandFailed, WrongUsage
from smarttrade.cli.options import COMMON, Common
from smarttrade.cli.output import Cell, print_facts, print_json_line, print_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from smarttrade.app import FirstStart, Started
    from smarttrade.settings import Settings

OFFERED: Final = "demo, sandbox and replay:FILE"

LAST_PORT: Final = 65_535

FIRST_TRADE: Final = """\
{"account_id": ACCOUNT, "pair": "USDT_BTC", "position": {"type": "buy", "order_type": "market",
 "units": {"value": "0.01"}}, "take_profit": {"enabled": true, "steps": [{"order_type": "limit",
 "volume": 100, "price": {"type": "bid", "percent": "0.05"}}]}, "stop_loss": {"enabled": true,
 "order_type": "market", "conditional": {"price": {"type": "bid", "percent": "0.2"}}}}"""

app = App(name="serve", help_epilogue="Example:\n\n    smarttrade serve --market sandbox --port 8081")


@app.default
def serve(
    *,
    host: str | None = None,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=LAST_PORT))] = None,
    market: str | None = None,
    replay_speed: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
    behind_proxy: bool | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    log_level: str | None = None,
    common: Common = COMMON,
) -> None:
    """Start the server, and run until Ctrl-C or SIGTERM.

    What is not given here comes from SMARTTRADE_... in the environment, then from smarttrade.toml in the data
    directory. The first start makes a paper account and an API key, and shows the secret this once.

    Parameters
    ----------
    host
        Address to listen on: 127.0.0.1. Others need TLS or --behind-proxy.
    port
        Port to listen on: 8080. With 0 the system picks a free one.
    market
        Where prices come from: demo (the default), sandbox or replay:FILE.
    replay_speed
        How much faster than recorded a replay goes: 1. With 0 as fast as it can.
    behind_proxy
        Somebody else terminates TLS, so other addresses than loopback may be listened on.
    tls_certificate
        PEM file with the certificate to serve HTTPS with.
    tls_key
        PEM file with its private key.
    log_level
        Least that is logged to standard error: debug, info, warning (the default), error or critical.
    """
    settings = common.settings(
        host=host,
        port=port,
        market=market,
        replay_speed=replay_speed,
        behind_proxy=behind_proxy,
        tls_certificate=None if tls_certificate is None else str(tls_certificate),
        tls_key=None if tls_key is None else str(tls_key),
        log_level=log_level,
    )
    _check_market(settings.market)
    _run(settings, _announce_json if common.as_json else _announce)


def _run(settings: "Settings", announce: "Callable[[Started], None]") -> None:
    """Serve until told to leave. Raises CommandFailed."""
    import asyncio

    from smarttrade import app as server
    from smarttrade.adapters.storage.data_directory import DataDirectoryError
    from smarttrade.ports.key_vault import SecretUnreadable
    from smarttrade.ports.market_data import BadRecording
    from smarttrade.ports.storage import StorageUnavailable
    from smarttrade.settings import SettingsError

    refusals = (
        SettingsError,
        server.RefusesToStart,
        server.EngineStopped,
        DataDirectoryError,
        BadRecording,
        StorageUnavailable,
        SecretUnreadable,
    )
    try:
        with asyncio.Runner(loop_factory=server.event_loop_factory()) as runner:
            runner.run(server.serve(settings, announce))
    except refusals as error:
        raise CommandFailed(str(error)) from error


def _check_market(market: str) -> None:
    """Raises WrongUsage."""
    kind, _, file = market.partition(":")
    if market in ("demo", "sandbox") or (kind == "replay" and file):
        return
    if market == "live":
        raise WrongUsage(f"--market live is not offered yet: this version has {OFFERED}")
    raise WrongUsage(f"unknown market {market!r}: this version has {OFFERED}")


def _announce_json(started: "Started") -> None:
    first: dict[str, Any] = {"account": None, "api_key": None}
    if started.first is not None:
        made = started.first
        first["account"] = {"id": made.account_id, "name": made.account_name}
        first["api_key"] = {"api_key": made.api_key, "secret": made.secret, "permissions": list(made.permissions)}
    where = {"url": started.url, "docs": f"{started.url}/docs", "data_dir": str(started.data_dir)}
    print_json_line({**where, "market": started.market, **first})


def _announce(started: "Started") -> None:
    print_text(f"SmartTrade Server is ready: {started.market} prices.\n", "bold")
    print_facts(
        [
            ("  API", Cell(f"{started.url}/public/api", "cyan")),
            ("  docs", Cell(f"{started.url}/docs", "cyan")),
            ("  data", str(started.data_dir)),
        ]
    )
    if started.first is not None:
        _show_first_start(started.first, hint("trades create -", started.data_dir))
    print_text("\nWatch trades from another shell; Ctrl-C ends the server:\n", "bold")
    print_text(hint("trades watch", started.data_dir))
    sys.stdout.flush()


def _show_first_start(first: "FirstStart", create: str) -> None:
    print_text("\nA paper account and an API key were made for you. The secret is shown only now:\n", "bold")
    print_facts(
        [
            ("  account", f"{first.account_id} ({first.account_name})"),
            ("  API key", first.api_key),
            ("  secret", first.secret),
        ]
    )
    print_text("\nOpen a first trade from another shell, 0.05 % up to its target, 0.2 % down to its stop:\n", "bold")
    plan = FIRST_TRADE.replace("ACCOUNT", str(first.account_id))
    print_text(f"{create} <<'JSON'\n{plan}\nJSON")
