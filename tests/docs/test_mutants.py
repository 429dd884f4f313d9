"""The list of deliberate mistakes fits the code, so that `./run mutants` still breaks what it says."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", Path(__file__).parents[2] / "tools" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MUTANTS = tool().mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_line_that_a_mutant_breaks_is_there_once_and_the_mistake_is_code(mutant: Any) -> None:
    assert mutant.fits()
    path = mutant.path(tool().ROOT)
    text = path.read_text(encoding="utf-8")
    compile(text.replace(mutant.old, mutant.new), str(path), "exec")


def test_there_are_at_least_twenty_with_names_of_their_own() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
