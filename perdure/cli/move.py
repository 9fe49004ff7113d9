"""`perdure export` and `perdure import`: agents in files, asked of a running server."""

import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import typer

from perdure.config import Settings
from perdure.domain.errors import Conflict, Invalid, Unavailable

ANSWER_SECONDS: Final = 300.0
"""How long an answer may take: files are large, and imports wait for their turn to write."""


def export(settings: Settings, url: str | None, agent_id: str, place: Path | None, *, groups: bool) -> None:
    """Write an agent to a new file, or to stdout; with `groups`, the others of its groups too.

    Raises Conflict where the file is there, and what `_asked` raises.
    """
    query = "?include_groups=true" if groups else ""
    written = _asked(settings, url, f"/v1/agents/{quote(agent_id, safe='')}/export{query}")
    if place is None:
        typer.echo(written)
        return
    try:
        with place.open("xb") as file:
            file.write(written)
    except FileExistsError as error:
        raise Conflict(f"{place} is there already. Choose another name.") from error
    except OSError as error:
        raise Unavailable(f"{place} cannot be written: {error.strerror}.") from error


def bring_in(settings: Settings, url: str | None, place: Path) -> None:
    """Make the agents of a file: their ids on stdout, warnings on stderr. Raises Invalid, and what `_asked` raises."""
    try:
        data = place.read_bytes()
    except OSError as error:
        raise Invalid(f"{place} cannot be read: {error.strerror}.") from error
    made = msgspec.json.decode(_asked(settings, url, "/v1/agents/import", data))
    for warning in made["warnings"]:
        typer.echo(warning, err=True)
    for agent_id in made["agent_ids"]:
        typer.echo(agent_id)


def _asked(settings: Settings, url: str | None, path: str, file: bytes | None = None) -> bytes:
    """The answer to a request, which sends `file` as a form where there is one.

    Raises Invalid with the server's words where it refuses, Unavailable where it cannot be reached.
    """
    address = (url or _address(settings)).rstrip("/")
    headers = {"Authorization": f"Bearer {settings.password}"} if settings.password else {}
    body = None
    if file is not None:
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        head = 'Content-Disposition: form-data; name="file"; filename="agents.af"'
        body = b"".join((f"--{boundary}\r\n{head}\r\n\r\n".encode(), file, f"\r\n--{boundary}--\r\n".encode()))
    try:
        request = urllib.request.Request(f"{address}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Invalid(f"The server at {address} refused: {_detail(error.read())}") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"No server answers at {address} ({error}). Start one, or name it with --url.") from error


def _address(settings: Settings) -> str:
    """Where a server with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _detail(answer: bytes) -> str:
    try:
        said: Any = msgspec.json.decode(answer)
        return str(said["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return answer[:500].decode(errors="replace")
