"""The matrix: everything an answer can be, in each dialect, from two model servers that no one here wrote.

Each test is a row; its columns are aimock and llmock, each in OpenAI's chat and Responses, Anthropic's messages and
Gemini. Where one of them cannot do a thing the scripted server of the tests does it, and the row says so.
"""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.mocks import AIMOCK, COLUMNS, LLMOCK, SCRIPTED, Scene, Stage
from tests.rig.answers import Pause, reasoning, text
from tests.rig.model import ModelServer

STATUSES = {
    400: "llm_bad_request", 401: "llm_authentication", 402: "llm_insufficient_credits", 403: "llm_authentication",
    404: "llm_bad_request", 429: "llm_rate_limit", 500: "llm_error", 503: "llm_error", 529: "llm_error",
}  # fmt: skip
TEXT = "one two three four five six"
MOST_EVENTS = 40
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CALLS = [
    {"name": "memory_insert", "arguments": {"label": "human", "new_string": f"Likes {what}."}}
    for what in ("tea", "milk")
]
USAGE = {
    "prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18, "input_tokens": 12, "output_tokens": 6,
    "promptTokenCount": 12, "candidatesTokenCount": 6, "totalTokenCount": 18,
}  # fmt: skip
"""Under the names of each dialect. llmock counts by itself."""
SAYS = {"type": "reply", "text": TEXT}
THOUGHTFUL = {"reasoning": "Let me think.", "content": TEXT}
LIMITS = {
    "LETTA_LLM_REQUEST_TIMEOUT_SECONDS": "1.5", "LETTA_LLM_STREAM_TIMEOUT_SECONDS": "1",
    "PERDURE_LLM_CALL_SECONDS": "2",
}  # fmt: skip
"""To the first byte, between two, and for the whole."""


def fault(kind: str, after: int, **more: Any) -> list[dict[str, Any]]:
    return [SAYS, {"type": "stream_fault", "kind": kind, "after_chunks": after, **more}]


