"""The agent a tool runs for, as its parameter `agent_state`. What the tool does to its blocks is written back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Record:
    """An object of JSON, with its keys as attributes."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__!r})"

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Its fields, as of a pydantic model."""
        return dict(self.__dict__)


class Memory:
    """The agent's blocks."""

    def __init__(self, blocks: list[Record]) -> None:
        self.blocks = blocks

    def list_block_labels(self) -> list[str]:
        """The labels of all blocks."""
        return [block["label"] for block in self.blocks]

    def get_blocks(self) -> list[Record]:
        """All blocks."""
        return self.blocks

    def get_block(self, label: str) -> Record:
        """The block with this label. Raises KeyError naming those there are."""
        for block in self.blocks:
            if block["label"] == label:
                return block
        raise KeyError(f"there is no block {label!r}, only {', '.join(self.list_block_labels()) or 'none'}")

    def update_block_value(self, label: str, value: str) -> None:
        """Give a block a new value. Raises TypeError where it is no text."""
        if not isinstance(value, str):
            raise TypeError(f"the value of a block is a text, not {type(value).__name__}")
        self.get_block(label).__dict__["value"] = value


class AgentState(Record):
    """The agent, with `memory` and `blocks`."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.blocks = [Record(each) for each in fields["blocks"]]
        self.memory = Memory(self.blocks)
        self.tools: list[Any] = []
        self._before = {each["label"]: each["value"] for each in fields["blocks"]}

    def edits(self) -> dict[str, list[str]]:
        """By label, the value before and now of each block that the tool changed. Raises TypeError for no text."""
        changed: dict[str, list[str]] = {}
        for block in self.memory.blocks:
            before = self._before.get(block["label"])
            if before is not None and block["value"] != before:
                if not isinstance(block["value"], str):
                    raise TypeError(f"the value of block {block['label']} is no text")
                changed[block["label"]] = [before, block["value"]]
        return changed
