"""Every rule has a test or a reason, and the pages that say so are up to date."""

import pytest
from test_reference_pages import load_tool

index = load_tool("rule_index")
CATALOGUE = index.read_catalogue()
NUMBERS = CATALOGUE.numbers()
GROUPS = [*CATALOGUE.rules.values(), *CATALOGUE.faults.values()]
SUBJECTS = {subject.number: subject for group in GROUPS for subject in group}
TESTS = index.read_tests()
PROOFS = index.citations(CATALOGUE, TESTS)


def cited(text: str = "", name: str = "test_it") -> set[str]:
    return index.cited(index.Test("test_file.py", name, text), NUMBERS)


def test_every_rule_and_failure_has_a_test_or_says_why_not() -> None:
    bare = [number for number, s in SUBJECTS.items() if number not in PROOFS and s.reason is None and not s.see]
    assert bare == []


def test_a_rule_that_points_to_others_points_to_rules_with_tests() -> None:
    assert [(s.number, other) for s in SUBJECTS.values() for other in s.see if other not in PROOFS] == []


def test_no_reason_outlives_the_test_that_was_missing() -> None:
    assert [number for number, s in SUBJECTS.items() if s.reason is not None and number in PROOFS] == []


def test_no_test_cites_what_is_not_in_the_catalogue() -> None:
    assert {number: tests for number, tests in PROOFS.items() if number not in SUBJECTS} == {}


def test_no_test_cites_a_failure_that_reads_like_a_rule() -> None:
    assert [(test.path, test.name, found) for test in TESTS if (found := index.bare_faults(test))] == []


def test_no_number_is_listed_twice() -> None:
    assert len(set(NUMBERS)) == len(NUMBERS)


def test_the_pages_are_what_the_tests_say() -> None:
    """If this fails: python tools/rule_index.py."""
    pages = index.pages(CATALOGUE, PROOFS)
    stale = [page.name for page, content in pages.items() if page.read_text(encoding="utf-8") != content]
    assert stale == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("S-7: an entry is over.", {"S-7"}),
        ("(behaviour 5.4, TR-5a).", {"TR-5a"}),
        ("EX-20 to EX-22", {"EX-20", "EX-21", "EX-22"}),
        ("F-1…F-3", {"F-1", "F-2", "F-3"}),
        ("fault F12", {"F12"}),
        ("Faults F3, F12 and F5 to F7", {"F3", "F5", "F6", "F7", "F12"}),
        ("TR-999", {"TR-999"}),
        ("UTF-8, SHA-256, 1E-8, AES-256-GCM", set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the order within a set is not the same everywhere
)
def test_citations_in_text(text: str, numbers: set[str]) -> None:
    assert cited(text) == numbers


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_it_sells_tr_50_r4", {"TR-50", "R-4"}),
        ("test_it_is_adopted_f14", {"F14"}),
        ("test_it_is_refused_f_1", {"F-1"}),
        ("test_it_is_a_400", set()),
    ],
    ids=range(4),
)
def test_citations_in_names(name: str, numbers: set[str]) -> None:
    assert cited(name=name) == numbers
