"""How OpenAI's Responses carry a scripted answer, and a judge of Responses requests as strict as the real one."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.rig.answers import Answer, Call, Cut, Hold, Parallel, Pause, Raw, Reasoning, Text
from tests.rig.history import NAME

PARAMETERS = {
    "include", "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls", "prompt_cache_key",
    "reasoning", "store", "stream", "temperature", "text", "tool_choice", "tools",
}  # fmt: skip
_ids = itertools.count(1)

Event = dict[str, Any]


def events(answer: Answer, model: str) -> Iterator[Event | Hold | Pause | Cut | Raw]:
    """The answer as events, with holds, cuts and raw bytes in their places. Reasoning comes with a seal."""
    response = {"id": f"resp_{next(_ids)}", "object": "response", "model": model, "output": [], "error": None}
    places = itertools.count()
    begun = False
    for piece in answer.pieces:
        if not begun and not isinstance(piece, Hold):
            begun = True
            yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
        if isinstance(piece, Hold | Pause | Cut | Raw):
            yield piece
            continue
        for each in piece.calls if isinstance(piece, Parallel) else (piece,):
            yield from _item(each, next(places))
    if answer.reason is None:
        return
    usage = {"input_tokens": answer.usage[0], "output_tokens": answer.usage[1]} if answer.usage else None
    ending = {**response, "status": "completed", "usage": usage, "incomplete_details": None}
    if answer.reason == "length":
        ending |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    yield {"type": f"response.{ending['status']}", "response": ending}


def _item(piece: Text | Reasoning | Call, place: int) -> Iterator[Event]:
    number = next(_ids)
    match piece:
        case Text(deltas):
            content = [{"type": "output_text", "text": "".join(deltas), "annotations": []}]
            began = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": []}
            ended, kind = {**began, "content": content}, "output_text"
        case Reasoning(deltas):
            summary = [{"type": "summary_text", "text": "".join(deltas)}] if deltas else []
            began = {"id": f"rs_{number}", "type": "reasoning", "summary": []}
            ended, kind = (
                {**began, "summary": summary, "encrypted_content": f"sealed/{number}=="},
                "reasoning_summary_text",
            )
        case Call():
            deltas = tuple(piece.pieces())
            began = {
                "id": f"fc_{number}",
                "type": "function_call",
                "call_id": piece.id,
                "name": piece.name,
                "arguments": "",
            }
            ended, kind = {**began, "arguments": piece.arguments}, "function_call_arguments"
    about = {"output_index": place, "item_id": began["id"]}
    yield {"type": "response.output_item.added", "output_index": place, "item": began}
    for delta in deltas:
        more = {"summary_index": 0} if kind == "reasoning_summary_text" else {}
        yield {"type": f"response.{kind}.delta", **about, **more, "delta": delta}
    yield {"type": "response.output_item.done", "output_index": place, "item": ended}


def faults_of(body: dict[str, Any]) -> list[str]:
    """Everything in this Responses request that the real API would answer with 400."""
    faults = [f"unknown parameter {name}" for name in sorted(body.keys() - PARAMETERS)]
    if body.get("store") is not False:
        faults.append("it is to be kept by the server")
    names = [tool["name"] for tool in body.get("tools") or []]
    faults += [f"tool {name!r} twice or of no use" for name in names if names.count(name) > 1 or not NAME.match(name)]
    faults += ["a tool without strict" for tool in body.get("tools") or [] if "strict" not in tool]
    items = body.get("input")
    if not isinstance(items, list) or not items:
        return [*faults, "no input"]
    for at, item in enumerate(items):
        faults += [f"item {at}: {fault}" for fault in _item_faults(item, items[at + 1 :])]
    return [*faults, *_order_faults(items)]


def _item_faults(item: dict[str, Any], after: list[dict[str, Any]]) -> Iterator[str]:
    kind = item.get("type", "message")
    if kind == "message" and not item.get("content"):
        yield "no content"
    if kind == "message" and item.get("role") not in ("user", "assistant", "system", "developer"):
        yield f"role {item.get('role')}"
    if kind == "reasoning":
        if not {"id", "summary", "encrypted_content"} <= item.keys():
            yield f"an item that is not kept: {item}"
        following = next((each for each in after if each.get("type") != "reasoning"), {})
        if following.get("type") not in ("message", "function_call"):
            yield "reasoning without its required following item"
    if kind == "function_call":
        if not NAME.match(item.get("name", "")) or not 0 < len(item.get("call_id", "")) <= 64:
            yield f"a call of {item.get('name')!r} under {item.get('call_id')!r}"
        if not isinstance(json.loads(item["arguments"]), dict):
            yield f"arguments {item['arguments']!r}"
    if kind not in ("message", "reasoning", "function_call", "function_call_output"):
        yield f"type {kind}"


def _order_faults(items: list[dict[str, Any]]) -> Iterator[str]:
    """Each call answered exactly once, and before anybody speaks; the model does not speak last."""
    waiting: list[str] = []
    for at, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            waiting.append(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in waiting:
                yield f"item {at} answers {item['call_id']}, which is no open call"
            else:
                waiting.remove(item["call_id"])
        elif waiting and item.get("role") != "assistant":
            yield f"item {at} comes while calls are unanswered: {waiting}"
    if waiting:
        yield f"calls stay unanswered: {waiting}"
    if items[-1].get("role") == "assistant":
        yield "the last item is the model's own"
