"""How Gemini carries a scripted answer, and a judge of what it is asked that is as strict as Google's.

A thought and the first call of an answer are sealed, so that a history which brings them back changed is found out.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.rig.answers import Answer, Call, Cut, Hold, Parallel, Pause, Raw, Reasoning, Redacted, Text

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}\Z")
UNSEALED = "skip_thought_signature_validator"
"""What Google documents for a call that none of its models made."""
FINISHES = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}

Event = dict[str, Any]


def seal(words: str) -> str:
    """The signature of a call."""
    return f"sealed+{hashlib.sha256(words.encode()).hexdigest()}=="


def events(answer: Answer, model: str) -> Iterator[Event | Hold | Pause | Cut | Raw]:
    """The answer as chunks, with holds, cuts and raw bytes in their places."""
    first = True
    for piece in answer.pieces:
        match piece:
            case Hold() | Pause() | Cut() | Raw():
                yield piece
            case Text(deltas):
                yield from (_chunk(model, {"text": delta}) for delta in deltas)
            case Reasoning(deltas):
                yield from (_chunk(model, {"text": delta, "thought": True}) for delta in deltas)
            case Redacted():
                pass
            case Call() | Parallel():
                calls = piece.calls if isinstance(piece, Parallel) else (piece,)
                parts = [_call(each) for each in calls]
                if first:
                    parts[0]["thoughtSignature"] = seal(calls[0].name)
                    first = False
                yield _chunk(model, *parts)
    if answer.reason is not None:
        ending = _chunk(model, {"text": ""})
        ending["candidates"][0]["finishReason"] = FINISHES.get(answer.reason, answer.reason)
        if answer.usage is not None:
            prompt, made = answer.usage
            ending["usageMetadata"] = {"promptTokenCount": prompt, "candidatesTokenCount": made}
        yield ending


def _chunk(model: str, *parts: Event) -> Event:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0}], "modelVersion": model}


def _call(call: Call) -> Event:
    return {"functionCall": {"name": call.name, "args": json.loads(call.arguments or "{}"), "id": call.id}}


def faults_of(body: dict[str, Any]) -> list[str]:
    """Everything in this request that Google would answer with 400."""
    contents = body.get("contents") or []
    if not contents:
        return ["no contents"]
    roles = [each.get("role") for each in contents]
    faults = [f"roles do not alternate: {roles}"] if any(a == b for a, b in itertools.pairwise(roles)) else []
    if roles[0] != "user" or roles[-1] != "user":
        faults.append(f"the user does not speak first and last: {roles}")
    waiting: list[str] = []
    for at, content in enumerate(contents):
        parts = content.get("parts") or []
        if not parts:
            faults.append(f"content {at} is empty")
        returned = [part["functionResponse"]["name"] for part in parts if "functionResponse" in part]
        if returned != waiting:
            faults.append(f"content {at} answers {returned[:5]}, not {waiting[:5]}")
        calls = [part for part in parts if "functionCall" in part]
        waiting = [part["functionCall"]["name"] for part in calls]
        faults += [f"called name {name!r} is not allowed" for name in waiting if not NAME.match(name)]
        faults += [
            f"content {at}: a seal that is not what it was"
            for part in calls
            if part.get("thoughtSignature", UNSEALED) not in (UNSEALED, seal(part["functionCall"]["name"]))
        ]
        if calls and "thoughtSignature" not in calls[0]:
            faults.append(f"content {at}: the first call lacks its seal")
    names = [each["name"] for tool in body.get("tools") or () for each in tool.get("functionDeclarations", ())]
    return faults + [
        f"tool {name!r} twice or of no use" for name in names if names.count(name) > 1 or not NAME.match(name)
    ]
