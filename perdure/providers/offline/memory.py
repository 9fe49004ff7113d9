"""The person's block as lines of `slot: value`: what is known, what is to be noted, and how to write it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from perdure.providers.offline.reading import HUMAN, Answered, MemoryBlock, Situation
from perdure.providers.offline.rules import Fact, facts_in, slot_key

Standing = Literal["noted", "failed", "known", "pending", "no block", "read-only", "no tool"]

INSERTERS: Final = ("memory_insert", "core_memory_append")
REPLACERS: Final = ("memory_replace", "core_memory_replace")
WRITERS: Final = frozenset((*INSERTERS, *REPLACERS))

_NEW_TEXT: Final = ("new_string", "content", "new_content")
_MAX_SLOT: Final = 60
_RECENT: Final = 50
"""Earlier inputs that are searched for what the person said."""


class Edit(msgspec.Struct, frozen=True):
    """A call that writes facts into the person's block."""

    tool: str
    arguments: dict[str, Any]
    facts: tuple[Fact, ...]
    replaces: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One line of memory and the label of the block it stands in; no label where it is only in the conversation."""

    text: str
    label: str | None

    @property
    def source(self) -> str:
        return "earlier in this conversation" if self.label is None else f"my `{self.label}` block"


def slot_of(line: str) -> tuple[str, str]:
    """The slot and value of a line `slot: value`; an empty slot where it is not one."""
    slot, colon, value = line.strip(" \t-*").partition(":")
    return (slot.strip(), value.strip()) if colon and len(slot) <= _MAX_SLOT else ("", line.strip())


def standing(fact: Fact, situation: Situation) -> tuple[Standing, str]:
    """How a fact stands now; with the tool's words where writing it failed, the block's own where it was known."""
    block = situation.block(HUMAN)
    for call in situation.done:
        if fact.line in _written(call):
            return ("failed", call.text) if call.failed else ("noted", "")
    if block is None:
        return "no block", ""
    if known := next((line for line in block.lines if _same(line, fact)), None):
        return "known", known.strip()
    if block.read_only:
        return "read-only", ""
    offered = _first(INSERTERS, situation) or (_replaced(fact, block) and _first(REPLACERS, situation))
    return ("pending" if offered else "no tool"), ""


def next_edit(facts: Sequence[Fact], situation: Situation) -> Edit | None:
    """The next call that notes something still pending: replacements one at a time, then all new lines together."""
    pending = [fact for fact in facts if standing(fact, situation)[0] == "pending"]
    block = situation.block(HUMAN)
    calls = sum(call.name in WRITERS for call in situation.done)
    # A fact needs one call at most. More would go on for ever where a tool rule fills in other arguments than ours.
    if not pending or block is None or calls >= len(facts):
        return None
    if replacer := _first(REPLACERS, situation):
        for fact in pending:
            edit = _replacement(replacer, fact, block)
            if edit is not None:
                return edit
    inserter = _first(INSERTERS, situation)
    if inserter is None:
        return None
    text = "\n".join(fact.line for fact in pending)
    if inserter == "memory_insert":
        return Edit(inserter, {"label": HUMAN, "new_string": text, "insert_line": -1}, tuple(pending))
    return Edit(inserter, {"label": HUMAN, "content": text}, tuple(pending))


def known_lines(situation: Situation) -> list[Line]:
    """Every line of the blocks as they now stand, the person's block first, the model's own persona left out."""
    noted = [fact for fact in facts_in(situation.text) if standing(fact, situation)[0] == "noted"]
    replaced = {slot_key(fact.slot) for fact in noted if fact.single}
    lines: list[Line] = []
    for block in sorted(situation.blocks, key=lambda block: block.label != HUMAN):
        if block.label == "persona":
            continue
        lines += [
            Line(line.strip(), block.label)
            for line in block.lines
            # A heading says nothing by itself.
            if not line.rstrip().endswith(":")
            if block.label != HUMAN or slot_key(slot_of(line)[0]) not in replaced
        ]
    present = {line.text for line in lines}
    return lines + [Line(fact.line, HUMAN) for fact in noted if fact.line not in present]


def said_lines(situation: Situation) -> Iterator[Line]:
    """What the person said earlier in this conversation, newest first, as lines that stand in no block."""
    for text in reversed(situation.earlier[-_RECENT:]):
        yield from (Line(fact.line, None) for fact in reversed(facts_in(text)))


def _first(names: Sequence[str], situation: Situation) -> str | None:
    return next((name for name in names if name in situation.tools), None)


def _same(line: str, fact: Fact) -> bool:
    slot, value = slot_of(line)
    return slot_key(slot) == slot_key(fact.slot) and value.casefold() == fact.value.casefold()


def _replaced(fact: Fact, block: MemoryBlock) -> str | None:
    """The line whose slot takes a new value, if there is one."""
    if not fact.single:
        return None
    return next((line for line in block.lines if slot_key(slot_of(line)[0]) == slot_key(fact.slot)), None)


def _replacement(tool: str, fact: Fact, block: MemoryBlock) -> Edit | None:
    old = _replaced(fact, block)
    if old is None:
        return None
    new = old[: len(old) - len(old.lstrip(" \t-*"))] + fact.line
    # The tool wants text that occurs exactly once; with its line ends a short line is told from part of a longer one.
    for before, after in (("", ""), ("\n", ""), ("", "\n"), ("\n", "\n")):
        if block.value.count(before + old + after) == 1:
            old, new = before + old + after, before + new + after
            break
    else:
        return None
    names = ("old_string", "new_string") if tool == "memory_replace" else ("old_content", "new_content")
    return Edit(tool, {"label": HUMAN, names[0]: old, names[1]: new}, (fact,), old.strip())


def _written(call: Answered) -> list[str]:
    """The lines a call wrote or tried to write."""
    if call.name not in WRITERS:
        return []
    texts = (call.arguments.get(name) for name in _NEW_TEXT)
    return [line.strip(" \t-*") for text in texts if isinstance(text, str) for line in text.splitlines()]
