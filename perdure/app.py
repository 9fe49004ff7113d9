"""The one place that wires the parts of a server together."""

import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from starlette.types import ASGIApp

from perdure import __version__
from perdure.agents.embedding import Embedding
from perdure.agents.ingestion import KIND as FILE_INGESTION
from perdure.agents.ingestion import Ingestion
from perdure.api.application import create_application
from perdure.api.results import letter
from perdure.api.server import Server
from perdure.config import Settings, is_loopback
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.tools import CUSTOM, EXTERNAL_MCP
from perdure.loop.turn import Rooms
from perdure.memory.embedding import ARCHIVES, FOLDERS
from perdure.providers.catalog import Catalog
from perdure.providers.configured import limits
from perdure.providers.local import LocalFiles, LocalModels, open_local
from perdure.providers.offline import OfflineProvider
from perdure.runs.callback import Callbacks
from perdure.runs.courier import Courier
from perdure.runs.jobs import Jobs
from perdure.runs.policy import Policy
from perdure.runs.runner import Runner
from perdure.store import mcp_servers as mcp_store
from perdure.store import providers as provider_store
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.store.migrate import bring_up_to_date
from perdure.store.opening import open_database
from perdure.store.secrets import Vault, agree_on_key, open_vault
from perdure.tools.builtin.agents import agent_tools
from perdure.tools.builtin.archives import archival_memory_search
from perdure.tools.builtin.code import run_code
from perdure.tools.builtin.files import file_tools
from perdure.tools.builtin.web import EXA_KEY, fetch_webpage, web_search
from perdure.tools.custom import CustomTools, Terms
from perdure.tools.documents.reader import Reader
from perdure.tools.door import Door, Passes
from perdure.tools.executor import Executor
from perdure.tools.mcp.commands import read_commands
from perdure.tools.mcp.links import Limits
from perdure.tools.mcp.servers import McpServers
from perdure.tools.packages import Packages
from perdure.tools.registry import Registry
from perdure.tools.sandbox.sandbox import Sandbox
from perdure.tools.secrets import secrets_in


@asynccontextmanager
async def running(settings: Settings, door: socket.socket | None = None) -> AsyncGenerator[tuple[Server, ASGIApp]]:
    """All parts of a server, opened in order and closed in reverse, without the network.

    `door` is the socket at which tools will find it.
    """
    # An operator's tool that cannot be used stops the start before the data is touched.
    Registry(settings.trusted_tools)
    async with AsyncExitStack() as closing:
        db = await open_database(settings.data, settings.sync, settings.postgres)
        closing.push_async_callback(db.close)
        await bring_up_to_date(db)
        vault = open_vault(settings.data, settings.encryption_key)
        if db.shared:
            await db.write(lambda conn: agree_on_key(conn, vault))
        catalog = await _catalog(settings, db, vault)
        closing.push_async_callback(catalog.close)
        tools = await _tools(settings, db, vault, catalog, door)
        closing.push_async_callback(tools.mcp.close)
        callbacks = Callbacks(db, letter, allow_private=settings.private_callbacks)
        closing.push_async_callback(callbacks.close)
        closing.push_async_callback(tools.sandbox.close)
        runner = Runner(Rooms(db, catalog, tools.executor), _policy(settings), callbacks.tell)
        closing.push_async_callback(runner.close)
        tools.courier.bind(db, runner)
        jobs = _jobs(db, catalog, tools.sandbox, runner)
        closing.push_async_callback(jobs.close)
        await runner.recover()
        jobs.start()
        server = Server(
            db=db,
            catalog=catalog,
            registry=tools.registry,
            executor=tools.executor,
            mcp=tools.mcp,
            runner=runner,
            jobs=jobs,
            vault=vault,
            sandbox=tools.sandbox,
            custom_tools=tools.custom,
            passes=tools.passes,
            password=settings.password,
            version=__version__,
            max_body=settings.max_body,
            max_file=settings.max_file,
            loopback_only=is_loopback(settings.host),
            allowed_origins=settings.cors_origins,
            private_callbacks=settings.private_callbacks,
            private_images=settings.private_images,
            max_requests=settings.max_requests,
            access_log=settings.access_log,
            metrics=settings.metrics,
        )
        yield server, create_application(server)


