"""Judges a chat request as a strict provider would: what it would refuse is named, one sentence a fault."""

import json
import re
from typing import Any

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
ROLES = {"system", "developer", "user", "assistant", "tool"}
PARAMETERS = {
    "frequency_penalty", "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata", "model", "n",
    "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format",
    "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
}  # fmt: skip


def faults_of(body: dict[str, Any]) -> list[str]:
    """Everything in this chat request that a strict provider would answer with 400."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["no messages"]
    faults = [f"unknown parameter {name}" for name in sorted(body.keys() - PARAMETERS)]
    faults += _tool_faults(body)
    for at, message in enumerate(messages):
        faults += [f"message {at} ({message.get('role')}): {fault}" for fault in _message_faults(message)]
    faults += _order_faults(messages)
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        faults.append("a lone surrogate in the text")
    return faults


def _tool_faults(body: dict[str, Any]) -> list[str]:
    tools = body.get("tools")
    if tools is None:
        return [f"{name} without tools" for name in ("tool_choice", "parallel_tool_calls") if name in body]
    if not tools:
        return ["an empty list of tools"]
    faults: list[str] = []
    names = [tool["function"]["name"] for tool in tools]
    faults += [f"tool {name} is there twice" for name in {n for n in names if names.count(n) > 1}]
    faults += [f"tool name {name!r} is not allowed" for name in names if not NAME.match(name)]
    for tool in tools:
        if tool["function"].get("parameters", {}).get("type", "object") != "object":
            faults.append(f"the parameters of {tool['function']['name']} are not an object")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("function", {}).get("name") not in names:
        faults.append(f"tool_choice {choice} names no tool")
    return faults


def _message_faults(message: dict[str, Any]) -> list[str]:
    role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
    if role not in ROLES:
        return ["unknown role"]
    faults: list[str] = []
    if calls is not None and (role != "assistant" or not calls):
        faults.append("tool_calls that are empty or not an assistant's")
    if not content and not calls and role != "tool":
        faults.append("no content")
    if role == "tool" and not isinstance(content, str | list):
        faults.append("no content")
    for call in calls or []:
        faults += _call_faults(call)
    ids = [call.get("id") for call in calls or []]
    if len(set(ids)) != len(ids):
        faults.append(f"call ids repeat: {ids}")
    return faults


def _call_faults(call: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    function = call.get("function") or {}
    if call.get("type") != "function" or not call.get("id"):
        faults.append(f"call without type or id: {call}")
    if not NAME.match(function.get("name") or ""):
        faults.append(f"called name {function.get('name')!r} is not allowed")
    try:
        if not isinstance(json.loads(function.get("arguments") or ""), dict):
            faults.append(f"arguments are not an object: {function.get('arguments')!r}")
    except ValueError:
        faults.append(f"arguments are not JSON: {function.get('arguments')!r}")
    return faults


def _order_faults(messages: list[dict[str, Any]]) -> list[str]:
    """Each call answered exactly once, at once and by nothing else; the model does not speak last."""
    faults: list[str] = []
    open_calls: list[str] = []
    for at, message in enumerate(messages):
        if message.get("role") == "tool":
            if message.get("tool_call_id") in open_calls:
                open_calls.remove(message["tool_call_id"])
            else:
                faults.append(f"message {at} answers {message.get('tool_call_id')}, which is no open call")
            continue
        if open_calls:
            faults.append(f"message {at} comes while calls are unanswered: {open_calls}")
        open_calls = [call.get("id") for call in message.get("tool_calls") or []]
    if open_calls:
        faults.append(f"calls stay unanswered: {open_calls}")
    if messages[-1].get("role") == "assistant":
        faults.append("the last message is the model's own")
    return faults
