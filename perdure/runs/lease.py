"""Being one of several processes on a database: alive while the others can see it, and never writing after that.

Each process has a row in the database and renews it. One that does not is taken for dead: another deletes the row and
takes over its runs. If it was only slow, the first thing it writes of a run finds the row gone, and is refused. A
database that one process alone can open needs none of this but the row.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import PerdureError, Unavailable
from perdure.domain.ids import new_id
from perdure.logs import Log
from perdure.store import runs as run_store
from perdure.store import servers
from perdure.store.database import Database

BEATS: Final = 5
"""Signs of life in the time of one lease, which are also looks at what others left for this process."""
BEAT_WITHOUT_WAKING: Final = 0.3
"""Seconds between them at most while nobody can be woken."""
CLAIMED_AT_ONCE: Final = 32
"""Orphaned runs that one process takes at a time, so that several share them."""

log = Log(__name__)


class Lost(PerdureError):
    """Another process has taken over this one's runs."""

    def __init__(self) -> None:
        super().__init__("This process was taken for dead, and another has taken over its runs.")


class Found(msgspec.Struct, frozen=True):
    """What a look at the database found: runs now claimed; (id, has its turn, is to be cancelled) of those held; and
    runs that have ended without their callback being made."""

    claimed: Sequence[str]
    held: Sequence[tuple[str, bool, bool]]
    untold: Sequence[str]


class Lease:
    """This process among all that share a database. `on_lost` is called when it has lost its runs.

    Without a sign of life for so many `seconds` it is taken for dead.
    """

    def __init__(self, db: Database, on_lost: Callable[[], None], seconds: float = 5.0) -> None:
        self.db = db
        self._seconds = seconds
        self.id = new_id("server")
        self._on_lost = on_lost
        self._turn = asyncio.Lock()
        self._steady_since = self._seen_at = time.monotonic()
        self._looks = asyncio.Event()

    async def register(self) -> None:
        """Enter this process. Where no other can be, all others are taken for dead at once."""

        def enter(conn: Connection) -> None:
            if not self.db.shared:
                servers.remove(conn, servers.others(conn, self.id))
            servers.register(conn, self.id, f"{socket.gethostname()} {os.getpid()}", self._microseconds)

        await self.db.write(enter)
        self._steady_since = self._seen_at = time.monotonic()

    async def start_over(self, lost_id: str) -> None:
        """The process of that id was taken for dead: drop its runs, and go on as a new one."""
        async with self._turn:
            if self.id != lost_id:
                return None
            log.error("this process was taken for dead; others go on with its runs", server=lost_id)
            self._on_lost()
            self.id = new_id("server")
            while True:
                try:
                    return await self.register()
                except Unavailable as error:
                    log.error("could not sign on; trying again", error=error.message)
                    await self.next_look()

    def check(self, conn: Connection) -> None:
        """Raises Lost where this process was taken for dead: it must take on no run then."""
        if self.db.shared and not servers.is_here(conn, self.id):
            raise Lost

    def has_committed(self, conn: Connection, number: int) -> bool:
        """Enter in this transaction that batch `number` of this process is committed with it.

        True where it was before. Raises Lost where the process was taken for dead.
        """
        if not self.db.shared:
            return False
        fresh = servers.commits(conn, self.id, number)
        if fresh is None:
            raise Lost
        return not fresh

    async def look(self) -> Found:
        """Renew the lease; claim what dead processes left; see what is asked of the runs held here.

        Raises Unavailable where the database is out of reach, Lost after this process was taken for dead.
        """
        since_last = time.monotonic() - self._seen_at
        steady = time.monotonic() - self._steady_since > self._seconds

        def unit(conn: Connection) -> Found:
            if self.db.shared and not servers.renew(conn, self.id, self._microseconds):
                raise Lost
            # Where the database itself was away, everyone looks late: nobody is dead before all had time to renew.
            if steady and (dead := servers.expired(conn)):
                servers.remove(conn, dead)
                log.warning("took processes for dead", servers=dead)
            claimed = servers.claim(conn, self.id, CLAIMED_AT_ONCE)
            return Found(claimed, servers.held(conn, self.id), run_store.claim_untold(conn, self.id))

        if since_last > self._seconds:
            self._steady_since = time.monotonic()
        found = await self.db.write(unit)
        self._seen_at = time.monotonic()
        return found

    async def next_look(self) -> None:
        """Wait until it is time to look again, or until `look_soon`."""
        pause = self._seconds / BEATS
        pause = pause if self.db.wakes else min(pause, BEAT_WITHOUT_WAKING)
        try:
            async with asyncio.timeout(pause):
                await self._looks.wait()
        except TimeoutError:
            return
        self._looks.clear()

    def look_soon(self) -> None:
        """There is something to be seen now."""
        self._looks.set()

    async def leave(self) -> None:
        """Leave the others what is held here."""
        try:
            await self.db.write(lambda conn: servers.remove(conn, (self.id,)))
        except Unavailable as error:
            log.warning("could not sign off; the lease runs out by itself", error=error.message)

    @property
    def _microseconds(self) -> int:
        return int(self._seconds * 1_000_000)
