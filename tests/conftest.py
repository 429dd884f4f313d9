"""Stories of the engine use the driver of the domain's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "domain"))
pytest.register_assert_rewrite("driver")
