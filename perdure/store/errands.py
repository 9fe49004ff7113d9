"""Runs that other runs started: who waits for whom, over all processes."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, select

from perdure.domain.runs import ACTIVE, Run
from perdure.store.tables import runs, tenants


def hold(conn: Connection, tenant: str) -> None:
    """Keep others from sending a run of this tenant on an errand until the unit ends: what is read of them stays true.

    Called before anything else is held.
    """
    conn.execute(select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(key_share=True))


def turns(conn: Connection, caller_id: str) -> list[Run]:
    """The runs that one run waited for, or does, in the order in which it started them."""
    columns = [runs.c[name] for name in Run.__struct_fields__]
    found = select(*columns).where(runs.c.caller_id == caller_id, runs.c.waited_for.is_(True))
    rows = conn.execute(found.order_by(runs.c.created_at, runs.c.id))
    return [msgspec.convert(row, Run, from_attributes=True) for row in rows]


def turns_of_group(conn: Connection, group_id: str) -> list[str]:
    """The ids of all turns that members of a group took in its runs."""
    caller = runs.alias()
    found = select(runs.c.id).join(caller, caller.c.id == runs.c.caller_id)
    return list(conn.execute(found.where(caller.c.conversation_id == group_id, runs.c.waited_for.is_(True))).scalars())


def waits_for(conn: Connection, conversation_ids: Collection[str]) -> set[str]:
    """The conversations whose turn is waited for by a run that is under way in one of these."""
    caller = runs.alias()
    found = (
        select(runs.c.conversation_id)
        .join(caller, caller.c.id == runs.c.caller_id)
        .where(
            caller.c.conversation_id.in_(list(conversation_ids)), caller.c.status.in_(ACTIVE),
            runs.c.status.in_(ACTIVE), runs.c.waited_for.is_(True),
        )
    )  # fmt: skip
    return set(conn.execute(found).scalars())
