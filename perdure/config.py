"""The settings of a server, read once: flags first, then the environment, then the defaults in `SETTINGS`."""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from perdure.domain.errors import Invalid
from perdure.store.options import PostgresOptions


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided. `environment` is what it was read from: providers find their keys there.

    `data` is the data directory, `max_body` bytes of a request, `max_queued` messages waiting for one conversation.
    """

    environment: Mapping[str, str]
    data: Path
    host: str
    port: int
    sync: Literal["normal", "full"]
    password: str | None
    insecure: bool
    cors_origins: tuple[str, ...]
    ping_seconds: float
    retention_hours: float
    busy: Literal["queue", "reject"]
    max_queued: int
    approval_minutes: float
    lease_seconds: float
    tool_seconds: float
    trusted_tools: tuple[str, ...]
    private_callbacks: bool
    max_body: int
    log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    default_model: str | None
    default_embedding: str | None
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


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: where a setting comes from, what it means, and how its text is read.

    Of `variables` the first that is set counts. `read` raises ValueError, saying what is allowed.
    """

    name: str
    variables: tuple[str, ...]
    default: str
    meaning: str
    read: Callable[[str], Any]
    flag: str | None = None
    secret: bool = False


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
    values = {setting.name: _read(setting, environment, flags.pop(setting.name, None)) for setting in SETTINGS}
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
    return settings


def _read(setting: Setting, environment: Mapping[str, str], flag: Any) -> Any:
    source, text = setting.flag or setting.name, "" if flag is None else str(flag)
    if flag is None:
        source = next((name for name in setting.variables if environment.get(name, "").strip()), "")
        # A password or key keeps its spaces: it has to be the same text for whoever sends it.
        text = environment.get(source, "") if setting.secret else environment.get(source, "").strip()
    if not source:
        text = setting.default
    try:
        return setting.read(text)
    except ValueError as error:
        shown = "" if setting.secret else f" is {text!r}, which"
        raise Invalid(f"{source}{shown} will not do: {error}.") from None


def _default_data(environment: Mapping[str, str]) -> Path:
    shared = environment.get("XDG_DATA_HOME", "").strip()
    if shared and Path(shared).is_absolute():
        return Path(shared) / "perdure"
    home = environment.get("HOME", "").strip()
    return (Path(home) if home else Path.home()) / ".perdure"


def _text(text: str) -> str | None:
    return text or None


def _host(text: str) -> str:
    if any(character.isspace() or character == "/" for character in text):
        raise ValueError("it must be an address or a host name, such as 127.0.0.1 or 0.0.0.0")
    return text.strip("[]")


def _data(text: str) -> Path | None:
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError:
        raise ValueError("it must be a directory, and there is no such home directory") from None


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.casefold() not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return text.casefold()

    return read


def _number(low: float, high: float, unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"it must be a number of {unit} from {low:g} to {high:g}")
        return number

    return read


def _whole(low: int, high: int, what: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise ValueError(f"it must be {what} from {low} to {high}")
        return int(text)

    return read


_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")


def _switch(text: str) -> bool:
    if text.casefold() not in (*_YES, *_NO):
        raise ValueError("it must be 1 or 0")
    return text.casefold() in _YES


_LEVELS: Final = ("debug", "info", "warning", "error")


def _level(text: str) -> str:
    # LETTA_DEBUG is a switch, and stands in the same place.
    if text.casefold() in (*_YES, *_NO):
        return "debug" if text.casefold() in _YES else "info"
    return _one_of(*_LEVELS)(text)


def _list(text: str) -> tuple[str, ...]:
    """Comma separated, or a JSON list as the old server's variables held."""
    if text.startswith("["):
        try:
            items = json.loads(text)
        except ValueError:
            raise ValueError("it must be a list, separated by commas") from None
        return tuple(str(item) for item in items)
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.rstrip("/") for origin in _list(text))
    for origin in origins:
        scheme, _, rest = origin.partition("://")
        if origin != "*" and (scheme not in ("http", "https") or not rest or "/" in rest):
            raise ValueError("it must be origins such as https://app.example.com, separated by commas, or *")
    return origins


def _tools(text: str) -> tuple[str, ...]:
    tools = _list(text)
    for tool in tools:
        module, _, function = tool.partition(":")
        if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError("it must be functions such as my_package.tools:look_up, separated by commas")
    return tools


