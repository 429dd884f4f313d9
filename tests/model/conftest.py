"""The model's own test names whose fault a difference is; the engine's driver is that of the domain's tests."""

import pytest

pytest.register_assert_rewrite("engine_on_paper", "random_stories")
