"""The providers there are, as data: how each is configured, what it speaks, and how it differs."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from perdure.providers.openai_body import Quirks, reasons_like_openai

Listing = Literal["openai", "azure", "ollama", "lmstudio", "llamacpp", "anthropic", "bedrock", "gemini", "vertex"]
DialectName = Literal["openai_chat", "openai_responses", "anthropic", "anthropic_bedrock", "anthropic_vertex", "gemini"]
EmbeddingApi = Literal["openai", "ollama", "gemini", "vertex"]
Counting = Literal["never", "anthropic", "bedrock", "gemini", "llamacpp", "vllm"]


class KnownProvider(msgspec.Struct, frozen=True, kw_only=True):
    """One row. A provider is configured by its key where it has a `url` of its own, else by a base URL.

    `url_names` and `key_names` are environment variables, the first one set counts; `PERDURE_PROVIDER_<NAME>_BASE_URL`
    and `_API_KEY` come before them for every provider. `types` are the contract's words: `provider_type`,
    `model_endpoint_type`, `embedding_endpoint_type`.
    """

    name: str
    types: tuple[str, str, str]
    quirks: Quirks = Quirks()
    """Of its chat completions and Responses."""
    url: str | None = None
    url_names: tuple[str, ...] = ()
    key_names: tuple[str, ...] = ()
    dialect: DialectName = "openai_chat"
    reasoning_dialect: DialectName | None = None
    """What OpenAI's reasoning models are asked in, where that differs. Holds for its own `url` only, if it has one."""
    listing: Listing = "openai"
    embeddings: EmbeddingApi = "openai"
    counting: Counting = "never"
    """How it counts the tokens of a prompt for those who ask."""
    key_header: str = "Authorization"
    """The header its key goes in; `Authorization` gets it as a bearer token."""
    under: str = ""
    """The path that its API is always under, also where the address given stops before; it ends in the version."""
    publisher: str = ""
    """Whose models it serves out of an account with a cloud (`vertex.py`, `bedrock.py`), which has the credentials."""
    key_path: str | None = None
    """What only those with a key may read, where models are listed to anyone."""
    handle_base_name: str | None = None
    """The variable that gives another first half for its handles."""
    headers: Mapping[str, str] = {}
    """Headers always sent."""
    header_names: Mapping[str, str] = {}
    """Headers sent where the variable of that name is set."""

    def dialect_of(self, model_name: str) -> DialectName:
        """What the model of that name is asked in."""
        if self.reasoning_dialect is not None and reasons_like_openai(model_name, self.quirks):
            return self.reasoning_dialect
        return self.dialect


_OPENAI_TYPES: Final = ("openai", "openai", "openai")
_OPENAI_QUIRKS: Final = Quirks(
    parallel_tool_calls=True, openai_models=True, effort="reasoning_models", call_id_chars=40, think_tags=False
)

CUSTOM: Final = KnownProvider(name="", types=_OPENAI_TYPES, quirks=Quirks(openai_models=True, alternate=True))
"""Any other server of the kind, by its base URL alone."""

