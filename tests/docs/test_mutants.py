"""The list of deliberate mistakes fits the code, so that `./run mutants` still breaks what it says."""

from typing import Any

import pytest
from test_reference_pages import load_tool

TOOL = load_tool("mutants")
MUTANTS = TOOL.mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_line_that_a_mutant_breaks_is_there_once_and_the_mistake_is_code(mutant: Any) -> None:
    assert mutant.fits()
    path = mutant.path(TOOL.ROOT)
    text = path.read_text(encoding="utf-8")
    compile(text.replace(mutant.old, mutant.new), str(path), "exec")


def test_there_are_at_least_twenty_with_names_of_their_own() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
