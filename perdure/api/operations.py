"""From a request to the operation it asks for: one tree of path segments, and what every operation goes through.

The framework's own routes are tried one after the other and are costly to make; here a path is found by its segments,
literal ones first, and an operation is made ready when it is first asked for. `/latest/…` is `/v1/…`, a slash at the
end changes nothing, and an encoded slash (`%2F`) belongs to the value it stands in. What is there for OpenAI's clients
is under `/v1/openai/…` as well, a base URL of their own: `/v1/models` is a list of something else.
"""

import json
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from perdure.api.attempt import note_attempt
from perdure.api.auth import authenticate
from perdure.api.reply import LIKE_OPENAI, OPERATION, SENDS_MESSAGES
from perdure.domain.errors import NotBuilt, Unprocessable

ROOT: Final = "v1"
ALIAS: Final = "latest"
OPENAI: Final = "openai"
_PREFIXES: Final = (f"/{ROOT}/", f"/{ALIAS}/")
_DECODER: Final = msgspec.json.Decoder()


class Operation(NamedTuple):
    """One operation of the API. `handler` is None for one of the contract that this version lacks.

    `returns` names a schema of `openapi.py`, or `[Name]` for a list of it. `is_open` lets anyone call it.
    `sends_messages` says that it starts a run, so that an SDK must not repeat it when it is told of a failure.
    One that is `like_openai` has a path and errors as OpenAI's clients know them.
    An operation with a `body` takes nothing but the agent's id and that, and is called directly (`direct.py`). `name`
    tells operations apart that have one handler.
    """

    method: str
    path: str
    handler: Callable[..., Coroutine[Any, Any, Response]] | None
    summary: str
    returns: str | None = None
    is_open: bool = False
    sends_messages: bool = False
    like_openai: bool = False
    body: type[BaseModel] | None = None
    name: str | None = None


class Operations(BaseRoute):
    """All operations, as one route of the application."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        self._routes: dict[Operation, APIRoute] = {}
        for operation in operations:
            self._root.add(operation)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        within = scope["type"] == "http" and f"{scope['path']}/".startswith(_PREFIXES)
        return (Match.FULL if within else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the operation, see who asks, and only then read the body and work.

        Raises HTTPException 404 or 405, NotBuilt, and whatever `authenticate` and the operation raise.
        """
        segments = _segments(scope)
        operation, methods = self._find(segments, scope["method"])
        if not methods and operation is None and segments[1:2] == [OPENAI]:
            segments = [ROOT, *segments[2:]]
            operation, methods = self._find(segments, scope["method"], like_openai=True)
        scope[SENDS_MESSAGES] = operation is not None and operation.sends_messages
        scope[LIKE_OPENAI] = operation is not None and operation.like_openai
        if operation is None or not operation.is_open:
            authenticate(Request(scope))
        if operation is None:
            raise _unknown(scope, methods)
        if operation.handler is None:
            raise NotBuilt(
                f"{operation.method} {operation.path} ({operation.summary}) is part of the API, "
                "but this version of Perdure does not have it yet."
            )
        _refuse_nul(segments, scope["query_string"])
        route = self.route(operation)
        scope["route"] = route
        scope[OPERATION] = operation.path
        scope["path_params"] = {
            name[1:-1]: value
            for name, value in zip(operation.path.strip("/").split("/"), segments, strict=True)
            if name.startswith("{")
        }
        await route.handle(scope, receive, send)

    def route(self, operation: Operation) -> APIRoute:
        """The operation, made ready to be called."""
        route = self._routes.get(operation)
        if route is None:
            assert operation.handler is not None
            route = self._routes[operation] = _Route(
                operation.path,
                operation.handler,
                methods=[operation.method],
                response_model=None,
                summary=operation.summary,
                operation_id=operation.name or operation.handler.__name__,
                tags=[operation.path.split("/")[2]],
            )
            _build_body(route)
        return route

    def _find(
        self, segments: Sequence[str], method: str, *, like_openai: bool = False
    ) -> tuple[Operation | None, set[str]]:
        """The operation; or None, with the methods that the path does have. Only those `like_openai` where wanted."""
        methods: set[str] = set()
        for node in self._root.leaves(segments):
            found = node.operations
            if like_openai:
                found = {method: each for method, each in found.items() if each.like_openai}
            if (operation := found.get(method)) is not None:
                return operation, methods
            methods.update(found)
        return None, methods


class _Node:
    """A place in the tree of paths."""

    __slots__ = ("literal", "operations", "value")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.value: _Node | None = None
        self.operations: dict[str, Operation] = {}

    def add(self, operation: Operation) -> None:
        node = self
        for segment in operation.path.strip("/").split("/"):
            if segment.startswith("{"):
                node.value = node.value or _Node()
                node = node.value
            else:
                node = node.literal.setdefault(segment, _Node())
        assert operation.method not in node.operations, f"{operation.method} {operation.path} is listed twice"
        node.operations[operation.method] = operation

    def leaves(self, segments: Sequence[str], start: int = 0) -> Iterator["_Node"]:
        """The nodes these segments lead to, literal before value, where some operation is."""
        if start == len(segments):
            if self.operations:
                yield self
            return
        segment = segments[start]
        if segment in self.literal:
            yield from self.literal[segment].leaves(segments, start + 1)
        if self.value is not None and segment:
            yield from self.value.leaves(segments, start + 1)


class _Route(APIRoute):
    """An operation as FastAPI calls it, with strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    """A request whose JSON must be just that: no NaN, no lone surrogates, and no NUL, which no database stores."""

    async def json(self) -> Any:
        body = await self.body()
        note_attempt(self.scope, body)
        try:
            return strict_json(body)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


def strict_json(body: bytes) -> Any:
    """The value that a JSON text holds. Raises ValueError with what is wrong."""
    try:
        value = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if b"\\u0000" in body and _holds_nul(value):
        raise ValueError("it holds the character NUL, which cannot be stored")
    return value


def _build_body(route: APIRoute) -> None:
    """Make the model of a body, which waits for its first use, while the one warning that means nothing is hushed.

    FastAPI gives every body an alias that pydantic warns of, and hushes that only for models that do not wait.
    """
    if route.body_field is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
            route.body_field.validate({})


def _holds_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return False


def _segments(scope: Scope) -> list[str]:
    """The segments of the path, each decoded by itself, with the one name for the root."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        segments = [unquote(segment) for segment in raw.decode("latin-1").split("/")[1:]]
    else:
        segments = scope["path"].split("/")[1:]
    if segments[-1] == "":
        segments.pop()
    if segments[:1] == [ALIAS]:
        segments[0] = ROOT
    return segments


def _refuse_nul(segments: Sequence[str], query: bytes) -> None:
    if b"%00" in query or any("\0" in segment for segment in segments):
        raise Unprocessable("The character NUL cannot be stored or looked for. Leave it out.", ("query",))


def _unknown(scope: Scope, methods: set[str]) -> HTTPException:
    if not methods:
        return HTTPException(404, f"{scope['path'][:200]} is not part of this API. See /docs for what is.")
    allowed = ", ".join(sorted(methods))
    return HTTPException(405, f"{scope['method']} is not possible here; {allowed} is.", {"allow": allowed})
