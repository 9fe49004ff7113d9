"""Nouns that are not stored yet."""

from typing import Any

from perdure.domain.ids import new_id
from perdure.domain.tools import Tool


def new_tool(name: str, **fields: Any) -> Tool:
    """A tool of the server's own."""
    described: dict[str, Any] = {
        "tool_type": "letta_core",
        "description": f"Does {name}.",
        "json_schema": {"name": name},
    }
    return Tool(id=new_id("tool"), name=name, **{**described, **fields})
