"""How every JSON answer is written, and every refusal."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from perdure.wire.errors import Failure, for_message_post
from perdure.wire.generations import is_npm_v0
from perdure.wire.openai_errors import openai_failure

ENCODER = msgspec.json.Encoder()

SENDS_MESSAGES: Final = "perdure.sends_messages"
COMMITTED: Final = "perdure.committed"
OPERATION: Final = "perdure.operation"
LIKE_OPENAI: Final = "perdure.like_openai"
"""Keys of a request's scope: it carries messages for an agent; they are durable by now; the operation's path; whether
its errors are told as OpenAI's are."""


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` (plain data or Structs) as a JSON response."""
    return Response(ENCODER.encode(value), status, headers, media_type="application/json")


def refuse(scope: Scope, failed: Failure) -> Response:
    """`failed` as the response to this request, safe against being sent again where it carried messages."""
    if scope.get(SENDS_MESSAGES):
        failed = for_message_post(failed, ran=COMMITTED in scope, npm_v0=is_npm_v0(Headers(scope=scope)))
    if scope.get(LIKE_OPENAI):
        failed = openai_failure(failed)
    return reply(failed.body, failed.status, failed.headers)
