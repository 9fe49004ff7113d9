"""Requests of OpenAI's clients, in both of its protocols, read as a turn of an agent that has a history of its own.

What matters of the history they send is its end: what comes after the assistant's last word is new. How the agent is
asked (its prompt, its model, sampling) is its own, so that instructions and settings sent along are passed over.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, field_validator

from perdure.domain.approvals import Decision
from perdure.domain.errors import Unprocessable
from perdure.domain.messages import ToolReturnPart
from perdure.domain.requests import TurnRequest
from perdure.wire.contents import ImageContent, TextContent, UrlImage
from perdure.wire.requests import ClientTool, MessageBody, read_message
from perdure.wire.text import Body, Text


class OpenAITurn(NamedTuple):
    """What a request asks, in either protocol.

    `address` is the id of an agent or of a conversation. `answers` are all results of tools in it; those in `fresh`
    come after the assistant's last word, as does what was `said`.
    """

    address: str
    said: Sequence[MessageBody]
    answers: Sequence[Decision]
    fresh: Sequence[Decision]
    tools: Sequence[ClientTool]
    stream: bool

    def request(
        self, agent_id: str, conversation_id: str | None, decisions: Sequence[Decision], project: str | None
    ) -> TurnRequest:
        """The domain's reading. Raises NotBuilt or Unprocessable for what cannot be worked."""
        if not self.said and not decisions:
            raise Unprocessable("There is nothing to answer: the last message must be a user's or a tool's.")
        return TurnRequest(
            agent_id=agent_id,
            conversation_id=conversation_id,
            input=tuple(read_message(body, agent_id) for body in self.said),
            decisions=tuple(decisions),
            stream_tokens=self.stream,
            client_tools=tuple(tool.model_dump(exclude={"type"}) for tool in self.tools),
            run_type="send_message_streaming" if self.stream else "send_message",
            project=project,
        )


class ImageAddress(Body):
    url: str
    detail: str | None = None


class ChatText(Body):
    type: Literal["text"]
    text: Text


class ChatImage(Body):
    type: Literal["image_url"]
    image_url: ImageAddress


class InputText(Body):
    type: Literal["input_text"]
    text: Text


class InputImage(Body):
    type: Literal["input_image"]
    image_url: str
    detail: str | None = None


class _User(Body):
    role: Literal["user"]
    name: Text | None = None

    @field_validator("content", check_fields=False)
    @classmethod
    def has_content(cls, content: Any) -> Any:
        if not content:
            raise ValueError("content must not be empty")
        return content


class ChatUser(_User):
    content: Text | list[Annotated[ChatText | ChatImage, Field(discriminator="type")]]


class ChatReturn(Body):
    """What one of the caller's own tools gave."""

    role: Literal["tool"]
    tool_call_id: Text
    content: Text | list[ChatText]


class ChatOther(Body):
    role: Literal["assistant", "system", "developer"]


class InputUser(_User):
    content: Text | list[Annotated[InputText | InputImage, Field(discriminator="type")]]


class InputReturn(Body):
    type: Literal["function_call_output"]
    call_id: Text
    output: Text | list[InputText]


class InputOther(Body):
    """What an agent said or did before, or an aside; neither is read."""

    type: str | None = None
    role: Literal["assistant", "system", "developer"] | None = None


TAGS: Final = frozenset({"user", "return", "other"})
"""What tells the kinds of entries apart. They stand in the places of problems, and nobody sent them."""


def _kind(value: Any) -> str:
    role, kind = (
        value.get(name) if isinstance(value, dict) else getattr(value, name, None) for name in ("role", "type")
    )
    if role == "tool" or kind == "function_call_output":
        return "return"
    return "user" if role == "user" else "other"


ChatMessage = Annotated[
    Annotated[ChatUser, Tag("user")] | Annotated[ChatReturn, Tag("return")] | Annotated[ChatOther, Tag("other")],
    Discriminator(_kind),
]
InputItem = Annotated[
    Annotated[InputUser, Tag("user")] | Annotated[InputReturn, Tag("return")] | Annotated[InputOther, Tag("other")],
    Discriminator(_kind),
]


