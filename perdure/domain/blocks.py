"""A block is labelled text that is always in the context of the agents it is attached to."""

from typing import Any, Final

import msgspec

DEFAULT_LIMIT: Final = 100_000
"""Characters a block may hold unless it says otherwise."""
LONGEST_LABEL: Final = 255


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled text. `limit` is in characters; `version` rises by one with every change of the value."""

    id: str
    label: str
    value: str
    created_at: int
    updated_at: int
    limit: int = DEFAULT_LIMIT
    version: int = 1
    description: str | None = None
    read_only: bool = False
    hidden: bool | None = None
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    template_name: str | None = None
    is_template: bool = False
    preserve_on_migration: bool = False
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None


class BlockVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A value that a block has or had. `actor` is the id of the agent that wrote it in run `run_id`, or `api`."""

    block_id: str
    version: int
    value: str
    actor: str
    run_id: str | None
    created_at: int


def label_problem(label: str) -> str | None:
    """What is wrong with a label, if anything: it is the name of a tag in the system message, and stands in paths."""
    if not label.strip() or any(not char.isprintable() or char in '<>"' for char in label):
        return 'A label needs at least one character, and none of < > ", line breaks or control characters.'
    return f"A label has at most {LONGEST_LABEL} characters." if len(label) > LONGEST_LABEL else None
