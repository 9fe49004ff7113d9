"""A provider that a tenant added: who serves models, where, and the keys it is shown, sealed."""

from typing import Final, Literal

import msgspec

ProviderCategory = Literal["base", "byok"]
"""Whose a provider is: `base` is the operator's, of the server's own settings; `byok` one that a tenant added."""

SECRETS: Final = ("api_key", "access_key")
"""The fields that are sealed before they are stored, and opened only to ask the provider."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the first half of its model handles. Times are microseconds UTC; `updated_at` rises with every change.

    `base_url` of None means the vendor's own address.
    """

    id: str
    name: str
    provider_type: str
    created_at: int
    updated_at: int
    base_url: str | None = None
    region: str | None = None
    api_version: str | None = None
    api_key: bytes | None = None
    access_key: bytes | None = None
