"""Which sending of a request this is: the newer SDKs repeat POSTs by themselves, and count them in a header."""

import hashlib
from typing import Final, cast

from starlette.types import Scope

from perdure.api.reply import SENDS_MESSAGES
from perdure.runs.attempts import Attempt

_ATTEMPT: Final = "perdure.attempt"
_COUNT: Final = b"x-stainless-retry-count"
_CREDENTIALS: Final = (b"authorization", b"x-bare-password")


def note_attempt(scope: Scope, body: bytes) -> None:
    """Remember in `scope` which sending this is, where it carries messages and its sender counts."""
    if not scope.get(SENDS_MESSAGES):
        return
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    count = next((value for name, value in headers if name == _COUNT), b"")
    if not count.isdigit():
        return
    digest = hashlib.sha256()
    for part in (scope["path"].encode(), *(value for name, value in headers if name in _CREDENTIALS), body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    scope[_ATTEMPT] = Attempt(digest.hexdigest(), count.strip(b"0") != b"")


def attempt_of(scope: Scope) -> Attempt | None:
    """What was noted, or None."""
    return cast("Attempt | None", scope.get(_ATTEMPT))
