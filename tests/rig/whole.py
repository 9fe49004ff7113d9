"""What was said, put together from the JSON of stream frames or of history, so that the two can be compared."""

from typing import Any

SAID = (
    "reasoning_message",
    "assistant_message",
    "tool_call_message",
    "tool_return_message",
    "approval_request_message",
)


def told(items: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
    """What was said, by id, otid and type; fragments joined, calls by their ids."""
    whole: dict[tuple[str, str, str], Any] = {}
    for item in items:
        kind = item["message_type"]
        if kind not in SAID:
            continue
        key = (item["id"], item["otid"], kind)
        if kind in ("tool_call_message", "approval_request_message"):
            several = item["tool_calls"]
            for each in several if isinstance(several, list) else [several]:
                known = whole.setdefault(key, {}).setdefault(each["tool_call_id"], ["", ""])
                known[0] += each.get("name") or ""
                known[1] += each.get("arguments") or ""
        elif kind == "tool_return_message":
            whole[key] = [(each["tool_call_id"], each["status"], each["tool_return"]) for each in item["tool_returns"]]
        else:
            whole[key] = whole.get(key, "") + (item["content"] if kind == "assistant_message" else item["reasoning"])
    for key, value in whole.items():
        if isinstance(value, dict):
            # A call without arguments streams none, and is kept as an empty object.
            whole[key] = {call_id: (name, arguments or "{}") for call_id, (name, arguments) in value.items()}
    return whole
