"""What only Gemini has: signatures on pieces. The rest of it stands in `test_every_dialect.py`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import ADA, user
from tests.providers.gemini import chunk, function_call, text, thought
from tests.providers.scripted import Answer, Asked, events, lists, serving, streams
from tests.rig.server import Server

LIMIT = 60.0
MEMORY = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


def settings(url: str) -> dict[str, str]:
    """What a server needs in its environment to find a Gemini there."""
    return {"GEMINI_API_KEY": "none", "GEMINI_BASE_URL": url}


def say(server: Server, agent: str, words: str, **fields: Any) -> list[dict[str, Any]]:
    """What a stream says to these words, pings left out."""
    body = {"messages": user(words), "stream_tokens": True, **fields}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return [
            {"message_type": "[DONE]"} if frame.kind == "[DONE]" else frame.json
            for frame in stream.read()
            if frame.kind not in ("ping", "comment")
        ]


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(frame["message_type"] for frame in frames))


def scripted(*turns: bytes | list[Any]) -> Answer:
    """A Gemini with one model that answers each request with the next of these."""
    left = list(turns)
    listing = lists({
        "/v1beta/models?pageSize=1000": {
            "models": [{"name": "models/gemini-3.8-flash", "supportedGenerationMethods": ["generateContent"]}]
        }
    })  # fmt: skip

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (listing if asked.method == "GET" else streams(*events(*left.pop(0))))(asked, writer)

    return answer


@pytest.mark.stores("postgresql")
def test_signatures_come_back_unchanged_on_their_pieces_after_a_restart_too(new_server: Callable[..., Server]) -> None:
    call = function_call("memory_insert", "sig-call==", MEMORY, id="fc-1")
    turns = (
        [chunk(thought("She likes tea.", "sig-thought")), chunk(call, finish="STOP")],
        [chunk(text("I saved")), chunk(text(" that.")), chunk(text("", "sig-end"), finish="STOP")],
        [chunk(text("You are welcome."), finish="STOP")],
    )

    def talk(url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        server = new_server(settings(url)).start()
        agent = server.new_agent(model="google_ai/gemini-3.8-flash", memory_blocks=ADA)["id"]
        first = say(server, agent, "I like tea.")
        server.restart()
        return first, say(server, agent, "Thanks.")

    async def go() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Asked]]:
        async with asyncio.timeout(LIMIT), serving(scripted(*turns)) as google:
            first, second = await asyncio.to_thread(talk, google.url)
            return first, second, [each for each in google.asked if each.method == "POST"]

    first, second, asked = asyncio.run(go())
    assert kinds(first) == [
        "reasoning_message", "tool_call_message", "tool_return_message", "assistant_message", "stop_reason",
        "usage_statistics", "[DONE]",
    ]  # fmt: skip
    assert kinds(second)[0] == "assistant_message"
    assert "sig-" not in json.dumps([*first, *second]), "a seal is nobody's business"
    step, after = asked[1].json["contents"][1:], asked[2].json["contents"][1:]
    signed_call = {"functionCall": {"name": "memory_insert", "args": MEMORY, "id": "fc-1"}}
    assert step[0]["parts"] == [
        {"text": "She likes tea.", "thought": True, "thoughtSignature": "sig-thought"},
        {**signed_call, "thoughtSignature": "sig-call=="},
    ]
    assert step[1]["parts"][0]["functionResponse"]["id"] == "fc-1"
    assert after[:2] == step
    assert after[2]["parts"] == [{"text": "I saved that."}, {"text": "", "thoughtSignature": "sig-end"}]
    assert asked[0].headers["x-goog-api-key"] == "none"
