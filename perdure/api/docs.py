"""The page that lets people try the API, and the document it shows. Everything comes from this server."""

from collections.abc import Callable, Coroutine
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, Request, Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Perdure API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START: Final = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  persistAuthorization: true,
  validatorUrl: null
});
"""

_HEADERS: Final = {
    # The bundle sets inline styles and shows data: images; it may load and call nothing but this server.
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def add_docs(app: FastAPI, document: Callable[[], bytes]) -> None:
    """Serve `/docs` and `/openapi.json`. `document` is called when the latter is first asked for."""
    app.add_route("/openapi.json", _document(document))
    app.add_route("/docs", _text(_PAGE, "text/html"))
    app.add_route("/docs/start.js", _text(_START, "text/javascript"))
    for name, media_type in ASSETS.items():
        app.add_route(f"/docs/{name}", _asset(name, media_type))


def _document(document: Callable[[], bytes]) -> Handler:
    made: list[bytes] = []

    async def show_document(request: Request) -> Response:
        if not made:
            made.append(document())
        return Response(made[0], media_type="application/json")

    return show_document


def _text(text: str, media_type: str) -> Handler:
    async def show_text(request: Request) -> Response:
        return Response(text, media_type=media_type, headers=_HEADERS)

    return show_text


def _asset(name: str, media_type: str) -> Handler:
    async def show_asset(request: Request) -> Response:
        content = files("fastapi_swagger").joinpath("resources", name).read_bytes()
        return Response(content, media_type=media_type, headers={**_HEADERS, "cache-control": "max-age=86400"})

    return show_asset
