"""Which generation of SDK is calling. The one place that looks; used only where one answer cannot serve both."""

from collections.abc import Mapping
from enum import Enum


class Generation(Enum):
    """The SDKs of the contract: 0.1.x, and 1.x with everyone who does not say."""

    V0 = "0.1.x"
    V1 = "1.x"


def of_headers(headers: Mapping[str, str]) -> Generation:
    """The caller's generation. `headers` has lower-case names."""
    if "x-stainless-package-version" in headers:
        return Generation.V1
    return Generation.V0 if "x-fern-sdk-version" in headers else Generation.V1


def is_npm_v0(headers: Mapping[str, str]) -> bool:
    """Whether this is the 0.1.x SDK of npm, which sends again on 408, 429 and 5xx whatever a reply asks of it."""
    return of_headers(headers) is Generation.V0 and headers.get("x-fern-language", "").lower() == "javascript"
