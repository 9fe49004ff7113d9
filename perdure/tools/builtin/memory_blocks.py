"""Tools with which an agent arranges its memory blocks as if they were files: made, edited, renamed, let go."""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from perdure.domain.errors import Invalid
from perdure.memory import blocks, holding, patch
from perdure.store import conversation_blocks
from perdure.tools.builtin.memory import AFTERWARDS, edit, text
from perdure.tools.implementation import Arguments, ToolContext, Writes, define, parameters

ROOT: Final = "/memories/"


def _memory(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    return _COMMANDS[arguments["command"]](conn, context, arguments), True


def _create(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    value, description = arguments.get("file_text", ""), _given(arguments, "description")
    blocks.refuse_line_numbers(value)
    label = _label_in(_given(arguments, "path")).replace("/", "_")
    return _add(conn, context, label, value, description)


def _str_replace(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    old, new = _given(arguments, "old_string"), arguments.get("new_string", "")
    label = _label_at(conn, context, _given(arguments, "path"))
    return edit(conn, context, label, lambda value: blocks.memory_replace(value, old, new))


def _insert(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    added, line = _given(arguments, "insert_text"), arguments.get("insert_line", blocks.END)
    label = _label_at(conn, context, _given(arguments, "path"))
    return edit(conn, context, label, lambda value: blocks.memory_insert(value, added, line))


def _delete(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    label = _label_at(conn, context, _given(arguments, "path"))
    holding.remove(conn, context.agent.id, context.conversation_id, label)
    return f"The memory block {label!r} is removed."


def _rename(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    """Another label, from `old_path` to `new_path`; with a `path`, another description of what stands there."""
    if "path" in arguments and "new_path" not in arguments:
        label, description = _label_at(conn, context, arguments["path"]), _given(arguments, "description")
        holding.describe(conn, context.tenant, context.agent.id, context.conversation_id, label, description)
        return f"The memory block {label!r} has a new description."
    path = arguments["old_path"] if "old_path" in arguments else _given(arguments, "path")
    label, new_label = _label_at(conn, context, path), _label_in(_given(arguments, "new_path")).replace("/", "_")
    holding.rename(conn, context.tenant, context.agent.id, context.conversation_id, label, new_label)
    return f"The memory block {label!r} is now called {new_label!r}."


_COMMANDS: Final[Mapping[str, Callable[[Connection, ToolContext, Arguments], str]]] = {
    "create": _create,
    "str_replace": _str_replace,
    "insert": _insert,
    "delete": _delete,
    "rename": _rename,
}


def _given(arguments: Arguments, name: str) -> str:
    """An argument that a command needs."""
    if name not in arguments:
        raise Invalid(f"The command {arguments['command']} needs {name}.")
    return arguments[name]


def _label_in(path: str) -> str:
    return path.removeprefix(ROOT).strip("/")


def _label_at(conn: Connection, context: ToolContext, path: str) -> str:
    """The label a path means: as it is where there is such a block, else with _ for each slash."""
    label = _label_in(path)
    if "/" in label:
        shown = conversation_blocks.shown_in(conn, context.agent.id, context.conversation_id)
        if all(block.label != label for block in shown):
            return label.replace("/", "_")
    return label


def _apply_patch(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    written: str = arguments["patch"]
    changes = patch.changes_in(written)
    if changes is None:
        _refuse_numbered(written.split("\n"))
        return edit(conn, context, arguments["label"], lambda value: patch.apply(value, written)), True
    return "\n".join(_apply(conn, context, change) for change in changes), True


def _apply(conn: Connection, context: ToolContext, change: patch.Change) -> str:
    """Do what a patch of several blocks says of one, and say what was done."""
    label = change.label
    _refuse_numbered(change.lines)
    if change.kind == "add":
        _add(conn, context, label, change.text, change.description)
        return f"Added {label!r}."
    if change.kind == "delete":
        holding.remove(conn, context.agent.id, context.conversation_id, label)
        return f"Removed {label!r}."
    done = f"Updated {label!r}."
    if change.lines or change.new_label is None:
        edit(conn, context, label, lambda value: patch.apply(value, change.lines))
    if change.new_label is not None:
        holding.rename(conn, context.tenant, context.agent.id, context.conversation_id, label, change.new_label)
        done = f"{done[:-1]}, now called {change.new_label!r}."
    return done


def _refuse_numbered(lines: list[str]) -> None:
    for line in lines:
        blocks.refuse_line_numbers(line[1:])


def _add(conn: Connection, context: ToolContext, label: str, value: str, description: str | None) -> str:
    agent_id, thread = context.agent.id, context.conversation_id
    made = holding.add(conn, context.tenant, agent_id, thread, label, value, description, run_id=context.run_id)
    return made.value


MEMORY: Final = define(
    "memory",
    "letta_memory_core",
    "Arrange your memory blocks as if they were files under /memories: create one, change or add text, delete one, "
    "rename one or describe it anew. A deleted block leaves your view, and nothing else forgets it.",
    Writes(
        parameters(
            {
                "command": {
                    "type": "string",
                    "enum": list(_COMMANDS),
                    "description": "create takes path, description and file_text; str_replace takes path, old_string "
                    "and new_string; insert takes path, insert_text and insert_line; delete takes path; rename takes "
                    "old_path and new_path, or path and description to describe a block anew.",
                },
                "path": text("The block's place: /memories/ and its label."),
                "description": text("What belongs in the block."),
                "file_text": text("The text a new block begins with."),
                "old_string": text(
                    "The passage to replace, copied exactly, with enough around it that it occurs once."
                ),
                "new_string": text("What to put in its place; empty to remove the passage."),
                "insert_line": {
                    "type": "integer",
                    "description": "Add the text after this line: 0 puts it first, -1 (the default) last.",
                },
                "insert_text": text("The text to add, as one or more lines."),
                "old_path": text("The place of the block to rename."),
                "new_path": text("Its new place."),
            },
            required=("command",),
        ),
        _memory,
    ),
)

MEMORY_APPLY_PATCH: Final = define(
    "memory_apply_patch",
    "letta_memory_core",
    f"""\
Change memory blocks by a patch. For one block, write hunks: lines with a space before them stay, with - they go, with \
+ they come; @@ parts hunks. What stays and goes must stand in the block exactly like that, in one place; a hunk of + \
lines alone is added at the end. {AFTERWARDS}

For several blocks at once, begin each with a header, whatever label you give: *** Add Block: LABEL, then Description: \
and + lines; *** Delete Block: LABEL; *** Update Block: LABEL, then *** Move to: NEW LABEL if it is to be renamed, and \
hunks. All of it is done, or nothing. Returns what was done.""",
    Writes(
        parameters(
            {
                "label": text("The label of the block to change; with headers in the patch, these count."),
                "patch": text("The hunks, without line numbers."),
            },
            required=("label", "patch"),
        ),
        _apply_patch,
    ),
)
