"""Providers as the API says them. Keys come in and never go out."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from perdure.domain.ids import new_id, now
from perdure.domain.providers import SECRETS, Provider
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

Wire = dict[str, Any]

_PLAIN: Final = ("base_url", "region", "api_version")


def _name(name: str) -> str:
    # It is the first half of a handle.
    if not name.strip() or "/" in name or not name.isprintable():
        raise ValueError(
            "A provider's name needs at least one character, and no slash, line break or control character."
        )
    return name.strip()


def _key(key: str) -> str:
    # It becomes part of a header.
    if not (key.isascii() and key.isprintable()):
        raise ValueError("A key is made of visible ASCII characters.")
    return key.strip()


Name = Annotated[Text, AfterValidator(_name), Field(max_length=255)]
Key = Annotated[str, AfterValidator(_key), Field(max_length=8192)]
Short = Annotated[Text, Field(max_length=2048)]


class UpdateProviderBody(Body):
    """Changes of a provider; null leaves a field as it is. An empty key means none."""

    api_key: Key | None = None
    access_key: Key | None = None
    base_url: Short | None = None
    region: Short | None = None
    api_version: Short | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of `Provider` to replace."""
        return {name: value.strip() or None for name in _PLAIN if (value := getattr(self, name)) is not None}

    def secrets(self) -> dict[str, str]:
        """What is to be sealed."""
        return {name: value for name in SECRETS if (value := getattr(self, name)) is not None}


class CheckProviderBody(UpdateProviderBody):
    """What a provider would be."""

    provider_type: Short

    def provider(self, name: str) -> Provider:
        """The provider, without its keys."""
        at = now()
        return Provider(
            id=new_id("provider"), name=name, provider_type=self.provider_type, created_at=at, updated_at=at,
            **self.changes(),
        )  # fmt: skip


class CreateProviderBody(CheckProviderBody):
    """A provider to be stored."""

    name: Name


def provider(shown: Provider) -> Wire:
    """A provider of a tenant's, without its keys."""
    return {
        "id": shown.id,
        "name": shown.name,
        "provider_type": shown.provider_type,
        "provider_category": "byok",
        "api_key": None,
        "access_key": None,
        "base_url": shown.base_url,
        "region": shown.region,
        "api_version": shown.api_version,
        "updated_at": precise(shown.updated_at),
    }
