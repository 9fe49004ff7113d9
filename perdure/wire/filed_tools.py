"""Tools as agent files hold them, whoever wrote those."""

import re
from typing import Annotated, Any, Final, get_args

from pydantic import Field, model_validator

from perdure.domain.tools import CUSTOM, EXTERNAL_MCP, RETURN_CHAR_LIMIT, Tool, ToolType
from perdure.wire.blocks import Tags
from perdure.wire.text import Body, Text

MAX_RETURN_CHARS: Final = 1_000_000
_NAME: Final = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)


class FiledToolBody(Body):
    """A tool as an agent file has it, whoever wrote that."""

    name: Text
    tool_type: Text = CUSTOM
    description: Text = ""
    json_schema: dict[str, Any] = Field(default={})
    args_json_schema: dict[str, Any] | None = None
    tags: Tags = Field(default=[])
    source_type: Text = "python"
    source_code: Text | None = None
    return_char_limit: Annotated[int, Field(ge=1, le=MAX_RETURN_CHARS)] = RETURN_CHAR_LIMIT
    pip_requirements: list[dict[str, Any]] | None = None
    npm_requirements: list[dict[str, Any]] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool = False
    metadata_: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def named(cls, sent: Any) -> Any:
        """Some files have the name and the description in the schema alone."""
        schema = sent.get("json_schema") if isinstance(sent, dict) else None
        if not isinstance(schema, dict):
            return sent
        return {key: schema[key] for key in ("name", "description") if key in schema} | sent

    @model_validator(mode="after")
    def callable_by_models(self) -> "FiledToolBody":
        if _NAME.fullmatch(self.name) is None:
            raise ValueError("a tool's name has letters, digits, _ and -, at most 64, and begins with a letter or _")
        if self.tool_type not in get_args(ToolType):
            raise ValueError(f"{self.tool_type[:60]!r} is no type of tool that is known here")
        made_here = self.tool_type in (CUSTOM, EXTERNAL_MCP)
        if made_here and not self.json_schema and not (self.tool_type == CUSTOM and self.source_code):
            raise ValueError("a tool needs its json_schema, or the source_code of a custom one")
        return self

    def tool(self) -> Tool:
        """The tool, of no tenant yet; its schema goes by its name, and is empty where its source is to tell it."""
        fields = self.model_dump(exclude={"metadata_", "tags", "json_schema"})
        schema = self.json_schema and {**self.json_schema, "name": self.name}
        return Tool(id="", tags=tuple(self.tags), metadata=self.metadata_, json_schema=schema, **fields)
