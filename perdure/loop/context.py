"""What the model sees: the compiled system message, and a history that every provider accepts."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.blocks import Block
from perdure.domain.files import Shelf
from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, TextPart, ToolCallPart, ToolReturnPart
from perdure.domain.requests import TurnRequest
from perdure.loop.directories import directories
from perdure.loop.tool_rules import ToolRules
from perdure.memory.blocks import LINE_NUMBER_WARNING
from perdure.store import agent_files, conversation_blocks
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import blocks as block_store
from perdure.store import messages as message_store
from perdure.store import passages as passage_store
from perdure.store import tools as tool_store

PLACEHOLDER: Final = "{CORE_MEMORY}"
"""Where a system prompt wants its memory; without it, memory follows the prompt."""

MOST_COUNTED: Final = 1000
"""Messages outside the context, and passages, that are counted, so that a long history costs no more."""
MOST_TAGS: Final = 50
"""Tags of passages that an agent is told of."""

WITHOUT_BLOCKS: Final = frozenset({"react_agent", "workflow_agent"})
"""Agent types whose memory blocks are not shown to the model."""

NUMBERED: Final = frozenset({"letta_v1_agent", "memgpt_v2_agent", "sleeptime_agent"})
"""Agent types whose blocks are shown with numbered lines to models that Anthropic serves."""

_COMPILED_AT: Final = re.compile(r"(?<=^- System prompt last recompiled: ).* (?=\S+$)", re.MULTILINE)

OUTCOME_UNKNOWN: Final = (
    "The outcome of this call is unknown: the server stopped while it ran. It may or may not have taken effect. "
    "Check before you try it again."
)


class Archived(NamedTuple):
    """What an agent is told of its archives: how many passages they hold, up to `MOST_COUNTED`, and their tags."""

    passages: int = 0
    tags: Sequence[str] = ()


NOTHING_ARCHIVED: Final = Archived()


class Sections(NamedTuple):
    """What a system message holds beside the prompt. Empty text means that there is no such section."""

    blocks: str
    rules: str
    directories: str
    facts: str

    def under(self, prompt: str) -> str:
        """The whole message: the sections where the prompt wants them, or after it."""
        memory = "\n\n".join(section for section in self if section)
        return prompt.replace(PLACEHOLDER, memory) if PLACEHOLDER in prompt else f"{prompt}\n\n{memory}"


def compile_system(
    agent: Agent,
    blocks: Sequence[Block],
    *,
    tool_names: Sequence[str] = (),
    shelves: Sequence[Shelf] = (),
    now: int,
    conversation_id: str | None = None,
    recall_count: int = 0,
    archived: Archived = NOTHING_ARCHIVED,
) -> Sections:
    """What the system message of an agent holds: blocks, the rules of its tools, its files, facts about its memory.

    `now` is microseconds UTC; `recall_count` is how many messages lie outside the context, counted up to
    `MOST_COUNTED`. The text stays the same from turn to turn until one of them changes, so that providers can keep it
    cached.
    """
    return Sections(
        _blocks_section(agent, blocks),
        ToolRules(agent.tool_rules, tool_names).section(),
        directories(agent, shelves),
        _facts_section(agent, now, conversation_id, recall_count, archived),
    )


def _blocks_section(agent: Agent, blocks: Sequence[Block]) -> str:
    if not blocks or agent.agent_type in WITHOUT_BLOCKS:
        return ""
    lines = [
        "<memory_blocks>",
        "These blocks are your memory. They are always in view, and what you write in them stays.",
    ]
    numbered = agent.agent_type in NUMBERED and agent.model.endpoint_type == "anthropic"
    if numbered:
        lines += ["<warning>", LINE_NUMBER_WARNING, "</warning>"]
    for block in blocks:
        lines += [f"<{block.label}>", "<description>", block.description or "", "</description>", "<metadata>"]
        if block.read_only:
            lines.append("- read_only=true")
        lines += [f"- chars_current={len(block.value)}", f"- chars_limit={block.limit}", "</metadata>"]
        value = _numbered(block.value) if numbered else block.value
        lines += ["<value>", value, "</value>", f"</{block.label}>"]
    lines.append("</memory_blocks>")
    return "\n".join(lines)


def _numbered(value: str) -> str:
    return "\n".join(f"{number}→ {line}" for number, line in enumerate(value.split("\n"), 1)) if value else ""


def _facts_section(agent: Agent, now: int, conversation_id: str | None, recall_count: int, archived: Archived) -> str:
    lines = [
        "<memory_metadata>",
        f"- AGENT_ID: {agent.id}",
        f"- CONVERSATION_ID: {'default' if conversation_id in (None, agent.conversation_id) else conversation_id}",
        f"- System prompt last recompiled: {local_time(now, agent.timezone)}",
    ]
    if recall_count:
        count = _counted(recall_count)
        lines.append(f"- {count} earlier messages are outside this context; conversation_search finds them.")
    if archived.passages:
        lines.append(
            f"- {_counted(archived.passages)} passages are in your archives; archival_memory_search finds them."
        )
    if archived.tags:
        lines.append(f"- Tags of passages in your archives: {', '.join(archived.tags)}")
    lines.append("</memory_metadata>")
    return "\n".join(lines)


def _counted(count: int) -> str:
    return str(count) if count < MOST_COUNTED else f"At least {MOST_COUNTED}"


def local_time(at: int, timezone: str) -> str:
    """A moment in the agent's timezone, e.g. `2026-11-22 03:05:00 PM UTC+0000`."""
    return datetime.fromtimestamp(at / 1_000_000, ZoneInfo(timezone)).strftime("%Y-%m-%d %I:%M:%S %p %Z%z")


