"""How a caller says which models an agent uses: handles, settings, and the older full configs."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, ConfigDict, Field

from perdure.domain.agents import ModelChoice
from perdure.wire.text import Body, Text

NO_EMBEDDING: Final = "none"
"""What the older config says of an agent without an embedding model, when it is shown and when it is sent back."""

Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
"""How many of the likeliest tokens log probabilities are asked of at each place."""
Temperature = Annotated[float, Field(ge=0, le=2)]


def _response_format(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("type") not in ("text", "json_object", "json_schema"):
        raise ValueError("type must be 'text', 'json_object' or 'json_schema'")
    if value["type"] == "json_schema" and not isinstance(value.get("json_schema"), dict):
        raise ValueError("a response format of type json_schema needs the schema in json_schema")
    return value


ResponseFormat = Annotated[dict[str, Any], AfterValidator(_response_format)]


class _Kept(Body):
    """Fields that mean nothing here are kept as sent, for the provider and for reading them back."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    def sent(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class ReasoningBody(_Kept):
    reasoning_effort: Text | None = None


class ThinkingBody(_Kept):
    type: Literal["enabled", "disabled"] | None = None
    budget_tokens: Tokens | None = None


class ThinkingConfigBody(_Kept):
    include_thoughts: bool | None = None
    thinking_budget: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None


class ModelSettingsBody(_Kept):
    """The 17 variants of the contract as one: the fields they share, and each its own way to say how to reason."""

    provider_type: Text | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    parallel_tool_calls: bool | None = None
    strict: bool | None = None
    verbosity: Text | None = None
    effort: Text | None = None
    frequency_penalty: float | None = None
    reasoning: ReasoningBody | None = None
    thinking: ThinkingBody | None = None
    thinking_config: ThinkingConfigBody | None = None
    response_format: ResponseFormat | None = None
    response_schema: ResponseFormat | None = None


class LlmConfigBody(_Kept):
    model: Text
    handle: Text | None = None
    model_endpoint_type: Text | None = None
    provider_name: Text | None = None
    context_window: Tokens | None = None
    temperature: Temperature | None = None
    max_tokens: Tokens | None = None
    parallel_tool_calls: bool | None = None
    enable_reasoner: bool | None = None
    reasoning_effort: Text | None = None
    effort: Text | None = None
    max_reasoning_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    put_inner_thoughts_in_kwargs: bool | None = None
    frequency_penalty: float | None = None
    verbosity: Text | None = None
    strict: bool | None = None
    response_format: ResponseFormat | None = None
    return_logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class EmbeddingConfigBody(_Kept):
    embedding_model: Text
    handle: Text | None = None
    embedding_endpoint_type: Text | None = None
    embedding_chunk_size: Tokens | None = None


class CompactionBody(_Kept):
    mode: Literal["all", "sliding_window", "self_compact_all", "self_compact_sliding_window"] | None = None
    model: Text | None = None
    model_settings: ModelSettingsBody | None = None
    prompt: Text | None = None
    prompt_acknowledgement: bool | None = None
    clip_chars: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    sliding_window_percentage: Annotated[float, Field(gt=0, le=1)] | None = None


class ModelChoiceBody(Body):
    """The part of an agent's body that says which models it uses, and how."""

    model: Text | None = None
    embedding: Text | None = None
    llm_config: LlmConfigBody | None = None
    embedding_config: EmbeddingConfigBody | None = None
    model_settings: ModelSettingsBody | None = None
    context_window_limit: Tokens | None = None
    max_tokens: Tokens | None = None
    max_reasoning_tokens: Tokens | None = None
    enable_reasoner: bool | None = None
    reasoning: bool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    def choice(self) -> ModelChoice:
        """What was chosen. `max_tokens` is the one field whose null means something: no limit."""
        embedding = self.embedding_config
        if embedding is not None and embedding.embedding_model == NO_EMBEDDING:
            embedding = None
        return ModelChoice(
            model=self.model,
            embedding=self.embedding,
            llm_config=self.llm_config and self.llm_config.sent(),
            embedding_config=embedding and embedding.sent(),
            model_settings=self.model_settings and self.model_settings.sent(),
            context_window=self.context_window_limit,
            max_tokens=self.max_tokens if "max_tokens" in self.model_fields_set else msgspec.UNSET,
            max_reasoning_tokens=self.max_reasoning_tokens,
            reasoning=self.reasoning if self.reasoning is not None else self.enable_reasoner,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=self.response_format,
        )
