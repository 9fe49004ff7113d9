"""A run is one request worked to its stop reason; a step is one model call with its tool calls."""

from typing import Any, Final, Literal

import msgspec

from perdure.domain.ids import is_id

RunStatus = Literal["created", "running", "completed", "failed", "cancelled"]
StepStatus = Literal["pending", "success", "failed", "cancelled"]
StopReason = Literal[
    "end_turn",
    "error",
    "llm_api_error",
    "invalid_llm_response",
    "invalid_tool_call",
    "max_steps",
    "max_tokens_exceeded",
    "no_tool_call",
    "tool_rule",
    "cancelled",
    "insufficient_credits",
    "requires_approval",
    "context_window_overflow_in_system_prompt",
]

ACTIVE: Final[tuple[RunStatus, ...]] = ("created", "running")

COMPACTION: Final = "compaction"
"""The tag of steps in which a model was asked for a summary."""

_COMPLETED: Final = frozenset[StopReason]({"end_turn", "max_steps", "tool_rule", "requires_approval"})


def status_of(stop_reason: StopReason) -> RunStatus:
    """The one mapping from why a run stopped to how it is recorded (streaming.md 3.4)."""
    if stop_reason == "cancelled":
        return "cancelled"
    return "completed" if stop_reason in _COMPLETED else "failed"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, summed over the model calls of a run. None means the provider did not report, 0 that it reported none.

    `run_ids` are runs that came of this one and go on in the background; what they cost is theirs.
    """

    completion_tokens: int = 0
    prompt_tokens: int = 0
    total_tokens: int = 0
    step_count: int = 0
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    context_tokens: int | None = None
    run_ids: tuple[str, ...] | None = None

    def plus(self, other: "Usage") -> "Usage":
        """The sum; `context_tokens` is the later call's, since it describes the context as it now stands."""

        def add(a: int | None, b: int | None) -> int | None:
            return b if a is None else a if b is None else a + b

        return Usage(
            completion_tokens=self.completion_tokens + other.completion_tokens,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            step_count=self.step_count + other.step_count,
            cached_input_tokens=add(self.cached_input_tokens, other.cached_input_tokens),
            cache_write_tokens=add(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens=add(self.reasoning_tokens, other.reasoning_tokens),
            context_tokens=self.context_tokens if other.context_tokens is None else other.context_tokens,
            run_ids=(*(self.run_ids or ()), *(other.run_ids or ())) or None,
        )


class Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """How likely each token of an answer was to its model; None where nothing of the kind was said.

    Entries are plain JSON in the contract's form: `{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}`.
    """

    content: list[dict[str, Any]] | None = None
    refusal: list[dict[str, Any]] | None = None


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed, in the contract's words: a stable `error_type`, a sentence, and the underlying text."""

    error_type: str
    message: str
    detail: str | None = None


HANDED_OVER: Final = RunError(
    error_type="run_handed_over",
    message="The server is stopping. This run is kept and goes on when the server is back; follow it by its id.",
)
"""How a reader is sent away from a run that has not ended."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One request's record. Times are microseconds UTC; `ttft_ns` and `total_duration_ns` are nanoseconds.

    A run that another run started has that for its `caller_id`; it is `waited_for` where that waits for its end.
    `depth` counts the runs in such a chain before it.
    """

    id: str
    agent_id: str
    status: RunStatus
    created_at: int
    conversation_id: str | None = None
    background: bool = False
    stop_reason: StopReason | None = None
    completed_at: int | None = None
    metadata: dict[str, Any] = {}
    request_config: dict[str, Any] = {}
    usage: Usage = Usage()
    caller_id: str | None = None
    waited_for: bool = False
    depth: int = 0
    callback_url: str | None = None
    callback_sent_at: int | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    ttft_ns: int | None = None
    total_duration_ns: int | None = None


def is_group_run(run: Run) -> bool:
    """Whether the members of a group take turns in a run: its thread is that of the group, which no agent has."""
    return is_id("group", run.conversation_id or "")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One model call and what it cost."""

    id: str
    run_id: str
    agent_id: str
    status: StepStatus
    created_at: int
    model: str | None = None
    model_handle: str | None = None
    provider_name: str | None = None
    model_endpoint: str | None = None
    context_window_limit: int | None = None
    stop_reason: StopReason | None = None
    usage: Usage = Usage()
    error: RunError | None = None
    feedback: str | None = None
    tags: tuple[str, ...] = ()
    ttft_ns: int | None = None
    model_ns: int | None = None
    tool_ns: int | None = None
