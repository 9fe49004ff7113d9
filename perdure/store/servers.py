"""The processes that work runs, as rows: who is alive, and what each has committed of its runs.

A process whose row is gone has lost its runs to another, and whatever it may still try to write of them is refused.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy import delete as delete_rows

from perdure.domain.runs import ACTIVE
from perdure.store.clock import database_now
from perdure.store.hot import Hot
from perdure.store.tables import runs, servers

_COMMITS: Final = Hot(
    update(servers)
    .where(servers.c.id == bindparam("server"), servers.c.batch < bindparam("number"))
    .values(batch=bindparam("number"))
    .returning(servers.c.id)
)
_IS_HERE: Final = Hot(select(servers.c.id).where(servers.c.id == bindparam("server")))


def register(conn: Connection, server_id: str, name: str, lease: int) -> None:
    """Enter a process, alive for `lease` microseconds. `name` tells people which one it is."""
    at = database_now()
    conn.execute(insert(servers).values(id=server_id, name=name, lease_until=at + lease, created_at=at))


def renew(conn: Connection, server_id: str, lease: int) -> bool:
    """Keep a process alive for another `lease` microseconds. False where it is gone."""
    renewed = update(servers).where(servers.c.id == server_id).values(lease_until=database_now() + lease)
    return conn.execute(renewed).rowcount == 1


def commits(conn: Connection, server_id: str, number: int) -> bool | None:
    """Note that a process commits its batch of that number in this transaction.

    False where it has done so already, None where it is gone: then it must write nothing more of its runs.
    """
    if _COMMITS.row(conn, server=server_id, number=number) is not None:
        return True
    return False if is_here(conn, server_id) else None


def is_here(conn: Connection, server_id: str) -> bool:
    """Whether a process is among the living."""
    return _IS_HERE.row(conn, server=server_id) is not None


def remove(conn: Connection, server_ids: Collection[str]) -> None:
    """Take processes for dead. What they hold belongs to nobody now."""
    conn.execute(delete_rows(servers).where(servers.c.id.in_(list(server_ids))))


def expired(conn: Connection) -> list[str]:
    """The ids of processes that did not renew their lease in time; nobody else sees them until this unit ends."""
    late = select(servers.c.id).where(servers.c.lease_until < database_now())
    return list(conn.execute(late.with_for_update(skip_locked=True)).scalars())


def alive(conn: Connection) -> list[str]:
    """The names of the processes whose lease has not run out."""
    return list(conn.execute(select(servers.c.name).where(servers.c.lease_until >= database_now())).scalars())


def others(conn: Connection, server_id: str) -> list[str]:
    """The ids of all processes but one."""
    return list(conn.execute(select(servers.c.id).where(servers.c.id != server_id)).scalars())


def claim(conn: Connection, server_id: str, most: int) -> list[str]:
    """Give unfinished runs that nobody holds to a process, at most so many; returns their ids, oldest first.

    The fence of each rises with every claim.
    """
    held = select(servers.c.id).where(servers.c.id == runs.c.owner).exists()
    free = select(runs.c.id).where(runs.c.status.in_(ACTIVE), ~held).order_by(runs.c.created_at, runs.c.id).limit(most)
    found = list(conn.execute(free.with_for_update(skip_locked=True, of=runs)).scalars())
    if found:
        conn.execute(update(runs).where(runs.c.id.in_(found)).values(owner=server_id, fence=runs.c.fence + 1))
    return found


def held(conn: Connection, server_id: str) -> Sequence[tuple[str, bool, bool]]:
    """The unfinished runs of a process as (id, whether it has its turn, whether somebody asked to cancel it)."""
    found = select(runs.c.id, runs.c.status, runs.c.cancel_asked_at).where(
        runs.c.owner == server_id, runs.c.status.in_(ACTIVE)
    )
    return [(run_id, status == "running", asked is not None) for run_id, status, asked in conn.execute(found)]
