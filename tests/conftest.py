"""Fixtures every test may use. What is costly to start is shared by the tests of one worker process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.logs import set_up_logs
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, JS1, NAMES, PY0, PY1, Client, Sdk
from tests.rig.server import Server

TOOLS = ("tests.rig.tools:weather", "tests.rig.tools:fail", "tests.rig.tools:hang")
"""In-process tools every shared server offers."""


@pytest.fixture(scope="session")
def models() -> Iterator[ModelServer]:
    """The scripted models of this worker."""
    server = ModelServer().start()
    yield server
    server.stop()


@pytest.fixture
def new_script(models: ModelServer) -> Iterator[Callable[[], Script]]:
    """Makes scripted models; the test fails if one was asked with a history a provider would refuse."""
    made: list[Script] = []

    def new() -> Script:
        made.append(models.script())
        return made[-1]

    yield new
    assert [fault for script in made for fault in script.violations] == []


@pytest.fixture
def script(new_script: Callable[[], Script]) -> Script:
    """A scripted model of this test's own."""
    return new_script()


@pytest.fixture(scope="session")
def server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that knows the scripted models. Shared: do not stop it, do not count what it holds."""
    with Server(tmp_path_factory.mktemp("shared") / "data", models.environment, tools=TOOLS) as running:
        yield running


@pytest.fixture
def new_server(models: ModelServer, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, not started yet; each is ended with the test."""
    made: list[Server] = []

    def new(environment: dict[str, str] | None = None, **options: Any) -> Server:
        environment = models.environment if environment is None else environment
        made.append(Server(tmp_path / f"data{len(made)}", environment, **options))
        return made[-1]

    yield new
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def sdks() -> Iterator[Callable[[str], Sdk]]:
    """Starts SDKs on first use and keeps them."""
    started: dict[str, Sdk] = {}

    def sdk(name: str) -> Sdk:
        if name not in started:
            started[name] = Sdk(name).start()
        return started[name]

    yield sdk
    for each in started.values():
        each.stop()


@pytest.fixture(params=NAMES)
def sdk(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk]) -> Sdk:
    """Each of the four official SDKs in turn."""
    return sdks(request.param)


@pytest.fixture
def client(sdk: Sdk, server: Server) -> Client:
    """Each of the four official SDKs in turn, bound to the shared server."""
    return sdk.at(server.base_url)


@pytest.fixture(params=[PY0, JS0])
def old_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each 0.1.x SDK in turn."""
    return sdks(request.param).at(server.base_url)


@pytest.fixture(params=[PY1, JS1])
def new_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each 1.x SDK in turn."""
    return sdks(request.param).at(server.base_url)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives the lines that this process has logged since it was last asked."""
    set_up_logs("json", "info")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    # The next line must not go to a stream that ends with this test.
    set_up_logs("text", "info")