class _Function(Body):
    """No other type of tool is the caller's to carry out."""

    type: Literal["function"]


class ChatTool(_Function):
    function: ClientTool


class ResponseTool(ClientTool, _Function):
    """A tool as Responses has it, flat."""


class StreamOptions(Body):
    include_usage: bool = False


class ChatBody(Body):
    """The body of `POST /v1/chat/completions`. `model` is the id of an agent, or of one of its conversations."""

    model: Text
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Any = None
    n: int | None = None
    response_format: dict[str, Any] | None = None

    def turn(self) -> OpenAITurn:
        """What is asked. Raises Unprocessable for what no agent can be asked."""
        if self.n not in (None, 1):
            raise Unprocessable("An agent answers once: leave n out.", ("n",))
        _refuse_format(self.response_format, ("response_format",))
        tools = [tool.function for tool in self.tools or ()]
        return _turn(self.model, self.messages, _offered(tools, self.tool_choice), stream=bool(self.stream))

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ResponsesBody(Body):
    """The body of `POST /v1/responses`. `model` is the id of an agent, or of one of its conversations."""

    model: Text
    input: Text | list[InputItem]
    stream: bool | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Any = None
    text: dict[str, Any] | None = None
    background: bool | None = None
    previous_response_id: Text | None = None
    instructions: Text | None = None
    metadata: dict[str, Any] | None = None

    def turn(self) -> OpenAITurn:
        """What is asked. Raises Unprocessable for what no agent can be asked."""
        if self.background:
            raise Unprocessable("Use POST /v1/agents/{agent_id}/messages/async to look later.", ("background",))
        _refuse_format((self.text or {}).get("format"), ("text", "format"))
        items = [InputUser(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return _turn(self.model, items, _offered(self.tools or (), self.tool_choice), stream=bool(self.stream))


def _turn(
    address: str, items: Sequence[ChatUser | ChatReturn | ChatOther | InputUser | InputReturn | InputOther],
    tools: Sequence[ClientTool], *, stream: bool,
) -> OpenAITurn:  # fmt: skip
    said: list[MessageBody] = []
    answers: list[Decision] = []
    begin = 0
    for item in items:
        match item:
            case ChatUser() | InputUser():
                said.append(_said(item))
            case ChatReturn():
                answers.append(_answer(item.tool_call_id, item.content))
            case InputReturn():
                answers.append(_answer(item.call_id, item.output))
            case _ if item.role not in ("system", "developer"):
                said.clear()
                begin = len(answers)
            case _:
                pass
    return OpenAITurn(address, said, answers, answers[begin:], tools, stream)


def _said(item: ChatUser | InputUser) -> MessageBody:
    if isinstance(item.content, str):
        return MessageBody(role="user", content=item.content, name=item.name)
    parts: list[TextContent | ImageContent] = []
    for part in item.content:
        match part:
            case ChatText() | InputText():
                parts.append(TextContent(text=part.text))
            case ChatImage(image_url=image):
                parts.append(ImageContent(source=UrlImage(url=image.url, detail=image.detail)))
            case InputImage():
                parts.append(ImageContent(source=UrlImage(url=part.image_url, detail=part.detail)))
    return MessageBody(role="user", content=parts, name=item.name)


def _answer(call_id: str, content: str | Sequence[ChatText] | Sequence[InputText]) -> Decision:
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    return Decision(target=call_id, returned=ToolReturnPart(call_id=call_id, name="", status="success", text=text))


def _offered(tools: Sequence[ClientTool], choice: Any) -> Sequence[ClientTool]:
    """The caller's own tools that may be called. Raises Unprocessable where one has to be."""
    if choice not in (None, "auto", "none"):
        raise Unprocessable("An agent chooses its tools itself: use 'auto' or 'none'.", ("tool_choice",))
    return () if choice == "none" else tools


def _refuse_format(wanted: dict[str, Any] | None, place: tuple[str, ...]) -> None:
    if wanted is not None and wanted.get("type") not in (None, "text"):
        raise Unprocessable("Set the response_format of the agent itself.", place)
