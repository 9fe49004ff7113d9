"""`perdure serve --gguf`: a real engine inside the server, with no other server at all."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.contract.told import ADA, assert_classes, told, types, user
from tests.rig import http
from tests.rig.engine import PACKAGES, SAYS_TOOL, Engine
from tests.rig.install import python_with
from tests.rig.sdks import NAMES, Client, Sdk
from tests.rig.server import ROOT, Server

WINDOW = 8192


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, in a file of its own name."""
    folder = tmp_path_factory.mktemp("gguf")
    with Engine(folder) as engine:
        made = folder / "babbler.Q8_0.gguf"
        made.symlink_to(engine.file)
    return made


def with_extra() -> dict[str, str]:
    """An environment in which the extra is installed."""
    lib = python_with("engine", *PACKAGES).parents[1] / "lib"
    (packages,) = lib.glob("python*/site-packages")
    return {"PYTHONPATH": f"{ROOT}:{packages}"}


@pytest.fixture(scope="module")
def boxed(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model in it."""
    environment = {**with_extra(), "PERDURE_GGUF_CONTEXT": str(WINDOW)}
    with Server(tmp_path_factory.mktemp("boxed") / "data", environment, ["--gguf", str(gguf)]) as running:
        yield running


@pytest.fixture(params=NAMES)
def boxed_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], boxed: Server) -> Client:
    """Each of the four official SDKs in turn."""
    return sdks(request.param).at(boxed.base_url)


def test_it_is_listed_first_with_its_true_window(boxed: Server) -> None:
    first = boxed.get("/v1/models/").json[0]
    assert first["handle"] == "local/babbler.Q8_0"
    assert first["context_window"] == first["max_context_window"] == WINDOW
    assert "local/babbler.Q8_0" in boxed.log


def test_it_is_the_model_of_agents_that_name_none(boxed: Server) -> None:
    assert boxed.new_agent()["llm_config"]["handle"] == "local/babbler.Q8_0"


def test_it_calls_tools_with_valid_arguments(boxed_client: Client) -> None:
    agent = boxed_client.one("create_agent", model="local/babbler.Q8_0", memory_blocks=ADA)["id"]
    items = boxed_client.all("stream", agent_id=agent, messages=user(SAYS_TOOL), stream_tokens=True)
    # What it says after the tool is left to chance, and may be nothing.
    assert types(items)[:2] == ["tool_call_message", "tool_return_message"]
    assert types(items)[-2:] == ["stop_reason", "usage_statistics"]
    assert items[-2]["stop_reason"] == "end_turn"
    assert items[-1]["prompt_tokens"] > 100
    assert_classes(boxed_client, items)
    calls = [item["tool_call"] for item in items if item.type == "tool_call_message"]
    assert isinstance(json.loads("".join(each.get("arguments") or "" for each in calls)), dict)
    assert told(boxed_client.all("list_messages", agent_id=agent)) == told(items)


def test_nobody_else_can_use_the_engine(boxed: Server) -> None:
    ports = {c.laddr.port for c in psutil.Process(boxed.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    ports.remove(int(boxed.base_url.rpartition(":")[2]))
    (port,) = ports
    assert http.request("GET", f"http://127.0.0.1:{port}/v1/chat/completions").status in (401, 404)
    assert http.request("POST", f"http://127.0.0.1:{port}/v1/chat/completions", {"messages": user("hi")}).status == 401


def test_it_stops_while_the_model_talks(gguf: Path, new_server: Callable[..., Server]) -> None:
    server = new_server(with_extra(), options=["--gguf", str(gguf)]).start()
    agent = server.new_agent()["id"]
    sent = {"messages": user(SAYS_TOOL), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", sent) as stream:
        stream.until("tool_call_message")
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"PK\x03\x04 not a model", "is not a GGUF file"),
        (b"GGUF\x03\x00\x00\x00 cut", "llama.cpp cannot load"),
    ],
)
def test_a_file_that_is_no_model_stops_the_start(
    content: bytes | None, says: str, tmp_path: Path, new_server: Callable[..., Server]
) -> None:
    file = tmp_path / "model.gguf"
    if content is not None:
        file.write_bytes(content)
    server = new_server({**with_extra(), "PERDURE_GGUF": str(file)})
    with pytest.raises(AssertionError, match="the server ended with 1"):
        server.start()
    assert says in server.log


def test_without_the_extra_it_says_what_to_install(gguf: Path, new_server: Callable[..., Server]) -> None:
    server = new_server({}, options=["--gguf", str(gguf)])
    with pytest.raises(AssertionError, match="the server ended with 1"):
        server.start()
    assert "pip install 'perdure[local]'" in server.log
