"""What models are shown of a tool, read from its source without running it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.tools import making
from perdure.tools.source import flat, schema_of

ORDER = '''
import enum
import typing as t
from dataclasses import dataclass
from typing import Annotated, List, Literal, Optional
from pydantic import BaseModel, Field

raise SystemExit("this is never run")

class Size(str, enum.Enum):
    SMALL = "small"
    LARGE = "large"

class Thing(BaseModel):
    price: float = Field(..., description="In euros.")

class Item(Thing):
    name: str
    size: Size = Size.SMALL
    tags: list[str] | None = None

@dataclass
class Place:
    """Where it goes.

    Args:
        city: The city.
    """
    city: str
    zip: "Optional[str]" = None

def helper(x): ...

async def order(
    items: List[Item], to: Place, kind: Literal["post", "van"] = "post", at: tuple[int, int] = (0, 0),
    notes: t.Optional[t.Dict[str, int]] = None, anything: Annotated[t.Any, "x"] = None,
    agent_state: "AgentState" = None, *, dry: bool = False,
) -> dict:
    """Orders things.

    Nothing is paid.

    Args:
        items (List[Item]): What to
            order.
        to: Where to.
        kind: How.
        at: When.
        notes: For us.
        anything: Whatever.
        dry: Only try.

    Returns:
        dict: The order.
    """
'''


def function(parameters: str = "city: str", described: str = "city: A city.") -> str:
    return f'def look({parameters}):\n    """Looks.\n\n    Args:\n        {described}\n    """\n'


def test_types_classes_and_descriptions_are_read_from_the_source_alone():
    schema = schema_of(ORDER)
    assert (schema["name"], schema["description"]) == ("order", "Orders things.\n\nNothing is paid.")
    parameters = schema["parameters"]
    assert parameters["required"] == ["items", "to"]
    properties = parameters["properties"]
    assert list(properties) == ["items", "to", "kind", "at", "notes", "anything", "dry"]
    item = properties["items"]["items"]
    assert item["required"] == ["price", "name"]
    assert item["properties"]["price"] == {"type": "number", "description": "In euros."}
    assert item["properties"]["size"] == {"type": "string", "enum": ["small", "large"]}
    assert properties["to"]["properties"]["city"] == {"type": "string", "description": "The city."}
    assert properties["to"]["required"] == ["city"]
    assert properties["items"]["description"] == "What to order."
    assert properties["at"] == {
        "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "description": "When."
    }  # fmt: skip
    assert properties["notes"]["additionalProperties"] == {"type": "integer"}
    assert properties["anything"] == {"description": "Whatever."}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def look(:", "not Python"),
        ("x = 1", "no function"),
        ("def look():\n    pass", "no docstring"),
        (function("city"), "has no type"),
        (function("city: str, when: str"), "when of look is not described"),
        (function("city: Town"), "has type Town"),
        (function("city: int | str"), "a choice of types"),
        (function("city: __import__('os').system('x')"), "has type __import__"),
        (function("*city: str"), "leave \\*args"),
        (function("city: list"), "does not say what it holds"),
        (f"class Town:\n    x: int\n{function('city: Town')}", "Make that class a pydantic model"),
        (f"class Town(BaseModel):\n    x: 'Town'\n{function('city: Town')}", "holds itself"),
        ("(" * 500 + ")" * 500, "source"),
        (function("city: " + "list[" * 40 + "int" + "]" * 40), "nested too deep"),
        ("def look(a: str = '\0'): ...", "source"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_to_mend(source: str, said: str):
    with pytest.raises(Invalid, match=said):
        making.make({"source_code": source}, ())


@given(st.text(max_size=200))
def test_any_text_is_a_tool_or_refused(text: str):
    for source in (text, function(f"city: {text}"), function(described=f"city: {text}")):
        with contextlib.suppress(Invalid):
            json.dumps(making.make({"source_code": source}, ()).json_schema)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["$ref", "$defs", "definitions", "properties", "a"]), inner, max_size=3
    ),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["$defs", "definitions", "properties", "$ref", "required", "type"]), JSON))
def test_any_schema_of_arguments_is_made_flat_or_refused(schema: dict[str, Any]):
    with contextlib.suppress(Invalid):
        made = flat(schema)
        assert json.loads(json.dumps(made)) == made
        assert isinstance(made["properties"], dict)


def test_a_schema_is_filled_with_what_it_refers_to_and_one_that_refers_to_itself_is_refused():
    schema = {
        "$defs": {"Item": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}, "N": {"type": "integer"}},
        "properties": {"item": {"$ref": "#/$defs/Item", "description": "It."}},
    }
    shown = schema_of(function(), arguments=schema)["parameters"]["properties"]["item"]
    assert shown == {"type": "object", "properties": {"n": {"type": "integer"}}, "description": "It."}
    doubling = {f"A{at}": {"anyOf": [{"$ref": f"#/$defs/A{at + 1}"}] * 9} for at in range(9)} | {"A9": {}}
    with pytest.raises(Invalid, match="too large"):
        flat({"$defs": doubling, "properties": {"a": {"$ref": "#/$defs/A0"}}})
    with pytest.raises(Invalid, match="refers to itself"):
        flat({"$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}, "properties": {"a": {"$ref": "#/$defs/A"}}})


@pytest.mark.parametrize(
    "package",
    [
        {"name": "--index-url=https://example.com"}, {"name": "../x"}, {"name": "x @ https://example.com/x.whl"},
        {"name": "git+https://example.com/x"}, {"name": "x", "version": "1 --pre"}, {"name": "x", "version": "; rm"},
        {"name": "x y"}, {"name": ""}, {"name": "x", "version": "file:///x"}, {"name": "x", "version": "-y"},
    ],
)  # fmt: skip
def test_packages_are_names_and_versions_and_nothing_else(package: dict[str, str]):
    with pytest.raises(Invalid, match=r"pip_requirements"):
        making.make({"source_code": function(), "pip_requirements": [package]}, ())


def test_versions_of_npm_are_its_own_and_no_places():
    fields = {"source_code": "function f() {}", "source_type": "typescript", "json_schema": {"name": "f"}}
    for version in ("^1.2.3", "~1.2", ">=1.0.0", "1.x", "latest", "", None):
        making.make({**fields, "npm_requirements": [{"name": "@a/b", "version": version}]}, ())
    for version in ("..", "./x", "~/x", "-x", "npm:y", "file:x", "github:x/y"):
        with pytest.raises(Invalid, match="npm_requirements"):
            making.make({**fields, "npm_requirements": [{"name": "b", "version": version}]}, ())


def test_a_schema_whose_arguments_are_no_schemas_is_refused():
    with pytest.raises(Invalid, match="no object for 'a'"):
        flat({"properties": {"a": 5}})


def test_a_search_ranks_tools_by_the_words_they_have():
    tools = [
        making.make({"source_code": function().replace("look", name).replace("Looks.", text)}, ())
        for name, text in (("get_weather", "The sky."), ("roll", "Rolls dice."), ("sky_map", "Maps the weather."))
    ]
    assert [tool.name for tool, _ in making.ranked(tools, "weather sky")] == ["get_weather", "sky_map"]
    assert [tool.name for tool, _ in making.ranked(tools, None)] == ["get_weather", "roll", "sky_map"]
