"""Which tools a server has, and what is told about a trusted one that cannot be used."""

from importlib import metadata
from typing import get_args

import msgspec
import pytest

from perdure.domain.agents import AgentType
from perdure.domain.errors import Invalid
from perdure.domain.tools import Tool
from perdure.tools import registry as registry_room
from perdure.tools.implementation import Reads, Trusted, Writes
from perdure.tools.registry import DEFAULT_TOOLS, Registry

OURS = {
    "send_message": ("letta_core", Writes),
    "conversation_search": ("letta_core", Reads),
    "memory_insert": ("letta_sleeptime_core", Writes),
    "memory_replace": ("letta_sleeptime_core", Writes),
    "memory_rethink": ("letta_sleeptime_core", Writes),
    "memory_finish_edits": ("letta_sleeptime_core", Writes),
    "core_memory_append": ("letta_memory_core", Writes),
    "core_memory_replace": ("letta_memory_core", Writes),
    "memory": ("letta_memory_core", Writes),
    "memory_apply_patch": ("letta_memory_core", Writes),
    "archival_memory_insert": ("letta_core", Writes),
}


def test_the_tools_of_the_server() -> None:
    registry = Registry()
    tools = {tool.name: tool for tool in registry.builtin_tools()}
    assert tools.keys() == OURS.keys()
    for name, (tool_type, kind) in OURS.items():
        tool = tools[name]
        assert (tool.tool_type, tool.tags, tool.source_code) == (tool_type, (tool_type,), None)
        assert tool.json_schema["name"] == name
        assert tool.json_schema["description"] == tool.description
        assert isinstance(registry.find(tool), kind)
    assert [name for name, tool in tools.items() if tool.enable_parallel_execution] == ["conversation_search"]


def test_the_arguments_of_the_contract() -> None:
    schemas = {tool.name: tool.json_schema["parameters"] for tool in Registry().builtin_tools()}
    assert {name: (list(schema["properties"]), schema["required"]) for name, schema in schemas.items()} == {
        "send_message": (["message"], ["message"]),
        "conversation_search": (["query", "roles", "limit", "start_date", "end_date"], []),
        "memory_insert": (["label", "new_string", "insert_line"], ["label", "new_string"]),
        "memory_replace": (["label", "old_string", "new_string"], ["label", "old_string", "new_string"]),
        "memory_rethink": (["label", "new_memory"], ["label", "new_memory"]),
        "memory_finish_edits": ([], []),
        "core_memory_append": (["label", "content"], ["label", "content"]),
        "core_memory_replace": (["label", "old_content", "new_content"], ["label", "old_content", "new_content"]),
        "memory": (
            ["command", "path", "description", "file_text", "old_string", "new_string", "insert_line", "insert_text",
             "old_path", "new_path"],
            ["command"],
        ),
        "memory_apply_patch": (["label", "patch"], ["label", "patch"]),
        "archival_memory_insert": (["content", "tags"], ["content"]),
    }  # fmt: skip


def test_seeds_differ_in_their_ids_only() -> None:
    first, again = Registry().builtin_tools(), Registry().builtin_tools()
    assert len({tool.id for tool in (*first, *again)}) == 2 * len(first)
    assert [msgspec.structs.replace(tool, id="") for tool in first] == [
        msgspec.structs.replace(tool, id="") for tool in again
    ]


def test_every_agent_type_gets_tools_that_exist() -> None:
    assert DEFAULT_TOOLS.keys() == set(get_args(AgentType))
    assert {name for names in DEFAULT_TOOLS.values() for name in names} <= OURS.keys()
    assert DEFAULT_TOOLS["letta_v1_agent"] == ("conversation_search", "memory_replace", "memory_insert")
    assert DEFAULT_TOOLS["memgpt_agent"] == (
        "send_message", "conversation_search", "core_memory_append", "core_memory_replace", "memory",
        "memory_apply_patch",
    )  # fmt: skip
    assert DEFAULT_TOOLS["sleeptime_agent"] == (
        "memory_replace", "memory_insert", "memory_rethink", "memory_finish_edits",
    )  # fmt: skip


def test_somebody_elses_tool_of_the_same_name_is_not_ours() -> None:
    registry = Registry()
    ours = next(tool for tool in registry.builtin_tools() if tool.name == "memory_insert")
    assert registry.find(msgspec.structs.replace(ours, tool_type="custom")) is None
    assert registry.find(msgspec.structs.replace(ours, source_code="def memory_insert(): ...")) is None
    assert registry.find(msgspec.structs.replace(ours, name="unknown")) is None


def test_a_trusted_function_is_a_tool() -> None:
    registry = Registry(["tests.tools.trusted:whoami"])
    tool: Tool = registry.builtin_tools()[-1]
    assert (tool.name, tool.tool_type, tool.description) == ("whoami", "letta_builtin", "Say who you are.")
    assert list(tool.json_schema["parameters"]["properties"]) == ["suffix"]
    assert isinstance(registry.find(tool), Trusted)


def test_packages_offer_tools_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint(name="x", value="tests.tools.trusted:block", group=registry_room.ENTRY_POINTS)
    offered = {registry_room.ENTRY_POINTS: [point]}
    monkeypatch.setattr(registry_room.metadata, "entry_points", lambda group: offered[group])
    registry = Registry(["tests.tools.trusted:block"])
    assert [tool.name for tool in registry.builtin_tools()].count("block") == 1


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("tests.tools.trusted", "module:function"),
        (":block", "module:function"),
        ("tests.tools.nowhere:block", "ModuleNotFoundError"),
        ("tests.tools.trusted:nothing", "AttributeError"),
        ("tests.tools.trusted:BAD", "not a function"),
        ("tests.tools.trusted:Unspeakable", "cannot be used"),
        ("tests.tools.test_registry:memory_insert", "a tool named memory_insert already"),
        ("tests.tools.test_registry:Holder.method", "takes self"),
    ],
)
def test_a_bad_trusted_tool_is_named(source: str, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        Registry([source])
    assert source in refused.value.message
    assert problem in refused.value.message


def memory_insert() -> str:
    """Shadow a tool of the server."""
    return ""


class Holder:
    def method(self) -> str:
        """Do something."""
        return ""
