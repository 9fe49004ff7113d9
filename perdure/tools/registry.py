"""Which tools this server can run: its own, and those its operator registers."""

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

import msgspec

from perdure.domain.agents import AgentType
from perdure.domain.errors import Invalid
from perdure.domain.ids import new_id
from perdure.domain.tools import Tool
from perdure.tools.builtin.archives import ARCHIVAL_MEMORY_INSERT
from perdure.tools.builtin.core import SEND_MESSAGE
from perdure.tools.builtin.memory import (
    CORE_MEMORY_APPEND,
    CORE_MEMORY_REPLACE,
    MEMORY_FINISH_EDITS,
    MEMORY_INSERT,
    MEMORY_REPLACE,
    MEMORY_RETHINK,
)
from perdure.tools.builtin.memory_blocks import MEMORY, MEMORY_APPLY_PATCH
from perdure.tools.builtin.search import CONVERSATION_SEARCH
from perdure.tools.implementation import Definition, Implementation, trust

ENTRY_POINTS: Final = "perdure.tools"
"""The entry point group in which an installed package offers trusted tools."""

BUILT_IN: Final = (
    SEND_MESSAGE, CONVERSATION_SEARCH, MEMORY_INSERT, MEMORY_REPLACE, MEMORY_RETHINK, MEMORY_FINISH_EDITS,
    CORE_MEMORY_APPEND, CORE_MEMORY_REPLACE, MEMORY, MEMORY_APPLY_PATCH,
    ARCHIVAL_MEMORY_INSERT,
)  # fmt: skip

FILE_TOOLS: Final = ("open_files", "grep_files", "semantic_search_files")
"""What an agent gets with its first folder, and loses with its last."""

_SPOKEN: Final = ("send_message", "conversation_search")
_ARRANGING: Final = ("core_memory_append", "core_memory_replace", "memory", "memory_apply_patch")
_TENDING: Final = ("memory_replace", "memory_insert", "memory_rethink", "memory_finish_edits")
DEFAULT_TOOLS: Final[Mapping[AgentType, tuple[str, ...]]] = {
    "letta_v1_agent": ("conversation_search", "memory_replace", "memory_insert"),
    "memgpt_agent": (*_SPOKEN, *_ARRANGING),
    "memgpt_v2_agent": (*_SPOKEN, "memory_replace", "memory_insert"),
    "react_agent": (),
    "workflow_agent": (),
    "split_thread_agent": (*_SPOKEN, *_ARRANGING),
    "sleeptime_agent": _TENDING,
    "voice_convo_agent": _SPOKEN,
    "voice_sleeptime_agent": _TENDING,
}
"""The tools an agent of each type gets with `include_base_tools`."""
TENDED_TOOLS: Final[Mapping[AgentType, tuple[str, ...]]] = {
    "letta_v1_agent": ("conversation_search", "archival_memory_search"),
    "memgpt_agent": (*_SPOKEN, "archival_memory_search"),
    "memgpt_v2_agent": (*_SPOKEN, "archival_memory_search"),
}
"""The same for agents whose memory a companion looks after; other types get what they get anyway."""

_LOAD_ERRORS: Final = (
    ArithmeticError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


class Registry:
    """The tools that can be run here. Fixed once made."""

    def __init__(self, trusted: Iterable[str] = (), wired: Iterable[Definition] = ()) -> None:
        """Load the operator's tools: entry points of installed packages, and `trusted`, each a `module:function`.

        `wired` are tools of the server's own that had to be handed a part of it. Raises Invalid, naming it, for an
        operator's tool that cannot be loaded or described, or whose name is taken.
        """
        self._definitions = {definition.tool.name: definition for definition in (*BUILT_IN, *wired)}
        sources: dict[int, str] = {}
        points = [*metadata.entry_points(group=ENTRY_POINTS), *(_point(source) for source in trusted)]
        for point in points:
            function = _loaded(point)
            if id(function) not in sources:
                sources[id(function)] = point.value
                self._add(function, point.value)

    def builtin_tools(self) -> list[Tool]:
        """All tools that can be run here, to be stored for every tenant. Ids are fresh; all else is always the same."""
        return [
            msgspec.structs.replace(definition.tool, id=new_id("tool")) for definition in self._definitions.values()
        ]

    @property
    def names(self) -> frozenset[str]:
        """The names that no other tool can have."""
        return frozenset(self._definitions)

    def find(self, tool: Tool) -> Implementation | None:
        """What runs when `tool` is called. None where it is not one of ours, even if its name is."""
        known = self._definitions.get(tool.name)
        if known is None or tool.tool_type != known.tool.tool_type or tool.source_code is not None:
            return None
        return known.implementation

    def _add(self, function: Any, source: str) -> None:
        definition = _trusted(function, source)
        name = definition.tool.name
        if name in self._definitions:
            raise Invalid(f"The trusted tool {source} cannot be used: there is a tool named {name} already. Rename it.")
        self._definitions[name] = definition


def _point(source: str) -> metadata.EntryPoint:
    module, colon, function = source.partition(":")
    if not (module and colon and function):
        raise Invalid(f"The trusted tool {source!r} cannot be used: write it as module:function.")
    return metadata.EntryPoint(name=function, value=source, group=ENTRY_POINTS)


def _loaded(point: metadata.EntryPoint) -> Any:
    try:
        return point.load()
    except _LOAD_ERRORS as error:
        raise Invalid(
            f"The trusted tool {point.value} cannot be loaded: {type(error).__name__}: {error}. "
            "Mend it, or take it out of the settings or uninstall its package."
        ) from error


def _trusted(function: Any, source: str) -> Definition:
    if not callable(function):
        raise Invalid(f"The trusted tool {source} cannot be used: it is not a function.")
    try:
        return trust(function)
    except Invalid as error:
        raise Invalid(f"The trusted tool {source} cannot be used: {error.message}") from error
