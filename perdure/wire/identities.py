"""Identities as the API says them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from perdure.domain.identities import Identity, IdentityChanges, IdentityType
from perdure.domain.ids import new_id, now
from perdure.wire.text import Body, Text

Wire = dict[str, Any]
Key = Annotated[Text, Field(min_length=1, max_length=512)]
Ids = list[Text]


class PropertyBody(Body):
    """Something known of an identity."""

    key: Key
    value: JsonValue
    type: Literal["string", "number", "boolean", "json"]


def _distinct(properties: list[PropertyBody]) -> list[PropertyBody]:
    return list({each.key: each for each in properties}.values())


Properties = Annotated[list[PropertyBody], Field(max_length=1000), AfterValidator(_distinct)]


class _IdentityBody(Body):
    """What both bodies share."""

    agent_ids: Ids | None = None
    block_ids: Ids | None = None
    properties: Properties | None = None

    def changes(self) -> IdentityChanges:
        """What the body says of an identity that is there."""
        fields = self.model_dump(exclude_none=True, exclude={"agent_ids", "block_ids"})
        return IdentityChanges(fields=fields, agent_ids=_tuple(self.agent_ids), block_ids=_tuple(self.block_ids))


class UpdateIdentityBody(_IdentityBody):
    """Changes of an identity: null leaves a field as it is, lists replace."""

    identifier_key: Key | None = None
    name: Text | None = None
    identity_type: IdentityType | None = None


class CreateIdentityBody(_IdentityBody):
    """A whole identity, to be made or to replace the one with its key."""

    identifier_key: Key
    name: Text
    identity_type: IdentityType
    project_id: Text | None = None

    def identity(self) -> Identity:
        """The identity, with an id of its own."""
        at, said = now(), self.changes()
        return Identity(
            id=new_id("identity"), created_at=at, updated_at=at, agent_ids=said.agent_ids or (),
            block_ids=said.block_ids or (), **said.fields,
        )  # fmt: skip


def identity(shown: Identity) -> Wire:
    """An identity with what belongs to it."""
    return {
        "id": shown.id,
        "identifier_key": shown.identifier_key,
        "name": shown.name,
        "identity_type": shown.identity_type,
        "project_id": shown.project_id,
        "agent_ids": list(shown.agent_ids),
        "block_ids": list(shown.block_ids),
        "properties": shown.properties,
    }


def _tuple(ids: Ids | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(ids)
