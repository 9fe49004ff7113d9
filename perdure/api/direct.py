"""Operations that are asked for all the time, called without the framework's dispatch.

The dispatch costs a fifth of a turn's CPU. The handler is the same, and so is every answer: whatever is out
of the ordinary before the body is read (a malformed id, another content type, a page of another origin) goes the
ordinary way, and errors are answered by the same functions.
"""

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.api.attempt import note_attempt
from perdure.api.auth import authenticate
from perdure.api.failures import answer_error
from perdure.api.operations import Operation, strict_json
from perdure.api.reply import OPERATION, SENDS_MESSAGES
from perdure.domain.ids import is_id


class Direct:
    """Calls the `/v1/agents/{agent_id}/…` operations that have a `body`, and leaves everything else to `app`."""

    def __init__(self, app: ASGIApp, operations: tuple[Operation, ...], max_body: int) -> None:
        self._app = app
        self._max_body = max_body
        self._by_name = {operation.path.split("/", 4)[4]: operation for operation in operations if operation.body}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._operation(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if operation is None:
            await self._app(scope, receive, send)
            return
        # What is meant for the application's own state is found through here.
        scope["app"] = self._app
        scope[SENDS_MESSAGES] = operation.sends_messages
        scope[OPERATION] = operation.path
        request = Request(scope)
        try:
            response = await self._call(operation, request, receive)
        except Exception as error:  # noqa: BLE001 - the edge of HTTP: whatever it is, the caller gets an answer
            response = await answer_error(request, error)
        await response(scope, receive, send)

    def _operation(self, scope: Scope) -> Operation | None:
        parts = scope["path"].split("/", 4)
        if len(parts) != 5 or parts[1:3] != ["v1", "agents"] or not is_id("agent", parts[3]):
            return None
        is_json, length = False, -1
        for name, value in scope["headers"]:
            if name == b"content-type":
                is_json = value.startswith(b"application/json")
            elif name == b"content-length" and value.isdigit():
                length = int(value[:19])
            elif name == b"origin":
                return None
        return self._by_name.get(parts[4]) if is_json and 0 <= length <= self._max_body else None

    async def _call(self, operation: Operation, request: Request, receive: Receive) -> Response:
        caller = authenticate(request)
        body = await _read(receive)
        note_attempt(request.scope, body)
        assert operation.handler is not None
        assert operation.body is not None
        return await operation.handler(caller, request.scope["path"].split("/", 4)[3], _checked(operation.body, body))


async def _read(receive: Receive) -> bytes:
    """The whole body; its length was announced and is within bounds."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "The connection ended before the body was complete.")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _checked(kind: type[BaseModel], body: bytes) -> BaseModel:
    """The body as its model. Raises RequestValidationError, with the places FastAPI would name."""
    try:
        return kind.model_validate(strict_json(body))
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from error
    except ValueError as error:
        problem = {"type": "json_invalid", "loc": ("body",), "msg": "JSON decode error", "ctx": {"error": str(error)}}
        raise RequestValidationError([problem]) from error
