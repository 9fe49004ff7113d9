"""Groups of agents, and who belongs to them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, Table, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows

from perdure.domain.errors import not_found
from perdure.domain.groups import SLEEPTIME, Group, GroupChanges
from perdure.domain.ids import now
from perdure.store.pages import Page, select_page
from perdure.store.rows import known_ids, to_struct
from perdure.store.tables import (
    agents,
    blocks,
    conversation_messages,
    groups,
    groups_agents,
    groups_blocks,
    messages,
    runs,
)

_LINKED: Final = ("agent_ids", "shared_block_ids")
_FIELDS: Final = tuple(name for name in Group.__struct_fields__ if name not in _LINKED)
_COLUMNS: Final = tuple(groups.c[name] for name in _FIELDS)


class GroupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which groups of a tenant are meant; None means any. Hidden groups are left out unless `show_hidden`."""

    manager_type: str | None = None
    project_id: str | None = None
    agent_id: str | None = None
    show_hidden: bool = False


def create(conn: Connection, tenant: str, group: Group) -> Group:
    """Store a group. Raises NotFound for an agent or a block."""
    row = {name: getattr(group, name) for name in _FIELDS}
    if group.manager_agent_id is not None:
        known_ids(conn, tenant, agents, "Agent", (group.manager_agent_id,))
    conn.execute(insert(groups).values(tenant_id=tenant, **row))
    _link(conn, tenant, group.id, group.agent_ids, group.shared_block_ids)
    return get(conn, tenant, group.id)


def get(conn: Connection, tenant: str, group_id: str) -> Group:
    """One group. Raises NotFound."""
    found = select(*_COLUMNS).where(groups.c.id == group_id, groups.c.tenant_id == tenant)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Group", group_id)
    return _with_links(conn, [row])[0]


def list_page(conn: Connection, tenant: str, wanted: GroupFilter, page: Page) -> list[Group]:
    """A page of the groups that match, by when they were made. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Group", sort=groups.c.created_at, key=groups.c.id, known=groups.c.tenant_id == tenant,
    )  # fmt: skip
    return _with_links(conn, rows)


def count(conn: Connection, tenant: str) -> int:
    """How many groups a tenant has."""
    return conn.execute(_matching(select(func.count()), tenant, GroupFilter())).scalar_one()


def managed_by(conn: Connection, agent_ids: Sequence[str]) -> dict[str, Group]:
    """The group that each of these agents manages, the oldest where there are several."""
    found = select(*_COLUMNS).where(groups.c.manager_agent_id.in_(list(agent_ids)))
    rows = conn.execute(found.order_by(groups.c.created_at.desc(), groups.c.id)).mappings().all()
    return {group.manager_agent_id or "": group for group in _with_links(conn, rows)}


def involving(conn: Connection, agent_id: str) -> list[Group]:
    """The groups that an agent is a member of or manages, the oldest first."""
    member = select(groups_agents.c.group_id).where(groups_agents.c.agent_id == agent_id)
    found = select(*_COLUMNS).where((groups.c.manager_agent_id == agent_id) | groups.c.id.in_(member))
    return _with_links(conn, conn.execute(found.order_by(groups.c.created_at, groups.c.id)).mappings().all())


def asleep(conn: Connection, agent_id: str) -> Group | None:
    """The group whose members look after an agent's memory; None where there is none."""
    found = select(*_COLUMNS).where(groups.c.manager_agent_id == agent_id, groups.c.manager_type.in_(SLEEPTIME))
    rows = conn.execute(found.order_by(groups.c.created_at).limit(1)).mappings().all()
    return next(iter(_with_links(conn, rows)), None)


def led_by(conn: Connection, agent_id: str) -> tuple[str, ...]:
    """The ids of the agents in the groups that an agent supervises, each once."""
    found = select(*_COLUMNS).where(groups.c.manager_agent_id == agent_id, groups.c.manager_type == "supervisor")
    rows = conn.execute(found.order_by(groups.c.created_at)).mappings().all()
    return tuple(dict.fromkeys(each for group in _with_links(conn, rows) for each in group.agent_ids))


def count_turn(conn: Connection, agent_id: str) -> Group | None:
    """Count a turn of an agent whose memory is looked after; the group as it is then, or None where there is none."""
    group = asleep(conn, agent_id)
    if group is None:
        return None
    counted = update_rows(groups).where(groups.c.id == group.id).values(turns_counter=groups.c.turns_counter + 1)
    turns = conn.execute(counted.returning(groups.c.turns_counter)).scalar_one()
    return msgspec.structs.replace(group, turns_counter=turns)


