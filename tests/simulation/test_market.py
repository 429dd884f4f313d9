"""Prices of a simulated world: each regime behaves as it is called, and a seed gives the same prices again."""

import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice, pairwise, takewhile

import pytest

from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import SECOND
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.simulation.market import (
    LINEAR_MARKET,
    LISTINGS,
    SPOT_MARKET,
    PairPath,
    PricePaths,
    Regime,
    list_pairs,
    opening_balances,
)

START = 1_735_689_600 * SECOND
DAY = 24 * 3600 * SECOND
SEEDS = range(12)


def world(seed: int) -> PricePaths:
    return PricePaths(random.Random(seed), list_pairs(random.Random(seed)), START)


def day(seed: int) -> list[MarketUpdate]:
    return list(takewhile(lambda update: update.quote.at <= START + DAY, world(seed).updates()))


def spells(regime: Regime) -> Iterator[list[MarketUpdate]]:
    """One spell of `regime` in every pair, from a path that has moved before."""
    for number, listing in enumerate(LISTINGS):
        path = PairPath(random.Random(number), listing.instrument, START)
        before = list(islice(path.updates(), 3))[-1]
        yield [before, *path.spell(regime)]


def moves(spell: list[MarketUpdate]) -> list[float]:
    """Changes of the bid from quote to quote, as fractions."""
    bids = [float(update.quote.bid) for update in spell if update.quote.is_usable]
    return [after / before - 1 for before, after in pairwise(bids)]


def pauses(spell: list[MarketUpdate]) -> list[float]:
    """Seconds from quote to quote."""
    return [(after.quote.at - before.quote.at) / SECOND for before, after in pairwise(spell)]


@pytest.fixture(scope="module")
def days() -> list[list[MarketUpdate]]:
    return [day(seed) for seed in SEEDS]


def test_a_seed_gives_the_same_day_again_and_another_seed_another_one() -> None:
    assert day(1) == day(1)
    assert day(1) != day(2)


def test_a_day_is_some_thousands_of_updates_in_order_of_time(days: list[list[MarketUpdate]]) -> None:
    """More would make a world slow, fewer would leave most triggers alone."""
    for updates in days:
        assert 1_800 <= len(updates) <= 5_500
        instants = [update.quote.at for update in updates]
        assert instants == sorted(instants)


def test_every_pair_is_quoted_soundly_from_the_start(days: list[list[MarketUpdate]]) -> None:
    for seed, updates in zip(SEEDS, days, strict=True):
        pairs = world(seed).instruments
        first = updates[: len(pairs)]
        assert {update.quote.key for update in first} == set(pairs)
        assert all(update.quote.is_usable and update.quote.at == START for update in first)


def test_a_world_lists_coins_and_contracts_and_all_pairs_are_listed_by_some_world() -> None:
    listed = Counter[str]()
    for seed in range(40):
        pairs = list_pairs(random.Random(seed)).values()
        assert 4 <= len(pairs) <= 6
        assert {pair.key.market for pair in pairs} == {SPOT_MARKET, LINEAR_MARKET}
        listed.update(str(pair.key) for pair in pairs)
    assert set(listed) == {str(listing.instrument.key) for listing in LISTINGS}


def test_every_regime_occurs_in_most_worlds() -> None:
    seen = Counter[Regime]()
    for seed in SEEDS:
        paths = [
            PairPath(random.Random(f"{seed}/{key}"), pair, START)
            for key, pair in list_pairs(random.Random(seed)).items()
        ]
        found = set()
        for path in paths:
            for update in path.updates():
                if update.quote.at > START + DAY:
                    break
                found.add(path.regime)
        seen.update(found)
    assert all(seen[regime] >= len(SEEDS) * 2 / 3 for regime in Regime), seen


def test_usable_quotes_are_positive_and_hardly_ever_off_the_tick(days: list[list[MarketUpdate]]) -> None:
    finer = usable = 0
    for seed, updates in zip(SEEDS, days, strict=True):
        pairs = world(seed).instruments
        for quote in (update.quote for update in updates):
            if quote.is_usable:
                usable += 1
                finer += quote.bid % pairs[quote.key].tick != 0
                assert quote.bid % (pairs[quote.key].tick / 2) == 0
    assert 0.01 < finer / usable < 0.05


