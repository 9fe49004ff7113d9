"""The part of `perdure doctor` about models: every provider asked now, and each model accepted or refused, with why."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from perdure.cli.finding import Finding
from perdure.config import Settings
from perdure.domain.errors import Invalid, ModelError, PerdureError, Unavailable
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.providers import Provider
from perdure.providers import local
from perdure.providers.catalog import Catalog, ProviderReport
from perdure.providers.configured import variables_of
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.offline import OFFLINE_MODEL, OfflineProvider
from perdure.store import providers as provider_store
from perdure.store.opening import open_database
from perdure.store.secrets import KEY_FILE, open_vault
from perdure.store.sqlite_file import DATA_FILE, examine

SUBJECT: Final = "models"
HEALTH_SECONDS: Final = 3.0
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def models(settings: Settings, *, has_data: bool) -> Iterator[Finding]:
    """What each provider serves, those of `POST /v1/providers/` included where the data can be read as it is."""
    try:
        reports, paused = asyncio.run(_asked(settings, has_data=has_data))
    except PerdureError as error:
        yield Finding("problem", SUBJECT, error.message)
        return
    for path, kind in ((settings.gguf, "chat"), (settings.gguf_embedding, "embedding")):
        if path is not None:
            yield _file(path, kind, settings.gguf_context)
    for report in reports:
        if report.name != OFFLINE_MODEL.provider_name:
            yield from _provider(report, paused.get(report.name))
    if len(reports) == 1 and not (settings.gguf or settings.gguf_embedding):
        yield Finding(
            "note",
            SUBJECT,
            f"only {OFFLINE_MODEL.handle}, a rule-based stand-in. Set OPENAI_API_KEY for OpenAI's models, "
            "OLLAMA_BASE_URL=http://127.0.0.1:11434 for those of Ollama, or PERDURE_GGUF for a file of your own; "
            "docs/configuration.md has the others.",
        )


def _file(path: Path, kind: str, context: int) -> Finding:
    """A GGUF file as a start would find it."""
    try:
        gguf = local.look_into(path, kind)
    except Invalid as error:
        return Finding("problem", SUBJECT, error.message)
    if problem := local.too_large(gguf, local.memory()):
        return Finding("note", SUBJECT, f"{path}: {problem}")
    text = f"{path}: to be run as {local.NAME}/{gguf.name}, {gguf.architecture}, "
    if kind == "embedding":
        return Finding("ok", SUBJECT, f"{text}vectors of {gguf.width} floats")
    text += f"{local.window_of(gguf, context):,} of {gguf.trained:,} tokens (PERDURE_GGUF_CONTEXT)"
    if gguf.has_template:
        return Finding("ok", SUBJECT, text)
    return Finding(
        "note", SUBJECT, f"{text}. It holds no chat template: it is not made for talking, or knows no tools."
    )


async def _asked(settings: Settings, *, has_data: bool) -> tuple[list[ProviderReport], Mapping[str, str]]:
    rows = await _stored(settings) if has_data else []

    async def stored(tenant: str) -> Sequence[Provider]:
        return rows

    def unseal(blob: bytes) -> str:
        if settings.encryption_key is None and not (settings.data / KEY_FILE).exists():
            raise Unavailable(f"Its key cannot be opened: {KEY_FILE} is not in the data directory.")
        return open_vault(settings.data, settings.encryption_key).open(blob)

    catalog = Catalog(
        settings.environment, [OfflineProvider()],
        stored=stored, unseal=unseal, allow_private=settings.private_providers,
    )  # fmt: skip
    try:
        return await catalog.report(DEFAULT_TENANT), await _paused(settings)
    finally:
        await catalog.close()


async def _stored(settings: Settings) -> list[Provider]:
    if settings.postgres is None:
        return examine(settings.data / DATA_FILE, lambda conn: provider_store.all_of(conn, DEFAULT_TENANT))
    db = await open_database(settings.data, settings.sync, settings.postgres)
    try:
        return await db.read(lambda conn: provider_store.all_of(conn, DEFAULT_TENANT))
    finally:
        await db.close()


async def _paused(settings: Settings) -> Mapping[str, str]:
    """The providers that a server running at this address leaves alone, and its words for it."""
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    headers = {"Authorization": f"Bearer {settings.password}"} if settings.password else {}
    http = HttpClient(Limits(connect=HEALTH_SECONDS, first_byte=HEALTH_SECONDS))
    try:
        said: Any = await http.get_json(Endpoint(name="server", url=url, headers=headers), f"{url}/v1/health/")
        return {each["provider"]: _left_alone(each) for each in said.get("paused_providers", ())}
    except (ModelError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # No server, or another one.
    finally:
        await http.close()


def _left_alone(pause: Mapping[str, Any]) -> str:
    return (
        f"the running server leaves {pause['model'] or 'it'} alone for {pause['seconds']:.0f} s more, "
        f"after {pause['failures']} failures in a row: {pause['reason']}"
    )


def _provider(report: ProviderReport, paused: str | None) -> Iterator[Finding]:
    place = f"{report.name} at {report.url}" if report.url else report.name
    place += f", {'with a key' if report.has_key else 'without a key'}"
    if report.category == "byok":
        place += ", added by POST /v1/providers/"
    if report.error is not None:
        why = f"{report.error.detail.rstrip('.')}.{_remedy(report, report.error)}"
        yield Finding("note", SUBJECT, f"{place}: it could not be asked for its models. {why}")
    else:
        count = len(report.models)
        remedy = "" if count or report.refused or report.embedding_models else f". {_NO_MODELS.get(report.name, _NONE)}"
        text = f"{place}: {count or 'no'} model{'s' * (count != 1)}{remedy}"
        yield Finding("ok" if count else "note", SUBJECT, text)
    if paused:
        yield Finding("note", SUBJECT, f"{report.name}: {paused}")
    accepted = {name: (report.windows[name], name in report.without_tools) for name in report.models}
    for (window, without), names in _grouped(accepted).items():
        how = f"accepted{' without tools, so that it can talk but not use its memory' if without else ''}"
        text = f"{report.name}: {how}, {window:,} tokens: {', '.join(names)}"
        yield Finding("note" if without else "ok", SUBJECT, text)
    if report.embedding_models:
        yield Finding("ok", SUBJECT, f"{report.name}: accepted for embeddings: {', '.join(report.embedding_models)}")
    for why, names in _grouped(report.refused).items():
        yield Finding("note", SUBJECT, f"{report.name}: refused, {why}: {', '.join(names)}")


_NONE: Final = "Load one there, or see whether this is the right address."
_NO_MODELS: Final = {
    "ollama": "Pull one: ollama pull qwen3.",
    "lmstudio": "Download one there.",
}
_REMEDIES: Final = (
    ("wrong version number", "It speaks http, so its address must begin so: {address}."),
    ("HTTPS port", "It speaks https, so its address must begin so: {address}."),
    ("cannot be reached", "Start it, or correct {address}. In a container 127.0.0.1 is the container itself."),
    ("Not Found", "Correct {address}, which is what `/models` comes after: mostly it ends in /v1."),
    ("other than JSON", "Something else answers there, such as a page of a proxy: correct {address}."),
    ("did not list its models", "It hangs, or is busy loading a model: see what it says itself."),
)
"""What helps, by words of the error, in the order they are looked for."""


def _remedy(report: ProviderReport, error: ModelError) -> str:
    address, key = variables_of(report.name)
    if report.category == "byok":
        address, key = "its base_url", "its api_key"
    if error.error_type == "llm_authentication" and key is not None:
        return f" {'Correct' if report.has_key else 'Set'} {key}."
    said = error.detail.lower()
    return next((f" {text.format(address=address)}" for words, text in _REMEDIES if words.lower() in said), "")


def _grouped(outcomes: Mapping[str, Any]) -> dict[Any, list[str]]:
    """The names of each outcome, in order."""
    groups: dict[Any, list[str]] = {}
    for name, outcome in outcomes.items():
        groups.setdefault(outcome, []).append(name)
    return groups
