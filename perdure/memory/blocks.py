"""Edits of a memory block: what an insertion and a replacement do to its text, and the rules every edit keeps."""

import re
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from perdure.domain.blocks import Block
from perdure.domain.errors import Conflict, Invalid
from perdure.store import blocks as block_store
from perdure.store import conversation_blocks

LINE_NUMBER_WARNING: Final = "Line numbers are shown for orientation only and are not part of the memory."
"""What stands above blocks that are shown with `N→` before each line."""

END: Final = -1
"""The `insert_line` that means after the last line."""

ATTEMPTS: Final = 3
"""How often an edit is worked out anew because another agent that shares the block was faster."""

LISTED_LINES: Final = 20
_NUMBERED_LINE: Final = re.compile(r"^[ \t]*\d+→", re.MULTILINE)


def memory_insert(value: str, new_string: str, insert_line: int = END) -> str:
    """`value` with the lines of `new_string` after line `insert_line`; 0 is the start, -1 the end.

    Tabs become spaces. Raises Invalid for a line that is not there, and for text copied with its line numbers.
    """
    refuse_line_numbers(new_string)
    lines = value.split("\n")
    if not END <= insert_line <= len(lines):
        raise Invalid(
            f"insert_line {insert_line} is out of range: this block has {len(lines)} line(s). Use 0 for the start, "
            f"1 to {len(lines)} for after that line, or -1 for the end."
        )
    place = len(lines) if insert_line == END else insert_line
    whole = [*lines[:place], new_string, *lines[place:]] if value else [new_string]
    return "\n".join(whole).expandtabs()


def memory_replace(value: str, old_string: str, new_string: str) -> str:
    """`value` with its one occurrence of `old_string` replaced. Tabs become spaces in all three.

    Raises Invalid where it occurs nowhere or in several places, and for text copied with its line numbers.
    """
    refuse_line_numbers(old_string, new_string)
    if not old_string:
        raise Invalid("old_string is empty. Give the text to replace, or use memory_insert to add some.")
    # A tab's width depends on its column, so a copy that still has its tabs is looked up as it is.
    as_is = old_string in value
    text, old = (value, old_string) if as_is else (value.expandtabs(), old_string.expandtabs())
    place = text.find(old)
    if place < 0:
        raise Invalid(
            "Nothing was replaced: old_string occurs 0 times in this block. It has to be an exact copy of what is "
            "there, with the same spaces and line breaks."
        )
    if text.find(old, place + 1) >= 0:
        raise Invalid(
            f"Nothing was replaced: old_string occurs more than once, {_lines_of(text, old)}. "
            "Add some of the text around it, so that it occurs exactly once."
        )
    return (text[:place] + new_string + text[place + len(old) :]).expandtabs()


def core_memory_append(value: str, content: str) -> str:
    """`value` with `content` on a line of its own at the end. Raises Invalid for text copied with its line numbers."""
    refuse_line_numbers(content)
    return f"{value}\n{content}" if value else content


def core_memory_replace(value: str, old_content: str, new_content: str) -> str:
    """`value` with all occurrences of `old_content` replaced.

    Raises Invalid where there is none, and for text copied with its line numbers.
    """
    refuse_line_numbers(old_content, new_content)
    if not old_content:
        raise Invalid("old_content is empty. Give the text to replace, or use core_memory_append to add some.")
    if old_content not in value:
        raise Invalid(
            "Nothing was replaced: old_content does not occur in this block. It has to be an exact copy of what is "
            "there, with the same spaces and line breaks."
        )
    return value.replace(old_content, new_content)


def edit(
    conn: Connection,
    tenant: str,
    agent_id: str,
    conversation_id: str,
    label: str,
    change: Callable[[str], str],
    *,
    actor: str,
    run_id: str | None,
) -> Block:
    """Change the value of a block that an agent sees in a conversation, and return the block as it then is.

    `change` is a pure function of the value and runs again where somebody else changed the block meanwhile. Raises
    NotFound, naming the labels there are, for a label the agent does not have; Invalid for a read-only block, a value
    over the block's limit, and whatever `change` refuses; Conflict where others keep changing the block.
    """
    attempts = ATTEMPTS
    while True:
        block = writable(conn, agent_id, conversation_id, label)
        value = change(block.value)
        try:
            return block_store.update_value(conn, tenant, block, value, actor=actor, run_id=run_id)
        except Conflict:
            attempts -= 1
            if not attempts:
                raise
            # Whoever lost once waits for the others, and then has the block for itself.
            block_store.hold(conn, tenant, (block.id,), alone=True)


def writable(conn: Connection, agent_id: str, conversation_id: str, label: str) -> Block:
    """The block of this label that an agent sees in a conversation, if it may change it.

    Raises NotFound, naming the labels there are, and Invalid for a read-only one.
    """
    block = block_store.with_label(conversation_blocks.shown_in(conn, agent_id, conversation_id), label)
    if block.read_only:
        raise Invalid(f"The memory block {label!r} is read-only: you cannot change it.")
    return block


def refuse_line_numbers(*texts: str) -> None:
    """Raises Invalid where a model copied the line numbers it was shown, or the warning about them, into a text."""
    for text in texts:
        if LINE_NUMBER_WARNING in text:
            raise Invalid(
                "Your text contains the warning about line numbers, which is not part of the memory. Leave it out."
            )
        if _NUMBERED_LINE.search(text):
            raise Invalid(
                "Your text contains line numbers (like '1→'), which are only for orientation and not part of the "
                "memory. Leave them out."
            )


def _lines_of(text: str, wanted: str) -> str:
    """Where `wanted` occurs, e.g. `on lines 2, 5`; overlapping occurrences count, since either could be meant."""
    numbers: list[int] = []
    place, line, counted = text.find(wanted), 1, 0
    while place >= 0 and len(numbers) <= LISTED_LINES:
        line += text.count("\n", counted, place)
        numbers.append(line)
        counted = place
        line_end = text.find("\n", place)
        place = -1 if line_end < 0 else text.find(wanted, line_end + 1)
    if len(numbers) == 1:
        return f"on line {numbers[0]}"
    listed = ", ".join(map(str, numbers[:LISTED_LINES]))
    return f"on lines {listed}{' and more' if len(numbers) > LISTED_LINES else ''}"
