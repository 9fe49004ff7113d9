"""Messages as they are searched: what of them is text, and whose neighbours they are."""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, exists, select

from perdure.domain.conversations import DEFAULT_CONVERSATION
from perdure.domain.messages import Message, Role, ToolCallPart, envelope_in
from perdure.store import search
from perdure.store.search import Corpus
from perdure.store.search_words import speaker_of
from perdure.store.tables import agents, conversation_messages, conversations, messages

SEARCH_TOOL: Final = "conversation_search"
"""Its own calls and returns are never found, since they only repeat what is found without them."""

SPEAKING_TOOL: Final = "send_message"

MESSAGES: Final = Corpus(
    index="message_search",
    table=messages,
    scope=messages.c.agent_id,
    line=conversation_messages.c.conversation_id,
    place=(conversation_messages.c.position,),
    link=conversation_messages.c.message_seq,
)


def index(conn: Connection, rows: Iterable[tuple[int, Message]]) -> None:
    """Make stored messages of one agent findable, given with their seqs, where they hold any text to find."""
    found = [(seq, message, text) for seq, message in rows if (text := _by_whom(message))]
    if found:
        agent_id = found[0][1].agent_id
        search.add(conn, MESSAGES, agent_id, [(seq, text, message.created_at) for seq, message, text in found])


def reindex(conn: Connection, message: Message) -> None:
    """Index a message anew, since its text changed."""
    search.remove(conn, MESSAGES, [message.seq])
    index(conn, [(message.seq, message)])


def indexed(message: Message) -> str | None:
    """What the index has to hold of a message; None for nothing."""
    text = _by_whom(message)
    return search.indexed(message.agent_id, text, message.created_at) if text else None


def among(
    tenant: str,
    agent_ids: Collection[str],
    *,
    roles: Collection[Role],
    conversation_id: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> ColumnElement[bool]:
    """Which messages are searched. `start` (included) and `end` (not) are microseconds UTC.

    With `default` for a `conversation_id` those are meant that stand in a default conversation.
    """
    # By way of the agents, so that the index on their messages is used and not the one on all of the tenant's.
    own = select(agents.c.id).where(agents.c.id.in_(list(agent_ids)), agents.c.tenant_id == tenant)
    theirs = messages.c.agent_id == own.scalar_subquery() if len(agent_ids) == 1 else messages.c.agent_id.in_(own)
    wanted = [theirs, messages.c.role.in_(sorted(roles))]
    if conversation_id == DEFAULT_CONVERSATION:
        wanted.append(in_default_conversation())
    elif conversation_id is not None:
        link = conversation_messages.c
        wanted.append(messages.c.seq.in_(select(link.message_seq).where(link.conversation_id == conversation_id)))
    if start is not None:
        wanted.append(messages.c.created_at >= start)
    if end is not None:
        wanted.append(messages.c.created_at < end)
    return and_(*wanted)


def in_default_conversation() -> ColumnElement[bool]:
    """Whether a message stands in the default conversation of its agent."""
    link = conversation_messages.c
    standing = conversations.c.id == link.conversation_id
    return exists().where(link.message_seq == messages.c.seq, standing, conversations.c.is_default.is_(True))


def text_of(message: Message) -> str:
    """What of a message is searched and shown as found; empty for one that is not searchable.

    That is what was said, by `send_message` too, and what tools returned.
    """
    if message.role == "user":
        return _unwrapped(message.text)
    if message.role == "assistant":
        spoken = (_spoken(call) for call in message.tool_calls if call.name == SPEAKING_TOOL)
        return "\n".join(text for text in (message.text, *spoken) if text)
    if message.role == "tool":
        return "\n".join(part.text for part in message.tool_returns if part.name not in (SEARCH_TOOL, SPEAKING_TOOL))
    return ""


def _by_whom(message: Message) -> str:
    """The text with the name of who said it before it, where the message has one and the text does not."""
    text = text_of(message)
    return f"{message.name}: {text}" if text and message.name and not speaker_of(text) else text


class _Spoken(msgspec.Struct):
    message: str = ""


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeEncodeError, RecursionError)
_SPOKEN: Final = msgspec.json.Decoder(_Spoken)


def _unwrapped(text: str) -> str:
    envelope = envelope_in(text)
    if envelope is None:
        return text
    return envelope.message if envelope.type == "user_message" else ""


def _spoken(call: ToolCallPart) -> str:
    try:
        return _SPOKEN.decode(call.arguments).message
    except _UNREADABLE:
        return ""
