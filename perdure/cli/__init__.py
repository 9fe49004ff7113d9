"""The command line: serve · demo · doctor · backup · restore · migrate · check · export · import.

What a command needs is loaded when it is called.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from perdure import __version__
from perdure.config import read_settings
from perdure.domain.errors import PerdureError
from perdure.lazy import lazy_module

if TYPE_CHECKING:
    from perdure.cli import check as check_command
    from perdure.cli import demo as demo_command
    from perdure.cli import doctor as doctor_command
    from perdure.cli import keep as keep_command
    from perdure.cli import move as move_command
    from perdure.cli import serve as serve_command
else:
    check_command: ModuleType = lazy_module("perdure.cli.check")
    demo_command: ModuleType = lazy_module("perdure.cli.demo")
    doctor_command: ModuleType = lazy_module("perdure.cli.doctor")
    keep_command: ModuleType = lazy_module("perdure.cli.keep")
    move_command: ModuleType = lazy_module("perdure.cli.move")
    serve_command: ModuleType = lazy_module("perdure.cli.serve")

application: Final = typer.Typer(
    name="perdure",
    help="A self-hosted server for agents that remember.",
    epilog="Settings may also come from the environment: see docs/configuration.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).", show_default=False)]
Port = Annotated[str | None, typer.Option(help="Port to listen on (8283); 0 takes any free one.", metavar="PORT")]
Data = Annotated[Path | None, typer.Option(help="Data directory (~/.perdure).", metavar="DIR", show_default=False)]
DatabaseUrl = Annotated[str | None, typer.Option(help="Keep the data in PostgreSQL: postgresql://…", metavar="URL")]
Sync = Annotated[str | None, typer.Option(help="full survives a power cut, normal (the default) a killed process.")]
Place = Annotated[
    Path,
    typer.Argument(help="A directory, which gets the key of secrets too, or a file that ends in .db.", metavar="PLACE"),
]
Gguf = Annotated[
    Path | None, typer.Option(help="Run the model in this GGUF file, too.", metavar="FILE", show_default=False)
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Let others on the network in without a password.")]

Url = Annotated[
    str | None, typer.Option(help="Where the server is (this machine's).", metavar="URL", show_default=False)
]


def main() -> None:
    """Run the command line. What is raised on purpose is one line on stderr and exit code 1."""
    try:
        application()
    except PerdureError as error:
        typer.echo(f"perdure: {error.message}", err=True)
        sys.exit(1)


@application.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"perdure {__version__}")
        raise typer.Exit


@application.command(help="Serve agents until Ctrl-C or SIGTERM.")
def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    sync: Sync = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that share the port, on PostgreSQL (1).", metavar="N")
    ] = None,
    gguf: Gguf = None,
    insecure: Insecure = False,
    ready_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    handed: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    settings = read_settings(
        os.environ, host=host, port=port, data=data, database_url=database_url, sync=sync, workers=workers, gguf=gguf,
        insecure=insecure or None,
    )  # fmt: skip
    serve_command.run(settings, ready_file, handed)


@application.command(help="Start a server, tell an agent something, restart it, and see it remember.")
def demo(
    model: Annotated[
        str | None, typer.Option(help="Use this model instead of the built-in offline one.", metavar="HANDLE")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the data in this directory instead of deleting it.", metavar="DIR")
    ] = None,
) -> None:
    raise typer.Exit(demo_command.run(model, keep))


@application.command(help="Say what is found on this machine, and what is missing.")
def doctor(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    gguf: Gguf = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    flags = {"host": host, "port": port, "data": data, "database_url": database_url, "gguf": gguf}
    raise typer.Exit(doctor_command.run(os.environ, as_json=as_json, **flags))


@application.command(help="Copy the data. A server may be using it.")
def backup(
    place: Place,
    data: Data = None,
    database_url: DatabaseUrl = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a backup that is there.")] = False,
) -> None:
    settings = read_settings(os.environ, data=data, database_url=database_url)
    keep_command.back_up(settings, place, force=force)


@application.command(help="Put a backup in the place of the data. The server must not run.")
def restore(
    place: Place,
    data: Data = None,
    database_url: DatabaseUrl = None,
    force: Annotated[bool, typer.Option("--force", help="Put the data that is there aside.")] = False,
) -> None:
    settings = read_settings(os.environ, data=data, database_url=database_url)
    keep_command.restore(settings, place, force=force)


@application.command(help="Bring the data to this version, after a backup. A start does it as well.")
def migrate(data: Data = None, database_url: DatabaseUrl = None) -> None:
    keep_command.migrate(read_settings(os.environ, data=data, database_url=database_url))


@application.command(help="Look whether the data is whole; exit code 3 says that it is not.")
def check(
    data: Data = None,
    database_url: DatabaseUrl = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend it, after a backup. The server must not run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    settings = read_settings(os.environ, data=data, database_url=database_url)
    raise typer.Exit(check_command.run(settings, repair=repair, as_json=as_json))


@application.command(help="Write an agent of a running server to an agent file, or to stdout.")
def export(
    agent_id: Annotated[str, typer.Argument(metavar="AGENT_ID")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]")] = None,
    url: Url = None,
    groups: Annotated[bool, typer.Option("--groups", help="With the other agents of its groups.")] = False,
) -> None:
    move_command.export(read_settings(os.environ), url, agent_id, file, groups=groups)


@application.command("import", help="Make the agents of an agent file on a running server, and print their ids.")
def bring_in(file: Annotated[Path, typer.Argument(metavar="FILE")], url: Url = None) -> None:
    move_command.bring_in(read_settings(os.environ), url, file)
