"""The trigger book fires what a plain scan over every watch would fire, at the same update, and nothing else."""

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Final, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from smarttrade.domain.events import WatchRole
from smarttrade.domain.quote import PriceType
from smarttrade.domain.steps import Trail
from smarttrade.domain.watches import Watch
from smarttrade.engine import trigger_book
from smarttrade.engine.merged_ids import MergedIds, packed_pair
from smarttrade.engine.records import RECORD_BYTES, record
from smarttrade.engine.trail_groups import packed_member, packed_trail
from smarttrade.engine.trigger_book import (
    Crossing,
    GroupInUse,
    GroupState,
    PriceOffGrid,
    TriggerBook,
    UnknownGroup,
    packed_level,
)

D = Decimal
LEVEL, TRAIL, RECOVERY = WatchRole.LEVEL, WatchRole.TRAIL, WatchRole.RECOVERY
BID, ASK, LAST = PriceType.BID, PriceType.ASK, PriceType.LAST


def fired(crossings: Iterable[Crossing]) -> list[tuple[int, WatchRole]]:
    return [(crossing.step_id, crossing.role) for crossing in crossings]


def update_all(book: TriggerBook, price: str | Decimal) -> list[Crossing]:
    """The same price on bid, ask and last."""
    return book.update(D(price), D(price), D(price))


# -- published tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price_type", "rises", "level", "waits", "fires"),
    [
        pytest.param(ASK, False, "100", ["102", "100.01"], "100.00", id="long, trigger below"),
        pytest.param(ASK, True, "110", ["109.99"], "110.00", id="long, trigger above"),
        pytest.param(ASK, True, "110", ["108"], "113", id="long, gap over the trigger"),
        pytest.param(BID, True, "110", ["109.9"], "110.2", id="short, trigger above"),
        pytest.param(BID, False, "100", ["100.5"], "99.8", id="short, trigger below"),
        pytest.param(BID, True, "105", ["104.99"], "105", id="take profit of a long"),
        pytest.param(ASK, False, "95", ["95.01"], "95", id="take profit of a short"),
    ],
)
def test_published_levels_fire_at_the_published_price_tr_3_tr_10_tr_41(
    price_type: PriceType, rises: bool, level: str, waits: list[str], fires: str
) -> None:
    book = TriggerBook(2)
    book.watch_level(1, LEVEL, price_type, D(level), rises)
    for price in waits:
        assert update_all(book, price) == []
    assert update_all(book, fires) == [Crossing(1, LEVEL, D(fires))]
    assert len(book) == 0


@pytest.mark.parametrize(
    ("highest", "start", "ratio", "waits", "fires", "extreme"),
    [
        pytest.param(False, "400", "110", ["370", "350", "384.99"], "385", "350", id="long entry"),
        pytest.param(False, "34360", "101", ["33500", "33834"], "33835", "33500", id="long entry, 1 %"),
        pytest.param(True, "400", "90", ["450", "405.01"], "405", "450", id="short entry"),
        pytest.param(True, "400", "90", [], "355", "400", id="short entry, gap"),
        pytest.param(True, "105", "99", ["107", "106", "105.94"], "105.93", "107", id="long target"),
        pytest.param(False, "95", "101", ["93", "93.92"], "93.93", "93", id="short target"),
        pytest.param(True, "105", "90", ["96"], "94.5", "105", id="long target, line below the entry (TR-44)"),
        pytest.param(
            True,
            "100",
            "90",
            ["102", "105", "101", "105", "108", "112", "108", "100.81"],
            "100.80",
            "112",
            id="stop of a long",
        ),
        pytest.param(False, "100", "110", ["98", "95", "99", "90", "98.99"], "99.00", "90", id="stop of a short"),
    ],
)
def test_published_trails_fire_at_the_published_line_tr_22_tr_42_tr_50(
    highest: bool, start: str, ratio: str, waits: list[str], fires: str, extreme: str
) -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, highest, D(start))
    book.watch_trail(7, group, D(ratio), D(100))
    assert update_all(book, start) == []
    for price in waits:
        assert update_all(book, price) == []
    assert update_all(book, fires) == [Crossing(7, TRAIL, D(fires), D(extreme))]


def test_line_of_a_gap_activation_has_more_digits_than_the_price_tr_42() -> None:
    book = TriggerBook(8)
    book.watch_trail(1, book.open_group(1, BID, True, D("0.000693")), D(99), D(100))
    assert update_all(book, "0.00068608") == []
    assert fired(update_all(book, "0.00068607")) == [(1, TRAIL)]


