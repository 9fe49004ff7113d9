"""`/metrics`, for Prometheus.

It asks for what the API asks for: the password, or without one a request from this machine. How busy a server is and
which providers it uses are nobody else's business; an operator whose scraper cannot send a password says so in
`PERDURE_METRICS`.
"""

from fastapi import FastAPI, Request, Response

from perdure.api.auth import authenticate, server_of
from perdure.telemetry import metrics


def add_metrics(app: FastAPI, *, is_open: bool) -> None:
    """Serve `/metrics`, to anyone where it `is_open`."""

    async def show_metrics(request: Request) -> Response:
        if not is_open:
            authenticate(request)
        metrics.note(server_of(request).runner.counts())
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, media_type=content_type, headers={"cache-control": "no-store"})

    app.add_route("/metrics", show_metrics)
