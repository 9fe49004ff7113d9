"""`perdure doctor`: what is found on this machine, what is missing, and how to get it."""

import asyncio
import platform
import socket
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from perdure import __version__
from perdure.cli import doctor_models, machine
from perdure.cli.finding import Finding
from perdure.config import Settings, read_settings
from perdure.domain.errors import PerdureError, Unavailable
from perdure.lazy import lazy_module
from perdure.logs import set_up_logs
from perdure.store.migrate import HEAD
from perdure.store.options import PostgresOptions
from perdure.store.sqlite_file import DataFile, look_into
from perdure.tools.registry import Registry
from perdure.tools.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from perdure.store import postgres_view
    from perdure.store.migrations import steps
else:
    postgres_view: ModuleType = lazy_module("perdure.store.postgres_view")
    steps: ModuleType = lazy_module("perdure.store.migrations.steps")

OLDEST_PYTHON: Final = (3, 11)


def run(environment: Mapping[str, str], *, as_json: bool, **flags: Any) -> int:
    """Print what is found. Returns the exit code: 1 where something keeps `perdure serve` from starting."""
    # What providers fail at is said below, in its place.
    set_up_logs("text", "critical")
    if as_json:
        findings = list(_findings(environment, flags))
        can_start = all(finding.mark != "problem" for finding in findings)
        typer.echo(msgspec.json.encode({"can_start": can_start, "findings": findings}))
        return int(not can_start)
    has_problem = False
    for finding in _findings(environment, flags):
        has_problem |= finding.mark == "problem"
        mark = typer.style(f"{finding.mark:7}", fg=_COLOURS[finding.mark], bold=True)
        typer.echo(f"{mark}  {finding.subject:10}  {finding.text}")
    typer.echo("`perdure serve` cannot start as it is." if has_problem else "`perdure serve` can start.")
    return int(has_problem)


_COLOURS: Final = {"ok": "green", "note": "yellow", "problem": "red"}


def _findings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> Iterator[Finding]:
    yield _python()
    try:
        settings = read_settings(environment, **flags)
    except PerdureError as error:
        yield Finding("problem", "settings", error.message)
    else:
        if settings.postgres is not None:
            found, schema = _database(settings.postgres)
            yield found
            yield _port(settings, None)
        else:
            file = look_into(settings.data)
            yield _data(file)
            yield _port(settings, file.holder)
            schema = file.schema
        yield _tools(settings)
        yield _sandbox(settings)
        yield from doctor_models.models(settings, has_data=schema == HEAD)
    yield _node()


def _python() -> Finding:
    text = f"Perdure {__version__} on Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("ok", "python", text)
    return Finding("problem", "python", f"{text}. Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")


def _data(file: DataFile) -> Finding:
    if file.problem:
        return Finding(
            "problem",
            "data",
            f"{file.path}: {file.problem}. Mend that, restore a backup, or choose another directory with --data.",
        )
    if file.size is None:
        return Finding("ok", "data", f"{file.path} does not exist yet; the first start makes it")
    found = _schema(f"{file.path}, {file.size / 2**20:.1f} MiB", file.schema, ", after a backup")
    if found.mark != "ok" or file.holder is None:
        return found
    return Finding("ok", "data", f"{found.text}, in use by the server that is process {file.holder}")


def _database(options: PostgresOptions) -> tuple[Finding, str | None]:
    """What is found, and the schema of the data where it can be used."""
    try:
        view = postgres_view.look_at(options)
    except ModuleNotFoundError as error:
        return Finding("problem", "data", f"PostgreSQL needs {error.name}: pip install 'perdure[postgres]'"), None
    except Unavailable as error:
        return Finding("problem", "data", error.message), None
    text = f"{view.location}, PostgreSQL {view.version}, "
    if not (view.vectors or view.has_vectors):
        remedy = "Install it there (postgresql-18-pgvector, or the image pgvector/pgvector:pg18)"
        return Finding("problem", "data", f"{text}without pgvector. {remedy}."), None
    text += f"pgvector {view.vectors or 'to be added'}, {view.size / 2**20:.1f} MiB"
    return _schema(text, view.schema, ""), view.schema


def _schema(text: str, schema: str | None, precaution: str) -> Finding:
    """What a start would do to data at this schema."""
    text += f", schema {schema or 'none yet'}"
    if schema in (None, HEAD):
        return Finding("ok", "data", text)
    if schema not in steps.known():
        return Finding(
            "problem",
            "data",
            f"{text}: a newer version of Perdure wrote it. Install that version or a later one, or choose other data "
            "with --data or --database-url.",
        )
    return Finding("ok", "data", f"{text} (the next start migrates it to {HEAD}{precaution})")


def _port(settings: Settings, holder: int | None) -> Finding:
    place = f"{settings.host} port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((settings.host, settings.port))
        except OSError as error:
            if holder is not None:
                return Finding("ok", "address", f"{place} is taken, and a server is running on this data")
            return Finding(
                "problem", "address", f"{place}: {error.strerror}. Choose another with --host and --port, or stop "
                "what uses it."
            )  # fmt: skip
    return Finding("ok", "address", f"{place} is free")


def _tools(settings: Settings) -> Finding:
    try:
        Registry(settings.trusted_tools)
    except PerdureError as error:
        return Finding("problem", "tools", error.message)
    count = len(settings.trusted_tools)
    return Finding("ok", "tools", f"built in, and {count} named in PERDURE_TOOLS" if count else "the built-in ones")


def _sandbox(settings: Settings) -> Finding:
    """Which way tools that come as source code are kept apart, found out by trying."""
    choice = asyncio.run(Sandbox(settings.data, unsafe=settings.unsafe_tools).choice())
    advice = "" if machine.program_version("bwrap", "--version") else " (bubblewrap would be another: apt install it)"
    if choice.way is None or choice.way.kind == "open":
        return Finding(
            "note", "sandbox", f"tools made from source code: {choice}. Install bubblewrap to keep them apart."
        )
    return Finding("ok", "sandbox", f"tools made from source code are kept apart by {choice}{advice}")


def _node() -> Finding:
    version = machine.program_version("node", "--version")
    if version:
        return Finding("ok", "node", f"Node {version}, for tools in TypeScript and code in JavaScript")
    return Finding("note", "node", "no Node, which tools in TypeScript and code in JavaScript need (nodejs.org)")