KNOWN_PROVIDERS: Final = (
    KnownProvider(
        name="openai",
        types=_OPENAI_TYPES,
        url="https://api.openai.com/v1",
        url_names=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        key_names=("OPENAI_API_KEY",),
        reasoning_dialect="openai_responses",
        quirks=_OPENAI_QUIRKS,
    ),
    KnownProvider(
        name="azure",
        types=("azure", "azure", "azure"),
        url_names=("AZURE_BASE_URL",),
        under="/openai/v1",
        key_names=("AZURE_API_KEY",),
        key_header="api-key",
        reasoning_dialect="openai_responses",
        listing="azure",
        quirks=_OPENAI_QUIRKS,
    ),
    KnownProvider(
        name="ollama",
        types=("ollama", "ollama", "ollama"),
        url_names=("OLLAMA_BASE_URL",),
        under="/v1",
        key_names=("OLLAMA_API_KEY",),
        listing="ollama",
        embeddings="ollama",
        quirks=Quirks(tool_choice="auto", effort="never", alternate=True),
    ),
    KnownProvider(
        name="anthropic",
        types=("anthropic", "anthropic", "openai"),
        url="https://api.anthropic.com/v1",
        url_names=("ANTHROPIC_BASE_URL",),
        under="/v1",
        key_names=("ANTHROPIC_API_KEY",),
        key_header="x-api-key",
        headers={"anthropic-version": "2023-06-01"},
        dialect="anthropic",
        listing="anthropic",
        counting="anthropic",
    ),
    KnownProvider(
        name="bedrock",
        types=("bedrock", "bedrock", "openai"),
        url_names=("ANTHROPIC_BEDROCK_BASE_URL",),
        publisher="anthropic",
        dialect="anthropic_bedrock",
        listing="bedrock",
        counting="bedrock",
    ),
    KnownProvider(
        name="google_ai",
        types=("google_ai", "google_ai", "google_ai"),
        url="https://generativelanguage.googleapis.com/v1beta",
        url_names=("GEMINI_BASE_URL",),
        under="/v1beta",
        key_names=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_header="x-goog-api-key",
        dialect="gemini",
        listing="gemini",
        counting="gemini",
        embeddings="gemini",
    ),
    KnownProvider(
        name="google_vertex",
        types=("google_vertex", "google_vertex", "google_vertex"),
        url_names=("GOOGLE_VERTEX_BASE_URL",),
        publisher="google",
        dialect="gemini",
        listing="vertex",
        counting="gemini",
        embeddings="vertex",
    ),
    KnownProvider(
        name="anthropic_vertex",
        types=("google_vertex", "anthropic", "openai"),
        url_names=("ANTHROPIC_VERTEX_BASE_URL",),
        publisher="anthropic",
        dialect="anthropic_vertex",
        listing="vertex",
        counting="anthropic",
    ),
    KnownProvider(
        name="groq",
        types=("groq", "groq", "groq"),
        url="https://api.groq.com/openai/v1",
        key_names=("GROQ_API_KEY",),
        quirks=Quirks(tool_choice="required", parallel_tool_calls=True, logprobs="never"),
    ),
    KnownProvider(
        name="together",
        types=("together", "together", "together"),
        url="https://api.together.xyz/v1",
        key_names=("TOGETHER_API_KEY",),
        # Its `logprobs` is a number, and its answer has a form of its own.
        quirks=Quirks(tool_choice="auto", logprobs="never"),
    ),
    KnownProvider(
        name="vllm",
        types=("vllm", "vllm", "vllm"),
        url_names=("VLLM_API_BASE",),
        under="/v1",
        key_names=("VLLM_API_KEY",),
        handle_base_name="VLLM_HANDLE_BASE",
        counting="vllm",
        quirks=Quirks(parallel_tool_calls=True, alternate=True),
    ),
    KnownProvider(
        name="sglang",
        types=("sglang", "openai", "openai"),
        url_names=("SGLANG_API_BASE",),
        under="/v1",
        key_names=("SGLANG_API_KEY",),
        quirks=Quirks(alternate=True),
    ),
    KnownProvider(
        name="deepseek",
        types=("deepseek", "deepseek", "openai"),
        url="https://api.deepseek.com/v1",
        key_names=("DEEPSEEK_API_KEY",),
        # Its models think unless told not to, and then refuse all but a free choice of tools.
        quirks=Quirks(
            tool_choice="auto",
            effort="never",
            replay_reasoning="always",
            logprobs="never",
            unsampled=("deepseek-reasoner",),
        ),
    ),
    KnownProvider(
        name="xai",
        types=("xai", "xai", "openai"),
        url="https://api.x.ai/v1",
        key_names=("XAI_API_KEY",),
        quirks=Quirks(parallel_tool_calls=True, penalties=False),
    ),
    KnownProvider(
        name="lmstudio",
        types=("lmstudio_openai", "lmstudio", "lmstudio"),
        url_names=("LMSTUDIO_BASE_URL",),
        under="/v1",
        key_names=("LMSTUDIO_API_KEY",),
        listing="lmstudio",
        quirks=Quirks(tool_choice="required", effort="never", alternate=True),
    ),
    KnownProvider(
        name="llamacpp",
        types=("openai", "llamacpp", "llamacpp"),
        url_names=("LLAMACPP_BASE_URL",),
        under="/v1",
        key_names=("LLAMACPP_API_KEY",),
        listing="llamacpp",
        counting="llamacpp",
        quirks=Quirks(tool_choice="required", parallel_tool_calls=True, logprobs="without_tools", alternate=True),
    ),
    KnownProvider(
        name="zai",
        types=("zai", "zai", "openai"),
        url="https://api.z.ai/api/paas/v4",
        url_names=("ZAI_BASE_URL",),
        key_names=("ZAI_API_KEY",),
        quirks=Quirks(tool_choice="auto", effort="never"),
    ),
    KnownProvider(
        name="baseten",
        types=("baseten", "baseten", "openai"),
        url="https://inference.baseten.co/v1",
        key_names=("BASETEN_API_KEY",),
        quirks=Quirks(),
    ),
    KnownProvider(
        name="fireworks",
        types=("fireworks", "openai", "openai"),
        url="https://api.fireworks.ai/inference/v1",
        key_names=("FIREWORKS_API_KEY",),
        quirks=Quirks(),
    ),
    KnownProvider(
        name="mistral",
        types=("mistral", "mistral", "openai"),
        url="https://api.mistral.ai/v1",
        key_names=("MISTRAL_API_KEY",),
        # It refuses fields that it does not know.
        quirks=Quirks(
            parallel_tool_calls=True,
            effort="never",
            stream_options=False,
            logprobs="never",
            call_id_chars=9,
            exact_call_ids=True,
            user_after_tool=False,
        ),
    ),
    KnownProvider(
        name="moonshot",
        types=("moonshot", "moonshot", "openai"),
        url="https://api.moonshot.ai/v1",
        url_names=("MOONSHOT_BASE_URL",),
        key_names=("MOONSHOT_API_KEY",),
        # Kimi thinks unless told not to, and then takes one temperature and a free choice of tools only.
        quirks=Quirks(
            tool_choice="auto", effort="never", replay_reasoning="always", logprobs="never", unsampled=("kimi-",)
        ),
    ),
    KnownProvider(
        name="minimax",
        types=("minimax", "minimax", "openai"),
        url="https://api.minimax.io/v1",
        url_names=("MINIMAX_BASE_URL",),
        key_names=("MINIMAX_API_KEY",),
        quirks=Quirks(tool_choice="auto", effort="never", replay_reasoning="tagged", penalties=False, logprobs="never"),
    ),
    KnownProvider(
        name="cerebras",
        types=("cerebras", "openai", "openai"),
        url="https://api.cerebras.ai/v1",
        key_names=("CEREBRAS_API_KEY",),
        quirks=Quirks(tool_choice="auto", effort="never", penalties=False, logprobs="never"),
    ),
    KnownProvider(
        name="openrouter",
        types=("openrouter", "openrouter", "openai"),
        url="https://openrouter.ai/api/v1",
        key_names=("OPENROUTER_API_KEY",),
        key_path="/key",
        handle_base_name="OPENROUTER_HANDLE_BASE",
        header_names={"HTTP-Referer": "OPENROUTER_REFERER", "X-Title": "OPENROUTER_TITLE"},
        quirks=Quirks(tool_choice="required", parallel_tool_calls=True, effort="nested", reasoning_details=True),
    ),
)

ALIASES: Final = {"openai-proxy": "openai", "lmstudio_openai": "lmstudio"}
"""First halves of handles that mean another provider."""