_UNITS: Final = {"": 1, "K": 2**10, "KIB": 2**10, "M": 2**20, "MIB": 2**20, "G": 2**30, "GIB": 2**30}
_MAX_BODY: Final = 4 * 2**30


def _size(text: str) -> int:
    digits = text.rstrip("BbIiKkMmGg ")
    factor = _UNITS.get(text[len(digits) :].strip().upper())
    if factor is None or not (digits.isascii() and digits.isdecimal()) or not 1024 <= int(digits) * factor <= _MAX_BODY:
        raise ValueError("it must be a number of bytes, such as 67108864 or 64MiB, from 1KiB to 4GiB")
    return int(digits) * factor


def _handle(text: str) -> str | None:
    provider, slash, model = text.partition("/")
    if text and not (provider and slash and model):
        raise ValueError("it must be a handle such as openai/gpt-4o")
    return text or None


def _database(text: str) -> str | None:
    """A PostgreSQL URL as libpq has it, from any form that SQLAlchemy's drivers use."""
    scheme, separator, rest = text.strip().partition("://")
    kind = scheme.partition("+")[0].casefold()
    if kind == "sqlite":
        raise ValueError("SQLite's file is chosen with --data or PERDURE_DATA; leave the URL out")
    if text.strip() and (kind not in ("postgres", "postgresql") or not separator):
        raise ValueError("it must be a PostgreSQL URL, such as postgresql://user:password@host:5432/perdure")
    return re.sub(r"(?<=[?&])ssl(?==)", "sslmode", f"postgresql://{rest}") if rest else None


