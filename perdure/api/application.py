"""The ASGI application: operations, docs, and what stands around them."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.api.body_limit import BodyLimit
from perdure.api.direct import Direct
from perdure.api.docs import add_docs
from perdure.api.entrance import Entrance
from perdure.api.failures import add_failures
from perdure.api.metrics import add_metrics
from perdure.api.not_built import NOT_BUILT
from perdure.api.openapi import document
from perdure.api.operations import Operations
from perdure.api.routes import ROUTES
from perdure.api.server import Server


def create_application(server: Server) -> ASGIApp:
    """The application that answers for `server`. It starts and stops nothing."""
    operations = Operations((*ROUTES, *NOT_BUILT))
    middleware = [Middleware(BodyLimit, max_body=server.max_body)]
    if server.allowed_origins:
        cors = Middleware(
            CORSMiddleware, allow_origins=server.allowed_origins, allow_methods=["*"], allow_headers=["*"]
        )
        middleware.insert(0, cors)
    app = FastAPI(
        title="Perdure",
        version=server.version,
        openapi_url=None,
        redirect_slashes=False,
        middleware=middleware,
        # The entrance traces every request alike, those that never reach the framework too.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.server = server
    app.router.default = _nothing_here
    app.router.routes.append(operations)
    add_docs(app, lambda: document(operations, ROUTES, server.version))
    if server.metrics != "off":
        add_metrics(app, is_open=server.metrics == "open")
    add_failures(app)
    return Entrance(Direct(app, ROUTES, server.max_body), most=server.max_requests, access_log=server.access_log)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise HTTPException(404, "Nothing is here. The API begins at /v1, and /docs shows it.")
    await send({"type": "websocket.close", "code": 1000})
