"""Agent files of the format before: one agent as an object, with its tools and blocks inside it.

Its messages have no ids, so that those in context are told by their places; what is extra in it ends on `_`.
"""

from collections.abc import Mapping
from typing import Any

from perdure.wire.filing import maps

Wire = dict[str, Any]


def is_older(file: Mapping[str, Any]) -> bool:
    """Whether a file is of that format."""
    return "agents" not in file and isinstance(file.get("messages"), list) and isinstance(file.get("llm_config"), dict)


def newer(file: Mapping[str, Any]) -> Wire:
    """The same agent in a file of today's format."""
    messages = [{**each, "id": f"message-{number}"} for number, each in enumerate(maps(file.get("messages")))]
    shown = file.get("in_context_message_indices")
    places = shown if isinstance(shown, list) else ()
    tools = [{**_plain(each), "id": f"tool-{number}"} for number, each in enumerate(maps(file.get("tools")))]
    agent = {
        **_plain(file),
        "id": "agent-0",
        "memory_blocks": [_plain(each) for each in maps(file.get("core_memory"))],
        "core_memory": None,
        "tools": None,
        "tool_ids": [tool["id"] for tool in tools],
        "messages": messages,
        "in_context_message_ids": [f"message-{place}" for place in places],
    }
    return {"agents": [agent], "tools": tools, "groups": maps([file.get("multi_agent_group")])}


def _plain(wire: Mapping[str, Any]) -> Wire:
    """With its metadata under today's name."""
    return {**wire, "metadata": wire.get("metadata_")}
