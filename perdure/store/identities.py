"""Identities, and the agents and blocks that belong to them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, Table, func, insert, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import update as update_rows
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import Conflict, not_found
from perdure.domain.identities import Identity, IdentityChanges
from perdure.domain.ids import now
from perdure.store.database import Savepoint
from perdure.store.pages import Page, select_page
from perdure.store.rows import known_ids, to_struct
from perdure.store.tables import agents, agents_identities, blocks, blocks_identities, identities

_LINKED: Final = ("agent_ids", "block_ids")
_FIELDS: Final = tuple(name for name in Identity.__struct_fields__ if name not in _LINKED)
_COLUMNS: Final = tuple(identities.c[name] for name in _FIELDS)


class IdentityFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which identities of a tenant are meant; None means any. `name` is part of a name, in any case."""

    name: str | None = None
    identifier_key: str | None = None
    identity_type: str | None = None
    project_id: str | None = None


def create(conn: Connection, tenant: str, identity: Identity) -> Identity:
    """Store an identity with its links. Raises Conflict for a key in use, NotFound for an agent or block."""
    row = {name: getattr(identity, name) for name in _FIELDS}
    try:
        with Savepoint(conn):
            conn.execute(insert(identities).values(tenant_id=tenant, **row))
    except IntegrityError as error:
        raise _taken(identity.identifier_key) from error
    _link(conn, tenant, identity.id, identity.agent_ids, identity.block_ids)
    return get(conn, tenant, identity.id)


def get(conn: Connection, tenant: str, identity_id: str) -> Identity:
    """One identity. Raises NotFound."""
    found = select(*_COLUMNS).where(identities.c.id == identity_id, identities.c.tenant_id == tenant)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise not_found("Identity", identity_id)
    return _with_links(conn, [row])[0]


def find_by_key(conn: Connection, tenant: str, key: str) -> Identity | None:
    """The identity that the caller knows by this key, or None."""
    found = select(*_COLUMNS).where(identities.c.identifier_key == key, identities.c.tenant_id == tenant)
    row = conn.execute(found).mappings().one_or_none()
    return None if row is None else _with_links(conn, [row])[0]


