"""Agents: their rows, their tags, and everything that hangs on them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.agents import Agent, AgentDetails
from perdure.domain.errors import Conflict, not_found
from perdure.domain.ids import now
from perdure.domain.runs import StopReason
from perdure.store import approvals as approval_store
from perdure.store import blocks as block_store
from perdure.store import folders as folder_store
from perdure.store import groups as group_store
from perdure.store import identities as identity_store
from perdure.store import messages as message_store
from perdure.store import secrets as secret_store
from perdure.store import tools as tool_store
from perdure.store.hot import Hot
from perdure.store.pages import Page, has_identity, has_tags, select_page
from perdure.store.rows import to_struct
from perdure.store.secrets import Vault
from perdure.store.tables import agent_tags, agents, agents_blocks, agents_folders, agents_identities

OrderBy = Literal["created_at", "updated_at", "last_run_completion"]

_FIELDS: Final = Agent.__struct_fields__
_COLUMNS: Final = tuple(agents.c[name] for name in _FIELDS)
_SORTS: Final[Mapping[OrderBy, ColumnElement[Any]]] = {
    "created_at": agents.c.created_at,
    "updated_at": agents.c.updated_at,
    "last_run_completion": func.coalesce(agents.c.last_run_completion, 0),
}

NOT_SEEN: Final = frozenset(
    {
        "name", "description", "metadata", "hidden", "updated_at",
        "project_id", "template_id", "base_template_id", "deployment_id", "entity_id",
        "last_run_completion", "last_run_duration_ms", "last_stop_reason",
    }
)  # fmt: skip
"""The fields that no model call depends on; a change of any other makes a new version."""

_HOLD_VERSION: Final = Hot(
    select(agents.c.version)
    .where(agents.c.id == bindparam("agent"), agents.c.tenant_id == bindparam("tenant"))
    .with_for_update(read=True, key_share=True)
)
_RECORD_RUN: Final = Hot(
    update_rows(agents)
    .where(agents.c.id == bindparam("agent"))
    .values(
        last_run_completion=bindparam("completed_at"),
        last_run_duration_ms=bindparam("duration_ms"),
        last_stop_reason=bindparam("stop_reason"),
    )
)


class AgentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which agents of a tenant are meant; None and empty mean any.

    `query_text` is part of a name, in any case. Of `any_tags` one is wanted, whatever is said of `tags`. Hidden agents
    are left out unless `show_hidden`.
    """

    name: str | None = None
    query_text: str | None = None
    tags: tuple[str, ...] = ()
    match_all_tags: bool = False
    any_tags: tuple[str, ...] = ()
    identity_id: str | None = None
    identifier_keys: tuple[str, ...] = ()
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    last_stop_reason: str | None = None
    block_id: str | None = None
    folder_id: str | None = None
    show_hidden: bool = False


def create(conn: Connection, tenant: str, agent: Agent) -> None:
    """Store a new agent. Its default conversation is stored after it."""
    conn.execute(insert(agents).values(tenant_id=tenant, **{name: getattr(agent, name) for name in _FIELDS}))


def get(conn: Connection, tenant: str, agent_id: str) -> Agent:
    """One agent. Raises NotFound."""
    found = select(*_COLUMNS).where(agents.c.id == agent_id, agents.c.tenant_id == tenant)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Agent", agent_id)
    return _agent(row)


def names(conn: Connection, agent_ids: Collection[str]) -> dict[str, str]:
    """The names of agents by their ids."""
    found = select(agents.c.id, agents.c.name).where(agents.c.id.in_(list(agent_ids)))
    return {row.id: row.name for row in conn.execute(found)}


def hold(conn: Connection, tenant: str, agent_id: str, *, alone: bool = False) -> Agent:
    """One agent, held until the unit ends: nobody else changes it or compiles its system messages meanwhile.

    With `alone` nobody begins a run of it either. Whoever holds blocks as well holds them first. Raises NotFound.
    """
    found = select(*_COLUMNS).where(agents.c.id == agent_id, agents.c.tenant_id == tenant)
    row = conn.execute(found.with_for_update(key_share=not alone)).mappings().one_or_none()
    if row is None:
        raise not_found("Agent", agent_id)
    return _agent(row)