@pytest.mark.parametrize(
    ("percent", "highs", "last_good", "fires"),
    [
        ("5", ["100"], "95.01", "95"),
        ("5", ["110"], "104.51", "104.50"),
        ("20", [], "90.01", "90"),
        ("20", ["115"], "92.01", "92"),
    ],
)
def test_stop_with_a_percent_fires_at_the_better_of_level_and_line_tr_51(
    percent: str, highs: list[str], last_good: str, fires: str
) -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    book.watch_level(1, LEVEL, BID, D(90), rises=False)
    book.watch_trail(1, group, 100 - D(percent), D(100))
    for price in [*highs, last_good]:
        assert update_all(book, price) == []
    assert len(update_all(book, fires)) == 1


# -- levels ------------------------------------------------------------------------------------------------------------


@given(
    level=st.fractions(min_value=Fraction(1, 100), max_value=3, max_denominator=1000),
    price=st.integers(1, 300),
    rises=st.booleans(),
    strict=st.booleans(),
)
def test_level_between_two_steps_of_the_grid_is_compared_exactly_tr_8(
    level: Fraction, price: int, rises: bool, strict: bool
) -> None:
    book = TriggerBook(2)
    book.watch_level(1, RECOVERY, LAST, level, rises, strict)
    exact = Fraction(price, 100)
    reached = exact >= level if rises else exact <= level
    expected = reached and not (strict and exact == level)
    assert bool(book.update(D(1000), D(1000), D(price) / 100)) is expected


def test_level_with_more_decimals_than_the_market_fires_only_beyond_it_tr_8() -> None:
    book = TriggerBook(2)
    book.watch_level(1, LEVEL, BID, D("2680.7534754"), rises=False)
    assert update_all(book, "2680.76") == []
    assert fired(update_all(book, "2680.75")) == [(1, LEVEL)]


def test_recovery_needs_a_price_strictly_on_the_good_side_tr_61() -> None:
    book = TriggerBook(2)
    book.watch_level(1, RECOVERY, BID, D(90), rises=True, strict=True)
    assert update_all(book, "90.00") == []
    assert fired(update_all(book, "90.01")) == [(1, RECOVERY)]


def test_watch_follows_its_own_price_alone_tr_1() -> None:
    book = TriggerBook(2)
    for step_id, price_type in enumerate(PriceType, start=1):
        book.watch_level(step_id, LEVEL, price_type, D(100), rises=True)
    assert book.update(D(99), D(100), D(99)) == [Crossing(2, LEVEL, D(100))]
    assert book.update(D(99), D(100), D(101)) == [Crossing(3, LEVEL, D(101))]
    assert book.update(D(102), D(103), D(99)) == [Crossing(1, LEVEL, D(102))]


def test_same_prices_again_fire_what_was_added_and_is_true_and_nothing_else_tr_4() -> None:
    book = TriggerBook(2)
    book.watch_level(1, LEVEL, BID, D(90), rises=False)
    assert fired(update_all(book, "89")) == [(1, LEVEL)]
    assert update_all(book, "89") == []
    book.watch_level(2, LEVEL, BID, D(89), rises=False)
    book.watch_level(3, LEVEL, BID, D("88.99"), rises=False)
    book.watch_trail(4, book.open_group(1, BID, True, D(100)), D(90), D(100))
    assert fired(update_all(book, "89")) == [(2, LEVEL), (4, TRAIL)]
    assert update_all(book, "89") == []


def test_one_update_fires_in_the_order_of_step_ids_whatever_the_price_type() -> None:
    book = TriggerBook(2)
    for step_id, price_type in zip([5, 3, 4, 1, 2], [BID, LAST, ASK, BID, LAST], strict=True):
        book.watch_level(step_id, LEVEL, price_type, D(100), rises=True)
    assert [crossing.step_id for crossing in update_all(book, "100")] == [1, 2, 3, 4, 5]


def test_level_moved_to_another_price_type_no_longer_follows_the_old_one_tr_53() -> None:
    book = TriggerBook(2)
    book.watch_level(1, LEVEL, BID, D(100), rises=True)
    book.watch_level(1, LEVEL, ASK, D(100), rises=True)
    assert book.update(D(100), D(99), D(99)) == []
    assert fired(book.update(D(100), D(100), D(99))) == [(1, LEVEL)]


def test_role_of_a_step_can_be_unwatched_alone() -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    book.watch_level(1, LEVEL, BID, D(90), rises=False)
    book.watch_level(1, RECOVERY, BID, D(80), rises=False)
    book.watch_trail(1, group, D(95), D(100))
    book.unwatch(1, LEVEL)
    assert set(book.watches()) == {(1, RECOVERY), (1, TRAIL)}
    book.unwatch(1)
    assert list(book.watches()) == []
    book.unwatch(1)
    assert update_all(book, "1") == []


