"""Whatever a provider makes up, in each dialect alike: a named error, a valid history, and the next message works."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.contract.mocks import DIALECTS, scripted, scripted_environment, take_turn
from tests.rig.answers import Cut, Piece, Raw, call, parallel, text
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

SEVERAL = {"provider_type": "openai", "parallel_tool_calls": True}
GROWTH = 200 << 20
"""Bytes that the server's memory may grow by under an answer without end; one event may be 16 MiB."""


@pytest.fixture(scope="module")
def server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("strange") / "data", scripted_environment(models)) as running:
        yield running


@pytest.fixture
def script(dialect: str, models: ModelServer) -> Iterator[Script]:
    """A scripted model that is asked in this dialect, and never with what a provider would refuse."""
    made = scripted(models, dialect)
    yield made
    assert made.violations == []


STRANGE: dict[str, Callable[[Script], object]] = {
    "an error under 200": lambda script: script.refuse(200, "Your credit is used up"),
    "HTML": lambda script: script.refuse(200, body="<html>Sign in</html>", content_type="text/html"),
    "half a chunk": lambda script: script.answer(text("Half"), Raw(b'data: {"cho'), Cut()),
    "nothing at all": lambda script: script.answer(finish=None, usage=None, done=False),
    "no JSON": lambda script: script.answer(text("Half"), Raw(b"data: {{{\n\n")),
    "JSON without a bottom": lambda script: script.answer(text("Half"), Raw(b"data: " + b"[" * 100_000 + b"\n\n")),
    "a redirect": lambda script: script.refuse(302, headers=(("Location", "http://[::1/"),)),
    "a packing that was not asked for": lambda script: script.refuse(
        200, body="x", headers=(("Content-Encoding", "br"),)
    ),
    "a line without end": lambda script: script.answer(Raw(b"data: "), *[Raw(b"x" * (1 << 20))] * 64),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_strange_answers_are_named_and_leave_a_conversation(server: Server, script: Script, dialect: str) -> None:
    agent = server.new_agent(model=script.handle)["id"]
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    for name, happens in STRANGE.items():
        happens(script)
        turn = take_turn(server, agent)
        assert turn.error == "llm_error", name
        assert turn.frames[-2].json["detail"], name
        script.say("Fine.")
        assert take_turn(server, agent).said() == "Fine.", name
    assert process.memory_info().rss - before < GROWTH


@pytest.mark.parametrize("dialect", DIALECTS)
def test_strange_calls_are_each_answered_once(server: Server, script: Script, dialect: str) -> None:
    agent = server.new_agent(
        model=script.handle, model_settings=SEVERAL, memory_blocks=[{"label": "human", "value": "-"}]
    )["id"]  # fmt: skip
    memory = {"label": "human", "new_string": "Tea."}
    same = [call("memory_insert", memory, id="same") for _ in range(2)]
    answers: tuple[tuple[Piece, ...], ...] = (
        (same[0], same[1], call("launch", {"to": "the moon"}, id="same")),
        (same[0],),
    )
    for pieces in answers:
        script.answer(*pieces)
    script.say("Done.")
    turn = take_turn(server, agent)
    assert turn.said() == "Done."
    returns = [frame.json for frame in turn.frames if frame.kind == "tool_return_message"]
    assert [each["status"] for message in returns for each in message["tool_returns"]] == [
        "success", "success", "error", "success"
    ]  # fmt: skip
    ids = [each["tool_call_id"] for message in returns for each in message["tool_returns"]]
    assert len(set(ids)) == 4
    block = server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"]
    assert block.count("Tea.") == 3


@pytest.mark.parametrize("dialect", DIALECTS)
def test_ten_thousand_calls(server: Server, script: Script, dialect: str) -> None:
    agent = server.new_agent(model=script.handle, model_settings=SEVERAL)["id"]
    before = psutil.Process(server.pid).memory_info().rss
    script.answer(parallel(*(call("launch", {"to": "the moon"}, fragments=1) for _ in range(10_000)))).say("Well.")
    turn = take_turn(server, agent)
    assert turn.error == "llm_error"
    assert "more than 100 tools" in turn.frames[-2].json["detail"]
    assert take_turn(server, agent).said() == "Well."
    history = server.get(f"/v1/agents/{agent}/messages?limit=1000").json
    calls, returns = (
        [each["tool_call_id"] for item in history if item["message_type"] == kind for each in item[f"{name}s"]]
        for kind, name in (("tool_call_message", "tool_call"), ("tool_return_message", "tool_return"))
    )
    assert calls == returns
    assert len(set(calls)) == 100
    assert psutil.Process(server.pid).memory_info().rss - before < GROWTH
