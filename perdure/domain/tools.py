"""A tool is something an agent may call: its name, what it is for, and the JSON schema of its arguments."""

from typing import Any, Final, Literal

import msgspec

RETURN_CHAR_LIMIT: Final = 50_000
"""Characters of a tool's return that the model is shown, unless the tool says otherwise."""

ToolType = Literal[
    "custom",
    "letta_core",
    "letta_memory_core",
    "letta_multi_agent_core",
    "letta_sleeptime_core",
    "letta_voice_sleeptime_core",
    "letta_builtin",
    "letta_files_core",
    "external_mcp",
    "external_langchain",
    "external_composio",
]

CUSTOM: Final[ToolType] = "custom"
"""The type of tools that callers made from source code."""

EXTERNAL_MCP: Final[ToolType] = "external_mcp"
"""The type of tools that an MCP server runs."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as stored. `json_schema` is the function schema shown to models: `{name, description, parameters}`."""

    id: str
    name: str
    tool_type: ToolType
    description: str
    json_schema: dict[str, Any]
    created_at: int = 0
    updated_at: int = 0
    tags: tuple[str, ...] = ()
    source_type: str = "python"
    source_code: str | None = None
    args_json_schema: dict[str, Any] | None = None
    return_char_limit: int = RETURN_CHAR_LIMIT
    pip_requirements: list[dict[str, Any]] | None = None
    npm_requirements: list[dict[str, Any]] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool = False
    metadata: dict[str, Any] = {}
    project_id: str | None = None
