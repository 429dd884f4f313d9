"""The failure catalogue, played against the server: real processes, systems inside the test, stories of the engine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

for _drivers in ("system", "runtime"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _drivers))
pytest.register_assert_rewrite("harness", "scenes", "houses")

from harness import Server  # noqa: E402 -- after its assertions have been announced


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, shared: never kill it."""
    with Server(tmp_path_factory.mktemp("failures")) as running:
        yield running
        assert running.running, f"the server died\n{running.log()}"


@pytest.fixture(scope="package")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests may kill. The directory goes through all their deaths."""
    with Server(tmp_path_factory.mktemp("mortal")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_broken_rule(request: pytest.FixtureRequest) -> Iterator[None]:
    """A trade that cannot take what happens to it stays as it was: a test might not see that, the log does."""
    used = [request.getfixturevalue(name) for name in ("server", "mortal") if name in request.fixturenames]
    before = [len(each.log()) for each in used]
    yield
    for each, length in zip(used, before, strict=True):
        assert "broke a rule" not in (written := each.log()[length:]), written
        assert "could not take an event" not in written, written
