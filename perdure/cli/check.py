"""`perdure check`: looks whether what must hold of a database does, says what does not, and mends it if told to."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import typer
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from perdure.config import Settings
from perdure.domain.errors import Conflict, Unavailable
from perdure.logs import set_up_logs
from perdure.loop.check import contexts
from perdure.store import check, check_runs, check_search, servers
from perdure.store.database import Database
from perdure.store.findings import Check, Finding, finding
from perdure.store.migrate import HEAD, revision
from perdure.store.opening import open_database
from perdure.store.secrets import Vault, find_vault, unreadable
from perdure.store.sqlite_file import DATA_FILE, examine

CHECKS: Final[Sequence[Check]] = (
    check.integrity, check.orphans, check.documents, check_runs.homeless, check.unreadable_messages,
    check.default_conversations, check.doubled_messages, contexts, check_runs.rivals, check_runs.records,
    check_runs.event_logs, check.block_labels, check.block_versions, check_search.search_index,
    check_search.chunk_counts,
)  # fmt: skip
"""In this order: each may count on what those before it have mended."""

NOT_WHOLE: Final = 3
"""The exit code where something is wrong and was not mended; 1 says that nothing could be looked at."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `whole` says whether the data is so now; `unfinished_runs` go on with the next start.

    `backup` is the copy made before anything was mended, None where nothing was or the database is not ours to copy.
    """

    data: str
    schema: str
    whole: bool
    unfinished_runs: int
    backup: str | None
    findings: Sequence[Finding]


def run(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Print what is found. Returns the exit code. Raises Unavailable where the data cannot be looked at."""
    set_up_logs("text", "error")
    try:
        found = asyncio.run(report(settings, repair=repair))
    except DBAPIError as error:
        raise Unavailable(f"The data cannot be read ({error.orig}). If it is damaged, restore a backup.") from error
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        for line in _lines(found, repair):
            typer.echo(line)
    return 0 if found.whole else NOT_WHOLE


def _lines(report: Report, repair: bool) -> Iterator[str]:
    yield f"{report.data}, schema {report.schema}"
    for each in report.findings:
        mark = typer.style("mended" if each.repaired else "fault ", fg="green" if each.repaired else "red", bold=True)
        ids = f": {', '.join(each.ids)}" if each.ids else ""
        yield f"{mark}  {each.check:20}  {each.problem}{ids}"
        if each.repaired:
            yield f"        {'':20}  {each.repaired}"
    if report.unfinished_runs:
        yield f"{report.unfinished_runs} runs are under way or wait; a server takes them up when it starts."
    if report.backup is not None:
        yield f"As it was before: {report.backup}"
    if report.whole:
        yield "The data is whole again." if report.findings else "The data is whole."
    elif repair:
        yield "Not all of it could be mended."
    else:
        yield "The data is not whole. Stop the server and `perdure check --repair` mends what can be, after a backup."


async def report(settings: Settings, *, repair: bool) -> Report:
    """Look, and mend what can be mended if told to. Raises Unavailable where the data cannot be looked at."""
    vault = find_vault(settings.data, settings.encryption_key)
    if settings.postgres is None and not repair:
        path = settings.data / DATA_FILE
        if not path.is_file():
            raise Unavailable(f"There is no data at {path}.")
        return examine(path, lambda conn: _looked_at(conn, str(path), vault))
    db = await open_database(settings.data, settings.sync, settings.postgres)
    try:
        if not repair:
            return await db.read(lambda conn: _looked_at(conn, db.location, vault))
        return await _mended(db, vault)
    finally:
        await db.close()


async def _mended(db: Database, vault: Vault | None) -> Report:
    before = await db.read(lambda conn: _looked_at(conn, db.location, vault))
    if before.whole:
        return before
    if db.shared:
        await db.read(_refuse_company)
    backup = await db.backup("before-repair")
    done = await db.write(lambda conn: list(_found(conn, repair=True)))
    after = await db.read(lambda conn: _looked_at(conn, db.location, vault))
    left = [each for each in after.findings if each not in done]
    return msgspec.structs.replace(after, backup=backup, findings=[*done, *left])


def _refuse_company(conn: Connection) -> None:
    """Raises Conflict while servers work on a database: what they do meanwhile would look like faults."""
    names = servers.alive(conn)
    if names:
        raise Conflict(f"Servers are working on this database: {', '.join(names)}. Stop them first.")


def _looked_at(conn: Connection, location: str, vault: Vault | None) -> Report:
    schema = revision(conn)
    if schema != HEAD:
        state = "is empty" if schema is None else f"is at schema {schema} and this version works with {HEAD}"
        raise Unavailable(f"The database {state}. Run `perdure migrate` first, or the version that wrote it.")
    findings = list(_found(conn, repair=False))
    if sealed := unreadable(conn, vault):
        what = "secrets that the key here does not open" if vault else "secrets without a key (secret.key is missing)"
        findings.append(finding("secrets", what, sealed))
    return Report(
        data=location, schema=schema, whole=not findings, unfinished_runs=check_runs.unfinished(conn), backup=None,
        findings=findings,
    )  # fmt: skip


def _found(conn: Connection, *, repair: bool) -> Iterator[Finding]:
    for each in CHECKS:
        try:
            yield from each(conn, repair)
        except msgspec.MsgspecError as error:
            yield finding(
                "documents",
                f"{each.__name__} could not be looked at, since of what it needs something is damaged ({error})",
                (),
            )