def test_price_off_the_grid_is_refused_and_changes_nothing() -> None:
    book = TriggerBook(2)
    book.open_group(1, BID, True, D(100))
    book.watch_level(1, LEVEL, BID, D(101), rises=True)
    with pytest.raises(PriceOffGrid):
        book.update(D(102), D("102.001"), D(102))
    assert (len(book), book.extreme(1)) == (1, D(100))
    with pytest.raises(PriceOffGrid):
        book.open_group(2, BID, True, D("100.001"))


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_id_that_would_damage_its_neighbours_in_an_entry_is_refused(number: int) -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    with pytest.raises(ValueError, match="31 bits"):
        book.watch_level(number, LEVEL, BID, D(1), rises=True)
    with pytest.raises(ValueError, match="31 bits"):
        book.watch_trail(number, group, D(90), D(100))
    with pytest.raises(ValueError, match="31 bits"):
        book.open_group(number, BID, True, D(101))


@pytest.mark.parametrize(("numerator", "denominator"), [("0", "100"), ("-1", "100"), ("90", "0")])
def test_ratio_that_is_not_positive_is_refused(numerator: str, denominator: str) -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    with pytest.raises(ValueError, match="not positive"):
        book.watch_trail(1, group, D(numerator), D(denominator))


# -- trails ------------------------------------------------------------------------------------------------------------


def of_any_length(bits: int) -> st.SearchStrategy[int]:
    """Positive integers of up to so many bits, long ones as often as short ones."""
    return st.integers(0, bits - 1).flatmap(lambda n: st.integers(1 << n, (2 << n) - 1))


@given(
    extreme=of_any_length(80),
    numerator=of_any_length(73),
    denominator=of_any_length(73),
    nudge=st.integers(-2, 2),
    highest=st.booleans(),
)
@settings(max_examples=200)
def test_line_is_exact_to_the_last_digit_however_long_the_ratio_tr_50(
    extreme: int, numerator: int, denominator: int, nudge: int, highest: bool
) -> None:
    price = extreme * numerator // denominator + nudge
    if not (0 < price <= extreme if highest else price >= extreme):
        price = extreme
    book = TriggerBook(0)
    book.watch_trail(1, book.open_group(1, BID, highest, D(extreme)), D(numerator), D(denominator))
    difference = price * denominator - extreme * numerator
    assert bool(book.update_scaled(price, 1, 1)) is (difference <= 0 if highest else difference >= 0)


def test_ratios_that_differ_beyond_the_sorting_key_fire_apart_tr_50() -> None:
    # 2/3 and its neighbours 2 and 4 x 10^-20 below share all bits of the key; the line of 2/3 lies at the price itself
    book = TriggerBook(0)
    group = book.open_group(1, BID, True, D(3))
    long = 10**20
    book.watch_trail(1, group, D(2 * long - 6), D(3 * long))
    book.watch_trail(2, group, D(2), D(3))
    book.watch_trail(3, group, D(2 * long - 12), D(3 * long))
    assert fired(book.update_scaled(2, 1, 1)) == [(2, TRAIL)]
    assert book.update_scaled(2, 1, 1) == []
    assert fired(book.update_scaled(1, 1, 1)) == [(1, TRAIL), (3, TRAIL)]


def test_deviation_of_zero_fires_at_activation_tr_23() -> None:
    book = TriggerBook(2)
    book.watch_trail(1, book.open_group(1, ASK, False, D(400)), D(100), D(100))
    assert update_all(book, "399") == [Crossing(1, TRAIL, D(399), D(399))]


def test_extreme_moves_before_the_line_is_tested_tr_5() -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    book.watch_trail(1, group, D(100), D(100))
    assert update_all(book, "110") == [Crossing(1, TRAIL, D(110), D(110))]
    assert book.extreme(group) == D(110)


def test_extreme_that_follows_a_late_price_moves_the_line_and_fires_nothing_tr_6_tr_50() -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    book.watch_trail(1, group, D(90), D(100))
    book.watch_level(2, LEVEL, BID, D(105), rises=True)
    book.follow(D(110), D(110), D(110))
    book.follow(D(80), D(80), D(80))
    assert book.extreme(group) == 110
    assert update_all(book, "99.01") == []
    assert fired(update_all(book, "99")) == [(1, TRAIL)]
    with pytest.raises(PriceOffGrid):
        book.follow(D(120), D(120), D("120.001"))
    assert book.extreme(group) == 110


