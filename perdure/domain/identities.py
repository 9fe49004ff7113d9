"""An identity is whom agents and blocks are for: a person, an organisation, anything a program knows by a key."""

from typing import Any, Literal

import msgspec

IdentityType = Literal["org", "user", "other"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Known by the caller's own `identifier_key`. Each property is `{key, value, type}`; keys do not repeat."""

    id: str
    identifier_key: str
    name: str
    identity_type: IdentityType
    created_at: int
    updated_at: int
    properties: list[dict[str, Any]] = []
    project_id: str | None = None
    agent_ids: tuple[str, ...] = ()
    block_ids: tuple[str, ...] = ()


class IdentityChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an identity. None leaves a thing as it is, a list replaces it whole."""

    fields: dict[str, Any] = {}
    agent_ids: tuple[str, ...] | None = None
    block_ids: tuple[str, ...] | None = None
