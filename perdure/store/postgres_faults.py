"""What PostgreSQL's errors mean for whoever asked: do it again, wait for the database, or mend what was asked.

The codes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from typing import Final, Literal

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError

from perdure.domain.errors import Unavailable
from perdure.store.database import RETRY_S

Kind = Literal["again", "taken", "lost", "outside", "own"]
"""`again`: another transaction came in between. `taken`: perhaps one did, by adding or deleting the same row first.
`lost`: the connection is gone. `outside`: the database cannot, for now. `own`: the unit's own doing."""

FAULTS: Final = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises, by way of SQLAlchemy or not."""

_AGAIN: Final = ("40", "55P03")
_TAKEN: Final = ("23505", "23503")
_LOST: Final = ("08", "57P", "25P03")
_OUTSIDE: Final = ("53", "58", "25006", "57014", "3F", "42501", "42P01", "XX001", "XX002")


def kind_of(error: BaseException) -> Kind:
    """Which of these an error is that came out of a unit of work."""
    cause = error.driver_exception if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(error, IntegrityError):
        return "taken" if getattr(error.orig, "sqlstate", "").startswith(_TAKEN) else "own"
    if state.startswith(_AGAIN) or isinstance(cause, asyncpg.InvalidCachedStatementError):
        return "again"
    if state.startswith(_LOST) or isinstance(cause, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return "lost"
    return "outside" if state.startswith(_OUTSIDE) else "own"


def unavailable(location: str, error: BaseException) -> Unavailable:
    """What to tell people whose unit could not be carried out, though nothing was wrong with it."""
    state = getattr(error.driver_exception if isinstance(error, DBAPIError) else error, "sqlstate", None) or ""
    text = f"The database {location} cannot be used now ({_told(error)})."
    for states, advice in _ADVICE.items():
        if state.startswith(states):
            return Unavailable(f"{text} {advice}", retry_after=RETRY_S)
    return Unavailable(
        f"{text} Check that it runs and that PERDURE_DATABASE_URL leads to it. Requests are served again once it does.",
        retry_after=RETRY_S,
    )


_ADVICE: Final = {
    ("28",): "Correct the user and password in PERDURE_DATABASE_URL.",
    ("3D000",): "Create that database (createdb), or correct its name in PERDURE_DATABASE_URL.",
    ("3F", "42P01"): "Tables are missing that were there: restore them, and the server goes on.",
    ("42501",): "Give the user the right to do that, or name another one in PERDURE_DATABASE_URL.",
    ("53300",): "Lower PERDURE_DATABASE_CONNECTIONS for each server, or raise the database's max_connections.",
    ("53",): "Give it more room, on its disk first. Requests are served again once there is some.",
    ("25006",): "It takes no changes: let PERDURE_DATABASE_URL lead to the primary, not to a copy of it.",
    ("40", "55P03", "57014"): "Too much goes on at once. Try again.",
}  # fmt: skip


def _told(error: BaseException) -> str:
    """The error's own words, on one line and without the statement."""
    words = str(error.driver_exception if isinstance(error, DBAPIError) else error)
    return " ".join(words.split()) or type(error).__name__
