"""Records the streams under `tests/fixtures/streams` anew, from servers no one here wrote:

    python -m tests.rig.recording

llama.cpp really infers its own; aimock and llmock make up the rest. What none of them can say (refusals, errors in the
middle of a stream, surrogate pairs cut in halves, Bedrock's base64) is written by hand after the vendors' published
examples, and stays as it is. What each file means stands in `tests/providers/test_recorded_streams.py`.
"""

import http.client
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.rig.aimock import AiMock
from tests.rig.engine import MODEL, Engine
from tests.rig.llmock import LlMock

STREAMS = Path(__file__).resolve().parents[1] / "fixtures" / "streams"
DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini", "bedrock")
LIMIT = 30.0
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "parameters": SCHEMA}
CALLS = [{"name": "weather", "arguments": {"city": city}} for city in ("Oslo", "Rome")]
CUT_BEFORE = b"Ro"
"""Inside the JSON of the last call's arguments."""

AIMOCK: dict[str, dict[str, Any]] = {
    "text": {"content": "Hello, \u00e9\U0001f600 you."},
    "reasoning": {
        "reasoning": "Let me think.",
        "content": "Yes.",
        "reasoningSignature": "c2VhbA==",
        "redactedThinking": ["ZGF0YQ=="],
    },
    "parallel_calls": {"toolCalls": CALLS},
    "length": {"content": "Half an", "finishReason": "length"},
}
LLMOCK: dict[str, list[dict[str, Any]]] = {
    "text": [{"type": "reply", "text": "one two three"}],
    "parallel_calls": [{"type": "reply", "text": "Both.", "tool_calls": CALLS}],
    "empty": [{"type": "reply", "text": ""}],
    "length": [{"type": "reply", "text": "Half an", "finish_reason": "length"}],
    "filtered": [{"type": "reply", "text": "I will not.", "finish_reason": "content_filter"}],
    "malformed": [
        {"type": "reply", "text": "one two three"},
        {"type": "stream_fault", "kind": "malformed", "after_chunks": 2},
    ],
}
ENGINE: dict[str, dict[str, Any]] = {"text": {"max_tokens": 40}, "length": {"max_tokens": 2}}

THEIRS = {
    **{(dialect, what): "engine" for dialect in DIALECTS[:3] for what in ENGINE},
    **{(dialect, "reasoning"): "aimock" for dialect in DIALECTS},
    **{("bedrock", what): "aimock" for what in AIMOCK},
    **{(dialect, what): "llmock" for dialect in DIALECTS[:4] for what in ("parallel_calls", "empty", "malformed")},
    **{("gemini", what): "llmock" for what in ("text", "length")},
    # llama.cpp says of an answer that it ended where its limit cut it, in this dialect.
    ("openai_responses", "length"): "llmock",
    **{(dialect, "filtered"): "llmock" for dialect in ("openai_chat", "anthropic", "gemini")},
}
"""Who says what, by dialect."""


def asking(dialect: str, words: str, model: str | None, limit: int) -> tuple[str, dict[str, Any]]:
    """The path and the body of a request for a stream."""
    said = [{"role": "user", "content": words}]
    claude = {"max_tokens": limit, "messages": said, "tools": [{"name": "weather", "input_schema": SCHEMA}]}
    match dialect:
        case "openai_chat":
            tools = [{"type": "function", "function": WEATHER}]
            more = {"stream_options": {"include_usage": True}, "tools": tools, "max_tokens": limit, "seed": 1}
            return "/v1/chat/completions", {"model": model or "gpt-4o", "stream": True, "messages": said, **more}
        case "openai_responses":
            tools = [{"type": "function", **WEATHER}]
            more = {"tools": tools, "max_output_tokens": limit, "include": ["reasoning.encrypted_content"], "seed": 1}
            return "/v1/responses", {"model": model or "gpt-5", "stream": True, "input": said, **more}
        case "anthropic":
            return "/v1/messages", {"model": model or "claude-sonnet-4-6", "stream": True, **claude}
        case "gemini":
            contents = [{"role": "user", "parts": [{"text": words}]}]
            body = {"contents": contents, "tools": [{"functionDeclarations": [WEATHER]}]}
            return "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", body
        case _:
            path = "/model/us.anthropic.claude-opus-5-v1:0/invoke-with-response-stream"
            return path, {"anthropic_version": "bedrock-2023-05-31", **claude}


def stream(url: str, path: str, body: dict[str, Any]) -> bytes:
    """The bytes of an answer, as far as they came."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", "x-api-key": "none"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    try:
        return answer.read()
    except http.client.IncompleteRead as cut:
        return cut.partial
    finally:
        connection.close()


def recorded(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Each recording with its dialect and what it shows."""
    answers = [
        {"match": {"userMessage": f"{what}!"}, "response": said, "chunkSize": 7} for what, said in AIMOCK.items()
    ]
    with Engine(folder) as engine, AiMock(folder, answers) as aimock, LlMock(folder) as llmock:
        for (dialect, what), who in THEIRS.items():
            if who == "engine":
                path, body = asking(dialect, "Say something.", MODEL, ENGINE[what]["max_tokens"])
                body.pop("tools", None)
                yield dialect, what, stream(engine.url, path, body)
            elif who == "aimock":
                yield dialect, what, stream(aimock.url, *asking(dialect, f"{what}!", None, 1000))
            else:
                llmock.reset()
                llmock.behave(*LLMOCK[what])
                path, body = asking(dialect, "hi", None, 1000)
                body.pop("tools", None)  # it says them again in each event, and calls any
                under = {"anthropic": "/anthropic", "gemini": "/gemini"}.get(dialect, "")
                yield dialect, what, stream(llmock.url, under + path, body)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for dialect, what, raw in recorded(Path(folder)):
            files = {what: raw}
            if what == "parallel_calls":
                files["cut"] = raw[: raw.rindex(CUT_BEFORE)]
            for name, data in files.items():
                file = STREAMS / dialect / f"{name}.{'bin' if dialect == 'bedrock' else 'sse'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                print(file.relative_to(STREAMS), len(data))


if __name__ == "__main__":
    main()
