"""Fixtures every test may use. What is costly to start is shared by the tests of one worker process."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.logs import set_up_logs
from tests.rig.mcp import McpPeer
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, JS1, NAMES, PY0, PY1, Client, Sdk
from tests.rig.server import Server
from tests.rig.stores import NAMES as STORES
from tests.rig.stores import SQLITE, Place, places

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


@pytest.fixture
def new_place(store: str, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Makes empty places in the database that the test runs on."""
    with places(store, tmp_path) as new:
        yield new


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    """An empty place in the database that the test runs on."""
    return new_place()


@pytest.fixture(scope="session")
def servers(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """A running server on each database, started on first use."""
    started: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def server(store: str) -> Server:
            if store not in started:
                directory = tmp_path_factory.mktemp(f"shared-{store}")
                place = stack.enter_context(places(store, directory))()
                environment = models.environment | place.environment
                started[store] = stack.enter_context(Server(directory / "data0", environment, tools=TOOLS))
            return started[store]

        yield server


@pytest.fixture
def server(servers: Callable[[str], Server], store: str) -> Server:
    """A running server that knows the scripted models. Shared: do not stop it, do not count what it holds."""
    return servers(store)


@pytest.fixture
def new_server(models: ModelServer, tmp_path: Path, new_place: Callable[[], Place]) -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, not started yet; each is ended with the test."""
    made: list[Server] = []

    def new(environment: dict[str, str] | None = None, **options: Any) -> Server:
        environment = models.environment if environment is None else environment
        place = new_place()
        made.append(Server(tmp_path / f"data{len(made)}", environment | place.environment, **options))
        return made[-1]

    yield new
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def mcp_peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpPeer]:
    """MCP servers of this worker, in a process of their own."""
    peer = McpPeer(tmp_path_factory.mktemp("mcp") / "peer.log")
    yield peer
    peer.end()


@pytest.fixture
def mcp_peer(mcp_peers: McpPeer) -> McpPeer:
    """The MCP servers of this worker, as they are at first."""
    mcp_peers.state(tools="good")
    return mcp_peers


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


@pytest.fixture
def sdk(sdk_name: str, sdks: Callable[[str], Sdk]) -> Sdk:
    """Each of the four official SDKs in turn."""
    return sdks(sdk_name)


@pytest.fixture
def client(sdk: Sdk, server: Server) -> Client:
    """Each of the four official SDKs in turn, bound to the shared server."""
    return sdk.at(server.base_url)


@pytest.fixture
def py(py_sdk_name: str, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each Python SDK in turn."""
    return sdks(py_sdk_name).at(server.base_url)


@pytest.fixture
def py1(sdks: Callable[[str], Sdk], server: Server) -> Client:
    """The newer Python SDK."""
    return sdks(PY1).at(server.base_url)


@pytest.fixture
def old_client(old_sdk_name: str, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each 0.1.x SDK in turn."""
    return sdks(old_sdk_name).at(server.base_url)


@pytest.fixture
def new_client(new_sdk_name: str, sdks: Callable[[str], Sdk], server: Server) -> Client:
    """Each 1.x SDK in turn."""
    return sdks(new_sdk_name).at(server.base_url)


SDKS = {"sdk_name": NAMES, "py_sdk_name": (PY0, PY1), "old_sdk_name": (PY0, JS0), "new_sdk_name": (PY1, JS1)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever touches a database runs on both; what goes through several SDKs, on PostgreSQL with one of them."""
    if any("store" in marker.args[0] for marker in metafunc.definition.iter_markers("parametrize")):
        return
    marker = metafunc.definition.get_closest_marker("stores")
    stores = marker.args if marker else STORES
    for fixture, names in SDKS.items():
        if fixture in metafunc.fixturenames:
            if "store" not in metafunc.fixturenames:
                metafunc.parametrize(fixture, names)
                continue
            pairs = [(store, name) for store in stores for name in (names if store == SQLITE else names[-1:])]
            metafunc.parametrize(("store", fixture), pairs)
            return
    if "store" in metafunc.fixturenames:
        metafunc.parametrize("store", stores)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives the lines that this process has logged since it was last asked."""
    set_up_logs("json", "info")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    # The next line must not go to a stream that ends with this test.
    set_up_logs("text", "info")
