"""Requests to AWS, signed with Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html; every service but S3.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class AwsSigner(msgspec.Struct, frozen=True, kw_only=True):
    """A `Signer` with an AWS account's keys, for one service in one region. `token` comes with keys that expire."""

    key_id: str
    secret: str
    region: str
    service: str
    token: str = ""

    def __repr__(self) -> str:
        return f"AwsSigner({self.key_id!r}, {self.region!r}, {self.service!r})"

    async def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers that sign this request as sent now."""
        return self.headers(method, url, body, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))

    def headers(
        self, method: str, url: str, body: bytes, at: str, signed: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The headers to add to a request made `at` (`20150830T123600Z`), whose `signed` headers are sealed, too."""
        parts = urlsplit(url)
        added = {"X-Amz-Date": at} | ({"X-Amz-Security-Token": self.token} if self.token else {})
        sealed = {"host": parts.netloc} | {**(signed or {}), **added}
        lines = sorted((name.lower(), " ".join(value.split())) for name, value in sealed.items())
        names = ";".join(name for name, _ in lines)
        request = "\n".join(
            (
                method,
                # What is sent is encoded once more: a slash within a name stays apart from one between names.
                quote(parts.path or "/"),
                _query(parts.query),
                *(f"{name}:{value}" for name, value in lines),
                "",
                names,
                hashlib.sha256(body).hexdigest(),
            )
        )
        scope = f"{at[:8]}/{self.region}/{self.service}/aws4_request"
        text = "\n".join((_ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()))
        seal = hmac.new(self._key(at[:8]), text.encode(), hashlib.sha256).hexdigest()
        credential = f"Credential={self.key_id}/{scope}"
        return {**added, "Authorization": f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={seal}"}

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
