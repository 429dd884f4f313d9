"""Reference pages say what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from smarttrade.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parent.parent.parent


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_states_is_what_the_tables_say() -> None:
    assert (ROOT / "docs" / "states.md").read_text(encoding="utf-8") == load_tool("state_tables").page()


def test_every_setting_has_its_entry_and_no_entry_is_of_a_setting_that_is_gone() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    assert documented == set(Settings.__struct_fields__)
    assert ENVIRONMENT_PREFIX in page
