"""What the loop knows of a model: a request goes in, batches of deltas come out.

A dialect turns vendor chunks into deltas, and history into a vendor's body; nothing else does either.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from perdure.domain.messages import Message
from perdure.domain.models import EmbeddingModel, Model, ModelSettings
from perdure.domain.runs import Usage


class Delta(msgspec.Struct, frozen=True):
    """Base of the fragments a model streams.

    `extra` is laid over the `extra` of the part that the fragment belongs to: what the vendor wants back word for word.
    Its keys are types of providers, so that each finds its own there and is never sent another's.
    """


class TextDelta(Delta, frozen=True):
    """With `extra` the text may be empty; it then belongs to the text before, and is lost where there is none."""

    text: str
    extra: dict[str, Any] | None = None


class ReasoningDelta(Delta, frozen=True):
    """Visible reasoning. A `signature` is the vendor's seal on the whole part and may come with an empty text."""

    text: str
    signature: str | None = None
    extra: dict[str, Any] | None = None


class HiddenReasoningDelta(Delta, frozen=True):
    state: Literal["redacted", "omitted"]
    data: str | None = None
    extra: dict[str, Any] | None = None


class ToolCallDelta(Delta, frozen=True):
    """A fragment of call number `index` of this answer. `call_id` and `name` come with its first fragment."""

    index: int
    arguments: str = ""
    call_id: str | None = None
    name: str | None = None
    extra: dict[str, Any] | None = None


class LogprobsDelta(Delta, frozen=True):
    """Log probabilities of the tokens that came with this read, cleaned by `providers/logprobs.py`."""

    content: list[dict[str, Any]]
    refusal: list[dict[str, Any]]


class UsageDelta(Delta, frozen=True):
    """What the provider says the call cost so far; the last one counts. `step_count` is 1."""

    usage: Usage


class Finished(Delta, frozen=True):
    """The model ended its answer. A stream without one was cut, and its adapter raises instead."""

    reason: Literal["stop", "length", "tool_calls", "content_filter"]


class AnsweredBy(Delta, frozen=True):
    """Another model than the one that was asked answers: a fall-back of the operator's. Comes before all else."""

    model: Model


AnyDelta = (
    AnsweredBy
    | TextDelta
    | ReasoningDelta
    | HiddenReasoningDelta
    | ToolCallDelta
    | LogprobsDelta
    | UsageDelta
    | Finished
)


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One model call.

    `messages` begins with the system message and is valid: every tool call is answered once, directly after it.
    `tools` are function schemas `{name, description, parameters}`. `tool_choice` is a mode or the name of one tool.
    """

    model: Model
    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str = "auto"
    settings: ModelSettings = ModelSettings()


class Provider(Protocol):
    """Somebody who serves models, and how to reach them."""

    @property
    def name(self) -> str:
        """The first half of its model handles."""
        ...

    async def models(self) -> Sequence[Model]:
        """What it serves now. Raises ModelError where it cannot be asked."""
        ...

    async def embedding_models(self) -> Sequence[EmbeddingModel]: ...

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[AnyDelta]]:
        """Ask, and yield what arrives: one batch for each read from the network, never an empty one.

        Raises ModelError for everything that can go wrong with the call, a cut stream included.
        """
        ...

    async def count(self, request: ModelRequest) -> int | None:
        """Tokens of the prompt as the provider counts them; None where it does not. Raises ModelError."""
        ...

    async def embed(self, model: EmbeddingModel, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """A vector for each text, in their order, of 32-bit floats. Raises ModelError."""
        ...

    async def close(self) -> None: ...
