"""The edge where errors become answers: those raised on purpose, the framework's own, and the unforeseen."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from perdure.api.reply import refuse
from perdure.domain.errors import PerdureError
from perdure.logs import Log
from perdure.wire.errors import Failure, failure, validation_failure

log = Log("perdure.api")


def add_failures(app: FastAPI) -> None:
    """Have every error of `app` answered in the contract's shapes. An unforeseen one goes on to the server's log."""
    for kind in (PerdureError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to a request that ended in `error`."""
    match error:
        case PerdureError():
            failed = failure(error)
        case RequestValidationError():
            failed = validation_failure(_problems(error))
        case HTTPException():
            failed = Failure(error.status_code, {"detail": error.detail}, dict(error.headers or {}))
        case _:
            failed = _unforeseen(request, error)
    return refuse(request.scope, failed)


def _problems(error: RequestValidationError) -> Iterator[Mapping[str, Any]]:
    """What the framework found wrong, in words that help where it only knows that the body was not JSON."""
    for problem in error.errors():
        if problem["type"] == "json_invalid":
            text = f"The body is not the JSON it should be: {problem['ctx']['error']}"
            yield {"loc": ("body",), "msg": text, "type": "json_invalid"}
        elif isinstance(error.body, bytes) and tuple(problem["loc"]) == ("body",):
            text = "Send the body as JSON, with the header Content-Type: application/json"
            yield {"loc": ("body",), "msg": text, "type": problem["type"]}
        else:
            yield problem


def _unforeseen(request: Request, error: Exception) -> Failure:
    reference = secrets.token_hex(4)
    log.error(
        "request failed",
        reference=reference,
        method=request.method,
        path=request.scope["path"],
        error=type(error).__name__,
    )
    text = f"The server failed in a way it did not foresee. Its log says more under the reference {reference}."
    return Failure(500, {"detail": text}, {})
