"""Agent files read and written: every message comes back as it was, and no file does more than be refused."""

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.domain.messages import (
    ApprovalPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.wire.agent_file import contents
from perdure.wire.filed_messages import filed, unfiled, unfiled_all
from perdure.wire.filing import OURS

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12) | st.sampled_from(
    ["{}", '{"type": "user_message", "message": "m", "time": "t"}', '{"status": "OK", "message": 1}']
)
extra = st.just({}) | st.just({"vendor": {"signature": "s"}})
said = st.builds(TextPart, text=words, extra=extra)
thought = st.builds(
    ReasoningPart, text=words, native=st.booleans(), signature=st.none() | words, call_id=st.none() | words, extra=extra
)
hidden = st.builds(HiddenReasoningPart, state=st.sampled_from(["redacted", "omitted"]), data=st.none() | words)
called = st.builds(ToolCallPart, call_id=words, name=words, arguments=words, extra=extra)
returned = st.builds(
    ToolReturnPart, call_id=words, name=words, status=st.sampled_from(["success", "error"]), text=words,
    stdout=st.none() | st.tuples(words), stderr=st.none() | st.tuples(words, words),
)  # fmt: skip
image = st.builds(ImagePart, media_type=st.just("image/png"), data=words, detail=st.none() | words)
decided = st.builds(ApprovalPart, call_id=words, approve=st.booleans(), reason=st.none() | words)
summed_up = st.builds(SummaryPart, text=words, announced=st.booleans())


def parts(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.one_of(*kinds), min_size=1, max_size=4).map(tuple)


messages = st.one_of(
    st.tuples(st.just("user"), parts(said, image)),
    st.tuples(st.just("system"), parts(said)),
    st.tuples(st.just("assistant"), parts(said, thought, hidden, called)),
    st.tuples(st.just("approval"), parts(called)),
    st.tuples(st.just("approval"), parts(decided, returned)),
    st.tuples(st.just("tool"), parts(returned)),
    st.tuples(st.just("summary"), summed_up.map(lambda part: (part,))),
).map(
    lambda made: Message(id="message-1", agent_id="agent-1", role=made[0], parts=made[1], created_at=10**15, name="n")
)


@given(messages)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    wire = json.loads(msgspec.json.encode(filed(message, "message-0", "agent-0")))
    read = unfiled(wire)
    assert (read.role, read.parts, read.created_at) == (message.role, message.parts, message.created_at)
    assert (wire["id"], wire["agent_id"]) == ("message-0", "agent-0")


def test_what_the_format_can_say_is_said_in_it_alone() -> None:
    call, answer = ToolCallPart(call_id="c", name="f", arguments="{}"), "Sunny."
    for role, held in (
        ("user", (TextPart(text="hi"),)),
        ("assistant", (ReasoningPart(text="Hm.", signature="s"), TextPart(text="So."), call)),
        ("tool", (ToolReturnPart(call_id="c", name="n", status="error", text=answer, stdout=("a",)),)),
    ):
        wire = filed(
            Message(id="m", agent_id="a", role=role, parts=held, created_at=1, name="n"), "message-0", "agent-0"
        )
        assert OURS not in wire
    assert json.loads(wire["tool_returns"][0]["func_response"])["message"] == answer


def test_returns_are_named_after_what_was_called() -> None:
    calls = [{"id": each, "type": "function", "function": {"name": each * 2, "arguments": "{}"}} for each in "ab"]
    returns = [{"tool_call_id": each, "status": "success", "func_response": None} for each in "ab"]
    found = unfiled_all([
        {"id": "m0", "role": "assistant", "content": [], "tool_calls": calls},
        {"id": "m1", "role": "tool", "name": "aa", "tool_returns": returns},
    ])  # fmt: skip
    assert [part.name for part in found["m1"].tool_returns] == ["aa", "bb"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
MESSAGE_KEYS = (
    "id", "role", "content", "text", "tool_calls", "tool_call_id", "tool_returns", "approvals", "created_at", "name",
    OURS,
)  # fmt: skip
AGENT_KEYS = (
    "id", "name", "system", "agent_type", "llm_config", "block_ids", "tool_ids", "tools", "memory", "core_memory",
    "tags", "secrets", "tool_rules", "in_context_message_ids", "metadata", "compaction_settings", OURS,
)  # fmt: skip
wild_message = st.dictionaries(
    st.sampled_from(MESSAGE_KEYS), st.sampled_from(["user", "assistant", "tool", "approval", "summary"]) | anything
)
wild_agent = st.dictionaries(st.sampled_from(AGENT_KEYS), anything).flatmap(
    lambda agent: st.fixed_dictionaries({**{key: st.just(value) for key, value in agent.items()},
                                         "messages": st.lists(wild_message, max_size=3) | anything})
)  # fmt: skip
wild = st.fixed_dictionaries(
    {"agents": st.lists(wild_agent, max_size=2), "blocks": st.lists(anything, max_size=2) | anything, "tools": anything}
)


@settings(deadline=None, max_examples=60)
@given(wild | anything)
def test_a_file_with_anything_in_it_is_read_or_refused(file: Any) -> None:
    with contextlib.suppress(Invalid):
        contents(file)
