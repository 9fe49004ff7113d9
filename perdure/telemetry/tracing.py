"""Spans against the OpenTelemetry API: request → run → step → model call or tool call.

They cost nothing until somebody listens: an OTLP endpoint in the environment with the extra `otel` installed, or a
provider that whoever started the process has set up. Names and attributes follow the semantic conventions for
generative AI as of November 2026 (github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai). What was said is
left out, unless the operator asks for it.
"""

import os
from collections.abc import Callable, Mapping
from contextvars import Token
from importlib import import_module
from threading import Thread
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from perdure import __version__
from perdure.logs import Log

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
LAST_SECONDS: Final = 5.0
"""How long the server waits at its end for a collector to take the last spans."""

_SDK: Final = (
    "opentelemetry.sdk.resources", "opentelemetry.sdk.trace", "opentelemetry.sdk.trace.export",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)  # fmt: skip

log = Log(__name__)

Attributes = Mapping[str, Any]

_tracer: Tracer | None = None
_with_content = False


def set_up(environment: Mapping[str, str], *, content: bool) -> Callable[[], None]:
    """Begin to trace where somebody listens. Returns what sends the last spans: it blocks for up to `LAST_SECONDS`.

    `content` puts into spans what was said to models and tools, and by them.
    """
    global _tracer, _with_content
    finish = _nothing
    if any(environment.get(name, "").strip() for name in ENDPOINTS) and not _is_disabled(environment):
        finish = _export()
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return finish
    _tracer, _with_content = provider.get_tracer("perdure", __version__), content

    def stop() -> None:
        global _tracer
        _tracer = None
        finish()

    return stop


def is_on() -> bool:
    return _tracer is not None


def with_content() -> bool:
    """Whether spans are to hold what was said."""
    return _with_content


def start(
    name: str, attributes: Attributes, *, parent: Span | None = None, within: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Span | None:  # fmt: skip
    """Begin a span under `parent`, else in the context `within`, else in the current one; None while nobody listens."""
    if _tracer is None:
        return None
    context = within if parent is None else trace.set_span_in_context(parent)
    return _tracer.start_span(name, context, kind, {key: each for key, each in attributes.items() if each is not None})


def note(span: Span, attributes: Attributes) -> None:
    """Add attributes, leaving out those that are None."""
    span.set_attributes({key: each for key, each in attributes.items() if each is not None})


def end(span: Span, error_type: str | None = None) -> None:
    """End a span; with an `error_type` it failed."""
    if error_type is not None:
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR, error_type))
    span.end()


def enter(span: Span) -> Token[Context]:
    """Make a span the current one, so that what others trace is found under it. To be undone with `leave`."""
    return otel_context.attach(trace.set_span_in_context(span))


def leave(token: Token[Context]) -> None:
    otel_context.detach(token)


def context_of(headers: Mapping[str, str]) -> Context:
    """The trace that a caller says its request belongs to."""
    return propagate.extract(headers)


def trace_id(span: Span) -> str:
    """What a log line says, so that it is found with its trace."""
    return trace.format_trace_id(span.get_span_context().trace_id)


def _nothing() -> None: ...


def _is_disabled(environment: Mapping[str, str]) -> bool:
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _export() -> Callable[[], None]:
    """Send spans to the collector of the environment, which the exporter reads itself."""
    try:
        resources, sdk, export, otlp = (import_module(name) for name in _SDK)
    except ImportError:
        log.warning(
            "an OTLP endpoint is set, but OpenTelemetry's SDK is not installed; install perdure[otel] to send spans"
        )
        return _nothing
    own = {"service.version": __version__}
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        own["service.name"] = "perdure"
    provider = sdk.TracerProvider(resource=resources.Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def finish() -> None:
        # A collector that is gone must not keep the server, so this is left behind when its time is up.
        sending = Thread(target=provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(LAST_SECONDS)

    return finish
