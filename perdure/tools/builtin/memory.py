"""Tools with which an agent edits its own memory blocks."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from perdure.memory import blocks
from perdure.tools.implementation import Arguments, ToolContext, Writes, define, parameters

_LABEL: Final = {"type": "string", "description": "The label of the memory block to change."}


def _edit(conn: Connection, context: ToolContext, label: str, change: Callable[[str], str]) -> tuple[str, bool]:
    agent_id = context.agent.id
    block = blocks.edit(
        conn, context.tenant, agent_id, context.conversation_id, label, change, actor=agent_id, run_id=context.run_id
    )
    return block.value, True


def _insert(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    added, line = arguments["new_string"], arguments.get("insert_line", blocks.END)
    return _edit(conn, context, arguments["label"], lambda value: blocks.memory_insert(value, added, line))


def _replace(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    old, new = arguments["old_string"], arguments["new_string"]
    return _edit(conn, context, arguments["label"], lambda value: blocks.memory_replace(value, old, new))


MEMORY_INSERT: Final = define(
    "memory_insert",
    "letta_sleeptime_core",
    "Add lines to one of your memory blocks. Use it to note something new; what is there stays. "
    "Returns the block's text as it is afterwards.",
    Writes(
        parameters(
            {
                "label": _LABEL,
                "new_string": {
                    "type": "string",
                    "description": "The text to add, as one or more lines, without line numbers.",
                },
                "insert_line": {
                    "type": "integer",
                    "description": "Add it after this line: 0 puts it first, -1 (the default) last.",
                },
            },
            required=("label", "new_string"),
        ),
        _insert,
    ),
)

MEMORY_REPLACE: Final = define(
    "memory_replace",
    "letta_sleeptime_core",
    "Change or remove a passage in one of your memory blocks. Use it to correct or shorten what is there. "
    "Returns the block's text as it is afterwards.",
    Writes(
        parameters(
            {
                "label": _LABEL,
                "old_string": {
                    "type": "string",
                    "description": "The passage to replace, copied exactly, with enough around it that it occurs once.",
                },
                "new_string": {
                    "type": "string",
                    "description": "What to put in its place; empty to remove the passage.",
                },
            },
            required=("label", "old_string", "new_string"),
        ),
        _replace,
    ),
)