def hold_version(conn: Connection, tenant: str, agent_id: str) -> int | None:
    """The version of an agent, or None where there is none: whether a snapshot of it is still good.

    Until the unit ends nobody holds the agent alone.
    """
    row = _HOLD_VERSION.row(conn, agent=agent_id, tenant=tenant)
    return None if row is None else row[0]


def list_page(
    conn: Connection, tenant: str, wanted: AgentFilter, page: Page, order_by: OrderBy = "created_at"
) -> list[Agent]:
    """A page of the agents that match. Agents that never ran count as oldest by `last_run_completion`.

    Raises NotFound for an unknown cursor.
    """
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Agent", sort=_SORTS[order_by], key=agents.c.id, known=agents.c.tenant_id == tenant,
    )  # fmt: skip
    return [_agent(row) for row in rows]


def all_ids(conn: Connection, tenant: str) -> list[str]:
    """The ids of all agents of a tenant."""
    return list(conn.execute(select(agents.c.id).where(agents.c.tenant_id == tenant)).scalars())


def count(conn: Connection, tenant: str, wanted: AgentFilter) -> int:
    """How many agents match."""
    return conn.execute(_matching(select(func.count()).select_from(agents), tenant, wanted)).scalar_one()


def update(conn: Connection, tenant: str, before: Agent, after: Agent) -> Agent:
    """Store the fields in which `after` differs from `before`, and return the agent as stored.

    Raises Conflict where something a model call sees has changed since `before` was read, NotFound where it is gone.
    """
    fields: dict[str, Any] = {
        name: getattr(after, name) for name in _FIELDS if getattr(after, name) != getattr(before, name)
    }
    if not fields:
        return before
    fields["updated_at"] = now()
    same = (agents.c.id == before.id) & (agents.c.tenant_id == tenant)
    if not fields.keys() <= NOT_SEEN:
        fields["version"] = before.version + 1
        same &= agents.c.version == before.version
    if not conn.execute(update_rows(agents).where(same).values(**fields)).rowcount:
        get(conn, tenant, before.id)
        raise Conflict(f"Agent {before.id} was changed by someone else meanwhile. Read it again, then repeat the edit.")
    return msgspec.structs.replace(before, **fields)


def bump(conn: Connection, agent_id: str) -> None:
    """Make a new version of an agent whose tools have changed."""
    row = {"version": agents.c.version + 1, "updated_at": now()}
    conn.execute(update_rows(agents).where(agents.c.id == agent_id).values(**row))


def record_run(conn: Connection, agent_id: str, completed_at: int, duration_ms: int, stop_reason: StopReason) -> None:
    """Note when and how an agent's last run ended. Not a change of the agent: no new version."""
    _RECORD_RUN.rows(
        conn, agent=agent_id, completed_at=completed_at, duration_ms=duration_ms, stop_reason=stop_reason
    )  # fmt: skip


def delete(conn: Connection, tenant: str, agent_id: str) -> None:
    """Delete an agent with its conversations, messages, runs and secrets. Its blocks stay. Raises NotFound."""
    if not conn.execute(delete_rows(agents).where(agents.c.id == agent_id, agents.c.tenant_id == tenant)).rowcount:
        raise not_found("Agent", agent_id)


def set_tags(conn: Connection, agent_id: str, tags: Iterable[str]) -> None:
    """Make `tags` the tags of an agent."""
    conn.execute(delete_rows(agent_tags).where(agent_tags.c.agent_id == agent_id))
    rows = [{"agent_id": agent_id, "tag": tag} for tag in dict.fromkeys(tags)]
    if rows:
        conn.execute(insert(agent_tags), rows)


