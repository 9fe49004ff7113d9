"""Runs that other runs started: who waits for whom, over all processes."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from perdure.domain.runs import ACTIVE
from perdure.store.tables import runs, tenants


def hold(conn: Connection, tenant: str) -> None:
    """Keep others from sending a run of this tenant on an errand until the unit ends: what is read of them stays true.

    Called before anything else is held.
    """
    conn.execute(select(tenants.c.id).where(tenants.c.id == tenant).with_for_update(key_share=True))


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
