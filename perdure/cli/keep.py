"""`perdure backup`, `restore` and `migrate`: what keeps data safe, and brings it to this version."""

import asyncio
from pathlib import Path

import typer

from perdure.config import Settings
from perdure.domain.errors import Invalid, Unavailable
from perdure.logs import set_up_logs
from perdure.store import sqlite_backup
from perdure.store.migrate import HEAD, bring_up_to_date, revision
from perdure.store.opening import open_database
from perdure.store.secrets import KEY_FILE
from perdure.store.sqlite_file import DATA_FILE


def back_up(settings: Settings, place: Path, *, force: bool) -> None:
    """Copy the data to `place`, also while a server uses it. Raises what `sqlite_backup.back_up` raises."""
    _refuse_postgres(settings, "back it up with pg_dump --format=custom")
    made = sqlite_backup.back_up(settings.data, place, force=force)
    typer.echo(f"Backed up {settings.data / DATA_FILE} to {made.database}")
    typer.echo(f"  {made.size / 2**20:.1f} MiB, schema {made.schema}, sound")
    if made.key is not None:
        typer.echo(f"  with {made.key.name}, which opens its secrets: keep this directory as safe as the server's own")
    elif (settings.data / KEY_FILE).exists():
        typer.echo(f"  without {settings.data / KEY_FILE}, which opens its secrets: keep that somewhere, too")


def restore(settings: Settings, place: Path, *, force: bool) -> None:
    """Put a backup in the place of the data. Raises what `sqlite_backup.restore` raises."""
    _refuse_postgres(settings, "restore it with pg_restore")
    done = sqlite_backup.restore(settings.data, place, settings.encryption_key, force=force)
    typer.echo(f"Restored {done.database} from {place}")
    for aside in done.put_aside:
        typer.echo(f"  what was there is {aside} now")
    if done.schema != HEAD:
        typer.echo(f"  it is at schema {done.schema}; the next start, or `perdure migrate`, brings it to {HEAD}")
    if done.sealed:
        typer.echo(
            f"  {done.sealed} secrets in it cannot be opened: put the {KEY_FILE} it was made with into "
            f"{settings.data}, or set PERDURE_ENCRYPTION_KEY as it was"
        )


def migrate(settings: Settings) -> None:
    """Bring the data to the schema of this version, after a backup. Raises Unavailable where that cannot be."""
    set_up_logs(settings.log_format, "warning")
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    if settings.postgres is None and not (settings.data / DATA_FILE).is_file():
        raise Unavailable(f"There is no data at {settings.data / DATA_FILE}. The first start makes it.")
    db = await open_database(settings.data, settings.sync, settings.postgres)
    try:
        before = await db.read(revision)
        backup = await bring_up_to_date(db)
    finally:
        await db.close()
    if before == HEAD:
        typer.echo(f"{db.location} is at schema {HEAD}, which is that of this version. Nothing to do.")
        return
    typer.echo(f"Brought {db.location} from schema {before or 'none'} to {HEAD}")
    if backup is not None:
        typer.echo(f"  as it was before: {backup}")


def _refuse_postgres(settings: Settings, advice: str) -> None:
    """Raises Invalid where the data is in PostgreSQL, which has better means of its own."""
    if settings.postgres is not None:
        raise Invalid(
            f"The data is in PostgreSQL: {advice}, and keep {settings.data / KEY_FILE}, which opens its secrets, "
            "somewhere as well."
        )
