"""What the contract tests compare: the classes an SDK ought to make, and what a conversation says when put together."""

from collections.abc import Iterable
from typing import Any

from tests.rig.answers import Piece, call, reasoning, text
from tests.rig.model import Script
from tests.rig.sdks import JS0, PY0, PY1, Client, Decoded

CLASSES = {
    "approval_request_message": "ApprovalRequestMessage",
    "assistant_message": "AssistantMessage",
    "hidden_reasoning_message": "HiddenReasoningMessage",
    "ping": "LettaPing",
    "reasoning_message": "ReasoningMessage",
    "stop_reason": "LettaStopReason",
    "system_message": "SystemMessage",
    "tool_call_message": "ToolCallMessage",
    "tool_return_message": "ToolReturnMessage",
    "usage_statistics": "LettaUsageStatistics",
    "user_message": "UserMessage",
}
"""The class both Python SDKs make of each message type. npm makes plain objects, 0.1.x with key names of its own."""

SAID = ("reasoning_message", "assistant_message", "tool_call_message", "tool_return_message")
"""The types an agent says; the rest is said by users or about the stream."""

ADA = [
    {"label": "human", "value": "Name: Ada."},
    {"label": "persona", "value": "I answer briefly."},
]
REMEMBERED = "Likes tea."


def user(said: str) -> list[dict[str, Any]]:
    """The messages of a request in which a user says something."""
    return [{"role": "user", "content": said}]


def fresh_agent(client: Client, script: Script, **fields: Any) -> str:
    """Creates an agent with two blocks through the SDK, asked of the scripted model. Returns its id."""
    return client.one("create_agent", model=script.handle, memory_blocks=ADA, **fields)["id"]


def remembering(script: Script) -> None:
    """Scripts a turn with everything in it: reasoning, text, a tool call that changes memory, and a last word."""
    thought = reasoning("She likes", " tea.")
    memory = {"label": "human", "new_string": REMEMBERED, "insert_line": -1}
    first: list[Piece] = [thought, text("Saving", " it."), call("memory_insert", memory)]
    script.answer(*first).say("I saved", " that.")


def assert_classes(client: Client, items: Iterable[Decoded]) -> None:
    """Each item was decoded into the class of its own type, not into a stand-in."""
    for item in items:
        if client.sdk.name in (PY0, PY1):
            assert item.cls == CLASSES[item.type], item
        else:
            assert item.cls == "Object", item
            assert ("messageType" if client.sdk.name == JS0 else "message_type") in item.keys, item
            assert item.type in CLASSES, item
        if item.type == "tool_call_message":
            assert_tool_call(client, item)


def assert_tool_call(client: Client, item: Decoded) -> None:
    """The call inside is an object with its parts where the SDK's user looks for them."""
    if client.sdk.language == "py":
        assert item.nested["tool_call"] in ("ToolCall", "ToolCallDelta"), item
    assert item["tool_call"]["tool_call_id"], item


def types(items: Iterable[Decoded]) -> list[str]:
    """The message types in order, without pings, a run of one type counted once."""
    found: list[str] = []
    for item in items:
        if item.type != "ping" and (not found or found[-1] != item.type):
            found.append(item.type)
    return found


def told(items: Iterable[Decoded]) -> list[tuple[str, str, str, str]]:
    """Id, otid, type and whole text of what an agent said: fragments joined, in the order of their beginnings.

    The name of a tool, which may come with every fragment of a call, counts once.
    """
    whole: dict[tuple[str, str, str], str] = {}
    named: set[str] = set()
    for item in items:
        if item.type in SAID:
            key = (item["id"], item["otid"], item.type)
            text = text_in(item)
            if item.type == "tool_call_message" and (call_id := item["tool_call"]["tool_call_id"]) in named:
                text = text.removeprefix(item["tool_call"].get("name") or "")
            elif item.type == "tool_call_message":
                named.add(call_id)
            whole[key] = whole.get(key, "") + text
    return [(*key, said) for key, said in whole.items()]


def text_in(item: Decoded) -> str:
    """The text of a message or of a fragment of one."""
    match item.type:
        case "reasoning_message":
            return item["reasoning"]
        case "assistant_message":
            return item["content"]
        case "tool_call_message":
            called = item["tool_call"]
            return (called.get("name") or "") + (called.get("arguments") or "")
        case _:
            return f"{item['status']} {item['tool_return']}"


def said(items: Iterable[Decoded], kind: str = "assistant_message") -> str:
    """All text of one type, joined."""
    return "".join(text_in(item) for item in items if item.type == kind)
