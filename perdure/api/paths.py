"""The values that stand in paths: their shapes, and what is said of a malformed one."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from perdure.domain.ids import example_id, is_id


@dataclass(frozen=True)
class _Id:
    """An id with `prefix`, or one of `words`, or an id of the `other` prefix."""

    prefix: str
    words: tuple[str, ...] = ()
    other: str | None = None

    def check(self, value: str) -> str:
        if is_id(self.prefix, value) or value in self.words or (self.other and is_id(self.other, value)):
            return value
        raise PydanticCustomError(
            "string_pattern_mismatch",
            "String should match pattern '{pattern}'",
            {"pattern": f"{self.prefix}-{{uuid4}}", "example": example_id(self.prefix)},
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "examples": [example_id(self.prefix), *self.words]}


AgentId = Annotated[str, _Id("agent")]
ArchiveId = Annotated[str, _Id("archive")]
PassageId = Annotated[str, _Id("passage")]
BlockId = Annotated[str, _Id("block")]
GroupId = Annotated[str, _Id("group")]
IdentityId = Annotated[str, _Id("identity")]
ToolId = Annotated[str, _Id("tool")]
FolderId = Annotated[str, _Id("source")]
FileId = Annotated[str, _Id("file")]
JobId = Annotated[str, _Id("job", other="run")]
"""A job, or a run: older programs look for those among the jobs."""
MessageId = Annotated[str, _Id("message")]
McpServerId = Annotated[str, _Id("mcp_server")]
ProviderId = Annotated[str, _Id("provider")]
RunId = Annotated[str, _Id("run")]
StepId = Annotated[str, _Id("step")]
ConversationId = Annotated[str, _Id("conv", words=("default",), other="agent")]
"""A conversation's own id; `default` (the agent stands in the body); or an agent's id, meaning its default one."""
