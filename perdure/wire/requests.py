"""Requests to an agent: how the body of a message POST is read, in the spellings of both SDK generations."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Discriminator, Field, Tag, model_validator

from perdure.domain.approvals import Decision
from perdure.domain.errors import Unprocessable
from perdure.domain.ids import new_id, new_uuid
from perdure.domain.messages import Message, TextPart
from perdure.domain.requests import DEFAULT_MAX_STEPS, TurnRequest
from perdure.wire.approvals import ApprovalBody, decisions, is_approval
from perdure.wire.contents import Content, SentContent, part_of
from perdure.wire.generations import Generation
from perdure.wire.model_settings import TopLogprobs
from perdure.wire.text import Body, Text

MessageType = Literal[
    "system_message", "user_message", "assistant_message", "reasoning_message", "hidden_reasoning_message",
    "tool_call_message", "tool_return_message", "approval_request_message", "approval_response_message",
    "summary_message", "event_message",
]  # fmt: skip

MAX_STEPS: Final = 1_000
"""Model calls that one request may ask for."""


class MessageBody(Body):
    type: Literal["message"] | None = None
    role: Literal["user", "system", "assistant"]
    content: Text | list[Content]
    name: Text | None = None
    otid: Text | None = None
    sender_id: Text | None = None
    group_id: Text | None = None
    batch_item_id: Text | None = None

    @model_validator(mode="after")
    def has_content(self) -> "MessageBody":
        if not self.content:
            raise ValueError("content must not be empty")
        return self


class ClientTool(Body):
    """A tool that the caller runs itself: a call of it pauses the run until its return is sent."""

    name: Text = Field(min_length=1, max_length=64)
    description: Text | None = None
    parameters: dict[str, Any] | None = None


def _input_kind(value: Any) -> str:
    return "approval" if is_approval(value) else "message"


Input = Annotated[
    Annotated[MessageBody, Tag("message")] | Annotated[ApprovalBody, Tag("approval")], Discriminator(_input_kind)
]


class SendMessageBody(Body):
    """The body of `POST …/messages` and `…/messages/stream`."""

    messages: list[Input] | None = None
    input: Text | list[Content] | None = None
    max_steps: int | None = Field(default=None, ge=0, le=MAX_STEPS)
    streaming: bool = False
    stream_tokens: bool = False
    include_pings: bool = True
    background: bool = False
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[MessageType] | None = None
    include_compaction_messages: bool = False
    return_logprobs: bool = False
    top_logprobs: TopLogprobs | None = None
    client_tools: list[ClientTool] | None = None
    client_skills: list[dict[str, Any]] | None = None
    override_model: str | None = None
    override_system: Text | None = None
    system: Text | None = None

    def contents(self) -> list[SentContent]:
        """All that is to be said, or was returned."""
        said: list[SentContent] = [self.input]
        for item in self.messages or ():
            said += [item.content] if isinstance(item, MessageBody) else item.contents()
        return said

    @model_validator(mode="after")
    def one_input(self) -> "SendMessageBody":
        if self.messages is not None and self.input is not None:
            raise ValueError("Cannot specify both 'input' and 'messages'. Use one or the other.")
        if self.messages is None and self.input is None:
            raise ValueError("Must specify either 'input' or 'messages'.")
        if not self.messages and not self.input:
            raise ValueError("Messages must not be empty")
        return self


class AsyncMessageBody(SendMessageBody):
    """The body of `POST …/messages/async`. `callback_url` is told of the run's end."""

    callback_url: Text | None = None


def refuse_stream_options(body: SendMessageBody) -> None:
    """Raises Unprocessable where options that only a stream has are set and no stream was asked for."""
    given = {
        "stream_tokens=true": body.stream_tokens,
        "include_pings=false": not body.include_pings,
        "background=true": body.background,
    }
    if any(given.values()):
        options = "; ".join(option for option, is_set in given.items() if is_set)
        raise Unprocessable(
            f"Streaming options set without streaming enabled. {options}. "
            "Either set streaming=true or use default values for streaming options."
        )


def turn_request(
    body: SendMessageBody, agent_id: str, generation: Generation, *, run_type: str, project: str | None
) -> TurnRequest:
    """The domain's reading of a body, in which images are there themselves. Raises Unprocessable for what cannot be
    worked.
    """
    kinds = body.include_return_message_types
    return TurnRequest(
        agent_id=agent_id,
        input=_messages(body, agent_id),
        decisions=_decisions(body),
        max_steps=DEFAULT_MAX_STEPS if body.max_steps is None else body.max_steps,
        stream_tokens=body.stream_tokens,
        background=body.background,
        message_types=None if kinds is None else frozenset(kinds),
        use_assistant_message=body.use_assistant_message,
        assistant_message_tool_name=body.assistant_message_tool_name,
        assistant_message_tool_kwarg=body.assistant_message_tool_kwarg,
        single_calls=generation is Generation.V0,
        override_model=body.override_model,
        override_system=body.override_system if body.override_system is not None else body.system,
        client_tools=tuple(tool.model_dump() for tool in body.client_tools or ()),
        client_skills=tuple(body.client_skills or ()),
        include_compaction_messages=body.include_compaction_messages,
        return_logprobs=body.return_logprobs,
        top_logprobs=body.top_logprobs,
        otids=_otids(body),
        run_type=run_type,
        project=project,
    )


def async_request(body: AsyncMessageBody, agent_id: str, generation: Generation, *, project: str | None) -> TurnRequest:
    """The domain's reading of a body whose sender does not wait. Raises what `turn_request` raises."""
    request = turn_request(body, agent_id, generation, run_type="send_message_async", project=project)
    return msgspec.structs.replace(request, background=True, callback_url=body.callback_url)


def _otids(body: SendMessageBody) -> tuple[str, ...]:
    """The caller's own names for its messages, if it gave one to each."""
    given = [item.otid for item in body.messages or ()]
    return tuple(otid for otid in given if otid) if all(given) else ()


def _messages(body: SendMessageBody, agent_id: str) -> tuple[Message, ...]:
    if body.input is not None:
        return (read_message(MessageBody(role="user", content=body.input), agent_id),)
    items = [item for item in body.messages or () if isinstance(item, MessageBody)]
    return tuple(read_message(item, agent_id) for item in items)


def _decisions(body: SendMessageBody) -> tuple[Decision, ...]:
    """Answers to pending calls; they come before any message. Raises Unprocessable where they do not."""
    given: list[Decision] = []
    last_message = len(body.messages or ())
    for index, item in enumerate(body.messages or ()):
        if isinstance(item, MessageBody):
            last_message = min(last_message, index)
        elif index > last_message:
            raise Unprocessable("An approval must come before any message.", ("body", "messages", index))
        else:
            given += decisions(item)
    return tuple(given)


def read_message(body: MessageBody, agent_id: str) -> Message:
    """A message of a request. Raises NotBuilt or Unprocessable for an image that cannot be read."""
    content = body.content
    parts = (TextPart(text=content),) if isinstance(content, str) else tuple(part_of(part) for part in content)
    return Message(
        id=new_id("message"),
        agent_id=agent_id,
        role=body.role,
        parts=parts,
        created_at=0,
        otid=body.otid or new_uuid(),
        name=body.name,
        sender_id=body.sender_id,
        group_id=body.group_id,
        batch_item_id=body.batch_item_id,
    )