def test_extreme_that_follows_a_late_price_moves_the_line_of_records_nobody_has_opened_ex_36_tr_50() -> None:
    trail = Trail(group=1, start=D(100), numerator=D(90), denominator=D(100))
    watch = Watch(step_id=1, role=TRAIL, price_type=BID, trail=trail, highest=True)
    book = TriggerBook(2)
    book.restore_groups([GroupState(1, BID, True, D(100))])
    book.restore(record(0, packed_trail(watch)))
    book.follow(D(110), D(110), D(110))
    assert update_all(book, "99.01") == []
    assert fired(update_all(book, "99")) == [(1, TRAIL)]


def test_watch_moved_to_a_new_group_with_the_same_ratio_leaves_the_old_line_behind_tr_53() -> None:
    book = TriggerBook(2)
    old = book.open_group(1, BID, True, D(200))
    new = book.open_group(2, BID, True, D(100))
    book.watch_trail(1, old, D(95), D(100))
    book.watch_trail(1, new, D(95), D(100))
    assert update_all(book, "99") == []
    assert update_all(book, "95") == [Crossing(1, TRAIL, D(95), D(100))]


def test_suspended_member_finds_the_extreme_that_its_group_reached_meanwhile_tr_61() -> None:
    book = TriggerBook(2)
    group = book.open_group(1, BID, True, D(100))
    book.watch_trail(1, group, D(95), D(100))
    book.unwatch(1, TRAIL)
    assert update_all(book, "120") == []
    book.watch_trail(1, group, D(95), D(100))
    assert update_all(book, "114") == [Crossing(1, TRAIL, D(114), D(120))]


# -- groups and what is stored of them ---------------------------------------------------------------------------------


def test_group_with_the_same_extreme_is_joined_and_keeps_its_own_name() -> None:
    book = TriggerBook(2)
    for group, price_type, highest in [(1, BID, True), (2, BID, True), (3, BID, False), (4, ASK, True)]:
        assert book.open_group(group, price_type, highest, D(100)) == group
    assert [(state.id, state.merged_into) for state in book.take_changed_groups()] == [
        (1, None),
        (2, 1),
        (3, None),
        (4, None),
    ]
    book.release_group(1)
    assert (book.extreme(1), book.extreme(2)) == (D(100), D(100))
    assert book.take_changed_groups() == []
    book.release_group(2)
    assert (book.extreme(1), book.extreme(2)) == (None, None)
    assert [(state.id, state.dropped) for state in book.take_changed_groups()] == [(1, True), (2, True)]


@pytest.mark.parametrize(("price", "shown"), [("6000", "6000"), ("0.00000100", "0.000001"), ("105.50", "105.5")])
def test_prices_come_back_without_the_zeros_of_a_grid_finer_than_the_market(price: str, shown: str) -> None:
    book = TriggerBook(18)
    group = book.open_group(1, LAST, False, D(price))
    book.watch_trail(1, group, D(100), D(100))
    (crossing,) = update_all(book, price)
    assert [str(crossing.price), str(crossing.extreme), str(book.extreme(group))] == [shown] * 3
    assert [str(state.extreme) for state in book.take_changed_groups()] == [shown]


def test_new_extreme_is_one_record_and_one_per_merged_group_architecture_3() -> None:
    book = TriggerBook(0)
    groups = [book.open_group(number, BID, True, D(200 - number)) for number in range(1, 6)]
    for step_id in range(1, 101):
        book.watch_trail(step_id, groups[step_id % 5], D(50), D(100))
    assert [state.id for state in book.take_changed_groups()] == groups
    assert book.take_changed_groups() == []

    update_all(book, "195")
    assert book.take_changed_groups() == []  # reaches an extreme and betters none
    update_all(book, "198")
    changed = book.take_changed_groups()
    assert len(changed) == 4  # the groups at 195, 196, 197 became one with the one at 198
    assert [state.merged_into is None for state in changed].count(True) == 1
    assert {book.extreme(group) for group in groups[1:]} == {D(198)}
    assert book.extreme(groups[0]) == D(199)

    update_all(book, "199")
    book.take_changed_groups()
    update_all(book, "300")
    (moved,) = book.take_changed_groups()
    assert (moved.price_type, moved.highest, moved.extreme, moved.merged_into) == (BID, True, D(300), None)


