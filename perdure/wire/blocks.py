"""Blocks as the API says them."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from perdure.domain.blocks import DEFAULT_LIMIT, Block, BlockVersion, label_problem
from perdure.domain.ids import new_id, now
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

MAX_LIMIT: Final = 2**31 - 1
MAX_TAGS: Final = 200

Wire = dict[str, Any]


def _label(label: str) -> str:
    if problem := label_problem(label):
        raise ValueError(problem)
    return label


Label = Annotated[Text, AfterValidator(_label)]
Tag = Annotated[Text, Field(min_length=1, max_length=255)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]


class CreateBlockBody(Body):
    """A block to be made, alone or with an agent."""

    label: Label
    value: Text
    limit: int = Field(default=DEFAULT_LIMIT, ge=0, le=MAX_LIMIT)
    description: Text | None = None
    read_only: bool = False
    hidden: bool | None = None
    metadata: dict[str, Any] | None = None
    tags: Tags | None = None
    name: Text | None = None
    template_name: Text | None = None
    is_template: bool = False
    preserve_on_migration: bool | None = None
    project_id: Text | None = None
    template_id: Text | None = None
    base_template_id: Text | None = None
    deployment_id: Text | None = None
    entity_id: Text | None = None

    def block(self) -> Block:
        """The block, with an id of its own."""
        at = now()
        return Block(
            id=new_id("block"),
            label=self.label,
            value=self.value,
            created_at=at,
            updated_at=at,
            limit=self.limit,
            description=self.description,
            read_only=self.read_only,
            hidden=self.hidden,
            metadata=self.metadata or {},
            tags=tuple(sorted(set(self.tags or ()))),
            template_name=self.template_name if self.template_name is not None else self.name,
            is_template=self.is_template,
            preserve_on_migration=bool(self.preserve_on_migration),
            project_id=self.project_id,
            template_id=self.template_id,
            base_template_id=self.base_template_id,
            deployment_id=self.deployment_id,
            entity_id=self.entity_id,
        )


class UpdateBlockBody(Body):
    """Changes of a block; null leaves a field as it is. With a `version` they hold only while that is the block's."""

    version: int | None = None
    label: Label | None = None
    value: Text | None = None
    limit: int | None = Field(default=None, ge=0, le=MAX_LIMIT)
    description: Text | None = None
    read_only: bool | None = None
    hidden: bool | None = None
    metadata: dict[str, Any] | None = None
    tags: Tags | None = None
    name: Text | None = None
    template_name: Text | None = None
    is_template: bool | None = None
    preserve_on_migration: bool | None = None
    project_id: Text | None = None
    template_id: Text | None = None
    base_template_id: Text | None = None
    deployment_id: Text | None = None
    entity_id: Text | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of `Block` to replace."""
        sent = self.model_dump(exclude_none=True, exclude={"version"})
        name = sent.pop("name", None)
        if name is not None:
            sent.setdefault("template_name", name)
        if "tags" in sent:
            sent["tags"] = tuple(sorted(set(sent["tags"])))
        return sent


class RestoreBlockBody(Body):
    """Which of its versions a block is to go back to."""

    version: int = Field(ge=1, le=MAX_LIMIT)


def block_version(shown: BlockVersion) -> Wire:
    """A value that a block has or had."""
    return {
        "block_id": shown.block_id,
        "version": shown.version,
        "value": shown.value,
        "actor": shown.actor,
        "run_id": shown.run_id,
        "created_at": precise(shown.created_at),
    }


def block(shown: Block) -> Wire:
    """A block for both SDK generations: `name` is what 0.1.x calls `template_name`."""
    return {
        "id": shown.id,
        "label": shown.label,
        "value": shown.value,
        "limit": shown.limit,
        "version": shown.version,
        "description": shown.description,
        "read_only": shown.read_only,
        "hidden": shown.hidden,
        "metadata": shown.metadata,
        "tags": list(shown.tags),
        "name": shown.template_name,
        "template_name": shown.template_name,
        "is_template": shown.is_template,
        "preserve_on_migration": shown.preserve_on_migration,
        "project_id": shown.project_id,
        "template_id": shown.template_id,
        "base_template_id": shown.base_template_id,
        "deployment_id": shown.deployment_id,
        "entity_id": shown.entity_id,
        "created_by_id": None,
        "last_updated_by_id": None,
    }
