"""Opening the one database or the other. What PostgreSQL needs is loaded only where it is asked for."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from perdure.domain.errors import Unavailable
from perdure.lazy import lazy_module
from perdure.store.database import Database
from perdure.store.options import PostgresOptions
from perdure.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from perdure.store import postgres
else:
    postgres: ModuleType = lazy_module("perdure.store.postgres")


async def open_database(directory: Path, sync: Literal["normal", "full"], options: PostgresOptions | None) -> Database:
    """Open the PostgreSQL database that `options` name, or the SQLite file in `directory` where there are none.

    Raises Unavailable, with what to do, where it cannot be used.
    """
    if options is None:
        return open_sqlite(directory, sync)
    try:
        return await postgres.open_postgres(options)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"PostgreSQL needs a package that is not installed ({error.name}). Install it with "
            "pip install 'perdure[postgres]'."
        ) from error
