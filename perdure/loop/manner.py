"""How an agent's type works its turns: settings of the one loop, never a loop of its own.

Older types must call a tool in every step and speak through one. Each call says whether the model wants another step
(`request_heartbeat`), and what they write beside a call is a thought.
"""

from collections.abc import Mapping
from typing import Any, Final

from perdure.domain.agents import MODERN, AgentType
from perdure.loop.tool_rules import ToolRules

HEARTBEAT: Final = "request_heartbeat"

NO_CALL: Final = "An agent of this type has to call a tool in every step, and the model called none."

_PARAMETER: Final = {
    "type": "boolean",
    "description": "True to get another step right after this call, false to end the turn with it.",
}


def must_call(agent_type: AgentType) -> bool:
    """Whether every step has to call a tool, and text beside it is a thought."""
    return agent_type not in MODERN


def with_heartbeat(schema: Mapping[str, Any], rules: ToolRules) -> dict[str, Any]:
    """A tool's function schema with the question whether to go on; a tool that ends the turn is not asked."""
    if rules.is_terminal(schema["name"]):
        return dict(schema)
    parameters = schema.get("parameters") or {}
    return {
        **schema,
        "parameters": {
            **parameters,
            "type": "object",
            "properties": {**parameters.get("properties", {}), HEARTBEAT: _PARAMETER},
            "required": [*parameters.get("required", ()), HEARTBEAT],
        },
    }