def update(conn: Connection, tenant: str, before: Group, changes: GroupChanges) -> Group:
    """Change a group, and return it as stored. Raises NotFound for an agent or a block."""
    manager = changes.fields.get("manager_agent_id")
    if manager is not None:
        known_ids(conn, tenant, agents, "Agent", (manager,))
    same = (groups.c.id == before.id) & (groups.c.tenant_id == tenant)
    conn.execute(update_rows(groups).where(same).values(**changes.fields, updated_at=now()))
    _link(conn, tenant, before.id, changes.agent_ids, changes.shared_block_ids)
    return get(conn, tenant, before.id)


def processed(conn: Connection, group_id: str, message_id: str) -> None:
    """Note up to which message the members have been told what was said. Not a change of the group itself."""
    noted = update_rows(groups).where(groups.c.id == group_id)
    conn.execute(noted.values(last_processed_message_id=message_id))


def claim(conn: Connection, run_id: str, group_id: str) -> None:
    """Count what an agent said in a run to the talk of a group."""
    said = update_rows(messages).where(messages.c.run_id == run_id, messages.c.step_id.is_not(None))
    conn.execute(said.values(group_id=group_id))


def forget(conn: Connection, group_id: str, run_ids: Collection[str]) -> None:
    """Take what was said to and by a group, in these runs of its members, out of their contexts. History keeps it."""
    link = conversation_messages
    seqs = select(messages.c.seq).where(messages.c.run_id.in_(list(run_ids)))
    conn.execute(update_rows(link).where(link.c.message_seq.in_(seqs)).values(in_context=False))
    conn.execute(update_rows(messages).where(messages.c.group_id == group_id).values(group_id=None))


def delete(conn: Connection, tenant: str, group_id: str) -> None:
    """Delete a group with its runs; its agents, blocks and messages stay. Raises NotFound."""
    gone = delete_rows(groups).where(groups.c.id == group_id, groups.c.tenant_id == tenant)
    if not conn.execute(gone).rowcount:
        raise not_found("Group", group_id)
    conn.execute(delete_rows(runs).where(runs.c.conversation_id == group_id, runs.c.tenant_id == tenant))


def _link(
    conn: Connection, tenant: str, group_id: str, agent_ids: Iterable[str] | None, block_ids: Iterable[str] | None
) -> None:
    for table, link, noun, ids in (
        (agents, groups_agents, "Agent", agent_ids), (blocks, groups_blocks, "Block", block_ids),
    ):  # fmt: skip
        if ids is None:
            continue
        member = link.primary_key.columns[1].name
        wanted = known_ids(conn, tenant, table, noun, ids)
        conn.execute(delete_rows(link).where(link.c.group_id == group_id))
        rows = [{"group_id": group_id, member: each, "position": at} for at, each in enumerate(wanted)]
        if rows:
            conn.execute(insert(link), rows)


def _matching(found: Select[Any], tenant: str, wanted: GroupFilter) -> Select[Any]:
    found = found.where(groups.c.tenant_id == tenant)
    if wanted.manager_type is not None:
        found = found.where(groups.c.manager_type == wanted.manager_type)
    if wanted.project_id is not None:
        found = found.where(groups.c.project_id == wanted.project_id)
    if wanted.agent_id is not None:
        link = groups_agents.c
        found = found.where(groups.c.id.in_(select(link.group_id).where(link.agent_id == wanted.agent_id)))
    return found if wanted.show_hidden else found.where(groups.c.hidden.is_not(True))


def _with_links(conn: Connection, rows: Sequence[RowMapping]) -> list[Group]:
    ids = [row["id"] for row in rows]
    members, shared = _members(conn, groups_agents, ids), _members(conn, groups_blocks, ids)
    return [
        to_struct(row, Group, agent_ids=members.get(row["id"], ()), shared_block_ids=shared.get(row["id"], ()))
        for row in rows
    ]


def _members(conn: Connection, link: Table, group_ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    pairs = select(link.c.group_id, link.primary_key.columns[1]).where(link.c.group_id.in_(group_ids))
    for group_id, member in conn.execute(pairs.order_by(link.c.position)) if group_ids else ():
        found.setdefault(group_id, []).append(member)
    return found
