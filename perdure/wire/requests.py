"""Requests to an agent: how the body of a message POST is read, in the spellings of both SDK generations."""

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from perdure.domain.errors import Invalid, NotBuilt, Unprocessable
from perdure.domain.ids import new_id, new_uuid
from perdure.domain.messages import AnyPart, ImagePart, Message, TextPart
from perdure.domain.requests import DEFAULT_MAX_STEPS, TurnRequest
from perdure.wire.generations import Generation
from perdure.wire.text import check_text

MessageType = Literal[
    "system_message", "user_message", "assistant_message", "reasoning_message", "hidden_reasoning_message",
    "tool_call_message", "tool_return_message", "approval_request_message", "approval_response_message",
    "summary_message", "event_message",
]  # fmt: skip

MAX_STEPS: Final = 1_000
"""Model calls that one request may ask for."""

_DATA_URL: Final = re.compile(r"data:(?P<type>image/[\w.+-]+);base64,(?P<data>.*)", re.DOTALL)

Words = Annotated[str, AfterValidator(check_text)]


class _Body(BaseModel):
    """Unknown fields are ignored: newer and older SDKs send some that mean nothing here."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


class TextContent(_Body):
    type: Literal["text"] = "text"
    text: Words


class Base64Image(_Body):
    type: Literal["base64"] = "base64"
    media_type: str
    data: str
    detail: str | None = None


class UrlImage(_Body):
    type: Literal["url"] = "url"
    url: str


class ImageContent(_Body):
    type: Literal["image"] = "image"
    source: Annotated[Base64Image | UrlImage, Field(discriminator="type")]


def _content_kind(value: Any) -> str:
    """A part without a type is text: the documented curl example leaves it out."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind or "text"


Content = Annotated[
    Annotated[TextContent, Tag("text")] | Annotated[ImageContent, Tag("image")], Discriminator(_content_kind)
]


class MessageBody(_Body):
    type: Literal["message"] | None = None
    role: Literal["user", "system", "assistant"]
    content: Words | list[Content]
    name: Words | None = None
    otid: Words | None = None
    sender_id: Words | None = None
    group_id: Words | None = None
    batch_item_id: Words | None = None

    @model_validator(mode="after")
    def has_content(self) -> "MessageBody":
        if not self.content:
            raise ValueError("content must not be empty")
        return self


class ApprovalBody(_Body):
    """An answer to a request for approval, or what a tool of the caller's own returned."""

    type: Literal["approval", "tool_return"] | None = None
    approvals: list[dict[str, Any]] | None = None
    tool_returns: list[dict[str, Any]] | None = None
    approve: bool | None = None
    approval_request_id: str | None = None
    reason: str | None = None


def _input_kind(value: Any) -> str:
    """Approvals are told by their keys: 0.1.x callers leave `type` out."""
    if not isinstance(value, dict):
        return "approval" if isinstance(value, ApprovalBody) else "message"
    if value.get("type") in ("approval", "tool_return"):
        return "approval"
    if value.get("type") is None and ("approve" in value or "approval_request_id" in value):
        return "approval"
    return "message"


Input = Annotated[
    Annotated[MessageBody, Tag("message")] | Annotated[ApprovalBody, Tag("approval")], Discriminator(_input_kind)
]


class SendMessageBody(_Body):
    """The body of `POST …/messages` and `…/messages/stream`."""

    messages: list[Input] | None = None
    input: Words | list[Content] | None = None
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
    client_tools: list[dict[str, Any]] | None = None
    client_skills: list[dict[str, Any]] | None = None
    override_model: str | None = None
    override_system: Words | None = None
    system: Words | None = None

    @model_validator(mode="after")
    def one_input(self) -> "SendMessageBody":
        if self.messages is not None and self.input is not None:
            raise ValueError("Cannot specify both 'input' and 'messages'. Use one or the other.")
        if self.messages is None and self.input is None:
            raise ValueError("Must specify either 'input' or 'messages'.")
        if not self.messages and not self.input:
            raise ValueError("Messages must not be empty")
        return self


def turn_request(
    body: SendMessageBody, agent_id: str, generation: Generation, *, run_type: str, project: str | None
) -> TurnRequest:
    """The domain's reading of a body. Raises Invalid, NotBuilt or Unprocessable for what cannot be worked."""
    kinds = body.include_return_message_types
    return TurnRequest(
        agent_id=agent_id,
        input=_messages(body, agent_id),
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
        client_tools=tuple(body.client_tools or ()),
        client_skills=tuple(body.client_skills or ()),
        include_compaction_messages=body.include_compaction_messages,
        run_type=run_type,
        project=project,
    )


def _messages(body: SendMessageBody, agent_id: str) -> tuple[Message, ...]:
    if body.input is not None:
        return (_message(MessageBody(role="user", content=body.input), agent_id),)
    messages: list[Message] = []
    for item in body.messages or ():
        if isinstance(item, ApprovalBody):
            raise Invalid(
                "Cannot process approval response: No tool call is currently awaiting approval. "
                "Please send a regular message to interact with the agent."
            )
        messages.append(_message(item, agent_id))
    return tuple(messages)


def _message(body: MessageBody, agent_id: str) -> Message:
    content = body.content
    parts = (TextPart(text=content),) if isinstance(content, str) else tuple(_part(part) for part in content)
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


def _part(content: TextContent | ImageContent) -> AnyPart:
    if isinstance(content, TextContent):
        return TextPart(text=content.text)
    source = content.source
    if isinstance(source, Base64Image):
        return _image(source.media_type, source.data, source.detail)
    data = _DATA_URL.fullmatch(source.url)
    if data is None:
        raise NotBuilt(
            "Images by web address are not built yet in this version. "
            "Send the image itself: a data: URL, or a source of type base64."
        )
    return _image(data["type"], data["data"], None)


def _image(media_type: str, data: str, detail: str | None) -> ImagePart:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Unprocessable(f"The image is not valid base64: {error}.", ("body", "messages")) from error
    return ImagePart(media_type=media_type, data=data, detail=detail)
