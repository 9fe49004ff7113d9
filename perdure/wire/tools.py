"""Tools as the API says them."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AliasChoices, Field

from perdure.domain.messages import ToolReturnPart
from perdure.domain.tools import RETURN_CHAR_LIMIT, Tool, ToolType
from perdure.wire.agent_bodies import check_environment
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

MOST_RETURNED: Final = 1_000_000
"""Characters of a return that a tool may ask models to be shown."""
MOST_FOUND: Final = 100

Wire = dict[str, Any]
Limit = Annotated[int, Field(ge=1, le=MOST_RETURNED)]
Tag = Annotated[Text, Field(min_length=1, max_length=255)]


class Requirement(Body):
    """A package that a tool needs."""

    name: Text
    version: Text | None = None


class CreateToolBody(Body):
    """A tool to be made, or to replace the one of its name."""

    source_code: Text
    source_type: Text = "python"
    description: Text | None = None
    json_schema: dict[str, Any] | None = None
    args_json_schema: dict[str, Any] | None = None
    tags: list[Tag] | None = None
    return_char_limit: Limit = RETURN_CHAR_LIMIT
    pip_requirements: list[Requirement] | None = None
    npm_requirements: list[Requirement] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of `Tool`."""
        return _fields(self)


class UpdateToolBody(Body):
    """Changes of a tool; null leaves a field as it is."""

    source_code: Text | None = None
    source_type: Text | None = None
    description: Text | None = None
    json_schema: dict[str, Any] | None = None
    args_json_schema: dict[str, Any] | None = None
    tags: list[Tag] | None = None
    return_char_limit: Limit | None = None
    pip_requirements: list[Requirement] | None = None
    npm_requirements: list[Requirement] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None
    metadata: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("metadata", "metadata_"))

    def fields(self) -> dict[str, Any]:
        """The fields of `Tool` to replace."""
        return _fields(self)


def _fields(body: Body) -> dict[str, Any]:
    sent = body.model_dump(exclude_none=True)
    if "tags" in sent:
        sent["tags"] = tuple(dict.fromkeys(sent["tags"]))
    return sent


class RunSourceBody(Body):
    """Source code to run once, as the tool that it would make."""

    source_code: Text
    args: dict[str, Any]
    env_vars: Annotated[dict[Text, Text], AfterValidator(check_environment)] = Field(default_factory=dict)
    name: Text | None = None
    source_type: Text = "python"
    json_schema: dict[str, Any] | None = None
    args_json_schema: dict[str, Any] | None = None
    pip_requirements: list[Requirement] | None = None
    npm_requirements: list[Requirement] | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of `Tool`."""
        return self.model_dump(exclude_none=True, exclude={"args", "env_vars", "name"})


class RunToolBody(Body):
    """The arguments of one call."""

    args: dict[str, Any] = Field(default_factory=dict)


class SearchToolsBody(Body):
    """What tools to look for. There are no embeddings of tools, so every mode looks for words."""

    query: Text | None = None
    search_mode: Literal["vector", "fts", "hybrid"] = "hybrid"
    tool_types: list[ToolType] | None = None
    tags: list[Text] | None = None
    limit: int = Field(default=50, ge=1, le=MOST_FOUND)


def tool_run(returned: ToolReturnPart) -> Wire:
    """What came of a call that no model made."""
    return {
        "status": returned.status,
        "func_return": returned.text,
        "stdout": list(returned.stdout or ()),
        "stderr": list(returned.stderr or ()),
        "agent_state": None,
        "sandbox_config_fingerprint": None,
    }


def found_tool(shown: Tool, score: float, place: int) -> Wire:
    """A tool that a search found: `place` counts from 1."""
    return {
        "tool": tool(shown),
        "combined_score": score,
        "fts_rank": place,
        "vector_rank": None,
        "embedded_text": None,
    }


def tool(shown: Tool) -> Wire:
    """A tool for both SDK generations: `metadata_` is the name in the contract."""
    return {
        "id": shown.id,
        "name": shown.name,
        "tool_type": shown.tool_type,
        "description": shown.description,
        "json_schema": shown.json_schema,
        "args_json_schema": shown.args_json_schema,
        "tags": list(shown.tags),
        "source_type": shown.source_type,
        "source_code": shown.source_code,
        "return_char_limit": shown.return_char_limit,
        "pip_requirements": shown.pip_requirements,
        "npm_requirements": shown.npm_requirements,
        "default_requires_approval": shown.default_requires_approval,
        "enable_parallel_execution": shown.enable_parallel_execution,
        "metadata_": shown.metadata,
        "project_id": shown.project_id,
        "created_by_id": None,
        "last_updated_by_id": None,
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
    }
