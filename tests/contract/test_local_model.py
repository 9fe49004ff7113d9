"""`perdure serve --gguf`: a real engine inside the server, with no other server at all."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.commands import perdure
from tests.contract.told import ADA, assert_classes, told, types, user
from tests.operation.waiting import soon
from tests.providers.test_gguf import gguf as header
from tests.rig import http
from tests.rig.engine import PACKAGES, SAYS_TOOL, Engine
from tests.rig.install import python_with
from tests.rig.sdks import JS0, PY1, Client, Sdk
from tests.rig.server import ROOT, Server
from tests.rig.stores import SQLITE

WINDOW = 8192
HANDLE = "local/babbler.Q8_0"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, in a file of its own name; beside it one that makes vectors and one without tools."""
    folder = tmp_path_factory.mktemp("gguf")
    with Engine(folder) as engine:
        made = folder / "babbler.Q8_0.gguf"
        made.symlink_to(engine.file)
        (folder / "meaning.gguf").symlink_to(engine.vectors_file)
        (folder / "talker.gguf").symlink_to(engine.talker_file)
    return made


def with_extra() -> dict[str, str]:
    """An environment in which the extra is installed."""
    lib = python_with("engine", *PACKAGES).parents[1] / "lib"
    (packages,) = lib.glob("python*/site-packages")
    return {"PYTHONPATH": f"{ROOT}:{packages}"}


