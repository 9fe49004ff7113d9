"""Tools with which an agent edits the text of its memory blocks."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection

from perdure.memory import blocks
from perdure.tools.implementation import Arguments, ToolContext, Writes, define, parameters

LABEL: Final = {"type": "string", "description": "The label of the memory block to change."}
AFTERWARDS: Final = "Returns the block's text as it is afterwards."
FINISHED: Final = "None"


def edit(conn: Connection, context: ToolContext, label: str, change: Callable[[str], str]) -> str:
    """Change a block of the agent that a tool runs for; the text it then has."""
    agent_id = context.agent.id
    block = blocks.edit(
        conn, context.tenant, agent_id, context.conversation_id, label, change, actor=agent_id, run_id=context.run_id
    )
    return block.value


def text(description: str) -> dict[str, Any]:
    """The schema of a text argument."""
    return {"type": "string", "description": description}


def _insert(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    added, line = arguments["new_string"], arguments.get("insert_line", blocks.END)
    return edit(conn, context, arguments["label"], lambda value: blocks.memory_insert(value, added, line)), True


def _replace(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    old, new = arguments["old_string"], arguments["new_string"]
    return edit(conn, context, arguments["label"], lambda value: blocks.memory_replace(value, old, new)), True


def _rethink(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    new = arguments["new_memory"]
    blocks.refuse_line_numbers(new)
    return edit(conn, context, arguments["label"], lambda value: new), True


def _append(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    added = arguments["content"]
    return edit(conn, context, arguments["label"], lambda value: blocks.core_memory_append(value, added)), True


def _replace_all(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    old, new = arguments["old_content"], arguments["new_content"]
    return edit(conn, context, arguments["label"], lambda value: blocks.core_memory_replace(value, old, new)), True


def _finish(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    # The call itself is what the tool rules look for.
    return FINISHED, False


MEMORY_INSERT: Final = define(
    "memory_insert",
    "letta_sleeptime_core",
    f"Add lines to one of your memory blocks. Use it to note something new; what is there stays. {AFTERWARDS}",
    Writes(
        parameters(
            {
                "label": LABEL,
                "new_string": text("The text to add, as one or more lines, without line numbers."),
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
    f"Change or remove a passage in one of your memory blocks. Use it to correct or shorten what is "
    f"there. {AFTERWARDS}",
    Writes(
        parameters(
            {
                "label": LABEL,
                "old_string": text(
                    "The passage to replace, copied exactly, with enough around it that it occurs once."
                ),
                "new_string": text("What to put in its place; empty to remove the passage."),
            },
            required=("label", "old_string", "new_string"),
        ),
        _replace,
    ),
)

MEMORY_RETHINK: Final = define(
    "memory_rethink",
    "letta_sleeptime_core",
    "Write one of your memory blocks anew, from beginning to end. Use it to put much in order at once; for a single "
    f"change the other tools are safer, since whatever you leave out is gone. {AFTERWARDS}",
    Writes(
        parameters(
            {"label": LABEL, "new_memory": text("The whole text the block is to have, without line numbers.")},
            required=("label", "new_memory"),
        ),
        _rethink,
    ),
)

MEMORY_FINISH_EDITS: Final = define(
    "memory_finish_edits",
    "letta_sleeptime_core",
    "Say that your memory blocks are as they should be. Call it last, once there is nothing more to change.",
    Writes(parameters({}), _finish),
)

CORE_MEMORY_APPEND: Final = define(
    "core_memory_append",
    "letta_memory_core",
    f"Add a line at the end of one of your memory blocks, to note something new. {AFTERWARDS}",
    Writes(
        parameters({"label": LABEL, "content": text("The text to add.")}, required=("label", "content")),
        _append,
    ),
)

CORE_MEMORY_REPLACE: Final = define(
    "core_memory_replace",
    "letta_memory_core",
    "Change or remove a passage in one of your memory blocks, in every place where it occurs. " + AFTERWARDS,
    Writes(
        parameters(
            {
                "label": LABEL,
                "old_content": text("The passage to replace, copied exactly."),
                "new_content": text("What to put in its place; empty to remove the passage."),
            },
            required=("label", "old_content", "new_content"),
        ),
        _replace_all,
    ),
)
