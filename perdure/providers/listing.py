"""Asking servers which models they have, each in the way that tells most about them."""

import asyncio
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import msgspec

from perdure.domain.errors import ModelError
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_models import context_window, dimensions, is_embedding, why_not_chat

AT_ONCE: Final = 8
"""Questions about single models that are asked of one server at the same time."""
PAGES: Final = 20
PAGE_SIZE: Final = 1000
"""Models asked for at once where a list comes in pages."""

AZURE_LISTING_VERSION: Final = "2023-03-15-preview"

_WINDOW_NAMES: Final = (
    "max_model_len",
    "context_length",
    "context_window",
    "loaded_context_length",
    "max_context_length",
    "max_input_tokens",
)
_KINDS: Final = {"chat": "chat", "llm": "chat", "vlm": "chat", "embedding": "embedding", "embeddings": "embedding"}
_OTHER_KINDS: Final = ("image", "audio", "moderation", "rerank", "video", "transcribe", "tts")
_NOT_TALK: Final = re.compile(r"-image|nano-banana|-live|native-audio|robotics|-omni|lyria|^aqa")
_WITHOUT_TOOLS: Final = re.compile(r"gemma-[123]")
_GOOGLE_TERMS: Final = ("pageSize", "nextPageToken", "pageToken")
_AWS_TERMS: Final = ("maxResults", "nextToken", "nextToken")
_NUM_CTX: Final = re.compile(r"^\s*num_ctx\s+(\d+)", re.MULTILINE)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its server describes it. `refused` says why it cannot serve an agent.

    `tools` says whether it can be told of tools, where it can also be talked to without.
    """

    name: str
    kind: Literal["chat", "embedding"] = "chat"
    window: int | None = None
    dimensions: int | None = None
    tools: bool = True
    refused: str | None = None


async def list_openai(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """`GET /models`, with whatever the server adds to OpenAI's own fields."""
    entries = _entries(await http.get_json(endpoint, f"{endpoint.url}/models"), "data")
    return [listed for entry in entries if (listed := _listed(entry)) is not None]


