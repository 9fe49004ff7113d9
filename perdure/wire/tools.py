"""Tools as the API says them."""

from typing import Any

from perdure.domain.tools import Tool
from perdure.wire.times import precise

Wire = dict[str, Any]


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
