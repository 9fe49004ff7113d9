"""The full-text index of messages: what it holds, and how rows get in and out.

A dialect of SQL keeps its index its own way, in a file of its own; `_INDEXES` says which.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import ColumnElement, Connection, Select

from perdure.domain.messages import Message, ToolCallPart, envelope_in
from perdure.store import postgres_search, sqlite_search

SEARCH_TOOL: Final = "conversation_search"
"""Its own calls and returns are never found, since they only repeat what is found without them."""

SPEAKING_TOOL: Final = "send_message"
INDEXED_CHARS: Final = 100_000
"""Characters of one message that are indexed, so that a huge one does not hold up the writes of others."""


class Index(Protocol):
    """What a dialect's file offers: one row for each searchable message, known by the message's seq."""

    @staticmethod
    def create(conn: Connection) -> None: ...
    @staticmethod
    def add(conn: Connection, rows: Iterable[tuple[int, str]]) -> None: ...
    @staticmethod
    def remove(conn: Connection, seq: int) -> None: ...
    @staticmethod
    def forget(conn: Connection, agent_id: str) -> None: ...
    @staticmethod
    def stale(conn: Connection, low: int, high: int | None, wanted: Mapping[int, str]) -> set[int]:
        """Between two seqs, both included, those whose row is not what `wanted` says, by its lack too.

        Without `high` all from `low` on.
        """
        ...

    @staticmethod
    def joined(found: Select[Any]) -> Select[Any]:
        """A query over `messages`, with only the searchable ones left."""
        ...

    @staticmethod
    def matching(query: str) -> tuple[ColumnElement[bool], ColumnElement[float]] | None:
        """For a joined query: whether a message holds one of the words, and how well it fits (above 0, more is better).

        None where `query` holds no word. No text can make it anything but words.
        """
        ...


_INDEXES: Final[Mapping[str, Index]] = {"sqlite": sqlite_search, "postgresql": postgres_search}


def index_of(conn: Connection) -> Index:
    """How the database behind this connection keeps its index."""
    return _INDEXES[conn.dialect.name]


def create(conn: Connection) -> None:
    """Make the index, unless it is there. Raises Unavailable where this database has no full text."""
    index_of(conn).create(conn)


def index(conn: Connection, rows: Iterable[tuple[int, str]]) -> None:
    """Make new messages findable, given as (seq, text)."""
    index_of(conn).add(conn, [(seq, text[:INDEXED_CHARS]) for seq, text in rows])


def reindex(conn: Connection, seq: int, text: str) -> None:
    """Index a message anew, since its text changed; without text it is found no more."""
    remove(conn, [seq])
    if text:
        index(conn, [(seq, text)])


def remove(conn: Connection, seqs: Iterable[int]) -> None:
    """Take these messages out of the index."""
    kept = index_of(conn)
    for seq in seqs:
        kept.remove(conn, seq)


def forget(conn: Connection, agent_id: str) -> None:
    """Take all messages of an agent out of the index. To be done while its messages are still there."""
    index_of(conn).forget(conn, agent_id)


def stale(conn: Connection, low: int, high: int | None, wanted: Mapping[int, str]) -> set[int]:
    """The seqs from `low` to `high`, or to the end, that are not indexed as the texts in `wanted`, and nothing else."""
    return index_of(conn).stale(conn, low, high, {seq: text[:INDEXED_CHARS] for seq, text in wanted.items()})


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
