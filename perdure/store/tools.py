"""Tools: what is stored of them, and which agent has which."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from perdure.domain.errors import Invalid, not_found
from perdure.domain.ids import now
from perdure.domain.tools import Tool
from perdure.store.database import Savepoint
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import agents, agents_tools, tools

_COLUMNS: Final = tuple(tools.c[name] for name in Tool.__struct_fields__)
_OURS: Final = (
    "letta_core",
    "letta_memory_core",
    "letta_multi_agent_core",
    "letta_sleeptime_core",
    "letta_voice_sleeptime_core",
    "letta_builtin",
    "letta_files_core",
)


class ToolFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tools of a tenant are meant; None and empty mean any. `search` is part of a name, in any case."""

    name: str | None = None
    names: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    tool_types: tuple[str, ...] | None = None
    exclude_tool_types: tuple[str, ...] = ()
    search: str | None = None
    built_in_only: bool = False
    agent_id: str | None = None


def seed(conn: Connection, tenant: str, built_in: Sequence[Tool]) -> None:
    """Store the tools that come with the server, or bring them up to date by name; ids stay.

    A tool of the same name that the tenant made itself is left alone. Agents that have a changed tool get a new
    version. Safe to repeat, and to run in several servers at once.
    """
    stored = {tool.name: tool for tool in _all(conn, tools.c.tenant_id == tenant)}
    at = now()
    for index, tool in enumerate(built_in):
        found = stored.get(tool.name)
        if found is None:
            # One microsecond apart, so that lists by age keep the order given.
            made = {"created_at": at + index, "updated_at": at + index}
            _insert_unless_there(conn, tenant, msgspec.structs.replace(tool, **made))
        elif found.tool_type == tool.tool_type and found.source_code is None:
            kept = {"id": found.id, "created_at": found.created_at, "updated_at": found.updated_at}
            _bring_up_to_date(conn, found, msgspec.structs.replace(tool, **kept))


def _insert_unless_there(conn: Connection, tenant: str, tool: Tool) -> None:
    with contextlib.suppress(IntegrityError), Savepoint(conn):
        conn.execute(insert(tools).values(tenant_id=tenant, **msgspec.structs.asdict(tool)))


def _bring_up_to_date(conn: Connection, found: Tool, tool: Tool) -> None:
    if msgspec.json.encode(tool) == msgspec.json.encode(found):
        return
    fields = msgspec.structs.asdict(tool) | {"updated_at": now()}
    conn.execute(update(tools).where(tools.c.id == found.id).values(**fields))
    _tell_agents(conn, found.id)


def get(conn: Connection, tenant: str, tool_id: str) -> Tool:
    """One tool. Raises NotFound."""
    found = _all(conn, tools.c.tenant_id == tenant, tools.c.id == tool_id)
    if not found:
        raise not_found("Tool", tool_id)
    return found[0]


def by_names(conn: Connection, tenant: str, names: Sequence[str]) -> list[Tool]:
    """The tools with these names, in their order, each once. Raises Invalid naming those that do not exist."""
    return _wanted(conn, tenant, tools.c.name, names, "name")


def by_ids(conn: Connection, tenant: str, ids: Sequence[str]) -> list[Tool]:
    """The tools with these ids, in their order, each once. Raises Invalid naming those that do not exist."""
    return _wanted(conn, tenant, tools.c.id, ids, "id")


def list_page(conn: Connection, tenant: str, wanted: ToolFilter, page: Page) -> list[Tool]:
    """A page of the tools that match, by when they were made. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(select(*_COLUMNS), tenant, wanted), page,
        noun="Tool", sort=tools.c.created_at, key=tools.c.id, known=tools.c.tenant_id == tenant,
    )  # fmt: skip
    return [_tool(row) for row in rows]


def count(conn: Connection, tenant: str, wanted: ToolFilter) -> int:
    """How many tools match."""
    return conn.execute(_matching(select(func.count()).select_from(tools), tenant, wanted)).scalar_one()


def of_agent(conn: Connection, agent_id: str) -> tuple[Tool, ...]:
    """An agent's tools, in the order in which they were attached."""
    return tuple(of_agents(conn, (agent_id,)).get(agent_id, ()))


def of_agents(conn: Connection, agent_ids: Iterable[str]) -> dict[str, list[Tool]]:
    """The tools of several agents, with one query."""
    link = agents_tools.c
    rows = conn.execute(
        select(link.agent_id, *_COLUMNS)
        .join(agents_tools, link.tool_id == tools.c.id)
        .where(link.agent_id.in_(list(agent_ids)))
        .order_by(link.position, tools.c.created_at, tools.c.id)
    )
    found: dict[str, list[Tool]] = {}
    for row in rows.mappings():
        found.setdefault(row["agent_id"], []).append(_tool(row))
    return found


def create(conn: Connection, tenant: str, tool: Tool) -> None:
    """Store a new tool. Raises Invalid where the tenant has one of its name."""
    try:
        with Savepoint(conn):
            conn.execute(insert(tools).values(tenant_id=tenant, **msgspec.structs.asdict(tool)))
    except IntegrityError as error:
        raise _name_taken(tool.name) from error


