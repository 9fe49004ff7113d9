"""Where log lines go and how they look: to stderr, as text for people or JSON for programs."""

import logging
import sys

import structlog
from structlog.typing import Processor

from perdure.config import Settings


def set_up_logs(settings: Settings) -> None:
    """Log what is at least as grave as the settings ask for. Libraries are heard from `warning` on."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    last: Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
