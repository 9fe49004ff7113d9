"""The providers an environment configures, and the words for what is missing in it."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, cast, get_args
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from perdure.domain.errors import Invalid
from perdure.providers.aws_credentials import CHAIN, CHAIN_NAME
from perdure.providers.bedrock import BEARER_NAME, KEY_NAMES, REGION_NAMES, bedrock_endpoint
from perdure.providers.google_auth import KEY_FILE_NAME
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.known_providers import CUSTOM, KNOWN_PROVIDERS, DialectName, KnownProvider
from perdure.providers.remote import RemoteProvider
from perdure.providers.retry import Patience
from perdure.providers.vertex import (
    CLAUDE_LOCATION_NAME,
    CLAUDE_PROJECT_NAME,
    LOCATION_NAME,
    PROJECT_NAME,
    claude_endpoint,
    vertex_endpoint,
)

_CUSTOM_NAME: Final = re.compile(r"PERDURE_PROVIDER_([A-Z0-9_]+)_BASE_URL")
_VERSION: Final = re.compile(r"/v\d[a-z0-9]*$")
"""How the address of a whole API ends."""
_CLOUD_NAMES: Final[Mapping[DialectName, str]] = {
    "gemini": f"{LOCATION_NAME} and {PROJECT_NAME}, or {LOCATION_NAME} and {KEY_FILE_NAME},",
    "anthropic_vertex": f"{CLAUDE_LOCATION_NAME} and {CLAUDE_PROJECT_NAME}",
    "anthropic_bedrock": f"{REGION_NAMES[0]} and {' and '.join(KEY_NAMES)}, or {BEARER_NAME}, or {CHAIN_NAME}={CHAIN},",
}
"""What an account with a cloud is named by, for the dialects that are spoken there."""
_SECOND_LIMIT: Final = 86_400.0
_ToolChoice = Literal["named", "required", "auto"]
_Dialect = Literal["openai_chat", "openai_responses"]
"""Those that can be chosen for a provider; the others come with accounts and headers of their own."""


def limits(environment: Mapping[str, str]) -> Limits:
    """Seconds to wait for providers. Raises Invalid for what is not a number of seconds."""
    standard = Limits()
    return Limits(
        first_byte=_seconds(environment, "LETTA_LLM_REQUEST_TIMEOUT_SECONDS", standard.first_byte),
        gap=_seconds(environment, "LETTA_LLM_STREAM_TIMEOUT_SECONDS", standard.gap),
        whole=_seconds(environment, "PERDURE_LLM_CALL_SECONDS", standard.whole),
    )


def patience(environment: Mapping[str, str]) -> Patience:
    """How long to go on with providers that fail. Raises Invalid for what is no such number."""
    standard = Patience()
    return Patience(
        seconds=_seconds(environment, "PERDURE_RETRY_SECONDS", standard.seconds, least=0.0),
        failures=_count(environment, "PERDURE_BREAKER_FAILURES", standard.failures),
    )


def configured(environment: Mapping[str, str], http: HttpClient) -> Iterator[RemoteProvider]:
    """One provider for each that the environment names, known ones first. Raises Invalid for values of no use."""
    known = {_variable(kind.name): kind for kind in KNOWN_PROVIDERS}
    for prefix, kind in known.items():
        provider = _provider(environment, http, kind, prefix)
        if provider is not None:
            yield provider
    for name in sorted(environment):
        match = _CUSTOM_NAME.fullmatch(name)
        if match and match[1] not in known:
            kind = msgspec.structs.replace(CUSTOM, name=match[1].lower().replace("_", "-"))
            provider = _provider(environment, http, kind, match[1])
            if provider is not None:
                yield provider


def how_to_configure(provider_name: str) -> str:
    """What to do so that a provider of this name exists."""
    if provider_name == "letta":
        return "its models were those of a hosted service: choose another"
    for kind in KNOWN_PROVIDERS:
        if kind.name == provider_name and kind.publisher:
            return f"set {_CLOUD_NAMES[kind.dialect]} to use it"
        if kind.name == provider_name:
            names = kind.key_names if kind.url else kind.url_names
            return f"set {names[0]} to use it"
    return (
        f"set PERDURE_PROVIDER_{_variable(provider_name)}_BASE_URL, or add it by POST /v1/providers/, "
        "if it is an OpenAI-compatible server"
    )


def variables_of(provider_name: str) -> tuple[str, str | None]:
    """The variables that hold the address of a provider of this name, and its key."""
    own = f"PERDURE_PROVIDER_{_variable(provider_name)}"
    for kind in KNOWN_PROVIDERS:
        if kind.name == provider_name:
            names, keys = kind.url_names, kind.key_names
            return names[0] if names else f"{own}_BASE_URL", keys[0] if keys else None
    return f"{own}_BASE_URL", f"{own}_API_KEY"


def endpoint_of(
    kind: KnownProvider, name: str, address: tuple[str, str], key: str, headers: Mapping[str, str] | None = None
) -> Endpoint:
    """The endpoint of a provider of this kind. `address` is where its URL was given, for errors, and the URL itself.

    `/v1` is added where that names a bare host; a name and password in it are a key. Raises Invalid for what is no URL.
    """
    parts = _address(*address)
    sent = {**kind.headers, **(headers or {})}
    if key:
        sent[kind.key_header] = f"Bearer {key}" if kind.key_header == "Authorization" else key
    elif parts.username is not None:
        key = unquote(parts.password or "")
        pair = f"{unquote(parts.username)}:{key}"
        sent["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    path = parts.path.rstrip("/")
    if not _VERSION.search(path):
        path += kind.under or ("" if path else "/v1")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path, query="", fragment="")
    return Endpoint(name=name, url=bare.geturl(), headers=sent, key=key)


def _provider(
    environment: Mapping[str, str], http: HttpClient, kind: KnownProvider, prefix: str
) -> RemoteProvider | None:
    own = f"PERDURE_PROVIDER_{prefix}"
    url_name, url = _first(environment, (f"{own}_BASE_URL", *kind.url_names))
    if kind.publisher:
        root = _address(url_name, url).geturl().rstrip("/") if url else ""
        endpoint = _cloud_endpoint(environment, http, kind, root)
        window = _window(environment, f"{own}_CONTEXT_WINDOW")
        return RemoteProvider(http, endpoint, kind, window) if endpoint else None
    key_name, key = _first(environment, (f"{own}_API_KEY", *kind.key_names))
    if not url and not (kind.url and key):
        return None
    if not (key.isascii() and key.isprintable()):
        raise Invalid(f"{key_name} holds characters that cannot be part of a key")
    name = environment.get(kind.handle_base_name or "", "").strip() or kind.name
    headers = {
        header: value for header, variable in kind.header_names.items() if (value := environment.get(variable, ""))
    }
    endpoint = endpoint_of(kind, name, (url_name, url or kind.url or ""), key, headers)
    if choice := _choice(environment, f"{own}_TOOL_CHOICE", get_args(_ToolChoice)):
        quirks = msgspec.structs.replace(kind.quirks, tool_choice=cast("_ToolChoice", choice))
        kind = msgspec.structs.replace(kind, quirks=quirks)
    if dialect := _choice(environment, f"{own}_DIALECT", get_args(_Dialect)):
        kind = msgspec.structs.replace(kind, dialect=cast("_Dialect", dialect), reasoning_dialect=None)
    else:
        kind = kind_at(kind, endpoint.url)
    return RemoteProvider(http, endpoint, kind, _window(environment, f"{own}_CONTEXT_WINDOW"))


def _cloud_endpoint(
    environment: Mapping[str, str], http: HttpClient, kind: KnownProvider, root: str
) -> Endpoint | None:
    """The endpoint of a provider in a cloud; None where the environment names no account."""
    if kind.dialect == "anthropic_bedrock":
        return bedrock_endpoint(environment, kind.name, root)
    if kind.dialect == "anthropic_vertex":
        return claude_endpoint(environment, http, kind.name, root)
    return vertex_endpoint(environment, http, kind.name, kind.publisher, root)


def _address(url_name: str, url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{url_name} must be the address of an API, such as http://127.0.0.1:8000/v1")
    return parts


def kind_at(kind: KnownProvider, url: str) -> KnownProvider:
    """How a provider behaves at an address: who serves another's models there is not taken to speak all it speaks."""
    host, home = urlsplit(url).hostname or "", urlsplit(kind.url or url).hostname or ""
    if host == home or host.endswith(f".{home}"):
        return kind
    return msgspec.structs.replace(kind, reasoning_dialect=None)


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    choice = environment.get(name, "").strip()
    if choice and choice not in choices:
        raise Invalid(f"{name} must be one of {', '.join(choices)}")
    return choice


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first of `names` that is set to something, with its value; empty strings where none is."""
    for name in names:
        if value := environment.get(name, "").strip():
            return name, value
    return "", ""


def _window(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not (text.isdecimal() and int(text) > 0):
        raise Invalid(f"{name} must be a number of tokens, such as 32768")
    return int(text)


def _count(environment: Mapping[str, str], name: str, standard: int) -> int:
    text = environment.get(name, "").strip() or str(standard)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Invalid(f"{name} must be a number such as {standard}, or 0")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, standard: float, least: float = 1e-9) -> float:
    text = environment.get(name, "").strip()
    if not text:
        return standard
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= _SECOND_LIMIT:
        raise Invalid(f"{name} must be a number of seconds, such as {standard:g}")
    return seconds


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
