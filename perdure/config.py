"""The settings of a server, read once: flags first, then the environment, then the defaults in `SETTINGS`."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from perdure import reading
from perdure.domain.errors import Invalid
from perdure.reading import Setting
from perdure.store.options import PostgresOptions


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided. `environment` is what it was read from: providers find their keys there.

    `data` is the data directory, `max_body` bytes of a request, `max_queued` messages waiting for one conversation.
    """

    environment: Mapping[str, str]
    data: Path
    host: str
    port: int
    workers: int
    sync: Literal["normal", "full"]
    password: str | None
    insecure: bool
    cors_origins: tuple[str, ...]
    ping_seconds: float
    stalled_seconds: float
    drain_seconds: float
    retention_hours: float
    busy: Literal["queue", "reject"]
    max_queued: int
    max_runs: int
    max_chain: int
    max_requests: int
    approval_minutes: float
    lease_seconds: float
    tool_seconds: float
    tool_memory: int
    tool_network: bool
    unsafe_tools: bool
    trusted_tools: tuple[str, ...]
    private_callbacks: bool
    private_images: bool
    private_providers: bool
    private_pages: bool
    private_mcp: bool
    mcp_config: Path | None
    mcp_connect_seconds: float
    mcp_list_seconds: float
    mcp_call_seconds: float
    exa_url: str
    max_body: int
    max_file: int
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    access_log: bool
    metrics: Literal["private", "open", "off"]
    trace_content: bool
    default_model: str | None
    default_embedding: str | None
    fallback_models: tuple[str, ...]
    gguf: Path | None
    gguf_context: int
    gguf_parallel: int
    gguf_embedding: Path | None
    encryption_key: str | None
    database_url: str | None
    database_listen_url: str | None
    database_pooler: bool
    database_connections: int
    database_seconds: float

    @property
    def postgres(self) -> PostgresOptions | None:
        """How to reach PostgreSQL; None where the data is in SQLite."""
        if self.database_url is None:
            return None
        return PostgresOptions(
            url=self.database_url,
            listen_url=self.database_listen_url,
            pooler=self.database_pooler,
            connections=self.database_connections,
            seconds=self.database_seconds,
        )


