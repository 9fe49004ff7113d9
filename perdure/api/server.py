"""What every request is answered with: the open parts of one running server."""

from dataclasses import dataclass
from typing import Literal

from perdure.providers.catalog import Catalog
from perdure.runs.jobs import Jobs
from perdure.runs.runner import Runner
from perdure.store.database import Database
from perdure.store.secrets import Vault
from perdure.tools.custom import CustomTools
from perdure.tools.door import Passes
from perdure.tools.executor import Executor
from perdure.tools.mcp.servers import McpServers
from perdure.tools.registry import Registry
from perdure.tools.sandbox.sandbox import Sandbox


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The parts, and what the operator decided.

    `password` of None means that nobody is asked for one. Then `loopback_only` says that the server listens on this
    machine alone and must be addressed by a name of this machine, so that no web page can reach it through a name of
    its own. `allowed_origins` are web origins (`https://host[:port]`, or `*`) whose pages may call it. `max_body` and
    `max_file` are in bytes, `max_requests` how many are answered at a time. `private_callbacks` lets callbacks go to
    addresses that are not of the open internet, `private_images` lets images be fetched from there. `metrics` says who
    may read them.
    """

    db: Database
    catalog: Catalog
    registry: Registry
    executor: Executor
    mcp: McpServers
    runner: Runner
    jobs: Jobs
    vault: Vault
    sandbox: Sandbox
    custom_tools: CustomTools
    passes: Passes
    password: str | None
    version: str
    max_body: int
    loopback_only: bool
    allowed_origins: tuple[str, ...] = ()
    private_callbacks: bool = False
    private_images: bool = False
    max_requests: int = 10_000
    access_log: bool = False
    metrics: Literal["private", "open", "off"] = "private"
    max_file: int = 50 << 20
