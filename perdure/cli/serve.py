"""`perdure serve`: runs the server and says where it is and how to reach it."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import typer

from perdure import serving
from perdure.cli import workers
from perdure.config import Settings
from perdure.domain.errors import Unavailable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.models import Model
from perdure.logs import set_up_logs
from perdure.providers.offline import OFFLINE_MODEL
from perdure.serving import ServerInfo

HANDLES_SHOWN: Final = 5
_EVERY_ADDRESS: Final = {"//0.0.0.0:": "//127.0.0.1:", "//[::]:": "//[::1]:"}


def run(settings: Settings, ready_file: Path | None, handed: str | None) -> None:
    """Serve until told to stop. `ready_file` gets `{"url", "pid"}` as JSON once requests are answered.

    With more than one worker this process only looks after them; `handed` is what it gives each. Raises what
    `serving.serve` raises, and Unavailable where `ready_file` cannot be written or a worker does not start.
    """
    set_up_logs(settings.log_format, settings.log_level)
    if handed is not None:
        workers.work(settings, handed)
    elif settings.workers > 1:
        listener = serving.listen(settings)
        command = [sys.executable, "-m", "perdure", *sys.argv[1:], "--handed"]
        about = f"PostgreSQL, {settings.workers} workers"
        url = serving.url_of(listener)
        workers.supervise(command, listener, settings.workers, lambda: _announce(settings, ready_file, url, about))
    else:
        _serve_here(settings, ready_file)


def _serve_here(settings: Settings, ready_file: Path | None) -> None:
    for file in (settings.gguf, settings.gguf_embedding):
        if file is not None:
            typer.echo(f"Loading {file} …")
    announced: list[asyncio.Task[None]] = []

    def ready(info: ServerInfo) -> None:
        _announce(settings, ready_file, info.url, info.data)
        # Providers may take seconds to answer; the server is up meanwhile.
        announced.append(asyncio.get_running_loop().create_task(_announce_models(info)))

    serving.serve(settings, ready=ready)


def _announce(settings: Settings, ready_file: Path | None, url: str, data: str) -> None:
    if ready_file is not None:
        _write_whole(ready_file, msgspec.json.encode({"url": _reachable(url), "pid": os.getpid()}))
    typer.echo(greeting(url, data, has_password=settings.password is not None))


def greeting(url: str, data: str, *, has_password: bool) -> str:
    """What is printed once the server answers."""
    key = ', api_key="<the password>"' if has_password else ""
    lines = [
        f"Perdure listens on {url}",
        f"  Data     {data}",
        f'  Connect  client = letta_client.Letta(base_url="{_reachable(url)}"{key})',
    ]
    return "\n".join(lines)


def models_line(models: Sequence[Model]) -> str:
    """Which models there are, in one line."""
    handles = [model.handle for model in models if model.handle != OFFLINE_MODEL.handle]
    if not handles:
        return (
            f"  Models   only {OFFLINE_MODEL.handle}, a rule-based stand-in. Set OPENAI_API_KEY or OLLAMA_BASE_URL for "
            "real ones; `perdure doctor` says what it finds."
        )
    more = f" and {len(handles) - HANDLES_SHOWN} more" if len(handles) > HANDLES_SHOWN else ""
    return f"  Models   {', '.join(handles[:HANDLES_SHOWN])}{more}"


async def _announce_models(info: ServerInfo) -> None:
    typer.echo(models_line(await info.catalog.models(DEFAULT_TENANT)))


def _reachable(url: str) -> str:
    """The address to connect to: a server that listens everywhere is reached on this machine's own."""
    for every, own in _EVERY_ADDRESS.items():
        url = url.replace(every, own)
    return url


def _write_whole(path: Path, content: bytes) -> None:
    """Whoever waits for the file sees all of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}.") from error