SCENES = {
    "say": Scene(
        aimock=[{"response": {"content": TEXT, "usage": USAGE}, "chunkSize": 5}],
        llmock=[SAYS],
    ),
    "think": Scene(
        aimock=[{"response": {"reasoning": "Let me think.", "content": "I have."}, "chunkSize": 5}],
        scripted=[[reasoning("Let me", " think."), text("I have.")]],
    ),
    "remember": Scene(
        aimock=[
            {"match": {"hasToolResult": True}, "response": {"content": "Noted."}},
            {"match": {"hasToolResult": False}, "response": {"toolCalls": CALLS}, "chunkSize": 12},
        ],
        llmock=[{"type": "reply", "tool_calls": CALLS}, {"type": "reply", "text": "Noted."}],
    ),
    "length": Scene(
        aimock=[{"response": {"content": TEXT, "finishReason": "length"}}],
        llmock=[{**SAYS, "finish_reason": "length"}],
    ),
    "filter": Scene(
        aimock=[{"response": {"content": TEXT, "finishReason": "content_filter"}}],
        llmock=[{**SAYS, "finish_reason": "content_filter"}],
    ),
    "garble": Scene(
        aimock=[{"response": {"content": TEXT}, "chaos": {"malformedRate": 1}}],
        llmock=fault("malformed", 3),
    ),
    "truncate": Scene(
        aimock=[{"response": {"content": TEXT}, "chaos": {"disconnectRate": 1}}],
        llmock=fault("truncate", 3),
    ),
    **{
        f"refuse {status}": Scene(
            aimock=[{"response": {"error": {"message": "no", "type": "refused"}, "status": status}}],
            llmock=[{"type": "fail", "status": status}],
        )
        for status in STATUSES
    },
    **{
        f"cut after {number:02}": Scene(
            aimock=[{"response": THOUGHTFUL, "chunkSize": 7, "latency": 10, "truncateAfterChunks": number}],
            llmock=fault("disconnect", number),
        )
        for number in range(1, MOST_EVENTS)
    },
    "begin late": Scene(
        aimock=[{"response": {"content": TEXT}, "streamingProfile": {"ttft": 8000}}],
        llmock=[{"type": "delay", "seconds": 8}],
    ),
    "fall silent": Scene(
        aimock=[{"response": {"content": TEXT}, "chunkSize": 5, "streamingProfile": {"ttft": 10, "tps": 0.1}}],
        llmock=fault("stall", 4, stall_seconds=8),
    ),
    "go on and on": Scene(
        aimock=[{"response": {"content": TEXT * 9}, "chunkSize": 5, "latency": 150}],
        scripted=[[piece for _ in range(40) for piece in (text("on "), Pause(0.15))]],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        made = Stage(tmp_path_factory.mktemp("stage"), models, SCENES, stack.enter_context)
        yield made
        assert made.faults() == []


columns = pytest.mark.parametrize(("who", "dialect"), COLUMNS)


@columns
def test_tokens_stream_and_are_counted(stage: Stage, who: str, dialect: str) -> None:
    turn = stage.play(who, dialect, "say")
    assert turn.kinds == ["assistant_message", "stop_reason", "usage_statistics", "[DONE]"]
    assert len(turn.pieces("assistant_message")) > 1
    assert turn.said() == turn.history() == TEXT
    assert turn.frames[-3].json["stop_reason"] == "end_turn"
    usage = turn.frames[-2].json
    assert (usage["completion_tokens"], usage["step_count"]) == (6, 1)
    assert usage["prompt_tokens"] == 12 or (who == LLMOCK and usage["prompt_tokens"] > 100)
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert turn.error is None


@columns
def test_thoughts_are_shown_apart(stage: Stage, who: str, dialect: str) -> None:
    """llmock has no thoughts: in its columns the scripted server has them."""
    turn = stage.play(who, dialect, "think")
    assert turn.kinds == ["reasoning_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"]
    assert len(turn.pieces("reasoning_message")) > 1
    assert turn.said("reasoning_message") == turn.history("reasoning_message") == "Let me think."
    assert turn.said() == turn.history() == "I have."


@columns
def test_parallel_calls_stream_and_are_run(stage: Stage, who: str, dialect: str) -> None:
    """Gemini sends the arguments of a call whole."""
    turn = stage.play(who, dialect, "remember")
    assert turn.kinds == [
        "tool_call_message", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"
    ]  # fmt: skip
    deltas = [frame.json["tool_call"] for frame in turn.frames if frame.kind == "tool_call_message"]
    fragments: dict[str, list[str]] = {}
    for delta in deltas:
        fragments.setdefault(delta["tool_call_id"], []).append(delta.get("arguments") or "")
    assert len(fragments) == 2
    for pieces in fragments.values():
        assert dialect == "gemini" or len([piece for piece in pieces if piece]) > 1
    assert turn.said("tool_call_message") == turn.history("tool_call_message")
    block = turn.server.get(f"/v1/agents/{turn.agent}/core-memory/blocks/human").json["value"]
    assert sorted(block.splitlines()) == ["-", "Likes milk.", "Likes tea."]
    assert turn.frames[-2].json["step_count"] == 2


@columns
def test_why_it_stopped_is_said(stage: Stage, who: str, dialect: str) -> None:
    """The contract has no word for an answer that was filtered: it ends the turn, with what was let through."""
    for name, reason in (("length", "max_tokens_exceeded"), ("filter", "end_turn")):
        turn = stage.play(who, dialect, name)
        assert (turn.said(), turn.error) == (TEXT, None), name
        assert turn.frames[-3].json["stop_reason"] == reason


@columns
def test_an_image_comes_to_the_model(stage: Stage, who: str, dialect: str) -> None:
    """Of requests in other dialects than chat aimock's journal keeps no images."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    stage.llmock.reset()
    turn = stage.play(who, dialect, "say", [{"type": "text", "text": "say!"}, image])
    assert turn.said() == TEXT
    if who == LLMOCK:
        assert PIXEL in str(stage.llmock.requests()[-1]["body"])
    elif dialect == "openai_chat":
        assert PIXEL in str(stage.aimock.journal()[-1])


@columns
def test_each_refusal_has_its_name(stage: Stage, who: str, dialect: str) -> None:
    turns = {status: stage.play(who, dialect, f"refuse {status}") for status in STATUSES}
    assert {status: turn.error for status, turn in turns.items()} == STATUSES
    run = turns[529].frames[0].json["run_id"]
    assert turns[529].server.get(f"/v1/runs/{run}").json["status"] == "failed"


@columns
def test_a_stream_that_breaks_is_an_error(stage: Stage, who: str, dialect: str) -> None:
    """A chunk that is no JSON, and an end before the end: quietly from llmock, from aimock before the first byte."""
    for name in ("garble", "truncate"):
        turn = stage.play(who, dialect, name)
        assert turn.error == "llm_error", name
        assert TEXT.startswith(turn.said())
        assert turn.said() == turn.history()


@columns
def test_a_disconnect_after_any_event_keeps_what_was_shown(stage: Stage, who: str, dialect: str) -> None:
    """Of aimock's answers, which begin with a thought, that is kept, too."""
    shown: list[str] = []
    for number in range(1, MOST_EVENTS):
        turn = stage.play(who, dialect, f"cut after {number:02}")
        shown.append(turn.said("reasoning_message") + turn.said())
        assert turn.history("reasoning_message") + turn.history() == shown[-1]
        if turn.error is None:
            break
        assert turn.error == "llm_error"
    assert shown[-1] == (THOUGHTFUL["reasoning"] + TEXT if who == AIMOCK else TEXT), "it was never let finish"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert len(set(shown)) > 3


def test_each_limit_on_time_is_kept(stage: Stage) -> None:
    """All columns at once. llmock cannot be slow for long: in its columns the scripted server is.

    The limit on connecting lies below the dialects; `tests/providers/test_connections.py` has it.
    """
    scenes = {
        "begin late": "did not begin to answer in time",
        "fall silent": "fell silent",
        "go on and on": "took longer",
    }
    stage.llmock.reset()
    for who in (AIMOCK, LLMOCK, SCRIPTED):
        stage.server(who, **LIMITS)
    for name, why in scenes.items():
        with ThreadPoolExecutor(len(COLUMNS)) as pool:
            turns = list(pool.map(lambda column, name=name: stage.play(*column, name, **LIMITS), COLUMNS))
        for column, turn in zip(COLUMNS, turns, strict=True):
            assert turn.error == "llm_timeout", (*column, name)
            assert why in turn.frames[-2].json["detail"]
            assert turn.said() == turn.history()
            assert turn.said() or name != "go on and on"
