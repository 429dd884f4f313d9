"""Typed configuration, read once: options, then SMARTTRADE_… environment variables, then smarttrade.toml (cli.md)."""

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

ENVIRONMENT_PREFIX: Final = "SMARTTRADE_"
FILE_NAME: Final = "smarttrade.toml"
DEFAULT_DIRECTORY: Final = Path("~/.local/share/smarttrade")

MARKETS: Final = ("demo", "sandbox", "replay:FILE")


class SettingsError(Exception):
    """A setting that cannot be used; str() is one line that names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured. Names are the same in the file; in the environment they are upper case."""

    data_dir: Path = DEFAULT_DIRECTORY
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    market: str = "demo"
    replay_speed: Annotated[float, Meta(ge=0)] = 1.0  # 1: as recorded; 0: as fast as it goes
    behind_proxy: bool = False  # somebody else terminates TLS: other hosts than loopback may be bound
    tls_certificate: str | None = None  # PEM file
    tls_key: str | None = None  # PEM file
    trusted_proxies: tuple[str, ...] = ()  # CIDR; their X-Forwarded-For is believed
    cors_origins: tuple[str, ...] = ()
    rate_limit: bool = False
    rate_limit_bans: bool = False
    protect_partial_entry: bool = True
    breakeven_covers_exit_fee: bool = False
    log_level: str = "warning"
    paper_balances: dict[str, Decimal] = msgspec.field(
        default_factory=lambda: {"USDT": Decimal(10_000), "BTC": Decimal(1), "ETH": Decimal(10)}
    )


def load(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force. `options` that are None were not given. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    given = {name: value for name, value in options.items() if value is not None}
    named = {
        name: environment[ENVIRONMENT_PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if ENVIRONMENT_PREFIX + name.upper() in environment
    }
    directory = Path(given.get("data_dir") or named.get("data_dir") or DEFAULT_DIRECTORY).expanduser()
    values = {**_from_file(directory / FILE_NAME), **_split(named), **given, "data_dir": str(directory)}
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise SettingsError(f"bad setting {place.rstrip('`')}: {text[:1].lower()}{text[1:]}") from None


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def _split(named: Mapping[str, str]) -> dict[str, Any]:
    """Lists are separated by commas, balances written USDT=1000,BTC=1."""
    values: dict[str, Any] = dict(named)
    for name in ("trusted_proxies", "cors_origins"):
        if name in values:
            values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
    if "paper_balances" in values:
        values["paper_balances"] = balances(values["paper_balances"].split(","))
    return values


def balances(items: list[str]) -> dict[str, str]:
    """`["USDT=1000"]` as a mapping. Raises SettingsError."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, amount = item.partition("=")
        try:
            usable = bool(equals) and bool(name.strip()) and Decimal(amount).is_finite() and Decimal(amount) >= 0
        except ArithmeticError:
            usable = False
        if not usable:
            raise SettingsError(f"a balance is written CURRENCY=AMOUNT, not {item!r}")
        found[name.strip().upper()] = amount.strip()
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    unknown = sorted(set(values) - set(Settings.__struct_fields__))
    if unknown:
        raise SettingsError(f"{path} has unknown settings: {', '.join(unknown)}")
    values.pop("data_dir", None)
    return values
