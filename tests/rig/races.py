"""Two pieces of work at once on PostgreSQL: one is stopped right before it commits, the other goes as far as it can."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.util import await_

from perdure.store.database import Database, Unit
from tests.rig import postgres
from tests.rig.stores import PostgresPlace

Work = Callable[[Database], Awaitable[Any]]
LIMIT = 20.0
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class _Stopping:
    """The same database, whose writes wait before they commit."""

    def __init__(self, db: Database) -> None:
        self.came, self.may_leave = asyncio.Event(), asyncio.Event()
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def write(self, unit: Unit[Any], *, repeatable: bool = False) -> Any:
        def stopping(conn: Connection) -> Any:
            result = unit(conn)
            self.came.set()
            await_(self.may_leave.wait())
            return result

        return await self._db.write(stopping)


def unit(work: Unit[Any]) -> Work:
    """A single unit of work, to be raced."""
    return lambda db: db.write(work)


async def race(place: PostgresPlace, db: Database, first: Work, second: Work) -> list[Any]:
    """What came of both; errors are among the results."""
    stopping = _Stopping(db)
    one = asyncio.ensure_future(first(cast(Database, stopping)))
    async with asyncio.timeout(LIMIT):
        await asyncio.wait((one, asyncio.ensure_future(stopping.came.wait())), return_when=asyncio.FIRST_COMPLETED)
        other = asyncio.ensure_future(second(db))
        while not other.done() and not one.done():
            ((blocked,),) = await asyncio.to_thread(postgres.query, place.url, _BLOCKED)
            if blocked:
                break
            await asyncio.sleep(0.01)
        stopping.may_leave.set()
        return await asyncio.gather(one, other, return_exceptions=True)