def test_merged_id_resolves_until_its_last_owner_has_released_it() -> None:
    book = TriggerBook(0)
    first, second = book.open_group(1, BID, True, D(101)), book.open_group(2, BID, True, D(100))
    update_all(book, "110")
    assert book.extreme(first) == book.extreme(second) == D(110)
    book.take_changed_groups()

    book.release_group(first)  # the survivor: still needed by the id that leads to it
    assert book.extreme(second) == D(110)
    assert book.take_changed_groups() == []
    book.release_group(second)
    assert book.extreme(first) is None
    assert [(state.id, state.dropped) for state in book.take_changed_groups()] == [(1, True), (2, True)]
    with pytest.raises(UnknownGroup):
        book.release_group(second)
    with pytest.raises(UnknownGroup):
        book.watch_trail(1, second, D(90), D(100))


def test_watches_of_a_merged_group_survive_the_release_by_another_owner() -> None:
    book = TriggerBook(0)
    first, second = book.open_group(1, BID, True, D(101)), book.open_group(2, BID, True, D(100))
    book.hold_group(second)
    book.watch_trail(7, second, D(90), D(100))
    update_all(book, "110")
    book.release_group(first)
    book.release_group(second)
    assert book.extreme(second) == D(110)
    assert fired(update_all(book, "99")) == [(7, TRAIL)]
    book.release_group(second)
    assert book.extreme(second) is None


def test_watch_under_an_id_that_was_released_too_early_can_still_be_taken_back() -> None:
    book = TriggerBook(0)
    first, second = book.open_group(1, BID, True, D(101)), book.open_group(2, BID, True, D(100))
    book.watch_trail(7, second, D(90), D(100))
    book.watch_trail(8, second, D(80), D(100))
    update_all(book, "110")
    book.release_group(second)
    assert book.extreme(second) is None
    book.unwatch(8)
    assert fired(update_all(book, "88")) == [(7, TRAIL)]
    book.release_group(first)
    assert (len(book), book.stored_entries) == (0, 0)


def test_id_of_a_group_that_was_merged_many_times_is_found_in_few_steps() -> None:
    book = TriggerBook(0)
    for group in range(1, 129):
        book.open_group(group, BID, True, D(1000 - group))
    for price in range(873, 1000):  # merges one group after the other, from the newest to the oldest
        update_all(book, D(price))
    merged_into = {state.id: state.merged_into for state in book.take_changed_groups()}

    def steps(group: int) -> int:
        parent = merged_into[group]
        return 0 if parent is None else 1 + steps(parent)

    assert max(map(steps, merged_into)) <= 7  # log2 of 128


def test_last_owner_cannot_release_a_group_whose_watches_would_be_lost() -> None:
    book = TriggerBook(0)
    group = book.open_group(1, BID, True, D(100))
    book.watch_trail(1, group, D(90), D(100))
    with pytest.raises(GroupInUse):
        book.release_group(group)
    assert fired(update_all(book, "90")) == [(1, TRAIL)]
    book.release_group(group)
    assert book.extreme(group) is None


def test_book_that_is_used_no_more_holds_nothing() -> None:
    book = TriggerBook(0)
    group = book.open_group(1, BID, True, D(100))
    book.watch_trail(1, group, D("0.93333333333333333333333333"), D(1))
    book.watch_trail(2, group, D(50), D(100))
    assert book.stored_entries == 3  # two watches, one with a ratio too long for its entry
    update_all(book, "93")
    book.unwatch(2)
    book.release_group(group)
    assert (book.stored_entries, len(book)) == (0, 0)


def test_group_id_cannot_be_opened_twice() -> None:
    book = TriggerBook(0)
    book.open_group(1, BID, True, D(101))
    book.open_group(2, BID, True, D(100))
    update_all(book, "110")
    for group in (1, 2):
        with pytest.raises(ValueError, match="open already"):
            book.open_group(group, ASK, True, D(50))


@pytest.mark.parametrize(
    "states",
    [
        pytest.param([GroupState(1, BID, True, D(100), merged_into=2)], id="into a group that is gone"),
        pytest.param(
            [GroupState(1, BID, True, D(100), merged_into=2), GroupState(2, BID, True, D(100), merged_into=1)],
            id="in a circle",
        ),
    ],
)
def test_stored_group_that_leads_nowhere_is_refused(states: list[GroupState]) -> None:
    with pytest.raises(UnknownGroup):
        TriggerBook(0).restore_groups(states)


