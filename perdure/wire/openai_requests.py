"""Requests of OpenAI's clients, in both of its protocols, read as a turn of an agent that has a history of its own.

What matters of the history they send is its end: what comes after the assistant's last word is new. How the agent is
asked (its prompt, its model, sampling) is its own, so that instructions and settings sent along are passed over; what
form its answer has, and which of the caller's tools it begins with, are the caller's.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, cast

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from perdure.domain.approvals import Decision
from perdure.domain.errors import Unprocessable
from perdure.domain.messages import ToolReturnPart
from perdure.domain.requests import TurnRequest
from perdure.wire.contents import ImageContent, TextContent, UrlImage
from perdure.wire.model_settings import ResponseFormat, TopLogprobs
from perdure.wire.requests import ClientTool, MessageBody, read_message
from perdure.wire.text import Body, Text


class OpenAITurn(NamedTuple):
    """What a request asks, in either protocol.

    `address` is the id of an agent or of a conversation; `conversation` that of one of that agent's, where another
    than its default one is meant. `answers` are all results of tools in it; those in `fresh` come after the assistant's
    last word, as does what was `said`. `choice` says which of the `tools` has to be called (`TurnRequest.tool_choice`).
    """

    address: str
    said: Sequence[MessageBody]
    answers: Sequence[Decision]
    fresh: Sequence[Decision]
    stream: bool
    tools: Sequence[ClientTool] = ()
    choice: str = "auto"
    response_format: dict[str, Any] | None = None
    conversation: str | None = None
    background: bool = False
    top_logprobs: int | None = None
    """None where no log probabilities are wanted."""

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
            stream_tokens=self.stream or self.background,
            background=self.background,
            client_tools=tuple(tool.model_dump(exclude={"type"}) for tool in self.tools),
            run_type="send_message_streaming" if self.stream else "send_message",
            project=project,
            response_format=self.response_format,
            tool_choice=self.choice,
            return_logprobs=self.top_logprobs is not None,
            top_logprobs=self.top_logprobs,
            may_repeat=True,
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
    functions: Any = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None

    def turn(self) -> OpenAITurn:
        """What is asked. Raises Unprocessable for what no agent can be asked."""
        if self.n not in (None, 1):
            raise Unprocessable("An agent answers once: leave n out.", ("n",))
        if self.functions:
            raise Unprocessable("Functions are given in tools: [{type: 'function', function: …}].", ("functions",))
        tools, choice = _offered([tool.function for tool in self.tools or ()], self.tool_choice)
        return _turn(self.model, self.messages, stream=bool(self.stream))._replace(
            tools=tools, choice=choice, response_format=_formed(self.response_format),
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )  # fmt: skip

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def _named(value: Any) -> Any:
    """A format of Responses as chat completions have it, which is how agents have it, too."""
    if isinstance(value, dict) and "json_schema" not in (fields := cast("dict[str, Any]", value)):
        kind = fields.get("type")
        if kind == "json_schema":
            return {"type": kind, "json_schema": {name: fields[name] for name in fields if name != "type"}}
    return value


class TextOptions(Body):
    format: Annotated[ResponseFormat, BeforeValidator(_named)] | None = None


class ConversationName(Body):
    id: Text


class ResponsesBody(Body):
    """The body of `POST /v1/responses`. `model` is the id of an agent, or of one of its conversations."""

    model: Text
    input: Text | list[InputItem]
    stream: bool | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Any = None
    text: TextOptions | None = None
    background: bool | None = None
    conversation: Text | ConversationName | None = None
    previous_response_id: Text | None = None
    instructions: Text | None = None
    metadata: dict[str, Any] | None = None

    def turn(self) -> OpenAITurn:
        """What is asked. Raises Unprocessable for what no agent can be asked."""
        items = [InputUser(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        tools, choice = _offered(self.tools or (), self.tool_choice)
        named = self.conversation
        return _turn(self.model, items, stream=bool(self.stream))._replace(
            tools=tools, choice=choice, response_format=_formed(self.text and self.text.format),
            conversation=named.id if isinstance(named, ConversationName) else named, background=bool(self.background),
        )  # fmt: skip


def _turn(
    address: str,
    items: Sequence[ChatUser | ChatReturn | ChatOther | InputUser | InputReturn | InputOther],
    *,
    stream: bool,
) -> OpenAITurn:
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
    return OpenAITurn(address, said, answers, answers[begin:], stream)


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


def _offered(tools: Sequence[ClientTool], choice: Any) -> tuple[Sequence[ClientTool], str]:
    """The caller's own tools that may be called, and which has to be. Raises Unprocessable where there is no such."""
    fields = cast("dict[str, Any]", choice) if isinstance(choice, dict) else {}
    if fields.get("type") == "allowed_tools":
        allowed = _fields(fields.get("allowed_tools")) or fields
        named = allowed.get("tools")
        names = {_name(each) for each in (cast("list[Any]", named) if isinstance(named, list) else [])}
        tools, choice = [tool for tool in tools if tool.name in names], allowed.get("mode")
    elif fields.get("type") == "function":
        choice = _name(fields)
        if choice not in {tool.name for tool in tools}:
            raise Unprocessable(f"None of the tools is named {choice!r}.", ("tool_choice",))
        return tools, choice
    if choice == "required" and not tools:
        raise Unprocessable("A call can be required only of tools that come with the request.", ("tool_choice",))
    if choice not in (None, "auto", "none", "required"):
        raise Unprocessable("Give 'auto', 'none', 'required', or one of your functions.", ("tool_choice",))
    return (() if choice == "none" else tools), "required" if choice == "required" else "auto"


def _formed(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    """The form that the answer is to have; None where that is text, as ever."""
    return None if wanted is None or wanted["type"] == "text" else wanted


def _name(named: Any) -> str:
    """The name in a choice, in either protocol's form; empty where there is none."""
    fields = _fields(named)
    name = _fields(fields.get("function")).get("name") or fields.get("name")
    return name if isinstance(name, str) else ""


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