def list_page(conn: Connection, tenant: str, wanted: IdentityFilter, page: Page) -> list[Identity]:
    """A page of the identities that match, by when they were made. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Identity", sort=identities.c.created_at, key=identities.c.id, known=identities.c.tenant_id == tenant,
    )  # fmt: skip
    return _with_links(conn, rows)


def count(conn: Connection, tenant: str) -> int:
    """How many identities a tenant has."""
    return conn.execute(_matching(select(func.count()), tenant, IdentityFilter())).scalar_one()


def of_agents(conn: Connection, agent_ids: Sequence[str]) -> dict[str, list[Identity]]:
    """The identities of several agents, in a fixed number of queries."""
    link = agents_identities.c
    linked = select(link.agent_id, link.identity_id).where(link.agent_id.in_(list(agent_ids))).order_by(link.position)
    pairs = conn.execute(linked).all()
    if not pairs:
        return {}
    rows = conn.execute(select(*_COLUMNS).where(identities.c.id.in_({identity for _, identity in pairs}))).mappings()
    known = {identity.id: identity for identity in _with_links(conn, list(rows))}
    found: dict[str, list[Identity]] = {}
    for agent_id, identity_id in pairs:
        found.setdefault(agent_id, []).append(known[identity_id])
    return found


def update(conn: Connection, tenant: str, before: Identity, changes: IdentityChanges) -> Identity:
    """Change an identity, and return it as stored. Raises what `create` raises."""
    row = {**changes.fields, "updated_at": now()}
    same = (identities.c.id == before.id) & (identities.c.tenant_id == tenant)
    try:
        with Savepoint(conn):
            conn.execute(update_rows(identities).where(same).values(**row))
    except IntegrityError as error:
        raise _taken(changes.fields.get("identifier_key", before.identifier_key)) from error
    _link(conn, tenant, before.id, changes.agent_ids, changes.block_ids)
    return get(conn, tenant, before.id)


def delete(conn: Connection, tenant: str, identity_id: str) -> None:
    """Delete an identity; its agents and blocks stay. Raises NotFound."""
    gone = delete_rows(identities).where(identities.c.id == identity_id, identities.c.tenant_id == tenant)
    if not conn.execute(gone).rowcount:
        raise not_found("Identity", identity_id)


def set_of_agent(conn: Connection, tenant: str, agent_id: str, identity_ids: Iterable[str]) -> None:
    """Make these the identities of an agent. Raises NotFound for one that does not exist."""
    wanted = known_ids(conn, tenant, identities, "Identity", identity_ids)
    conn.execute(delete_rows(agents_identities).where(agents_identities.c.agent_id == agent_id))
    rows = [{"agent_id": agent_id, "identity_id": each, "position": at} for at, each in enumerate(wanted)]
    if rows:
        conn.execute(insert(agents_identities), rows)


def attach(conn: Connection, agent_id: str, identity_id: str) -> None:
    """Give an agent, which the caller holds, to an identity, if it is not."""
    link = agents_identities.c
    rows = conn.execute(select(link.identity_id, link.position).where(link.agent_id == agent_id)).all()
    if identity_id not in [row.identity_id for row in rows]:
        position = max([row.position for row in rows], default=-1) + 1
        row = {"agent_id": agent_id, "identity_id": identity_id, "position": position}
        conn.execute(insert(agents_identities).values(**row))


def detach(conn: Connection, agent_id: str, identity_id: str) -> None:
    """Take an agent from an identity, if it is its."""
    link = agents_identities.c
    conn.execute(delete_rows(agents_identities).where(link.agent_id == agent_id, link.identity_id == identity_id))


def _link(
    conn: Connection,
    tenant: str,
    identity_id: str,
    agent_ids: Iterable[str] | None,
    block_ids: Iterable[str] | None,
) -> None:
    for table, link, noun, ids in (
        (agents, agents_identities, "Agent", agent_ids), (blocks, blocks_identities, "Block", block_ids),
    ):  # fmt: skip
        if ids is None:
            continue
        owner = link.primary_key.columns[0]
        wanted = known_ids(conn, tenant, table, noun, ids)
        of_this = link.c.identity_id == identity_id
        conn.execute(delete_rows(link).where(of_this, owner.not_in(wanted)))
        held = set(conn.execute(select(owner).where(of_this)).scalars())
        rows = [{owner.name: each, "identity_id": identity_id} for each in wanted if each not in held]
        if rows:
            conn.execute(insert(link), rows)


def _matching(found: Select[Any], tenant: str, wanted: IdentityFilter) -> Select[Any]:
    found = found.where(identities.c.tenant_id == tenant)
    for column, value in (
        (identities.c.identifier_key, wanted.identifier_key),
        (identities.c.identity_type, wanted.identity_type),
        (identities.c.project_id, wanted.project_id),
    ):
        if value is not None:
            found = found.where(column == value)
    if wanted.name is not None:
        found = found.where(identities.c.name.icontains(wanted.name, autoescape=True))
    return found


def _with_links(conn: Connection, rows: Sequence[RowMapping]) -> list[Identity]:
    ids = [row["id"] for row in rows]
    linked: dict[str, Mapping[str, list[str]]] = {
        "agent_ids": _owners(conn, agents_identities, ids), "block_ids": _owners(conn, blocks_identities, ids),
    }  # fmt: skip
    return [
        to_struct(row, Identity, **{name: found.get(row["id"], ()) for name, found in linked.items()}) for row in rows
    ]


def _owners(conn: Connection, link: Table, ids: Sequence[str]) -> dict[str, list[str]]:
    owner = link.primary_key.columns[0]
    found: dict[str, list[str]] = {}
    pairs = select(link.c.identity_id, owner).where(link.c.identity_id.in_(ids)).order_by(owner)
    for identity_id, each in conn.execute(pairs) if ids else ():
        found.setdefault(identity_id, []).append(each)
    return found


def _taken(key: str) -> Conflict:
    return Conflict(
        f"There is an identity with the identifier_key {key!r} already. Change that one (PUT does), or choose another."
    )
