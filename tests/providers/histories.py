"""Any history that the loop may hand to a dialect, and any way of asking about it, made by hypothesis."""

from typing import Any, cast

from hypothesis import strategies as st

from perdure.domain.messages import (
    AnyPart,
    ApprovalPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.domain.models import Model, ModelSettings
from perdure.providers.base import ModelRequest
from tests.providers.chat import message

WORDS = st.sampled_from(["", " ", "\n", "hello", "\u00e9\U0001f600", "long " * 60]) | st.text(max_size=8)
SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string", "pattern": "a+"}, "r": {"$ref": "#/$defs/R"}},
    "required": ["q"],
    "$defs": {"R": {"type": "array", "items": {"type": ["string", "null"]}}},
}
TOOLS = [{"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
         {"name": "say", "parameters": SCHEMA}, {"name": "bare"}]  # fmt: skip
PICTURE = ImagePart(media_type="image/png", data="iVBORw0KGgoAAAA=")
ARGUMENTS = st.sampled_from(["{}", "", '{"a": 1.50, "b": [null, true]}', "{", "[1]", '{"a": NaN}', '{"e": "\\ud83d"}'])
NAMES = st.sampled_from(["add", "say", "no such tool!", "", "x" * 60, "mcp.a:b"])
SETTINGS = st.builds(
    ModelSettings,
    reasoning=st.booleans(),
    reasoning_effort=st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    max_reasoning_tokens=st.sampled_from([None, 0, 10, 1024, 100_000]),
    max_output_tokens=st.sampled_from([None, 1, 500, 2000, 200_000]),
    temperature=st.sampled_from([None, 0.0, 0.7, 2.0]),
    parallel_tool_calls=st.booleans(),
    strict=st.booleans(),
    response_format=st.sampled_from([None, {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}]),
)


def _extras(model: str) -> st.SearchStrategy[dict[str, Any]]:
    """What vendors left with a part: this model's own, that of others, and nonsense out of a file."""
    return st.sampled_from([
        {}, {"anthropic": {"model": model}}, {"anthropic": {"model": model, "signature": "c2ln"}},
        {"anthropic": {"model": "claude-other"}}, {"google_ai": {"seals": [[0, 1, "czE="]]}},
        {"google_ai": {"signature": "czI=", "id": "fc-1"}}, {"anthropic": None, "google_ai": 7},
    ])  # fmt: skip


def _said(model: str) -> st.SearchStrategy[AnyPart]:
    extras = _extras(model)
    return st.one_of(
        st.builds(TextPart, text=WORDS, extra=extras),
        st.builds(ReasoningPart, text=WORDS, signature=st.sampled_from([None, "c2ln"]), extra=extras),
        st.builds(ReasoningPart, text=WORDS, native=st.just(False)),
        st.builds(HiddenReasoningPart, state=st.just("redacted"), data=st.sampled_from(["abc", None]), extra=extras),
        st.builds(HiddenReasoningPart, state=st.just("omitted"), extra=extras),
    )


@st.composite
def _round(draw: st.DrawFn, model: str, number: int) -> list[Message]:
    """An answer with calls, some of which may have waited for a person, and what they returned in any order."""
    ids = [draw(st.sampled_from([f"toolu_{number}_{n}", f"functions.add:{number}.{n}" + "y" * 70])) for n in range(3)]
    calls = [
        ToolCallPart(call_id=ids[n], name=draw(NAMES), arguments=draw(ARGUMENTS), extra=draw(_extras(model)))
        for n in range(draw(st.integers(1, 3)))
    ]
    held = [call for call in calls if draw(st.booleans())]
    said = [*draw(st.lists(_said(model), max_size=3)), *(call for call in calls if call not in held)]
    returns = [
        ToolReturnPart(call_id=call.call_id, name=call.name, status=draw(st.sampled_from(["success", "error"])),
                       text=draw(WORDS), images=draw(st.sampled_from([(), (PICTURE,)])))
        for call in draw(st.permutations(calls))
    ]  # fmt: skip
    asked = [message("approval", *held), message("approval", ApprovalPart(call_id="x", approve=True))] if held else []
    told = [message("tool", each) for each in returns] if draw(st.booleans()) else [message("tool", *returns)]
    return [*([message("assistant", *said)] if said else []), *asked, *told]


@st.composite
def _histories(draw: st.DrawFn, model: str) -> list[Message]:
    kinds = draw(
        st.lists(st.sampled_from(["user", "image", "system", "summary", "said", "round", "round"]), max_size=5)
    )
    history = [message("system", draw(WORDS)) for _ in range(draw(st.integers(1, 2)))]
    for number, kind in enumerate(kinds):
        if kind == "round":
            history += draw(_round(model, number))
        elif kind == "said":
            history.append(message("assistant", *draw(st.lists(_said(model), min_size=1, max_size=4))))
        elif kind == "image":
            image = ImagePart(media_type=draw(st.sampled_from(["image/png", "image/bmp"])), data="aGk=")
            history.append(message("user", image, draw(WORDS)))
        else:
            history.append(message(cast("Role", kind), draw(WORDS)))
    return history


@st.composite
def requests(draw: st.DrawFn, provider: str, models: list[str]) -> ModelRequest:
    """A request to one of these models."""
    name = draw(st.sampled_from(models))
    tools = draw(st.sampled_from([(), TOOLS[:1], TOOLS]))
    choices = ["auto", "none", "required", *(tool["name"] for tool in tools)] if tools else ["auto"]
    model = Model(
        handle=f"{provider}/{name}", name=name, provider_name=provider, provider_type=provider,
        endpoint_type=provider, context_window=200_000,
    )  # fmt: skip
    return ModelRequest(
        model=model, messages=draw(_histories(name)), tools=tools, tool_choice=draw(st.sampled_from(choices)),
        settings=draw(SETTINGS),
    )  # fmt: skip
