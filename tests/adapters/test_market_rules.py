"""The shipped trading rules are real, exact and usable (C-4, C-5), and a pair without rules gets harmless ones."""

import csv
from decimal import Decimal
from importlib import resources

import msgspec
import pytest

from smarttrade.adapters.market_data.rules import load_rules, middle_price, undescribed
from smarttrade.domain.instrument import FeeAsset, Instrument, MarketKind
from smarttrade.domain.quote import InstrumentKey

SPOT_BTC = InstrumentKey("binance", "USDT_BTC")
PERPETUAL_BTC = InstrumentKey("binance_futures", "USDT_BTCUSDT")


def decimals(instrument: Instrument) -> list[Decimal]:
    return [value for value in msgspec.structs.asdict(instrument).values() if isinstance(value, Decimal)]


def test_at_least_300_spot_pairs_and_100_perpetuals_are_shipped() -> None:
    kinds = [instrument.kind for instrument in load_rules().values()]
    assert kinds.count(MarketKind.SPOT) >= 300
    assert kinds.count(MarketKind.LINEAR) >= 100


def test_every_row_of_the_file_is_a_pair_of_its_own() -> None:
    text = resources.files("smarttrade.data").joinpath("market_rules.csv").read_text(encoding="utf-8")
    assert len(list(csv.DictReader(text.splitlines()))) == len(load_rules())


def test_bitcoin_has_the_rules_that_the_exchange_published_in_august_2025() -> None:
    spot, perpetual = load_rules()[SPOT_BTC], load_rules()[PERPETUAL_BTC]
    assert (spot.tick, spot.lot, spot.min_total) == (Decimal("0.01"), Decimal("0.00001"), Decimal(5))
    assert (spot.max_lot, spot.max_market_lot) == (Decimal(9000), Decimal("97.09521512"))
    assert (spot.taker_fee, spot.fee_in) == (Decimal("0.001"), FeeAsset.BASE)
    assert (perpetual.tick, perpetual.lot, perpetual.min_total) == (Decimal("0.1"), Decimal("0.001"), Decimal(100))
    assert (perpetual.maker_fee, perpetual.taker_fee) == (Decimal("0.0002"), Decimal("0.0005"))
    assert (perpetual.max_leverage, perpetual.maintenance_rate) == (Decimal(125), Decimal("0.004"))
    assert (perpetual.base, perpetual.quote) == ("BTC", "USDT")


@pytest.mark.parametrize("market", ["binance", "binance_futures"])
def test_every_pair_can_be_traded_by_its_own_rules(market: str) -> None:
    """V-9: quote first."""
    for instrument in (rules for key, rules in load_rules().items() if key.market == market):
        assert instrument.tick > 0
        assert instrument.lot > 0
        assert instrument.min_lot >= instrument.lot
        assert instrument.floor_lot(instrument.min_lot) == instrument.min_lot, instrument.key
        assert instrument.max_lot is None or instrument.max_lot > instrument.min_lot
        assert instrument.max_price is None or instrument.max_price > (instrument.min_price or 0)
        assert 0 <= instrument.maintenance_rate < 1 <= instrument.max_leverage
        assert instrument.maintenance_rate * instrument.max_leverage < 1, "liquidated when opened (M-51)"
        assert instrument.key.pair.startswith(f"{instrument.quote}_{instrument.base}")


def test_only_contracts_that_settle_in_quote_are_offered() -> None:
    """M-53: an inverse contract is priced in dollars and settles in its coin."""
    assert set(MarketKind) == {MarketKind.SPOT, MarketKind.LINEAR}
    contracts = [rules for rules in load_rules().values() if rules.kind is MarketKind.LINEAR]
    assert "USD" not in {rules.quote for rules in contracts}


def test_no_figure_carries_trailing_zeros_or_an_exponent_above_zero() -> None:
    for instrument in load_rules().values():
        for value in decimals(instrument):
            exponent = value.as_tuple().exponent
            assert isinstance(exponent, int)
            assert exponent <= 0, instrument.key
            assert exponent == 0 or value.as_tuple().digits[-1] != 0, instrument.key


def test_the_rules_are_read_once_and_cannot_be_changed_by_a_caller() -> None:
    assert load_rules() is load_rules()
    with pytest.raises(TypeError):
        load_rules()[SPOT_BTC] = load_rules()[PERPETUAL_BTC]  # type: ignore[index]


@pytest.mark.parametrize(
    ("market", "pair", "kind", "base", "quote"),
    [
        ("binance", "USDT_DOGE", MarketKind.SPOT, "DOGE", "USDT"),
        ("binance_futures", "USDT_DOGEUSDT", MarketKind.LINEAR, "DOGE", "USDT"),
        ("elsewhere", "BTC_ETH", MarketKind.SPOT, "ETH", "BTC"),
    ],
)
def test_a_pair_without_rules_gets_its_kind_and_coins_from_its_name(
    market: str, pair: str, kind: MarketKind, base: str, quote: str
) -> None:
    instrument = undescribed(InstrumentKey(market, pair))
    assert (instrument.kind, instrument.base, instrument.quote) == (kind, base, quote)
    assert instrument.max_price is None


@pytest.mark.parametrize("pair", ["USDTBTC", "_BTC", "USDT_", ""])
def test_a_name_that_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="is not a pair"):
        undescribed(InstrumentKey("binance", pair))


def test_the_middle_is_rounded_down_to_the_tick_but_never_to_zero() -> None:
    assert middle_price(Decimal("1.01"), Decimal("1.04"), Decimal("0.01")) == Decimal("1.02")
    assert middle_price(Decimal("0.3"), Decimal("0.4"), Decimal(1)) == Decimal("0.3")
