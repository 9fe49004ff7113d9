"""What MCP servers say is looked at before anybody relies on it: schemas, names, templates, results."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.errors import Invalid
from perdure.domain.messages import ImagePart
from perdure.tools import arguments
from perdure.tools.mcp.results import MOST_IMAGES, NOTHING, result_images, result_text
from perdure.tools.mcp.schemas import MAX_DESCRIPTION, MOST_TOOLS, vet
from perdure.tools.mcp.templates import fill, is_template

KEYS = st.sampled_from(
    ["type", "properties", "$ref", "$defs", "items", "anyOf", "required", "a", "additionalProperties", "enum", "\ud800"]
)
LEAVES = (
    st.none() | st.booleans() | st.sampled_from(["object", "#", "#/$defs/a", "#/properties/a", "x\0"]) | st.integers()
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from(["name", "description", "inputSchema"]), JSON) | JSON))
def test_attack_11_whatever_is_listed_is_vetted(listed: list[Any]) -> None:
    offers, problems = vet(listed)
    assert all(isinstance(problem, str) for problem in problems)
    for offer in offers:
        assert (offer.health == "INVALID") == (not offer.parameters)
        json.dumps(offer.parameters).encode()
        assert "$ref" not in offer.parameters
        if offer.parameters:
            assert offer.parameters["type"] == "object"
            with contextlib.suppress(Invalid):
                arguments.check({"a": [1], "b": {"a": None}}, offer.parameters)


def test_references_are_put_in_their_places() -> None:
    schema = {
        "type": "object", "$schema": "s", "properties": {"$ref": {"$ref": "#/$defs/Name~1x", "description": "whose"}},
        "required": ["$ref"], "additionalProperties": False,
        "$defs": {"Name/x": {"type": "string", "description": "a name", "default": {"$ref": "data"}}},
    }  # fmt: skip
    ((offer,), problems) = vet([{"name": "n", "description": "d" * 9_000, "inputSchema": schema}])
    assert problems == []
    assert (offer.health, len(offer.description)) == ("STRICT_COMPLIANT", MAX_DESCRIPTION)
    assert offer.parameters == {
        "type": "object", "required": ["$ref"], "additionalProperties": False,
        "properties": {"$ref": {"type": "string", "description": "whose", "default": {"$ref": "data"}}},
    }  # fmt: skip


def test_attack_11_ten_thousand_tools_are_not_taken() -> None:
    offers, problems = vet({"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(10_000))
    assert len(offers) == MOST_TOOLS
    assert "offers 10000 tools" in problems[0]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Bearer {{ TOKEN }}", "Bearer s3cret"), ("{{TOKEN}}{{ NONE | a b }}", "s3creta b"), ("{{ NONE|}}", ""),
        ("{ TOKEN } {{ not-a-name }}", "{ TOKEN } {{ not-a-name }}"), ("{{ ODD }}", "{{ TOKEN }}"),
    ],
)  # fmt: skip
def test_templates_are_filled_once(text: str, filled: str) -> None:
    assert fill(text, {"TOKEN": "s3cret", "ODD": "{{ TOKEN }}"}, "It") == filled


def test_a_template_without_a_value_says_what_is_missing() -> None:
    assert is_template("{{ KEY }}")
    with pytest.raises(Invalid, match="The header x needs KEY, which is not among the secrets of this agent"):
        fill("{{ KEY }}", {}, "The header x")


def test_what_is_no_text_is_named() -> None:
    blob = {"type": "resource", "resource": {"uri": "f:/x", "blob": "AAAA"}}
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "a"},
        {"type": "audio", "data": "AAAA"},
        blob,
        {"type": "new"},
    ]
    assert result_text(parts, {"not": "shown twice"}) == (
        "a\n[audio, of unknown type, 3 bytes, which cannot be shown as text]\n"
        "[resource f:/x, of unknown type, 3 bytes, which cannot be shown as text]\n"
        "[a part of the kind 'new', which cannot be shown]"
    )
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    seen = {"type": "image", "data": png, "mimeType": "image/png"}
    others = [{**seen, "mimeType": "image/jpeg"}, {**seen, "data": "iVBORw0KGgo?"}, {**seen, "data": png * 10**6}]
    assert result_images([*others, seen, {"type": "image"}]) == (ImagePart(media_type="image/png", data=png),)
    assert len(result_images([dict(seen) for _ in range(20)])) == MOST_IMAGES
    assert result_text([seen, others[0]]) == (
        "[image, image/png]\n[image, image/jpeg, 9 bytes, which cannot be shown as text]"
    )
    assert result_text([], {"a": [1]}) == '{"a":[1]}'
    assert result_text([]) == NOTHING