def recompile(conn: Connection, tenant: str, agent_id: str, *, anew: bool = False) -> None:
    """Bring the stored system message of each of an agent's conversations up to its current blocks, rules and files.

    Where nothing but the time of it would change, it stays, so that providers can keep it cached, unless it is to be
    written `anew`. Raises NotFound.
    """
    agent = agent_store.hold(conn, tenant, agent_id)
    blocks = block_store.of_agent(conn, agent.id)
    isolated = conversation_blocks.of_agent(conn, agent.id)
    tool_names, archived = _tool_names(conn, agent), _archived(conn, agent)
    shelves = agent_files.shelves(conn, agent.id)
    for conversation_id, message in message_store.system_messages(conn, agent.id):
        shown = conversation_blocks.shown(blocks, isolated.get(conversation_id, ()))
        text = compile_system(
            agent, shown, tool_names=tool_names, shelves=shelves, now=now(), conversation_id=conversation_id,
            recall_count=message_store.count_outside_context(conn, conversation_id, MOST_COUNTED), archived=archived,
        ).under(agent.system)  # fmt: skip
        if anew or _timeless(text) != _timeless(message.text):
            message_store.rewrite(conn, tenant, message, (TextPart(text=text),))


def recompile_sharing(conn: Connection, tenant: str, agent_id: str, since: int) -> None:
    """The same for an agent that changed its blocks, and for all that have a block of its that changed since (µs)."""
    for each in sorted({agent_id, *block_store.sharers(conn, agent_id, since)}):
        recompile(conn, tenant, each)


def compiled(conn: Connection, agent: Agent, conversation_id: str) -> str:
    """What the system message of one of an agent's conversations says, compiled now."""
    return sections(conn, agent, conversation_id).under(agent.system)


def sections(conn: Connection, agent: Agent, conversation_id: str) -> Sections:
    """The same without the prompt, in its parts."""
    return compile_system(
        agent, conversation_blocks.shown_in(conn, agent.id, conversation_id), tool_names=_tool_names(conn, agent),
        shelves=agent_files.shelves(conn, agent.id), now=now(), conversation_id=conversation_id,
        recall_count=message_store.count_outside_context(conn, conversation_id, MOST_COUNTED),
        archived=_archived(conn, agent),
    )  # fmt: skip


