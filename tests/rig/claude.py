"""How Anthropic's messages carry what a scripted model says, and what a strict Anthropic would refuse to be asked.

A thought is sealed with a hash of its words, so that a history which brings it back changed is found out.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.rig.answers import Answer, Call, Cut, Hold, Parallel, Pause, Raw, Reasoning, Redacted, Text

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
PARAMETERS = {
    "max_tokens", "messages", "metadata", "model", "output_config", "stop_sequences", "stream", "system", "temperature",
    "thinking", "tool_choice", "tools", "top_k", "top_p",
}  # fmt: skip
BLOCKS = {"user": {"text", "image", "tool_result"}, "assistant": {"text", "thinking", "redacted_thinking", "tool_use"}}
THOUGHTS = ("thinking", "redacted_thinking")
MARKS = 4


def seal(words: str) -> str:
    """The signature of a thought."""
    return f"sealed+{hashlib.sha256(words.encode()).hexdigest()}=="


def events(answer: Answer, model: str) -> Iterator[dict[str, Any] | Hold | Pause | Cut | Raw]:
    """The answer as stream events, with holds, cuts and raw bytes in their places."""
    begun = False
    indexes = itertools.count()
    prompt, made = answer.usage or (0, 0)
    for piece in answer.pieces:
        if not begun and not isinstance(piece, Hold):
            begun = True
            usage = {"input_tokens": prompt, "output_tokens": 1}
            yield {"type": "message_start", "message": {"id": "msg_1", "model": model, "content": [], "usage": usage}}
            yield {"type": "ping"}
        if isinstance(piece, Hold | Pause | Cut | Raw):
            yield piece
        else:
            calls = piece.calls if isinstance(piece, Parallel) else (piece,)
            yield from (event for each in calls for event in _block(each, next(indexes)))
    reason = {"tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens"}.get(
        answer.reason or "", answer.reason
    )
    if reason is not None:
        yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": made}}
    if answer.done:
        yield {"type": "message_stop"}


def _block(piece: Text | Reasoning | Redacted | Call, index: int) -> Iterator[dict[str, Any]]:
    match piece:
        case Text(deltas):
            begun: dict[str, Any] = {"type": "text", "text": ""}
            pieces = [{"type": "text_delta", "text": delta} for delta in deltas]
        case Reasoning(deltas):
            begun = {"type": "thinking", "thinking": "", "signature": ""}
            pieces = [{"type": "thinking_delta", "thinking": delta} for delta in deltas]
            pieces.append({"type": "signature_delta", "signature": seal("".join(deltas))})
        case Redacted(data):
            begun, pieces = {"type": "redacted_thinking", "data": data}, []
        case Call():
            begun = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
            pieces = [{"type": "input_json_delta", "partial_json": fragment} for fragment in ("", *piece.pieces())]
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in pieces)
    yield {"type": "content_block_stop", "index": index}


def faults_of(body: dict[str, Any]) -> list[str]:
    """Everything in this request that a strict Anthropic would answer with 400."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["no messages"]
    faults = [f"unknown parameter {name}" for name in sorted(body.keys() - PARAMETERS)]
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        faults.append("no max_tokens")
    faults += _order_faults(messages)
    for at, message in enumerate(messages):
        for block in message["content"]:
            faults += [f"message {at}: {fault}" for fault in _block_faults(message["role"], block)]
    faults += _call_faults(messages)
    faults += _tool_faults(body)
    faults += _thinking_faults(body)
    if json.dumps(body).count('"cache_control"') > MARKS:
        faults.append(f"more than {MARKS} marks for the cache")
    return faults


def _order_faults(messages: list[dict[str, Any]]) -> list[str]:
    roles = [message.get("role") for message in messages]
    faults = [f"roles do not alternate: {roles}"] if any(a == b for a, b in itertools.pairwise(roles)) else []
    if roles[0] != "user" or roles[-1] != "user":
        faults.append(f"the user does not speak first and last: {roles}")
    faults += [
        f"message {at} ends in thought"
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and message["content"][-1]["type"] in THOUGHTS
    ]
    return faults + [f"message {at} is empty" for at, message in enumerate(messages) if not message.get("content")]


def _block_faults(role: str, block: dict[str, Any]) -> list[str]:
    kind = block.get("type")
    faults = [] if kind in BLOCKS.get(role, ()) else [f"a {kind} of the {role}"]
    if kind == "text" and not block["text"].strip():
        faults.append("blank text")
    if kind == "thinking" and block["signature"] != seal(block["thinking"]):
        faults.append(f"a thought that is not what it was: {block['thinking']!r}")
    if kind == "tool_use" and not (NAME.match(block["id"]) and NAME.match(block["name"])):
        faults.append(f"call {block['id']!r} of {block['name']!r}, which is not allowed")
    if kind == "tool_use" and not isinstance(block["input"], dict):
        faults.append(f"input that is no object: {block['input']!r}")
    if kind in (*THOUGHTS, "tool_use") and "cache_control" in block:
        faults.append(f"a mark on a {kind}")
    return faults


def _call_faults(messages: list[dict[str, Any]]) -> list[str]:
    """Each call answered exactly once, in the next message and before anything else there."""
    faults: list[str] = []
    seen: list[str] = []
    waiting: list[str] = []
    for at, message in enumerate(messages):
        blocks = message["content"]
        returned = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(returned) != sorted(waiting):
            faults.append(f"message {at} answers {returned}, not {waiting}")
        if [block["type"] for block in blocks[: len(returned)]] != ["tool_result"] * len(returned):
            faults.append(f"message {at} has something before what calls returned")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        faults += [f"call id {each} is there twice" for each in waiting if each in seen]
        seen += waiting
    return faults


def _tool_faults(body: dict[str, Any]) -> list[str]:
    names = [tool["name"] for tool in body.get("tools") or ()]
    faults = [f"tool name {name!r} is not allowed" for name in names if not NAME.match(name)]
    faults += [f"tool {name} is there twice" for name in set(names) if names.count(name) > 1]
    faults += [
        f"no schema of {tool['name']}" for tool in body.get("tools") or () if tool["input_schema"]["type"] != "object"
    ]
    if not names and (
        "tool_choice" in body or any(b["type"] == "tool_use" for m in body["messages"] for b in m["content"])
    ):
        faults.append("calls or a tool_choice without tools")
    choice = body.get("tool_choice") or {}
    if choice.get("type") == "tool" and choice.get("name") not in names:
        faults.append(f"tool_choice {choice} names no tool")
    return faults


def _thinking_faults(body: dict[str, Any]) -> list[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") not in ("enabled", "adaptive"):
        return []
    faults: list[str] = []
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        faults.append("a call is forced while thinking")
    if "temperature" in body:
        faults.append("a temperature while thinking")
    if thinking["type"] == "enabled":
        if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            faults.append(f"budget {thinking['budget_tokens']} of {body['max_tokens']}")
        *_, last = [[], *(message["content"] for message in body["messages"] if message["role"] == "assistant")]
        if any(block["type"] == "tool_use" for block in last) and last[0]["type"] not in THOUGHTS:
            results = body["messages"][-1]["content"][0]["type"] == "tool_result"
            faults += ["a turn is to go on thinking that began without a thought"] if results else []
    return faults