class _Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What runs tools. The courier takes an agent's messages to others, once it knows the runner."""

    registry: Registry
    executor: Executor
    custom: CustomTools
    mcp: McpServers
    sandbox: Sandbox
    passes: Passes
    courier: Courier


async def _tools(
    settings: Settings, db: Database, vault: Vault, catalog: Catalog, door: socket.socket | None
) -> _Tools:
    """Make what runs tools, and store those that are here for every tenant."""
    terms = Terms(seconds=settings.tool_seconds, memory=settings.tool_memory << 20, network=settings.tool_network)
    courier, passes, secrets = Courier(), Passes(), secrets_in(db, vault)
    sandbox = Sandbox(settings.data, unsafe=settings.unsafe_tools)
    commands = read_commands(settings.mcp_config)
    mcp = McpServers(db, vault, secrets, _mcp_limits(settings), commands, allow_private=settings.private_mcp)
    packages = Packages(settings.data / "packages", sandbox, settings.environment)
    custom = CustomTools(db, vault, sandbox, packages, Door(passes, door and door.getsockname()), terms)
    wired = [
        *agent_tools(courier),
        *file_tools(db, catalog.embed),
        archival_memory_search(db, catalog.embed),
        fetch_webpage(allow_private=settings.private_pages),
        web_search(catalog.http, secrets, url=settings.exa_url, key=settings.environment.get(EXA_KEY)),
        run_code(db, sandbox, terms),
    ]
    registry = Registry(settings.trusted_tools, wired)
    await db.write(lambda conn: tool_store.seed(conn, DEFAULT_TENANT, registry.builtin_tools()))
    await db.write(lambda conn: mcp_store.seed(conn, DEFAULT_TENANT, commands))
    executor = Executor(db, registry, settings.tool_seconds, {CUSTOM: custom.implementation, EXTERNAL_MCP: mcp.runner})
    return _Tools(
        registry=registry, executor=executor, custom=custom, mcp=mcp, sandbox=sandbox, passes=passes, courier=courier
    )


def _jobs(db: Database, catalog: Catalog, sandbox: Sandbox, runner: Runner) -> Jobs:
    """What is worked in the background."""
    handlers = {
        FILE_INGESTION: Ingestion(db, catalog.embed, Reader(sandbox).read),
        **{each.kind: Embedding(db, catalog.embed, each) for each in (ARCHIVES, FOLDERS)},
    }
    return Jobs(db, handlers, lambda: runner.lease.id)


async def _catalog(settings: Settings, db: Database, vault: Vault) -> Catalog:
    """The providers of the settings, and those that tenants add."""
    local = await _local(settings)
    return Catalog(
        settings.environment,
        [local, OfflineProvider()] if local else [OfflineProvider()],
        default_embedding=local.embedding if local else None,
        stored=lambda tenant: db.read(lambda conn: provider_store.all_of(conn, tenant)),
        unseal=vault.open,
        allow_private=settings.private_providers,
        fall_backs=settings.fallback_models,
    )


async def _local(settings: Settings) -> LocalModels | None:
    """The models of files of the operator's own, which come before the stand-in."""
    files = LocalFiles(
        talking=settings.gguf, embedding=settings.gguf_embedding,
        context=settings.gguf_context, parallel=settings.gguf_parallel,
    )  # fmt: skip
    if files.talking is None and files.embedding is None:
        return None
    return await open_local(files, limits(settings.environment))


def _mcp_limits(settings: Settings) -> Limits:
    return Limits(connect=settings.mcp_connect_seconds, list=settings.mcp_list_seconds, call=settings.mcp_call_seconds)


def _policy(settings: Settings) -> Policy:
    return Policy(
        queue=settings.busy == "queue",
        max_queued=settings.max_queued,
        max_runs=settings.max_runs,
        max_chain=settings.max_chain,
        drain_seconds=settings.drain_seconds,
        ping_seconds=settings.ping_seconds,
        retention_hours=settings.retention_hours,
        approval_seconds=settings.approval_minutes * 60,
        lease_seconds=settings.lease_seconds,
    )
