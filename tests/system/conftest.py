"""One server for all system tests of a worker; tests stay apart by fresh accounts and pairs."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("harness")

from harness import Server  # noqa: E402 -- after its assertions have been announced


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, shared: never kill it; make a `Server` of your own for that."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running
        assert running.running, f"the server died\n{running.log()}"