SETTINGS: Final = (
    Setting(
        name="host", flag="--host", variables=("PERDURE_HOST",), default="127.0.0.1", read=_host,
        meaning="The address to listen on. One that others can reach needs a password.",
    ),
    Setting(
        name="port", flag="--port", variables=("PERDURE_PORT",), default="8283", read=_whole(0, 65_535, "a port"),
        meaning="The port to listen on; 0 takes any free one.",
    ),
    Setting(
        name="data", flag="--data", variables=("PERDURE_DATA",), default="", read=_data,
        meaning="The data directory. By default `~/.perdure`, or `perdure` in `XDG_DATA_HOME` where that is set.",
    ),
    Setting(
        name="sync", flag="--sync", variables=("PERDURE_SYNC",), default="normal", read=_one_of("normal", "full"),
        meaning="`normal` survives a killed process, `full` also a power cut, at one disk sync for each commit.",
    ),
    Setting(
        name="password", variables=("PERDURE_PASSWORD", "LETTA_SERVER_PASSWORD"), default="", read=_text, secret=True,
        meaning="What callers must send as `Authorization: Bearer …`. Where it is empty nobody is asked.",
    ),
    Setting(
        name="insecure", flag="--insecure", variables=("PERDURE_INSECURE",), default="0", read=_switch,
        meaning="`1` allows an address that others can reach without a password.",
    ),
    Setting(
        name="cors_origins", variables=("PERDURE_CORS_ORIGINS", "ACCEPTABLE_ORIGINS"), default="", read=_origins,
        meaning="Origins whose web pages may call this server, separated by commas, or `*`.",
    ),
    Setting(
        name="ping_seconds", variables=("PERDURE_PING_SECONDS", "LETTA_KEEPALIVE_INTERVAL"), default="20",
        read=_number(0.05, 3_600, "seconds"), meaning="Seconds of silence after which a stream sends a ping.",
    ),
    Setting(
        name="retention_hours", variables=("PERDURE_RETENTION_HOURS",), default="24",
        read=_number(0, 87_600, "hours"),
        meaning="Hours a run's event log is kept after its end, to be streamed again, and the otids that replay it. "
        "History is kept for ever.",
    ),
    Setting(
        name="busy", variables=("PERDURE_BUSY",), default="queue", read=_one_of("queue", "reject"),
        meaning="What happens to a message for a busy agent: it waits its turn (`queue`), or is refused with 409 "
        "(`reject`).",
    ),
    Setting(
        name="max_queued", variables=("PERDURE_MAX_QUEUED",), default="100",
        read=_whole(1, 100_000, "a number of messages"),
        meaning="Messages that may wait for one conversation; more are refused with 409.",
    ),
    Setting(
        name="approval_minutes", variables=("PERDURE_APPROVAL_MINUTES",), default="0",
        read=_number(0, 525_600, "minutes"),
        meaning="Minutes after which a request for approval that nobody answered is denied; `0` lets it wait for ever.",
    ),
    Setting(
        name="lease_seconds", variables=("PERDURE_LEASE_SECONDS",), default="5", read=_number(0.5, 60, "seconds"),
        meaning="Seconds without a sign of life after which a server on PostgreSQL loses its runs to the others.",
    ),
    Setting(
        name="tool_seconds", variables=("PERDURE_TOOL_SECONDS", "TOOL_SANDBOX_TIMEOUT"), default="180",
        read=_number(0.05, 86_400, "seconds"), meaning="Seconds a tool may take before its call fails.",
    ),
    Setting(
        name="trusted_tools", variables=("PERDURE_TOOLS",), default="", read=_tools,
        meaning="Python functions offered as tools, as `module:function`, separated by commas. They run inside the "
        "server, with all its rights.",
    ),
    Setting(
        name="private_callbacks", variables=("PERDURE_PRIVATE_CALLBACKS",), default="0", read=_switch,
        meaning="`1` lets a `callback_url` name this machine or one of its networks, not only the open internet.",
    ),
    Setting(
        name="max_body", variables=("PERDURE_MAX_BODY",), default="64MiB", read=_size,
        meaning="The largest request body, in bytes or with KiB, MiB, GiB.",
    ),
    Setting(
        name="log_format", variables=("PERDURE_LOG",), default="text", read=_one_of("text", "json"),
        meaning="How log lines look: `text` for people, `json` for programs.",
    ),
    Setting(
        name="log_level", variables=("PERDURE_LOG_LEVEL", "LETTA_DEBUG"), default="info", read=_level,
        meaning="The least that is logged: `debug`, `info`, `warning` or `error`. `LETTA_DEBUG=1` means `debug`.",
    ),
    Setting(
        name="default_model", variables=("LETTA_DEFAULT_LLM_HANDLE", "PERDURE_DEFAULT_MODEL"), default="",
        read=_handle, meaning="The model handle of agents created without one.",
    ),
    Setting(
        name="default_embedding", variables=("LETTA_DEFAULT_EMBEDDING_HANDLE", "PERDURE_DEFAULT_EMBEDDING"),
        default="", read=_handle,
        meaning="The embedding handle of agents created without one. Search works without.",
    ),
    Setting(
        name="encryption_key", variables=("PERDURE_ENCRYPTION_KEY", "LETTA_ENCRYPTION_KEY"), default="", read=_text,
        secret=True, meaning="What secrets are encrypted with. By default a key made for this server, kept in "
        "`secret.key` in the data directory.",
    ),
    Setting(
        name="database_url", flag="--database-url", variables=("PERDURE_DATABASE_URL", "LETTA_PG_URI"), default="",
        read=_database, secret=True,
        meaning="A PostgreSQL database to keep the data in, as `postgresql://user:password@host:5432/perdure`. By "
        "default it is kept in SQLite, in the data directory.",
    ),
    Setting(
        name="database_connections", variables=("PERDURE_DATABASE_CONNECTIONS", "LETTA_PG_POOL_SIZE"), default="10",
        read=_whole(1, 1_000, "a number of connections"),
        meaning="Connections to PostgreSQL, at most, of this server.",
    ),
    Setting(
        name="database_seconds", variables=("PERDURE_DATABASE_SECONDS",), default="30",
        read=_number(0.1, 3_600, "seconds"),
        meaning="Seconds that a statement may take on PostgreSQL, and that a request may wait for a free connection.",
    ),
    Setting(
        name="database_pooler", variables=("PERDURE_DATABASE_POOLER",), default="0", read=_switch,
        meaning="`1` where the URL leads to a pooler that lends connections for a transaction, such as PgBouncer.",
    ),
    Setting(
        name="database_listen_url", variables=("PERDURE_DATABASE_LISTEN_URL",), default="", read=_database, secret=True,
        meaning="A URL that leads to the same database past the pooler. Without it servers behind one notice each "
        "other later.",
    ),
)  # fmt: skip
"""Every setting. docs/configuration.md shows this table, and a test holds it to that."""
