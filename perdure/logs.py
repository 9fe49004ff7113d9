"""How the server logs: one line an event on stderr, for people or for programs.

structlog brings rich with it, so it is loaded with the first line that is logged, or by `warm_up`, not at start.
"""

import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from perdure.lazy import lazy_module

if TYPE_CHECKING:
    import structlog
else:
    structlog: ModuleType = lazy_module("structlog")


class Log:
    """A logger by name: `log.warning("what happened", key=value)`, with structlog's methods."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        _configure()
        return getattr(structlog.get_logger(self._name), method)


_style: Literal["text", "json"] = "text"
_level = logging.INFO
_configured = False


def set_up_logs(style: Literal["text", "json"], level: str) -> None:
    """Log what is at least as grave as `level`. Libraries are heard from `warning` on."""
    global _style, _level, _configured
    _style, _level, _configured = style, logging.getLevelNamesMapping()[level.upper()], False
    logging.basicConfig(level=max(_level, logging.WARNING), stream=sys.stderr)


def _configure() -> None:
    global _configured
    if _configured:
        return
    _configured = True
    last: Any = structlog.processors.JSONRenderer()
    if _style == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
