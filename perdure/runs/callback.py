"""Telling those who asked for it that their run has ended.

Each is told once, and what came of it is kept with the run. Where a crash came first, the next start does it.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection

from perdure.domain.errors import Invalid, PerdureError, Unavailable, Unprocessable
from perdure.domain.ids import now
from perdure.logs import Log
from perdure.providers import outbound
from perdure.store import runs as run_store
from perdure.store.database import Database
from perdure.telemetry import metrics

TIME_LIMIT: Final = 5.0
"""Seconds a receiver may take to answer."""

MOST_AT_ONCE: Final = 32
"""Receivers told at a time. Those that wait are in the database, so nothing of theirs is held."""

_HEADERS: Final = {"Content-Type": "application/json"}

log = Log(__name__)


def check_callback(url: str, *, allow_private: bool) -> None:
    """Raises Unprocessable for an address that can be told apart at once from one that may be called."""
    try:
        outbound.read_target(url, allow_private=allow_private)
    except Invalid as error:
        raise Unprocessable(error.message, ("body", "callback_url")) from error


class Letter(NamedTuple):
    """What a receiver is sent, and where."""

    url: str
    body: bytes


class Callbacks:
    """Posts the ends of runs. `compose` writes the letter for the run of an id, None where nobody wants one.

    `allow_private` lets callbacks go to addresses that are not of the open internet.
    """

    def __init__(
        self, db: Database, compose: Callable[[Connection, str], Letter | None], *, allow_private: bool
    ) -> None:
        self._db = db
        self._compose = compose
        self._allow_private = allow_private
        self._under_way: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._closing = False

    def tell(self, run_id: str) -> None:
        """Begin to tell the receiver of a run that has ended."""
        task = asyncio.create_task(self._tell(run_id), name=f"callback of {run_id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Wait for those under way, which takes no longer than their time limit; the next start tells the others."""
        self._closing = True
        await asyncio.gather(*self._under_way)

    async def _tell(self, run_id: str) -> None:
        waited = self._room.locked()
        async with self._room:
            if not (waited and self._closing):
                await self._tell_now(run_id)

    async def _tell_now(self, run_id: str) -> None:
        try:
            letter = await self._db.read(lambda conn: self._compose(conn, run_id))
            if letter is not None:
                status, error = await self._post(letter)
                delivered = status is not None and 200 <= status < 300
                metrics.callback_ended("delivered" if delivered else "refused" if status is not None else "failed")
                sent_at = now()
                await self._db.write(
                    lambda conn: run_store.record_callback(
                        conn, run_id, sent_at=sent_at, status_code=status, error=error
                    )
                )
        except PerdureError as failed:
            log.error(
                "callback not sent or not recorded; the next start tries again", run_id=run_id, error=failed.message
            )

    async def _post(self, letter: Letter) -> tuple[int | None, str | None]:
        """The status that came back, or what went wrong."""
        try:
            status = await outbound.post(
                letter.url, letter.body, _HEADERS, allow_private=self._allow_private, time_limit=TIME_LIMIT
            )
        except (Invalid, Unavailable) as failed:
            return None, failed.message
        return status, None