def test_bad_quotes_of_each_kind_come_now_and_then(days: list[list[MarketUpdate]]) -> None:
    """TR-6: a crossed book and zero prices; the path goes on as if they had not been."""
    kinds, count = Counter[str](), 0
    for quote in (update.quote for updates in days for update in updates):
        count += 1
        if not quote.is_usable:
            kinds["crossed"] += quote.bid > quote.ask
            kinds["no bid"] += quote.bid == 0
            kinds["nothing"] += quote.ask == 0
            kinds["no last"] += quote.last == 0
            kinds["all"] += 1
    assert min(kinds.values()) >= 10, kinds
    assert 0.002 < kinds["all"] / count < 0.02


def test_sizes_are_limited_on_some_quotes_and_some_offer_nothing(days: list[list[MarketUpdate]]) -> None:
    quotes = [update.quote for updates in days for update in updates]
    limited = [quote for quote in quotes if quote.bid_size is not None or quote.ask_size is not None]
    assert 0.1 < len(limited) / len(quotes) < 0.5
    assert any(quote.bid_size is None for quote in limited)
    assert sum(ZERO in (quote.bid_size, quote.ask_size) for quote in limited) >= 20


def test_spreads_vary_and_the_last_price_is_often_outside(days: list[list[MarketUpdate]]) -> None:
    quotes = [update.quote for updates in days for update in updates if update.quote.is_usable]
    locked = sum(quote.bid == quote.ask for quote in quotes)
    wide = sum(quote.ask > quote.bid * Decimal("1.001") for quote in quotes)
    outside = sum(not quote.bid <= quote.last <= quote.ask for quote in quotes)
    assert locked > len(quotes) / 100
    assert wide > len(quotes) / 100
    assert len(quotes) / 10 < outside < len(quotes) * 0.9


def test_some_trades_print_through_the_quote_and_some_far(days: list[list[MarketUpdate]]) -> None:
    """Resting orders fill by prints that go through them, up to their size."""
    prints = [(update.quote, each) for updates in days for update in updates for each in update.prints]
    through = [
        each
        for quote, each in prints
        if each.price < quote.bid * Decimal("0.998") or each.price > quote.ask * Decimal("1.002")
    ]
    assert len(prints) > 2_000
    assert len(through) > 100
    assert all(each.price > 0 and each.quantity >= 0 for _, each in prints)


def test_calm_steps_are_small_and_minutes_apart() -> None:
    for spell in spells(Regime.CALM):
        assert max(map(abs, moves(spell))) < 0.02
        assert sum(pauses(spell)) / len(spell) > 60


def test_a_flat_market_says_the_same_again_and_again() -> None:
    for spell in spells(Regime.FLAT):
        assert len({(update.quote.bid, update.quote.ask, update.quote.last) for update in spell[1:]}) == 1


def test_a_trend_goes_mostly_one_way() -> None:
    """Over many spells the way made is a large part of the way walked."""
    share = [abs(sum(walked)) / sum(map(abs, walked)) for spell in spells(Regime.TRENDING) if (walked := moves(spell))]
    assert sum(share) / len(share) > 0.3


def test_gaps_are_sudden() -> None:
    jumps = [move for spell in spells(Regime.GAPPING) for move in moves(spell) if abs(move) > 0.004]
    assert len(jumps) >= len(LISTINGS)
    assert min(jumps) < 0 < max(jumps)


def test_a_crash_goes_far_within_minutes_and_comes_back_in_part() -> None:
    for spell in spells(Regime.CRASHING):
        bids = [update.quote.bid for update in spell if update.quote.is_usable]
        reach = max(abs(bid / bids[0] - 1) for bid in bids)
        assert reach > 0.01
        assert abs(bids[-1] / bids[0] - 1) < reach
        assert max(pauses(spell)) < 3


def test_a_whipsaw_turns_at_almost_every_step() -> None:
    for spell in spells(Regime.WHIPSAW):
        walked = moves(spell[1:])
        turns = sum(before * after < 0 for before, after in pairwise(walked))
        assert turns > len(walked) / 2
        assert max(pauses(spell)) < 3


def test_a_recorded_spell_goes_on_from_the_present_price() -> None:
    """A real market moves by less than a percent within seconds; sizes are always limited."""
    for spell in spells(Regime.RECORDED):
        assert len(spell) > 15
        assert max(map(abs, moves(spell))) < 0.01
        assert all(update.quote.bid_size is not None for update in spell[1:])
        assert max(pauses(spell)) < 30


def test_accounts_begin_with_what_their_pairs_need() -> None:
    for seed in SEEDS:
        pairs = list_pairs(random.Random(seed))
        for pair in pairs.values():
            balances = opening_balances(pair.key.market, pairs)
            assert balances[pair.quote] > 0
            assert pair.is_linear or balances[pair.base] > 0
