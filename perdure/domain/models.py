"""A model handle names a model, `provider/model-name`; settings say how an agent wants it asked."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from perdure.domain.providers import ProviderCategory

MAX_DEFAULT_WINDOW: Final = 128_000
"""Tokens: the largest context window an agent gets without asking for more."""
EMBEDDING_BATCH: Final = 32
"""Texts that are turned into vectors by one request."""


_REASONING: Final = re.compile(
    r"(^|[/.])(o\d|gpt-5(?!.*-chat)|gpt-oss|claude-(3[-.]7|[a-z]+-[4-9])|gemini-(2\.5|[3-9])|grok-(3-mini|[4-9])|"
    r"deepseek-(r\d|reasoner)|glm-(4\.[5-9]|[5-9])|magistral|qwq|offline$)|thinking|reasoning"
)


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to ask a model. None leaves the choice to the provider; token counts are per answer.

    `return_logprobs` asks for log probabilities where the provider has them, with those of the `top_logprobs` (0 to 20)
    likeliest tokens beside each. `thoughts_in_arguments` has an older agent write its thoughts as an argument of its
    calls; None leaves that to what the model is.
    """

    temperature: float | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool = False
    reasoning: bool = True
    reasoning_effort: str | None = None
    max_reasoning_tokens: int | None = None
    frequency_penalty: float | None = None
    verbosity: str | None = None
    strict: bool = False
    response_format: dict[str, Any] | None = None
    provider_type: str | None = None
    return_logprobs: bool = False
    top_logprobs: int | None = None
    thoughts_in_arguments: bool | None = None
    extra: dict[str, Any] = {}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A language model somebody serves. `context_window` is in tokens.

    One without `supports_tools` can be talked to, but is not told of its agent's tools.
    """

    handle: str
    name: str
    provider_name: str
    provider_type: str
    endpoint_type: str
    context_window: int
    endpoint: str | None = None
    display_name: str | None = None
    supports_tools: bool = True
    provider_category: ProviderCategory = "base"


def reasons(model: Model) -> bool:
    """Whether a model thinks by itself before it answers, judged by its name."""
    name = model.name.lower()
    return "non-reasoning" not in name and _REASONING.search(name) is not None


def default_window(model: Model) -> int:
    """The context window, in tokens, of an agent whose maker asks for none."""
    return min(model.context_window, MAX_DEFAULT_WINDOW)


class EmbeddingModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that turns text into vectors of `dimensions` floats; 0 where nobody has said how many."""

    handle: str
    name: str
    provider_name: str
    provider_type: str
    endpoint_type: str
    dimensions: int
    endpoint: str | None = None
    display_name: str | None = None
    provider_category: ProviderCategory = "base"


class Embedding(msgspec.Struct, frozen=True):
    """A text as an embedding model sees it: a vector of 32-bit floats, and the handle of the model that made it.

    Only vectors of one model can be compared, so it is kept with each.
    """

    model: str
    vector: Sequence[float]

    @property
    def dimensions(self) -> int:
        return len(self.vector)
