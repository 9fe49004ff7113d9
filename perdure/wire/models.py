"""Models as the API says them: the objects of 1.x with the older configs' fields beside them."""

from typing import Any, Final

from perdure.domain.agents import Agent, thinks_in_arguments
from perdure.domain.models import EMBEDDING_BATCH, EmbeddingModel, Model, ModelSettings, reasons
from perdure.wire.model_settings import NO_EMBEDDING

Wire = dict[str, Any]

DEFAULT_CHUNK_SIZE: Final = 300

_ENDPOINT_TYPES: Final = frozenset({
    "openai", "anthropic", "google_ai", "google_vertex", "azure", "groq", "ollama", "webui", "webui-legacy",
    "lmstudio", "lmstudio-legacy", "lmstudio-chatcompletions", "llamacpp", "koboldcpp", "vllm", "hugging-face",
    "minimax", "moonshot", "moonshot_coding", "mistral", "together", "bedrock", "deepseek", "xai", "zai",
    "zai_coding", "baseten", "openrouter", "chatgpt_oauth",
})  # fmt: skip
_EMBEDDING_ENDPOINT_TYPES: Final = frozenset({
    "openai", "anthropic", "bedrock", "google_ai", "google_vertex", "azure", "groq", "ollama", "webui",
    "webui-legacy", "lmstudio", "lmstudio-legacy", "llamacpp", "koboldcpp", "vllm", "hugging-face", "mistral",
    "together", "pinecone",
})  # fmt: skip
_PROVIDER_TYPES: Final = frozenset({
    "anthropic", "azure", "baseten", "bedrock", "cerebras", "chatgpt_oauth", "deepseek", "fireworks",
    "google_ai", "google_vertex", "groq", "hugging-face", "letta", "lmstudio_openai", "minimax", "moonshot",
    "moonshot_coding", "mistral", "ollama", "openai", "together", "vllm", "sglang", "openrouter", "xai", "zai",
    "zai_coding",
})  # fmt: skip
_SETTINGS_TYPES: Final = frozenset({
    "openai", "sglang", "anthropic", "google_ai", "google_vertex", "azure", "xai", "moonshot", "zai",
    "moonshot_coding", "groq", "deepseek", "together", "bedrock", "baseten", "openrouter", "chatgpt_oauth",
})  # fmt: skip
_REASONING_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})


def model(shown: Model) -> Wire:
    """A language model in the list of those that can be used."""
    return {
        **_llm(shown, ModelSettings(), shown.context_window, thoughts=not reasons(shown)),
        "name": shown.name,
        "display_name": shown.display_name or shown.name,
        "model_type": "llm",
        "provider_type": _provider_type(shown.provider_type),
        "max_context_window": shown.context_window,
    }


def llm_config(agent: Agent) -> Wire:
    """The older, full description of an agent's model and of how it is asked."""
    thoughts = thinks_in_arguments(agent, agent.model)
    return _llm(agent.model, agent.settings, agent.context_window, thoughts=thoughts)


def model_settings(agent: Agent) -> Wire:
    """How an agent's model is asked: what was sent for it, and the common settings as they are."""
    settings = agent.settings
    return {
        "provider_type": settings_type(agent.model),
        **(agent.model_settings or {}),
        "temperature": settings.temperature,
        "max_output_tokens": settings.max_output_tokens,
        "parallel_tool_calls": settings.parallel_tool_calls,
    }


def settings_type(model: Model) -> str:
    """The kind of provider by which SDKs choose the class of a model's settings."""
    return model.provider_type if model.provider_type in _SETTINGS_TYPES else "openai"


def embedding_model(shown: EmbeddingModel) -> Wire:
    """An embedding model in the list of those that can be used."""
    return {
        **embedding_config(shown, DEFAULT_CHUNK_SIZE),
        "name": shown.name,
        "display_name": shown.display_name or shown.name,
        "model_type": "embedding",
        "provider_type": _provider_type(shown.provider_type),
        "provider_name": shown.provider_name,
    }


def embedding_config(shown: EmbeddingModel | None, chunk_size: int) -> Wire:
    """The older, full description of an embedding model; 0.1.x wants one of every agent. `chunk_size` is in tokens."""
    kind = None if shown is None else shown.endpoint_type
    return {
        "handle": None if shown is None else shown.handle,
        "embedding_model": NO_EMBEDDING if shown is None else shown.name,
        "embedding_dim": 0 if shown is None else shown.dimensions,
        "embedding_endpoint_type": kind if kind in _EMBEDDING_ENDPOINT_TYPES else "openai",
        "embedding_endpoint": None if shown is None else shown.endpoint,
        "embedding_chunk_size": chunk_size,
        "batch_size": EMBEDDING_BATCH,
        "azure_endpoint": None,
        "azure_version": None,
        "azure_deployment": None,
    }


def _llm(shown: Model, settings: ModelSettings, context_window: int, *, thoughts: bool) -> Wire:
    effort = settings.reasoning_effort
    return {
        "handle": shown.handle,
        "model": shown.name,
        "display_name": shown.display_name,
        "model_endpoint_type": shown.endpoint_type if shown.endpoint_type in _ENDPOINT_TYPES else "openai",
        "model_endpoint": shown.endpoint,
        "provider_name": shown.provider_name,
        "provider_category": shown.provider_category,
        "model_wrapper": None,
        "context_window": context_window,
        "temperature": settings.temperature,
        "max_tokens": settings.max_output_tokens,
        "enable_reasoner": settings.reasoning,
        "reasoning_effort": effort if effort in _REASONING_EFFORTS else None,
        "effort": effort if effort in _EFFORTS else None,
        "max_reasoning_tokens": settings.max_reasoning_tokens or 0,
        "put_inner_thoughts_in_kwargs": thoughts,
        "frequency_penalty": settings.frequency_penalty,
        "verbosity": settings.verbosity,
        "parallel_tool_calls": settings.parallel_tool_calls,
        "response_format": settings.response_format,
        "strict": settings.strict,
        "compatibility_type": None,
        "tier": None,
        "return_logprobs": settings.return_logprobs,
        "top_logprobs": settings.top_logprobs,
        "return_token_ids": False,
        "tool_call_parser": None,
    }


def _provider_type(kind: str) -> str:
    # The contract's list is closed; a model of the server's own goes by the name it has for those.
    return kind if kind in _PROVIDER_TYPES else "letta"