@pytest.fixture(scope="module")
def boxed(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two models in it. One that is silent works, so limits on silence must not end its calls."""
    impatience = {"LETTA_LLM_REQUEST_TIMEOUT_SECONDS": "0.001", "LETTA_LLM_STREAM_TIMEOUT_SECONDS": "0.001"}
    vectors = {"PERDURE_GGUF_EMBEDDING": str(gguf.with_name("meaning.gguf"))}
    environment = {**with_extra(), **impatience, **vectors, "PERDURE_GGUF_CONTEXT": str(WINDOW)}
    with Server(tmp_path_factory.mktemp("boxed") / "data", environment, ["--gguf", str(gguf)]) as running:
        yield running


@pytest.fixture(params=[PY1, JS0])
def boxed_client(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], boxed: Server) -> Client:
    """An official SDK of each generation."""
    return sdks(request.param).at(boxed.base_url)


def test_it_is_listed_first_with_its_true_window(boxed: Server) -> None:
    first = boxed.get("/v1/models/").json[0]
    assert first["handle"] == HANDLE
    assert first["context_window"] == first["max_context_window"] == WINDOW
    assert HANDLE in boxed.log


def test_it_is_the_model_of_agents_that_name_none(boxed: Server) -> None:
    assert boxed.new_agent()["llm_config"]["handle"] == HANDLE


def test_it_calls_tools_with_valid_arguments(boxed_client: Client) -> None:
    agent = boxed_client.one("create_agent", model=HANDLE, memory_blocks=ADA)["id"]
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
    assert len(ports) == 2, "one for each model"
    for url in (f"http://127.0.0.1:{port}/v1/chat/completions" for port in ports):
        assert http.request("GET", url).status in (401, 404)
        assert http.request("POST", url, {"messages": user("hi")}).status == 401


@pytest.mark.stores(SQLITE)
def test_it_stops_while_the_model_talks(gguf: Path, new_server: Callable[..., Server]) -> None:
    server = new_server({**with_extra(), "PERDURE_DRAIN_SECONDS": "0.5"}, options=["--gguf", str(gguf)]).start()
    agent = server.new_agent()["id"]
    sent = {"messages": user(SAYS_TOOL), "stream_tokens": True}
    with server.stream(f"/v1/agents/{agent}/messages/stream", sent) as stream:
        stream.until("tool_call_message")
        assert server.stop() == 0


def turn(server: Server, agent: str, said: str) -> tuple[int, int]:
    """Tokens of the prompt, and how many of them the engine still had."""
    usage = server.post(f"/v1/agents/{agent}/messages", {"messages": user(said)}).json["usage"]
    return usage["prompt_tokens"], usage["cached_input_tokens"] or 0


def test_each_conversation_goes_on_from_where_it_was_though_they_take_turns(boxed: Server) -> None:
    settings = {"model_settings": {"provider_type": "openai", "max_output_tokens": 20}}
    agents = [boxed.new_agent(memory_blocks=ADA, include_base_tools=False, **settings)["id"] for _ in range(2)]
    for said in ("hello", "and now?", "still there?"):
        for agent in agents:
            prompt, cached = turn(boxed, agent, said)
            assert said == "hello" or cached > 0.9 * prompt
    agent = agents[0]
    boxed.request("PATCH", f"/v1/agents/{agent}/core-memory/blocks/human", {"value": "Ada, who likes tea."})
    prompt, cached = turn(boxed, agent, "what changed?")
    assert cached > 0.3 * prompt, "what stands before the changed memory is not read again"
    prompt, cached = turn(boxed, agent, "nothing?")
    assert cached > 0.9 * prompt


def test_vectors_come_out_of_a_file_too_and_are_what_is_used_where_nobody_chooses(boxed: Server) -> None:
    [model] = boxed.get("/v1/models/embedding").json
    assert (model["handle"], model["embedding_dim"]) == ("local/meaning", 32)
    agent = boxed.new_agent(include_base_tools=False)
    assert agent["embedding_config"]["handle"] == "local/meaning"
    path = f"/v1/agents/{agent['id']}/archival-memory"
    # It is longer than what the model reads, and cut.
    boxed.post(path, {"text": "A quiet morning. " * 1_000})
    found = soon(lambda: boxed.get(f"{path}/search?query=an+early+hour").json["results"])
    assert len(found) == 1, "it has no word of the query"


@pytest.mark.stores(SQLITE)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"GGUF\x03\x00\x00\x00 cut", "is cut off after 12 bytes: download it again"),
        (header({"general.architecture": "llama"}), "llama.cpp cannot load"),
        (header({"general.architecture": "bert"}), "give it as PERDURE_GGUF_EMBEDDING"),
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
    if "llama.cpp" in says:
        assert "error loading model" in server.log, "in its own words"


@pytest.mark.stores(SQLITE)
def test_a_model_that_knows_no_tools_talks_and_says_so(gguf: Path, new_server: Callable[..., Server]) -> None:
    server = new_server(with_extra(), options=["--gguf", str(gguf.with_name("talker.gguf"))]).start()
    assert "model_without_tools" in server.log
    assert "it can talk, but not use its memory" in server.log
    agent = server.new_agent(model_settings={"provider_type": "openai", "max_output_tokens": 20})
    reply = server.post(f"/v1/agents/{agent['id']}/messages", {"messages": user(SAYS_TOOL)}).json
    assert "tool_call_message" not in {each["message_type"] for each in reply["messages"]}


def test_the_doctor_looks_into_the_files(gguf: Path, tmp_path: Path) -> None:
    asked = {**with_extra(), "PERDURE_GGUF_EMBEDDING": str(gguf.with_name("meaning.gguf"))}
    done = perdure("doctor", "--data", str(tmp_path), "--port", "0", "--gguf", str(gguf), humble=False, **asked)
    assert f"to be run as {HANDLE}, llama, 16,384 of 131,072 tokens" in done.stdout
    assert "to be run as local/meaning, llama, vectors of 32 floats" in done.stdout
    assert done.returncode == 0


@pytest.mark.stores(SQLITE)
def test_without_the_extra_it_says_what_to_install(gguf: Path, new_server: Callable[..., Server]) -> None:
    server = new_server({}, options=["--gguf", str(gguf)])
    with pytest.raises(AssertionError, match="the server ended with 1"):
        server.start()
    assert "pip install 'perdure[local]'" in server.log
