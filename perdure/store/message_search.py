"""Searching an agent's messages by words, time and role."""

from collections.abc import Collection

from sqlalchemy import Connection, Float, literal, select

from perdure.domain.messages import Message, Role
from perdure.store.messages import COLUMNS, from_row
from perdure.store.search import index_of
from perdure.store.tables import agents, messages


def search_messages(
    conn: Connection,
    tenant: str,
    agent_id: str,
    query: str,
    *,
    roles: Collection[Role],
    start: int | None,
    end: int | None,
    limit: int,
) -> list[tuple[Message, float]]:
    """Messages of an agent that hold any word of `query`, best first, each with how well it fits (above 0).

    A query without a word gives the newest messages, newest first, all with 0. `start` (included) and `end` (not) are
    microseconds UTC.
    """
    index = index_of(conn)
    match = index.matching(query)
    relevance = literal(0.0, Float) if match is None else match[1]
    # By way of the agent, so that the index on its messages is used and not the one on all of the tenant's.
    own = select(agents.c.id).where(agents.c.id == agent_id, agents.c.tenant_id == tenant).scalar_subquery()
    found = index.joined(select(*COLUMNS, relevance.label("relevance"))).where(
        messages.c.agent_id == own, messages.c.role.in_(sorted(roles))
    )
    if match is not None:
        found = found.where(match[0]).order_by(relevance.desc())
    if start is not None:
        found = found.where(messages.c.created_at >= start)
    if end is not None:
        found = found.where(messages.c.created_at < end)
    rows = conn.execute(found.order_by(messages.c.seq.desc()).limit(limit))
    return [(from_row(row[:-1]), float(row[-1])) for row in rows]