async def list_llamacpp(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """Like OpenAI's, but a model's window is the one it runs with, not the one it was trained with.

    A router of several models is asked for the properties of those it has loaded: of others it would load them.
    """
    entries = _entries(await http.get_json(endpoint, f"{endpoint.url}/models"), "data")

    async def described(entry: Mapping[str, Any]) -> Listed | None:
        listed, status = _listed(entry), _fields(entry.get("status"))
        if listed is None or listed.kind == "embedding":
            return listed
        if not status:
            return _with_properties(listed, await _fields_if_any(http, endpoint, f"{root(endpoint)}/props"))
        if status.get("failed"):
            return msgspec.structs.replace(listed, refused=f"did not load (exit code {status.get('exit_code')})")
        if status.get("value") != "loaded":
            return msgspec.structs.replace(listed, window=listed.window or _window_of_arguments(status.get("args")))
        url = f"{root(endpoint)}/props?model={quote(listed.name, safe='')}&autoload=false"
        return _with_properties(listed, await _fields_if_any(http, endpoint, url))

    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(entry: Mapping[str, Any]) -> Listed | None:
        async with turns:
            return await described(entry)

    return [listed for listed in await asyncio.gather(*(ask(entry) for entry in entries)) if listed is not None]


async def list_lmstudio(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """LM Studio's own listing, which knows kinds and windows: that of 0.4, the one before, or the plain one."""
    for path, name, read in (("v1", "models", _loaded), ("v0", "data", _listed)):
        entries = await _entries_if_any(http, endpoint, f"{root(endpoint)}/api/{path}/models", name)
        if entries:
            return [listed for entry in entries if (listed := read(entry)) is not None]
    return await list_openai(http, endpoint)


async def list_ollama(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """All pulled models, each asked what it can do and how long its window is.

    A model that is loaded has the window it was given then (`OLLAMA_CONTEXT_LENGTH`), which may be far below its own.
    """
    entries = await _entries_if_any(http, endpoint, f"{root(endpoint)}/api/tags", "models")
    if not entries:
        return await list_openai(http, endpoint)
    names = [name for entry in entries if isinstance(name := entry.get("name"), str)]
    try:
        given = await given_windows(http, endpoint)
    except ModelError:
        given = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(name: str) -> Listed:
        async with turns:
            try:
                shown = await http.post_json(endpoint, f"{root(endpoint)}/api/show", {"model": name})
            except ModelError as error:
                if error.error_type == "llm_bad_request":
                    # It speaks some of Ollama's API, and not this.
                    return Listed(name=name, kind="embedding" if is_embedding(name) else "chat")
                return Listed(name=name, refused=f"could not be asked what it can do: {error.detail}")
        listed = _shown(name, _fields(shown))
        return msgspec.structs.replace(listed, window=given.get(name) or listed.window)

    return await asyncio.gather(*(ask(name) for name in names))


async def given_windows(http: HttpClient, endpoint: Endpoint) -> Mapping[str, int | None]:
    """The windows of the models that Ollama runs now; None where it does not say. Raises ModelError."""
    running = _entries(await http.get_json(endpoint, f"{root(endpoint)}/api/ps"), "models")
    return {str(entry.get("name")): _number(entry.get("context_length")) for entry in running}


async def list_anthropic(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """`GET /models`, page by page, with the windows it tells."""
    found: list[Listed] = []
    after = ""
    for _ in range(PAGES):
        answer = await http.get_json(endpoint, f"{endpoint.url}/models?limit={PAGE_SIZE}{after}")
        found += [listed for entry in _entries(answer, "data") if (listed := _listed(entry)) is not None]
        last = _fields(answer).get("last_id")
        if _fields(answer).get("has_more") is not True or not isinstance(last, str):
            break
        after = f"&after_id={quote(last, safe='')}"
    return found


async def list_bedrock(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """The models of Anthropic's that can be asked as they are, and the inference profiles through which others can."""
    control = endpoint.url.replace("//bedrock-runtime", "//bedrock")
    models = await http.get_json(endpoint, f"{control}/foundation-models?byProvider=Anthropic")
    names = [
        entry.get("modelId")
        for entry in _entries(models, "modelSummaries")
        if "ON_DEMAND" in str(entry.get("inferenceTypesSupported"))
    ]
    url, name = f"{control}/inference-profiles", "inferenceProfileSummaries"
    profiles = await _pages(http, endpoint, url, name, _AWS_TERMS)
    names += [entry.get("inferenceProfileId") for entry in profiles]
    return [Listed(name=name) for name in names if isinstance(name, str) and "anthropic." in name]


async def list_gemini(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """`GET /models`, page by page. Each model says what can be asked of it, and how much it takes."""
    return [
        listed
        for entry in await _pages(http, endpoint, f"{endpoint.url}/models", "models")
        if (listed := _gemini(entry)) is not None
    ]


async def list_vertex(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """The models of a publisher that are Gemini, Claude or for embeddings. Little is said of them there."""
    base, _, rest = endpoint.url.partition("/projects/")
    entries = await _pages(http, endpoint, f"{base}/publishers/{rest.rpartition('/')[2]}/models", "publisherModels")
    names = [str(entry.get("name")).rpartition("/")[2] for entry in entries]
    return [
        Listed(name=name, kind="embedding") if is_embedding(name) else Listed(name=name, refused=_why_not_gemini(name))
        for name in names
        if name.startswith(("gemini-", "claude-")) or (is_embedding(name) and name.startswith("text-"))
    ]


async def list_azure(http: HttpClient, endpoint: Endpoint) -> Sequence[Listed]:
    """The deployments of a resource, which are what can be asked there: its `/models` are all that could be deployed.

    Only one old version of the API lists them to a key.
    """
    url = f"{root(endpoint)}/deployments?api-version={AZURE_LISTING_VERSION}"
    entries = _entries(await http.get_json(endpoint, url), "data")
    return [_deployed(name, str(entry.get("model"))) for entry in entries if isinstance(name := entry.get("id"), str)]


def root(endpoint: Endpoint) -> str:
    """The server's address without the version of its OpenAI API."""
    return endpoint.url.removesuffix("/v1")


async def _pages(
    http: HttpClient, endpoint: Endpoint, url: str, name: str, terms: tuple[str, str, str] = _GOOGLE_TERMS
) -> list[Mapping[str, Any]]:
    """The entries of a list that comes in pages, as far as anybody would read.

    `terms` are the words for how many a page has, for the next page as it is told, and as it is asked for.
    """
    size_term, told_term, asked_term = terms
    entries: list[Mapping[str, Any]] = []
    page = ""
    for _ in range(PAGES):
        answer = await http.get_json(endpoint, f"{url}?{size_term}={PAGE_SIZE}{page}")
        entries += _entries(answer, name)
        token = _fields(answer).get(told_term)
        if not isinstance(token, str) or not token:
            break
        page = f"&{asked_term}={quote(token, safe='')}"
    return entries


def _gemini(entry: Mapping[str, Any]) -> Listed | None:
    name, methods = str(entry.get("name") or ""), entry.get("supportedGenerationMethods")
    if not name.startswith("models/") or not isinstance(methods, list):
        return None
    name, window = name.removeprefix("models/"), _number(entry.get("inputTokenLimit"))
    if "generateContent" in methods:
        return Listed(name=name, window=window, refused=_why_not_gemini(name))
    return Listed(name=name, kind="embedding") if "embedContent" in methods else None


def _why_not_gemini(name: str) -> str | None:
    if _NOT_TALK.search(name):
        return "not a chat model"
    return "has no tool support" if _WITHOUT_TOOLS.search(name) else why_not_chat(name)


def _listed(entry: Mapping[str, Any]) -> Listed | None:
    name = entry.get("id")
    if not isinstance(name, str) or not name:
        return None
    given = entry.get("type")
    kind = _KINDS.get(str(given)) or ("embedding" if is_embedding(name) else "chat")
    if kind == "embedding":
        return Listed(name=name, kind="embedding", dimensions=_number(_fields(entry.get("meta")).get("n_embd")))
    refused = f"is of type {given}" if given in _OTHER_KINDS else why_not_chat(name)
    parameters = entry.get("supported_parameters")
    if isinstance(parameters, list) and "tools" not in parameters:
        refused = "has no tool support"
    if entry.get("active") is False or entry.get("lifecycle") == "retired":
        refused = "is not active"
    windows = (_number(entry.get(field)) for field in _WINDOW_NAMES)
    meta = _fields(entry.get("meta"))
    known = [*windows, _number(meta.get("n_ctx")), _number(meta.get("n_ctx_train"))]
    return Listed(name=name, window=next((window for window in known if window), None), refused=refused)


def _with_properties(listed: Listed, properties: Mapping[str, Any]) -> Listed:
    """What llama.cpp says of a model that it runs, laid over what it lists."""
    window = _number(_fields(properties.get("default_generation_settings")).get("n_ctx"))
    able = _fields(properties.get("chat_template_caps"))
    # Some templates write calls out without listing tools by that name.
    tools = not able or able.get("supports_tools") is True or able.get("supports_tool_calls") is True
    return msgspec.structs.replace(listed, window=window or listed.window, tools=tools)


def _window_of_arguments(arguments: Any) -> int | None:
    """The window that llama.cpp's router will give a model, by the arguments it will run it with."""
    words = [str(word) for word in cast("list[Any]", arguments)] if isinstance(arguments, list) else []
    for name, value in itertools.pairwise(words):
        if name in ("-c", "-ctx", "--ctx-size") and value.isascii() and value.isdecimal():
            return _number(int(value))
    return None


def _deployed(name: str, model: str) -> Listed:
    if is_embedding(model):
        return Listed(name=name, kind="embedding", dimensions=dimensions(model))
    return Listed(name=name, window=context_window(model, "azure"), refused=why_not_chat(model))


def _loaded(entry: Mapping[str, Any]) -> Listed | None:
    """LM Studio's description of a model since 0.4. One that is loaded has the window it was loaded with."""
    name, loaded = entry.get("key"), entry.get("loaded_instances")
    if not isinstance(name, str) or not name:
        return None
    if entry.get("type") == "embedding":
        return Listed(name=name, kind="embedding")
    instances = _entries(loaded, "")
    windows = [_number(_fields(instance.get("config")).get("context_length")) for instance in instances]
    window = min((each for each in windows if each), default=_number(entry.get("max_context_length")))
    return Listed(name=name, window=window, refused=why_not_chat(name))


def _shown(name: str, shown: Mapping[str, Any]) -> Listed:
    """Ollama's description of one model. Versions before capabilities were listed show tools in the template."""
    about = _fields(shown.get("model_info"))
    architecture = about.get("general.architecture")
    capabilities = shown.get("capabilities")
    if not isinstance(capabilities, list):
        capabilities = ["completion"] + (["tools"] if ".Tools" in str(shown.get("template")) else [])
    if "embedding" in capabilities:
        return Listed(name=name, kind="embedding", dimensions=_number(about.get(f"{architecture}.embedding_length")))
    window = _number(about.get(f"{architecture}.context_length"))
    if configured := _NUM_CTX.search(str(shown.get("parameters") or "")):
        window = min(int(configured[1]), window or int(configured[1]))
    return Listed(name=name, window=window, refused=None if "tools" in capabilities else "has no tool support")


async def _entries_if_any(http: HttpClient, endpoint: Endpoint, url: str, name: str) -> list[Mapping[str, Any]]:
    """The list at an address that a server need not have."""
    try:
        return _entries(await http.get_json(endpoint, url), name)
    except ModelError:
        return []


async def _fields_if_any(http: HttpClient, endpoint: Endpoint, url: str) -> Mapping[str, Any]:
    """The object at an address that a server need not have."""
    try:
        return _fields(await http.get_json(endpoint, url))
    except ModelError:
        return {}


def _entries(answer: Any, name: str) -> list[Mapping[str, Any]]:
    """The list under `name`, or the answer itself where that is the list."""
    found: Any = answer if isinstance(answer, list) else _fields(answer).get(name)
    return [entry for entry in cast("list[Any]", found) if isinstance(entry, dict)] if isinstance(found, list) else []


def _fields(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < 1 << 31 else None