def change(conn: Connection, tenant: str, tool: Tool) -> None:
    """Store a tool as it is now; the agents that have it get a new version. Raises NotFound, Invalid as `create`."""
    fields = msgspec.structs.asdict(tool)
    same = (tools.c.id == tool.id) & (tools.c.tenant_id == tenant)
    try:
        with Savepoint(conn):
            if not conn.execute(update(tools).where(same).values(**fields)).rowcount:
                raise not_found("Tool", tool.id)
    except IntegrityError as error:
        raise _name_taken(tool.name) from error
    _tell_agents(conn, tool.id)


def remove(conn: Connection, tenant: str, tool_id: str) -> None:
    """Delete a tool, also from the agents that have it. Raises NotFound."""
    _tell_agents(conn, get(conn, tenant, tool_id).id)
    conn.execute(delete(agents_tools).where(agents_tools.c.tool_id == tool_id))
    conn.execute(delete(tools).where(tools.c.id == tool_id))


def find_named(conn: Connection, tenant: str, name: str) -> Tool | None:
    """The tenant's tool of this name."""
    found = _all(conn, tools.c.tenant_id == tenant, tools.c.name == name)
    return found[0] if found else None


def all_of(conn: Connection, tenant: str, wanted: ToolFilter, most: int) -> list[Tool]:
    """The tools that match, the newest first, up to so many."""
    rows = conn.execute(_matching(select(*_COLUMNS), tenant, wanted).order_by(tools.c.created_at.desc()).limit(most))
    return [_tool(row) for row in rows.mappings()]


def _name_taken(name: str) -> Invalid:
    return Invalid(f"There is a tool named {name} already. Change that one, or replace it with PUT /v1/tools/.")


def _tell_agents(conn: Connection, tool_id: str) -> None:
    """Give the agents that have a tool a new version."""
    having = select(agents_tools.c.agent_id).where(agents_tools.c.tool_id == tool_id)
    conn.execute(update(agents).where(agents.c.id.in_(having)).values(version=agents.c.version + 1))


def attach(conn: Connection, agent_id: str, tool_id: str) -> bool:
    """Give an agent a tool; false where it had it. The caller has checked that both are the tenant's."""
    link = agents_tools.c
    if conn.execute(select(link.tool_id).where(link.agent_id == agent_id, link.tool_id == tool_id)).first():
        return False
    last = conn.execute(select(func.max(link.position)).where(link.agent_id == agent_id)).scalar_one()
    position = 0 if last is None else last + 1
    conn.execute(insert(agents_tools).values(agent_id=agent_id, tool_id=tool_id, position=position))
    return True


def detach(conn: Connection, agent_id: str, tool_id: str) -> bool:
    """Take a tool from an agent; false where it had none such."""
    link = agents_tools.c
    return conn.execute(delete(agents_tools).where(link.agent_id == agent_id, link.tool_id == tool_id)).rowcount > 0


def _wanted(conn: Connection, tenant: str, column: ColumnElement[str], values: Sequence[str], word: str) -> list[Tool]:
    values = list(dict.fromkeys(values))
    field: str = column.key or ""
    found = {getattr(tool, field): tool for tool in _all(conn, tools.c.tenant_id == tenant, column.in_(values))}
    missing = [value for value in values if value not in found]
    if missing:
        raise Invalid(f"Tools not found by {word}: {', '.join(missing)}. GET /v1/tools/ lists those that exist.")
    return [found[value] for value in values]


def _all(conn: Connection, *conditions: ColumnElement[bool]) -> list[Tool]:
    return [_tool(row) for row in conn.execute(select(*_COLUMNS).where(*conditions)).mappings()]


def _matching(found: Select[Any], tenant: str, wanted: ToolFilter) -> Select[Any]:
    found = found.where(tools.c.tenant_id == tenant)
    if wanted.name is not None:
        found = found.where(tools.c.name == wanted.name)
    if wanted.names is not None:
        found = found.where(tools.c.name.in_(wanted.names))
    if wanted.ids is not None:
        found = found.where(tools.c.id.in_(wanted.ids))
    if wanted.tool_types is not None:
        found = found.where(tools.c.tool_type.in_(wanted.tool_types))
    if wanted.exclude_tool_types:
        found = found.where(tools.c.tool_type.not_in(wanted.exclude_tool_types))
    if wanted.search is not None:
        found = found.where(tools.c.name.icontains(wanted.search, autoescape=True))
    if wanted.built_in_only:
        found = found.where(tools.c.tool_type.in_(_OURS))
    if wanted.agent_id is not None:
        having = select(agents_tools.c.tool_id).where(agents_tools.c.agent_id == wanted.agent_id)
        found = found.where(tools.c.id.in_(having))
    return found


def _tool(row: RowMapping) -> Tool:
    return to_struct(row, Tool)
