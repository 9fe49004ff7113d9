"""A reader of one run's log. It never drives the work; slow or gone, it holds nobody up."""

from collections.abc import Awaitable, Callable

from perdure.domain.errors import Unavailable
from perdure.domain.events import AnyEvent
from perdure.domain.runs import HANDED_OVER
from perdure.runs.log import RunLog
from perdure.store import runs as run_store
from perdure.store.database import Database

Numbered = tuple[int, AnyEvent]


class Follower:
    """Reads events after number `after`, first those stored, then those to come.

    `find` gives the live end of a run's log anew, where another process has taken over the run.
    """

    def __init__(self, db: Database, live: RunLog, after: int, find: Callable[[str], Awaitable[RunLog]]) -> None:
        self.run_id = live.run_id
        self.seq = after
        """Number of the newest event handed out."""
        self._db = db
        self._live = live
        self._find = find

    @property
    def finished(self) -> bool:
        """Whether the run has ended and all of it was handed out."""
        return self._live.ended and self.seq == self._live.last

    @property
    def left(self) -> bool:
        """Whether the run goes on, but not in this process: the server stops."""
        return self._live.left and not self._live.ended

    async def next(self) -> list[Numbered] | None:
        """The next events; an empty list after a silence long enough for a ping; None at the end, or once `left`."""
        waited = False
        while True:
            live = self._live
            found = live.after(self.seq)
            if found is None:
                found = await self._stored()
            if found or (waited and not (live.ended or live.lost or live.left)):
                return self._hand_out(found)
            if live.ended or live.left:
                return None
            if live.lost:
                self._live, waited = await self._find(self.run_id), False
            if self._live is live:  # also while a lost run is still held here: nothing else would run meanwhile
                await live.wait()
                waited = True

    async def _stored(self) -> list[Numbered]:
        return await self._db.read(lambda conn: run_store.events_after(conn, self.run_id, self.seq))

    def _hand_out(self, found: list[Numbered]) -> list[Numbered]:
        if found:
            self.seq = found[-1][0]
        return found


async def read_to_end(follower: Follower, take: Callable[[list[Numbered]], None] = lambda batch: None) -> None:
    """Read a run to its end. Raises Unavailable where it goes on elsewhere, since this server stops."""
    while (batch := await follower.next()) is not None:
        take(batch)
    if follower.left:
        raise Unavailable(f"{HANDED_OVER.message} Its id is {follower.run_id}.")
