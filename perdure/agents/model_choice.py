"""Which model an agent gets and how it is asked: handles resolved, settings laid over each other."""

from typing import Any, Final, Protocol

import msgspec

from perdure.domain.agents import Agent, ModelChoice, window_with
from perdure.domain.errors import Invalid
from perdure.domain.model_settings import renamed, settings_named
from perdure.domain.models import EmbeddingModel, Model, ModelSettings


class Catalog(Protocol):
    """Who knows the models there are."""

    async def resolve(self, tenant: str, handle: str) -> Model: ...

    async def resolve_embedding(self, tenant: str, handle: str) -> EmbeddingModel: ...

    async def default_model(self, tenant: str) -> str:
        """The handle for an agent whose maker names none."""
        ...

    def default_embedding(self) -> str | None:
        """The same for embeddings, which an agent can do without."""
        ...


class Chosen(msgspec.Struct, frozen=True):
    """The models a choice names; None where it names none."""

    model: Model | None
    embedding: EmbeddingModel | None


async def resolve(catalog: Catalog, tenant: str, choice: ModelChoice) -> Chosen:
    """Look up the models a choice names. Raises NotFound for an unknown handle, Invalid for what is none."""
    model = None
    if (handle := _handle(choice)) is not None:
        model = await catalog.resolve(tenant, handle)
    return Chosen(model, await resolve_embedding(catalog, tenant, choice))


async def resolve_embedding(catalog: Catalog, tenant: str, choice: ModelChoice) -> EmbeddingModel | None:
    """Look up the embedding model a choice names; None where it names none. Raises like `resolve`."""
    handle = _embedding_handle(choice)
    # What only the hosted service served: search works without, so programs that name it need not fail.
    if handle is None or handle.startswith("letta/"):
        return None
    return await catalog.resolve_embedding(tenant, handle)


def overlay(agent: Agent, choice: ModelChoice, chosen: Chosen) -> Agent:
    """The agent with what a choice says about its models. Raises Invalid where its token counts contradict."""
    model = chosen.model or agent.model
    settings = _settings(agent.settings, choice)
    check_tokens(settings)
    return msgspec.structs.replace(
        agent,
        model=model,
        context_window=_window(agent, choice, model),
        settings=settings,
        model_settings=_sent_so_far(agent, model, choice.model_settings),
        embedding=chosen.embedding or agent.embedding,
        response_format=settings.response_format,
    )


def check_tokens(settings: ModelSettings) -> None:
    """Raises Invalid where the token counts contradict."""
    reasoning, answer = settings.max_reasoning_tokens, settings.max_output_tokens
    if reasoning is not None and answer is not None and reasoning >= answer:
        raise Invalid(
            f"max_reasoning_tokens ({reasoning}) must be less than max_tokens ({answer}): reasoning counts as output."
        )


def _handle(choice: ModelChoice) -> str | None:
    config = choice.llm_config
    if config is None:
        return choice.model
    # Only the name counts: an endpoint of the caller's choosing would be sent the operator's key.
    provider_name = config.get("provider_name") or config.get("model_endpoint_type") or ""
    return config.get("handle") or f"{provider_name}/{config['model']}"


def _embedding_handle(choice: ModelChoice) -> str | None:
    config = choice.embedding_config
    if config is None:
        return choice.embedding
    return config.get("handle") or f"{config.get('embedding_endpoint_type') or ''}/{config['embedding_model']}"


def _window(agent: Agent, choice: ModelChoice, model: Model) -> int:
    asked = choice.context_window or (choice.llm_config or {}).get("context_window")
    return asked or window_with(agent, model)


def _sent_so_far(agent: Agent, model: Model, sent: dict[str, Any] | None) -> dict[str, Any] | None:
    """Earlier settings stay under those sent now, as long as both are for one kind of provider."""
    kept = agent.model_settings or {}
    kind = None if sent is None else sent.get("provider_type")
    if model.provider_type != agent.model.provider_type or kind not in (None, kept.get("provider_type")):
        kept = {}
    return {**kept, **(sent or {})} or None


_FROM_CONFIG: Final = {
    "temperature": "temperature", "max_tokens": "max_output_tokens", "parallel_tool_calls": "parallel_tool_calls",
    "enable_reasoner": "reasoning", "effort": "reasoning_effort", "reasoning_effort": "reasoning_effort",
    "max_reasoning_tokens": "max_reasoning_tokens", "frequency_penalty": "frequency_penalty",
    "verbosity": "verbosity", "strict": "strict", "response_format": "response_format",
    "put_inner_thoughts_in_kwargs": "thoughts_in_arguments", "return_logprobs": "return_logprobs",
    "top_logprobs": "top_logprobs",
}  # fmt: skip
"""Fields of the older config that say how to ask, and what we call them."""


def _settings(base: ModelSettings, choice: ModelChoice) -> ModelSettings:
    """`base` under the older config, under the single older fields, under the settings object."""
    fields = renamed(choice.llm_config or {}, _FROM_CONFIG)
    if fields.get("max_reasoning_tokens") == 0:
        fields["max_reasoning_tokens"] = None
    single = {
        "max_reasoning_tokens": choice.max_reasoning_tokens,
        "reasoning": choice.reasoning,
        "parallel_tool_calls": choice.parallel_tool_calls,
        "response_format": choice.response_format,
    }
    fields |= {name: value for name, value in single.items() if value is not None}
    if choice.max_tokens is not msgspec.UNSET:
        fields["max_output_tokens"] = choice.max_tokens
    if choice.model_settings is not None:
        sent = settings_named(choice.model_settings)
        fields |= {**sent, "extra": {**base.extra, **sent["extra"]}}
    return msgspec.structs.replace(base, **fields)