def is_loopback(host: str) -> bool:
    """Whether a server on this host can be reached from this machine alone."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(environment: Mapping[str, str], **flags: Any) -> Settings:
    """The settings of `environment` and `flags`; a flag of None was not given.

    Raises Invalid, naming the setting, its value and what is allowed.
    """
    values = {
        setting.name: reading.value_of(setting, environment, flags.pop(setting.name, None)) for setting in SETTINGS
    }
    if flags:
        raise TypeError(f"no such settings: {', '.join(flags)}")
    values["data"] = values["data"] or _default_data(environment)
    settings = Settings(environment=environment, **values)
    if not (is_loopback(settings.host) or settings.password or settings.insecure):
        raise Invalid(
            f"Listening on {settings.host} lets others on the network in, and no password is set. Set PERDURE_PASSWORD "
            "to one that callers must send, listen on 127.0.0.1, or say PERDURE_INSECURE=1 (or --insecure) if "
            "something in front of this server checks who calls."
        )
    if settings.workers > 1 and settings.database_url is None:
        raise Invalid(
            f"{settings.workers} workers need a database they can share: set PERDURE_DATABASE_URL to a PostgreSQL one. "
            "A data file is for one process."
        )
    if settings.workers > 1 and (settings.gguf or settings.gguf_embedding):
        raise Invalid(
            "Each worker would load the GGUF file for itself. Serve it with one worker, or by a llama.cpp server "
            "of its own, named by LLAMACPP_BASE_URL."
        )
    return settings


def _default_data(environment: Mapping[str, str]) -> Path:
    shared = environment.get("XDG_DATA_HOME", "").strip()
    if shared and Path(shared).is_absolute():
        return Path(shared) / "perdure"
    home = environment.get("HOME", "").strip()
    return (Path(home) if home else Path.home()) / ".perdure"


SETTINGS: Final = (
    Setting(
        name="host", flag="--host", variables=("PERDURE_HOST",), default="127.0.0.1", read=reading.host,
        meaning="The address to listen on. One that others can reach needs a password.",
    ),
    Setting(
        name="port", flag="--port", variables=("PERDURE_PORT",), default="8283",
        read=reading.whole(0, 65_535, "a port"),
        meaning="The port to listen on; 0 takes any free one.",
    ),
    Setting(
        name="workers", variables=("PERDURE_WORKERS",), flag="--workers", default="1",
        read=reading.whole(1, 64, "a number of processes"),
        meaning="Server processes that share the port, on PostgreSQL. One uses one core.",
    ),
    Setting(
        name="data", flag="--data", variables=("PERDURE_DATA",), default="", read=reading.data,
        meaning="The data directory. By default `~/.perdure`, or `perdure` in `XDG_DATA_HOME` where that is set.",
    ),
    Setting(
        name="sync", flag="--sync", variables=("PERDURE_SYNC",), default="normal",
        read=reading.one_of("normal", "full"),
        meaning="`normal` survives a killed process, `full` also a power cut, at one disk sync for each commit.",
    ),
    Setting(
        name="password", variables=("PERDURE_PASSWORD", "LETTA_SERVER_PASSWORD"), default="",
        read=reading.text, secret=True,
        meaning="What callers must send as `Authorization: Bearer …`. Where it is empty nobody is asked.",
    ),
    Setting(
        name="insecure", flag="--insecure", variables=("PERDURE_INSECURE",), default="0", read=reading.switch,
        meaning="`1` allows an address that others can reach without a password.",
    ),
    Setting(
        name="cors_origins", variables=("PERDURE_CORS_ORIGINS", "ACCEPTABLE_ORIGINS"), default="", read=reading.origins,
        meaning="Origins whose web pages may call this server, separated by commas, or `*`.",
    ),
    Setting(
        name="ping_seconds", variables=("PERDURE_PING_SECONDS", "LETTA_KEEPALIVE_INTERVAL"), default="20",
        read=reading.number(0.05, 3_600, "seconds"), meaning="Seconds of silence after which a stream sends a ping.",
    ),
    Setting(
        name="stalled_seconds", variables=("PERDURE_STALLED_SECONDS",), default="300",
        read=reading.number(1, 86_400, "seconds"),
        meaning="Seconds after which a reader that takes nothing is hung up on; its run goes on. On Linux only.",
    ),
    Setting(
        name="drain_seconds", variables=("PERDURE_DRAIN_SECONDS",), default="10",
        read=reading.number(0, 3_600, "seconds"),
        meaning="Seconds that runs may take to finish when the server is told to stop.",
    ),
    Setting(
        name="retention_hours", variables=("PERDURE_RETENTION_HOURS",), default="24",
        read=reading.number(0, 87_600, "hours"),
        meaning="Hours a run's event log is kept after its end, to be streamed again, and the otids that replay it. "
        "History is kept for ever.",
    ),
    Setting(
        name="busy", variables=("PERDURE_BUSY",), default="queue", read=reading.one_of("queue", "reject"),
        meaning="What happens to a message for a busy agent: it waits its turn (`queue`), or is refused with 409 "
        "(`reject`).",
    ),
    Setting(
        name="max_queued", variables=("PERDURE_MAX_QUEUED",), default="100",
        read=reading.whole(1, 100_000, "a number of messages"),
        meaning="Messages that may wait for one conversation; more are refused with 409.",
    ),
    Setting(
        name="max_runs", variables=("PERDURE_MAX_RUNS",), default="10000",
        read=reading.whole(1, 1_000_000, "a number of runs"),
        meaning="Runs that may be under way or wait, in all; more are refused with 503.",
    ),
    Setting(
        name="max_chain", variables=("PERDURE_MAX_CHAIN",), default="8",
        read=reading.whole(1, 100, "a number of messages"),
        meaning="Messages that may follow from one request, each sent by the agent that got the one before.",
    ),
    Setting(
        name="max_requests", variables=("PERDURE_MAX_REQUESTS",), default="10000",
        read=reading.whole(1, 1_000_000, "a number of requests"),
        meaning="Requests answered at a time, open streams included; more are refused with 503.",
    ),
    Setting(
        name="approval_minutes", variables=("PERDURE_APPROVAL_MINUTES",), default="0",
        read=reading.number(0, 525_600, "minutes"),
        meaning="Minutes after which a request for approval that nobody answered is denied; `0` lets it wait for ever.",
    ),
    Setting(
        name="lease_seconds", variables=("PERDURE_LEASE_SECONDS",), default="5",
        read=reading.number(0.5, 60, "seconds"),
        meaning="Seconds without a sign of life after which a server on PostgreSQL loses its runs to the others.",
    ),
    Setting(
        name="tool_seconds", variables=("PERDURE_TOOL_SECONDS", "TOOL_SANDBOX_TIMEOUT"), default="180",
        read=reading.number(0.05, 86_400, "seconds"), meaning="Seconds a tool may take before its call fails.",
    ),
    Setting(
        name="tool_memory", variables=("PERDURE_TOOL_MEMORY",), default="1024",
        read=reading.whole(64, 1 << 20, "a number of MiB"),
        meaning="MiB of memory that a call of a tool made from source code may take, all its processes together.",
    ),
    Setting(
        name="tool_network", variables=("PERDURE_TOOL_NETWORK",), default="0", read=reading.switch,
        meaning="`1` lets tools made from source code, and `run_code`, use the network: all that this machine reaches, "
        "the server itself and a cloud's metadata address included.",
    ),
    Setting(
        name="unsafe_tools", variables=("PERDURE_UNSAFE_TOOLS",), default="0", read=reading.switch,
        meaning="`1` runs tools made from source code with all the server's rights where this machine offers no way to "
        "keep them apart. Without it they are refused there.",
    ),
    Setting(
        name="trusted_tools", variables=("PERDURE_TOOLS",), default="", read=reading.tools,
        meaning="Python functions offered as tools, as `module:function`, separated by commas. They run inside the "
        "server, with all its rights.",
    ),
    Setting(
        name="private_callbacks", variables=("PERDURE_PRIVATE_CALLBACKS",), default="0", read=reading.switch,
        meaning="`1` lets a `callback_url` name this machine or one of its networks, not only the open internet.",
    ),
    Setting(
        name="private_images", variables=("PERDURE_PRIVATE_IMAGES",), default="0", read=reading.switch,
        meaning="`1` lets the address of an image in a message name this machine or one of its networks, not only the "
        "open internet.",
    ),
    Setting(
        name="private_providers", variables=("PERDURE_PRIVATE_PROVIDERS",), default="0", read=reading.switch,
        meaning="`1` lets the `base_url` of a provider added by `POST /v1/providers/` name this machine or one of its "
        "networks, such as an Ollama of your own. Variables of the environment may always do so.",
    ),
    Setting(
        name="private_pages", variables=("PERDURE_PRIVATE_PAGES",), default="0", read=reading.switch,
        meaning="`1` lets the tool `fetch_webpage` read pages of this machine and its networks.",
    ),
    Setting(
        name="private_mcp", variables=("PERDURE_PRIVATE_MCP",), default="0", read=reading.switch,
        meaning="`1` lets the MCP servers that callers add be on this machine and its networks.",
    ),
    Setting(
        name="mcp_config", variables=("PERDURE_MCP_CONFIG",), default="", read=reading.file,
        meaning="A JSON file that names MCP servers to be started as commands; see docs/mcp.md. Callers can name none.",
    ),
    Setting(
        name="mcp_connect_seconds", variables=("PERDURE_MCP_CONNECT_SECONDS",), default="30",
        read=reading.number(0.1, 3_600, "seconds"), meaning="Seconds that connecting to an MCP server may take.",
    ),
    Setting(
        name="mcp_list_seconds", variables=("PERDURE_MCP_LIST_SECONDS",), default="30",
        read=reading.number(0.1, 3_600, "seconds"),
        meaning="Seconds that an MCP server may take to list its tools, connecting included.",
    ),
    Setting(
        name="mcp_call_seconds", variables=("PERDURE_MCP_CALL_SECONDS",), default="60",
        read=reading.number(0.1, 86_400, "seconds"),
        meaning="Seconds that a call of an MCP tool may take, connecting included.",
    ),
    Setting(
        name="exa_url", variables=("PERDURE_EXA_URL",), default="https://api.exa.ai", read=reading.base_url,
        meaning="Where the tool `web_search` finds Exa's API. Its key is the agent's secret `EXA_API_KEY`, or else the "
        "variable of that name.",
    ),
    Setting(
        name="max_body", variables=("PERDURE_MAX_BODY",), default="64MiB", read=reading.size,
        meaning="The largest request body, in bytes or with KiB, MiB, GiB.",
    ),
    Setting(
        name="max_file", variables=("PERDURE_MAX_FILE",), default="50MiB", read=reading.size,
        meaning="The largest file that a folder takes. It comes in a request body, so `PERDURE_MAX_BODY` has to be "
        "larger.",
    ),
    Setting(
        name="log_format", variables=("PERDURE_LOG",), default="text", read=reading.one_of("text", "json"),
        meaning="How log lines look: `text` for people, `json` for programs.",
    ),
    Setting(
        name="log_level", variables=("PERDURE_LOG_LEVEL", "LETTA_DEBUG"), default="info", read=reading.level,
        meaning="The least that is logged: `debug`, `info`, `warning` or `error`. `LETTA_DEBUG=1` means `debug`.",
    ),
    Setting(
        name="access_log", variables=("PERDURE_ACCESS_LOG",), default="0", read=reading.switch,
        meaning="`1` logs a line for every request.",
    ),
    Setting(
        name="metrics", variables=("PERDURE_METRICS",), default="private",
        read=reading.one_of("private", "open", "off"),
        meaning="Who may read `/metrics`: whoever may call the API (`private`), anyone (`open`), nobody (`off`).",
    ),
    Setting(
        name="trace_content", variables=("PERDURE_OTEL_CONTENT",), default="0", read=reading.switch,
        meaning="`1` puts what was said to models and tools, and by them, into OpenTelemetry spans.",
    ),
    Setting(
        name="default_model", variables=("LETTA_DEFAULT_LLM_HANDLE", "PERDURE_DEFAULT_MODEL"), default="",
        read=reading.handle, meaning="The model handle of agents created without one.",
    ),
    Setting(
        name="default_embedding", variables=("LETTA_DEFAULT_EMBEDDING_HANDLE", "PERDURE_DEFAULT_EMBEDDING"),
        default="", read=reading.handle,
        meaning="The embedding handle of agents created without one. Search works without.",
    ),
    Setting(
        name="fallback_models", variables=("PERDURE_FALLBACK_MODELS",), default="", read=reading.handles,
        meaning="Model handles, separated by commas, asked in this order in the place of a model of this server's that "
        "fails. The step records who answered.",
    ),
    Setting(
        name="gguf", flag="--gguf", variables=("PERDURE_GGUF",), default="", read=reading.file,
        meaning="A GGUF file, run by llama.cpp inside the server as the model `local/<name of the file>`. Needs the "
        "extra `perdure[local]`.",
    ),
    Setting(
        name="gguf_context", variables=("PERDURE_GGUF_CONTEXT",), default="16384",
        read=reading.whole(0, 2**31 - 1, "a number of tokens"),
        meaning="Tokens that model can hold, at most those it was trained with; `0` for all of these. More needs more "
        "memory.",
    ),
    Setting(
        name="gguf_parallel", variables=("PERDURE_GGUF_PARALLEL",), default="1",
        read=reading.whole(1, 64, "a number of conversations"),
        meaning="Conversations that model answers at the same time, each with memory for so many tokens; others wait.",
    ),
    Setting(
        name="gguf_embedding", variables=("PERDURE_GGUF_EMBEDDING",), default="", read=reading.file,
        meaning="A GGUF file of an embedding model, run in the same way; agents and folders created without one get "
        "it.",
    ),
    Setting(
        name="encryption_key", variables=("PERDURE_ENCRYPTION_KEY", "LETTA_ENCRYPTION_KEY"), default="",
        read=reading.text,
        secret=True, meaning="What secrets are encrypted with. By default a key made for this server, kept in "
        "`secret.key` in the data directory.",
    ),
    Setting(
        name="database_url", flag="--database-url", variables=("PERDURE_DATABASE_URL", "LETTA_PG_URI"), default="",
        read=reading.database, secret=True,
        meaning="A PostgreSQL database to keep the data in, as `postgresql://user:password@host:5432/perdure`. By "
        "default it is kept in SQLite, in the data directory.",
    ),
    Setting(
        name="database_connections", variables=("PERDURE_DATABASE_CONNECTIONS", "LETTA_PG_POOL_SIZE"), default="10",
        read=reading.whole(1, 1_000, "a number of connections"),
        meaning="Connections to PostgreSQL, at most, of this server.",
    ),
    Setting(
        name="database_seconds", variables=("PERDURE_DATABASE_SECONDS",), default="30",
        read=reading.number(0.1, 3_600, "seconds"),
        meaning="Seconds that a statement may take on PostgreSQL, and that a request may wait for a free connection.",
    ),
    Setting(
        name="database_pooler", variables=("PERDURE_DATABASE_POOLER",), default="0", read=reading.switch,
        meaning="`1` where the URL leads to a pooler that lends connections for a transaction, such as PgBouncer.",
    ),
    Setting(
        name="database_listen_url", variables=("PERDURE_DATABASE_LISTEN_URL",), default="",
        read=reading.database, secret=True,
        meaning="A URL that leads to the same database past the pooler. Without it servers behind one notice each "
        "other later.",
    ),
)  # fmt: skip
"""Every setting. docs/configuration.md shows this table, and a test holds it to that."""