def test_restored_groups_that_nobody_holds_are_dropped() -> None:
    book = TriggerBook(0)
    book.restore_groups(
        [
            GroupState(4, BID, True, D(100), merged_into=3),
            GroupState(3, BID, True, D(100), merged_into=1),
            GroupState(2, BID, True, D(100), merged_into=1),
            GroupState(1, BID, True, D(100)),
            GroupState(5, BID, True, D(99)),
            GroupState(6, ASK, False, D(99)),
        ]
    )
    assert book.take_changed_groups() == []
    book.hold_group(2)
    book.hold_group(6)
    book.drop_unheld_groups()
    assert [(state.id, state.dropped) for state in book.take_changed_groups()] == [(3, True), (4, True), (5, True)]
    assert [book.extreme(group) for group in range(1, 7)] == [D(100), D(100), None, None, None, D(99)]


# -- size --------------------------------------------------------------------------------------------------------------


def test_book_holds_what_is_watched_and_nothing_else() -> None:
    random = Random(1)
    book = TriggerBook(0)
    group = book.open_group(1, BID, True, D(1000))
    for number in range(20_000):
        step_id = random.randrange(1, 5000)
        match random.randrange(5):
            case 0 | 1:
                rises = random.random() < 0.5
                book.watch_level(step_id, LEVEL, BID, D(2000 if rises else 1) + random.randrange(500), rises)
            case 2 | 3:
                book.watch_trail(step_id, group, D(random.randrange(1, 90)), D(100))
            case 4:
                book.unwatch(step_id, random.choice([LEVEL, TRAIL]))
        if number % 1000 == 999:
            update_all(book, D(random.randrange(600, 900)))
        assert book.stored_entries == len(book)
    assert len(book) > 2000  # long enough for lists of several chunks


