"""Searching what was said: an agent's question to its own history, answered as JSON text."""

from collections.abc import Collection, Sequence
from datetime import tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Invalid
from perdure.domain.ids import now
from perdure.domain.messages import Message, Role
from perdure.memory.periods import local, period
from perdure.memory.recall import recall
from perdure.store import messages as message_store
from perdure.store.message_search import MESSAGES, among, text_of

DEFAULT_ROLES: Final[tuple[Role, ...]] = ("user", "assistant")
DEFAULT_LIMIT: Final = 5
MAX_LIMIT: Final = 50
UNDER_WAY: Final = 10
"""Messages of the turn under way that may be found beside those that are wanted, at most."""
CONTENT_CHARS: Final = 10_000
"""Characters shown of one message, so that a huge one does not hide the others."""

_UNITS: Final = (("year", 31_536_000), ("day", 86_400), ("hour", 3_600), ("minute", 60))
"""Units of time ago, with their seconds."""


def conversation_search(
    conn: Connection,
    tenant: str,
    agent: Agent,
    query: str = "",
    *,
    roles: Collection[Role] = DEFAULT_ROLES,
    limit: int = DEFAULT_LIMIT,
    start_date: str | None = None,
    end_date: str | None = None,
    run_id: str = "",
) -> str:
    """What an agent's history holds on `query`, best first, as JSON `{message, results}`; without a query, the newest.

    `limit` is 1 to MAX_LIMIT. Dates are ISO 8601, in the agent's timezone unless they name another; both are
    included, an end that is a mere date to the end of that day. What belongs to the run `run_id` is only found where
    nothing else is: a question that is being answered would be its own best match. Raises Invalid for a wrong limit or
    date.
    """
    if limit < 1:
        raise Invalid(f"limit is {limit}; it has to be 1 to {MAX_LIMIT}.")
    zone = ZoneInfo(agent.timezone)
    start, end = period(start_date, end_date, zone)
    limit = min(limit, MAX_LIMIT)
    found = search_messages(
        conn, tenant, [agent.id], query,
        roles=roles or DEFAULT_ROLES, start=start, end=end, limit=limit + UNDER_WAY,
    )  # fmt: skip
    before = [hit for hit in found if hit[0].run_id != run_id or not hit[1]]
    found = (before or found)[:limit]
    best = max((relevance for _, relevance in found), default=0.0)
    at = now()
    results = [_result(message, relevance / best if best else None, at, zone) for message, relevance in found]
    return msgspec.json.encode({"message": _summary(query, len(results), bool(best)), "results": results}).decode()


def search_messages(
    conn: Connection,
    tenant: str,
    agent_ids: Sequence[str],
    query: str,
    *,
    limit: int,
    roles: Collection[Role] = DEFAULT_ROLES,
    conversation_id: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> list[tuple[Message, float]]:
    """Messages of these agents that answer `query`, best first, each with how well it fits (above 0).

    A query without a word gives the newest messages, newest first, all with 0. `start` (included) and `end` (not) are
    microseconds UTC.
    """
    wanted = among(tenant, agent_ids, roles=roles, conversation_id=conversation_id, start=start, end=end)
    found = recall(conn, MESSAGES, agent_ids, query, wanted, limit)
    if found is None:
        return [(message, 0.0) for message in message_store.newest(conn, wanted, limit)]
    shown = message_store.by_seqs(conn, [seq for seq, _ in found])
    return [(message, score) for message, (_, score) in zip(shown, found, strict=True)]


def _result(message: Message, relevance: float | None, at: int, zone: tzinfo) -> dict[str, Any]:
    content = text_of(message)
    if len(content) > CONTENT_CHARS:
        content = f"{content[:CONTENT_CHARS]}... [{len(content) - CONTENT_CHARS} more characters]"
    result: dict[str, Any] = {
        "timestamp": local(message.created_at, zone),
        "time_ago": time_ago(at - message.created_at),
        "role": message.role,
        "content": content,
    }
    if relevance is not None:
        result["relevance"] = round(relevance, 3)
    return result


def _summary(query: str, count: int, ranked: bool) -> str:
    if not count:
        return "Nothing found. Try other words, fewer conditions or a longer time." if query else "Nothing found."
    messages = "1 message" if count == 1 else f"{count} messages"
    if ranked:
        return f"Found {messages}, best match first. Relevance is relative to the best match, which has 1."
    note = "The query holds no word to search for. " if query.strip() else ""
    return f"{note}Showing the newest {messages}, newest first."


def time_ago(microseconds: int) -> str:
    """A span of time in words, e.g. `3 hours ago`."""
    seconds = microseconds // 1_000_000
    for unit, length in _UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"