def list_tags(
    conn: Connection, tenant: str, page: Page, *, name: str | None = None, query_text: str | None = None
) -> list[str]:
    """A page of the tags that agents carry, by name; the cursors are tags. `query_text` is part of a tag."""
    tag = agent_tags.c.tag
    found = (
        select(tag).distinct().join(agents, agents.c.id == agent_tags.c.agent_id).where(agents.c.tenant_id == tenant)
    )
    if name is not None:
        found = found.where(tag == name)
    if query_text is not None:
        found = found.where(tag.icontains(query_text, autoescape=True))
    for cursor, further_on in ((page.after, True), (page.before, False)):
        if cursor is not None:
            found = found.where(tag > cursor if further_on == page.ascending else tag < cursor)
    backwards = page.before is not None and page.after is None
    ascending = page.ascending != backwards
    tags = list(conn.execute(found.order_by(tag if ascending else tag.desc()).limit(page.limit)).scalars())
    return tags[::-1] if backwards else tags


def details(conn: Connection, tenant: str, agent_id: str, vault: Vault) -> AgentDetails:
    """One agent with its relations. Raises NotFound; Unavailable where its secrets cannot be opened."""
    return details_of(conn, [get(conn, tenant, agent_id)], vault)[0]


def details_of(conn: Connection, found: Sequence[Agent], vault: Vault) -> list[AgentDetails]:
    """These agents with their relations, in a fixed number of queries however many they are."""
    ids = [agent.id for agent in found]
    if not ids:
        return []
    blocks = block_store.of_agents(conn, ids)
    tools = tool_store.of_agents(conn, ids)
    folders = folder_store.of_agents(conn, ids)
    secrets = secret_store.of_agents(conn, ids, vault)
    contexts = message_store.contexts_ids(conn, [agent.conversation_id for agent in found])
    pending = approval_store.of_conversations(conn, [agent.conversation_id for agent in found])
    own = agent_tags.c.agent_id
    tags = _grouped(conn, select(own, agent_tags.c.tag).where(own.in_(ids)).order_by(agent_tags.c.tag))
    managed = group_store.managed_by(conn, ids)
    identities = identity_store.of_agents(conn, ids)
    return [
        AgentDetails(
            agent=agent,
            blocks=tuple(blocks.get(agent.id, ())),
            tools=tuple(tools.get(agent.id, ())),
            folders=tuple(folders.get(agent.id, ())),
            tags=tuple(tags.get(agent.id, ())),
            secrets=tuple(secrets.get(agent.id, ())),
            message_ids=contexts.get(agent.conversation_id, ()),
            identities=tuple(identities.get(agent.id, ())),
            group=managed.get(agent.id),
            pending_approval=pending.get(agent.conversation_id),
        )
        for agent in found
    ]


def _grouped(conn: Connection, pairs: Select[Any, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for owner, value in conn.execute(pairs):
        found.setdefault(owner, []).append(value)
    return found


def _matching(found: Select[Any], tenant: str, wanted: AgentFilter) -> Select[Any]:
    found = found.where(agents.c.tenant_id == tenant)
    for column, value in (
        (agents.c.name, wanted.name),
        (agents.c.project_id, wanted.project_id),
        (agents.c.template_id, wanted.template_id),
        (agents.c.base_template_id, wanted.base_template_id),
        (agents.c.last_stop_reason, wanted.last_stop_reason),
    ):
        if value is not None:
            found = found.where(column == value)
    if wanted.query_text is not None:
        found = found.where(agents.c.name.icontains(wanted.query_text, autoescape=True))
    if wanted.tags:
        found = found.where(has_tags(agents.c.id, agent_tags, wanted.tags, every=wanted.match_all_tags))
    if wanted.any_tags:
        found = found.where(has_tags(agents.c.id, agent_tags, wanted.any_tags, every=False))
    if wanted.identity_id is not None or wanted.identifier_keys:
        linked = has_identity(agents.c.id, agents_identities, wanted.identity_id, wanted.identifier_keys)
        found = found.where(linked)
    if wanted.block_id is not None:
        having = select(agents_blocks.c.agent_id).where(agents_blocks.c.block_id == wanted.block_id)
        found = found.where(agents.c.id.in_(having))
    if wanted.folder_id is not None:
        having = select(agents_folders.c.agent_id).where(agents_folders.c.folder_id == wanted.folder_id)
        found = found.where(agents.c.id.in_(having))
    return found if wanted.show_hidden else found.where(agents.c.hidden.is_not(True))


def _agent(row: RowMapping) -> Agent:
    return to_struct(row, Agent)