def test_rise_slow_fall_and_crash_of_a_large_book_fire_each_watch_once_pf_3() -> None:
    random = Random(2)
    book = TriggerBook(2)
    stops: dict[int, Decimal] = {}
    extremes: dict[int, Decimal] = {}
    ratios: dict[int, Decimal] = {}
    for step_id in range(1, 4001):
        extremes[step_id] = D(1000 - step_id // 100)
        ratios[step_id] = D(random.randrange(1, 99)) / 100
        stops[step_id] = D(random.randrange(1, 900))
        group = book.open_group(step_id, BID, True, extremes[step_id])
        book.watch_trail(step_id, group, ratios[step_id], D(1))
        book.watch_level(step_id, LEVEL, BID, stops[step_id], rises=False)
    for price in map(D, [970, 990, *range(989, 900, -3), 500, 499, 250]):
        extremes = {step_id: max(extreme, price) for step_id, extreme in extremes.items()}
        expected = [(step_id, LEVEL) for step_id, stop in stops.items() if price <= stop]
        expected += [(step_id, TRAIL) for step_id, ratio in ratios.items() if price <= extremes[step_id] * ratio]
        assert sorted(fired(update_all(book, price))) == sorted(expected)
        stops = {step_id: stop for step_id, stop in stops.items() if price > stop}
        ratios = {step_id: ratio for step_id, ratio in ratios.items() if price > extremes[step_id] * ratio}
    assert book.stored_entries == len(book) == len(stops) + len(ratios)


# -- the book against a plain scan -------------------------------------------------------------------------------------


class LevelWatch(NamedTuple):
    price_type: PriceType
    level: Decimal | Fraction
    rises: bool
    strict: bool

    def is_true(self, price: Decimal) -> bool:
        if price == self.level:
            return not self.strict
        return (price > self.level) is self.rises


class Owner:
    """A trade that trails: it remembers its own extreme and shares nothing."""

    def __init__(self, group: int, price_type: PriceType, highest: bool, extreme: Decimal) -> None:
        self.group = group
        self.price_type = price_type
        self.highest = highest
        self.extreme = extreme

    def follow(self, price: Decimal) -> None:
        self.extreme = max(self.extreme, price) if self.highest else min(self.extreme, price)

    def is_reached(self, price: Decimal, numerator: Decimal, denominator: Decimal) -> bool:
        if self.highest:
            return price * denominator <= self.extreme * numerator
        return price * denominator >= self.extreme * numerator


class TrailWatch(NamedTuple):
    owner: Owner
    numerator: Decimal
    denominator: Decimal


PRICES = st.integers(20, 60)  # few of them, so that prices meet levels, lines and extremes all the time
STEPS = st.integers(1, 12)
PRICE_TYPES = st.sampled_from(PriceType)
LEVELS = st.one_of(
    PRICES.map(lambda steps: D(steps) / 10),
    st.decimals(2, 6, places=2),
    st.fractions(2, 6, max_denominator=30),
)
RATIOS = st.one_of(
    st.sampled_from(
        [
            (D(95), D(100)),
            (D(80), D(100)),
            (D("0.8"), D(1)),
            (D(1), D(1)),
            (D("5.4"), D("4.5")),
            (D(120), D(100)),
            (D("0.93333333333333333333333333"), D(1)),
            (D("1.06666666666666666666666667"), D(1)),
        ]
    ),
    st.tuples(PRICES.map(D), PRICES.map(D)),
)


NOBODY: Final = 10**6  # a step that watches nothing


def as_watch(step_id: int, watch: TrailWatch) -> Watch:
    owner, numerator, denominator = watch
    trail = Trail(group=owner.group, start=owner.extreme, numerator=numerator, denominator=denominator)
    return Watch(step_id=step_id, role=TRAIL, price_type=owner.price_type, trail=trail, highest=owner.highest)


class BookAgainstScan(RuleBasedStateMachine):
    """Every operation goes to the book and to a scan in which each trade has an extreme of its own."""

    owners = Bundle("owners")

    @initialize(bid=PRICES, ask=PRICES, last=PRICES)
    def start(self, bid: int, ask: int, last: int) -> None:
        self.book = TriggerBook(1)
        self.levels: dict[tuple[int, WatchRole], LevelWatch] = {}
        self.trails: dict[int, TrailWatch] = {}
        self.trades: list[Owner] = []
        self.stored: dict[int, GroupState] = {}
        self.next_group = 1
        self.prices = (bid, ask, last)
        self.update(bid, ask, last)

    def price(self, price_type: PriceType) -> Decimal:
        return D(self.prices[list(PriceType).index(price_type)]) / 10

    @rule(
        step_id=STEPS,
        role=st.sampled_from([LEVEL, RECOVERY]),
        watch=st.builds(LevelWatch, PRICE_TYPES, LEVELS, st.booleans(), st.booleans()),
    )
    def watch_level(self, step_id: int, role: WatchRole, watch: LevelWatch) -> None:
        self.book.watch_level(step_id, role, *watch)
        self.levels[step_id, role] = watch

    @rule(target=owners, price_type=PRICE_TYPES, highest=st.booleans(), better_by=st.sampled_from([0, 0, 0, 1, 2, 5]))
    def open_group(self, price_type: PriceType, highest: bool, better_by: int) -> Owner:
        extreme = self.price(price_type) + (D(better_by) / 10 if highest else -D(better_by) / 10)
        owner = Owner(0, price_type, highest, extreme)
        owner.group = self.book.open_group(self.next_group, price_type, highest, extreme)
        self.next_group += 1
        self.trades.append(owner)
        return owner

    @rule(target=owners, other=owners)
    def share_group(self, other: Owner) -> Owner:
        self.book.hold_group(other.group)
        owner = Owner(other.group, other.price_type, other.highest, other.extreme)
        self.trades.append(owner)
        return owner

    @rule(step_id=STEPS, owner=owners, ratio=RATIOS)
    def watch_trail(self, step_id: int, owner: Owner, ratio: tuple[Decimal, Decimal]) -> None:
        self.book.watch_trail(step_id, owner.group, *ratio)
        self.trails[step_id] = TrailWatch(owner, *ratio)

    @rule(step_id=STEPS, role=st.sampled_from([*WatchRole, None]))
    def unwatch(self, step_id: int, role: WatchRole | None) -> None:
        self.book.unwatch(step_id, role)
        for each in WatchRole if role is None else [role]:
            self.levels.pop((step_id, each), None)
            if each is TRAIL:
                self.trails.pop(step_id, None)

    @rule(owner=consumes(owners))
    def release(self, owner: Owner) -> None:
        for step_id in [step_id for step_id, watch in self.trails.items() if watch.owner is owner]:
            self.unwatch(step_id, TRAIL)
        self.book.release_group(owner.group)
        self.trades.remove(owner)

    @rule(bid=PRICES, ask=PRICES, last=PRICES)
    def update(self, bid: int, ask: int, last: int) -> None:
        self.prices = (bid, ask, last)
        self.update_again()

    @rule(change=st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(-2, 2)))
    def move(self, change: tuple[int, int, int]) -> None:
        self.update(*(max(1, price + by) for price, by in zip(self.prices, change, strict=True)))

    @rule()
    def update_again(self) -> None:
        crossings = self.book.update(*map(self.price, PriceType))
        assert {(c.step_id, c.role): (c.price, c.extreme) for c in crossings} == self.scan()
        assert [c.step_id for c in crossings] == sorted(c.step_id for c in crossings)

    @rule(bid=PRICES, ask=PRICES, last=PRICES)
    def follow(self, bid: int, ask: int, last: int) -> None:
        """TR-6: what is true at such prices stays and fires when it is true at others."""
        self.prices = (bid, ask, last)
        self.book.follow(*map(self.price, PriceType))
        for owner in self.trades:
            owner.follow(self.price(owner.price_type))

    def scan(self) -> dict[tuple[int, WatchRole], tuple[Decimal, Decimal | None]]:
        """Move every extreme, then test every watch; what is true is forgotten."""
        for owner in self.trades:
            owner.follow(self.price(owner.price_type))
        result: dict[tuple[int, WatchRole], tuple[Decimal, Decimal | None]] = {}
        for (step_id, role), watch in list(self.levels.items()):
            price = self.price(watch.price_type)
            if watch.is_true(price):
                result[step_id, role] = (price, None)
                del self.levels[step_id, role]
        for step_id, (owner, numerator, denominator) in list(self.trails.items()):
            price = self.price(owner.price_type)
            if owner.is_reached(price, numerator, denominator):
                result[step_id, TRAIL] = (price, owner.extreme)
                del self.trails[step_id]
        return result

    @rule()
    def store(self) -> None:
        for state in self.book.take_changed_groups():
            if state.dropped:
                self.stored.pop(state.id, None)
            else:
                self.stored[state.id] = state

    @rule(order=st.randoms(use_true_random=False), segment=st.integers(1, 4))
    def restart_from_records(self, order: Random, segment: int) -> None:
        """EX-36: the same from records that nobody has looked into yet; those that have none are watched one by one."""
        self.store()
        stored = self.stored.values()
        pairs = [packed_pair(each.id, each.merged_into) for each in stored if each.merged_into is not None]
        merged = MergedIds(b"".join(sorted(pairs, key=lambda pair: pair[3::-1])))
        rests: list[bytes] = []
        levels, trails = dict(self.levels), dict(self.trails)
        for owner in self.trades:
            step_id = next((step for step, watch in trails.items() if watch.owner is owner), None)
            rest = packed_member(NOBODY, owner.group)
            if step_id is not None:
                with suppress(OverflowError):
                    rest = packed_trail(as_watch(step_id, trails[step_id]))
                    del trails[step_id]
            rests.append(rest)
        for (step_id, role), watch in self.levels.items():
            if role is LEVEL:
                rests.append(packed_level(Watch(step_id=step_id, role=role, **watch._asdict()), 1))
                del levels[step_id, role]
        order.shuffle(rests)
        self.book = TriggerBook(1)
        self.book.restore_groups([each for each in stored if each.merged_into is None], merged, merged.counts())
        with mock.patch.object(trigger_book, "SEGMENT_BYTES", segment * RECORD_BYTES):
            self.book.restore(b"".join(record(0, rest) for rest in rests))
        self.book.drop_unheld_groups(merged.take_unclaimed())
        for (step_id, role), level in levels.items():
            self.book.watch_level(step_id, role, *level)
        for step_id, (owner, numerator, denominator) in trails.items():
            self.book.watch_trail(step_id, owner.group, numerator, denominator)
        assert self.book.take_changed_groups() == []

    @rule()
    def look_into_a_segment(self) -> None:
        """Nothing that a price would fire depends on it."""
        self.book.open_some()

    @rule(order=st.randoms(use_true_random=False))
    def restart(self, order: Random) -> None:
        """A new book from what is stored and from what the trades remember of themselves."""
        self.store()
        assert {owner.group for owner in self.trades} <= self.stored.keys()
        assert self.trades or not self.stored
        states = list(self.stored.values())
        order.shuffle(states)
        self.book = TriggerBook(1)
        self.book.restore_groups(states)
        for owner in self.trades:
            self.book.hold_group(owner.group)
        self.book.drop_unheld_groups()
        for (step_id, role), watch in self.levels.items():
            self.book.watch_level(step_id, role, *watch)
        for step_id, (owner, numerator, denominator) in self.trails.items():
            self.book.watch_trail(step_id, owner.group, numerator, denominator)
        assert self.book.take_changed_groups() == []

    @invariant()
    def every_trade_has_its_own_extreme(self) -> None:
        assert [self.book.extreme(owner.group) for owner in self.trades] == [owner.extreme for owner in self.trades]

    @invariant()
    def same_watches(self) -> None:
        assert set(self.book.watches()) == {*self.levels, *((step_id, TRAIL) for step_id in self.trails)}
        assert len(self.book) == len(self.levels) + len(self.trails)
        long_ratios = self.book.stored_entries - len(self.book)
        assert 0 <= long_ratios <= len(self.trails)


TestBookAgainstScan = BookAgainstScan.TestCase
TestBookAgainstScan.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
