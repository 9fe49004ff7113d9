"""What a caller asks of a run: the input and the options, after `wire/` has read them from JSON."""

from typing import Any, Final

import msgspec

from perdure.domain.approvals import Decision
from perdure.domain.compaction import CompactionRequest
from perdure.domain.messages import Message

DEFAULT_MAX_STEPS: Final = 50


class Errand(msgspec.Struct, frozen=True):
    """For which run a request is made, whether that waits for its end, and in which group's talk it is a turn."""

    caller_id: str
    waits: bool
    group_id: str | None = None


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to an agent.

    `message_types` keeps only those kinds of message (None keeps all). `single_calls` is for callers that see
    only the singular `tool_call` field, so that parallel calls do not hide behind the first. `decisions` answer the
    calls that the conversation waits for; `input` then follows their returns. With a `compaction` the run does that and
    nothing else. `otids` are the caller's own names for
    what it sent, by which a request sent again is known; empty where it did not name all of it. `callback_url` is told
    of the run's end. An `errand` says that another run makes the request. With a `group_id` the members of that group
    take turns to answer, and the agent is only the one under whose name that is recorded. A `response_format` holds
    instead of the agent's. A `tool_choice` other than `auto` has the model begin with a call of one of the
    `client_tools`: of the one of that name or, with `required`, of any. A sender whose input `may_repeat` sends
    again what was not answered, and goes on without calls that it was to carry out: the beginning of its input is left
    out where it stands at the end of history already, and such calls are answered for it at its turn.
    """

    agent_id: str
    input: tuple[Message, ...]
    decisions: tuple[Decision, ...] = ()
    max_steps: int = DEFAULT_MAX_STEPS
    stream_tokens: bool = False
    background: bool = False
    message_types: frozenset[str] | None = None
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    single_calls: bool = False
    override_model: str | None = None
    override_system: str | None = None
    client_tools: tuple[dict[str, Any], ...] = ()
    client_skills: tuple[dict[str, Any], ...] = ()
    include_compaction_messages: bool = False
    compaction: CompactionRequest | None = None
    return_logprobs: bool = False
    top_logprobs: int | None = None
    otids: tuple[str, ...] = ()
    callback_url: str | None = None
    conversation_id: str | None = None
    run_type: str = "send_message_streaming"
    errand: Errand | None = None
    group_id: str | None = None
    project: str | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: str = "auto"
    may_repeat: bool = False