def _tool_names(conn: Connection, agent: Agent) -> list[str]:
    """The names of an agent's tools, which only its rules are about."""
    return [tool.name for tool in tool_store.of_agent(conn, agent.id)] if agent.tool_rules else []


def _archived(conn: Connection, agent: Agent) -> Archived:
    ids = [each.id for each in archive_store.of_agent(conn, agent.id)]
    if not ids:
        return NOTHING_ARCHIVED
    count = passage_store.count(conn, ids, MOST_COUNTED)
    return Archived(count, passage_store.tags_of(conn, ids, MOST_COUNTED, MOST_TAGS))


def _timeless(text: str) -> str:
    """A system message without the time it was compiled at; the timezone stays."""
    return _COMPILED_AT.sub("", text)


def assemble(agent: Agent, request: TurnRequest, stored: Sequence[Message]) -> list[Message]:
    """The messages of a model call: what is in context, with this request's overrides."""
    messages = [shown(message) for message in mended(stored)]
    if messages and messages[0].role == "system":
        text = request.override_system if request.override_system is not None else messages[0].text
        if request.client_skills:
            text += "\n\n" + _skills_section(request)
        messages[0] = Message(
            id=messages[0].id, agent_id=agent.id, role="system", parts=(TextPart(text=text),), created_at=0
        )
    return messages


def shown(message: Message) -> Message:
    """A stored message as a model reads it: a summary is text like any other."""
    if message.summary is None:
        return message
    return msgspec.structs.replace(message, parts=(TextPart(text=message.summary.note),))


def _skills_section(request: TurnRequest) -> str:
    lines = ["<available_skills>"]
    lines += [
        f"- {skill.get('name')} ({skill.get('location')}): {skill.get('description')}"
        for skill in request.client_skills
    ]
    lines.append("</available_skills>")
    return "\n".join(lines)


def mended(stored: Sequence[Message]) -> list[Message]:
    """History in which every tool call is answered exactly once, directly after it.

    A crash or an edit by hand can leave a call without its return, or a return without its call; providers refuse
    both, for every later turn. Missing returns say that the outcome is unknown; stray returns are left out.
    """
    mended: list[Message] = []
    open_calls: dict[str, ToolCallPart] = {}

    def close() -> None:
        if open_calls:
            mended.append(unanswered(mended[-1], tuple(open_calls.values()), OUTCOME_UNKNOWN))
            open_calls.clear()

    for message in stored:
        if message.role == "tool":
            kept = tuple(part for part in message.tool_returns if open_calls.pop(part.call_id, None) is not None)
            if kept:
                mended.append(message if len(kept) == len(message.parts) else with_parts(message, kept))
            continue
        if message.role == "approval":
            # A request joins the calls of the answer before it, and the decisions come before any return.
            asked = {call.call_id: call for call in message.tool_calls}
            together = bool(mended) and mended[-1].role == "assistant" and mended[-1].step_id == message.step_id
            if asked and not (together and open_calls.keys().isdisjoint(asked)):
                close()
            mended.append(message)
            open_calls |= asked
            continue
        close()
        mended.append(message)
        if message.role == "assistant":
            open_calls = {call.call_id: call for call in message.tool_calls}
    close()
    return mended


def unanswered(after: Message, calls: Sequence[ToolCallPart], why: str) -> Message:
    """A tool message that answers calls which never got a return, with status error and the reason."""
    parts = tuple(ToolReturnPart(call_id=call.call_id, name=call.name, status="error", text=why) for call in calls)
    return Message(
        id=new_id("message"), agent_id=after.agent_id, role="tool", parts=parts, created_at=now(),
        step_id=after.step_id, run_id=after.run_id, seq=after.seq,
    )  # fmt: skip


def with_parts(message: Message, parts: tuple[ToolReturnPart, ...]) -> Message:
    """The same message with other parts."""
    return Message(
        id=message.id, agent_id=message.agent_id, role=message.role, parts=parts, created_at=message.created_at,
        seq=message.seq, step_id=message.step_id, run_id=message.run_id, name=message.name,
    )  # fmt: skip
