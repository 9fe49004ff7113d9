"""Fixtures of this folder."""

from collections.abc import Iterator

import pytest

from tests.rig.server import Server


@pytest.fixture(scope="session")
def newcomers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it starts where nothing is set."""
    with Server(tmp_path_factory.mktemp("newcomer") / "data") as running:
        yield running
