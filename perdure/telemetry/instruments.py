"""The Prometheus instruments. Loaded by `metrics.py`, after the server has started.

Labels hold what an operator configured or this code names, never an id, a tool or a model, so that the number of
series stays small however many agents there are.
"""

import os
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    multiprocess,
)

# A second series for each counter, saying when it began, helps nobody here.
disable_created_metrics()

SHARED: Final = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Whether this is one of several workers, which count in files of that folder, so that any can tell of all."""
_OWN: Final = CollectorRegistry()
if not SHARED:
    ProcessCollector(registry=_OWN)

_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)
_FIRST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"perdure_{name}", text, labels, registry=_OWN)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"perdure_{name}", text, labels, registry=_OWN, multiprocess_mode="livesum")


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"perdure_{name}", text, labels, buckets=buckets, registry=_OWN)


RUNS: Final = _counter("runs", "Runs that ended, by how.", "status", "stop_reason")
RUNS_LIVE: Final = _gauge("runs_live", "Runs under way: working, or waiting their turn.", "state")
RUN_SECONDS: Final = _histogram("run_seconds", "Seconds from a run's acceptance to its end.", _SECONDS, "status")
FIRST_SECONDS: Final = _histogram(
    "time_to_first_token_seconds", "Seconds from a run's acceptance to the first event it shows.", _FIRST
)
STEPS: Final = _counter("steps", "Steps that ended, by how.", "status")
TOKENS: Final = _counter("tokens", "Tokens that providers reported, by kind.", "provider", "kind")
MODEL_CALLS: Final = _counter(
    "model_calls", "Model calls that ended: success, cancelled, or the type of their error.", "provider", "outcome"
)
MODEL_RETRIES: Final = _counter(
    "model_retries",
    "Times a provider was asked again within a model call, by what had gone wrong.",
    "provider",
    "error",
)
MODEL_SECONDS: Final = _histogram("model_call_seconds", "Seconds a model call took.", _SECONDS, "provider")
MODEL_FIRST_SECONDS: Final = _histogram(
    "model_first_token_seconds", "Seconds from a model call to the first it said.", _FIRST, "provider"
)
TOOL_CALLS: Final = _counter(
    "tool_calls", "Tool calls that ended: success, error, timeout, cancelled, or refused by a rule.", "outcome"
)
TOOL_SECONDS: Final = _histogram("tool_call_seconds", "Seconds a tool call ran.", _SECONDS)
COMMIT_EVENTS: Final = _histogram(
    "log_commit_events", "Events in one commit of the event log.", (1, 2, 5, 10, 25, 50, 100, 250, 1000, 5000)
)
COMMIT_SECONDS: Final = _histogram("log_commit_seconds", "Seconds one commit of the event log took.", _SHORT)
COMMIT_FAILURES: Final = _counter("log_commit_failures", "Commits of the event log that failed and are tried again.")
UNIT_SECONDS: Final = _histogram(
    "database_unit_seconds", "Seconds from asking the database for something to having it.", _SHORT, "kind"
)
UNITS_WAITING: Final = _gauge("database_units_waiting", "What the database was asked for and has not done.", "kind")
READERS: Final = _gauge("readers", "Streams that are open.")
STALLED: Final = _counter("readers_stalled", "Streams closed since their reader took nothing for too long.")
STREAM_BYTES: Final = _counter("stream_bytes", "Bytes of event streams, counted as each ends.")
REQUESTS: Final = _counter("requests", "HTTP requests that were answered.", "method", "status")
REQUESTS_OPEN: Final = _gauge("requests_open", "HTTP requests being answered, streams included.")
CALLBACKS: Final = _counter("callbacks", "Callbacks that were tried: delivered, refused, or failed.", "outcome")
LOG_LINES_LOST: Final = _counter("log_lines_lost", "Log lines that could not be written.")


def registry() -> CollectorRegistry:
    """What is to be shown: of this process, or of all workers together."""
    if not SHARED:
        return _OWN
    every = CollectorRegistry()
    multiprocess.MultiProcessCollector(every)
    return every
