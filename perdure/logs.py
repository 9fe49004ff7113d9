"""How the server logs: one line an event on stderr, for people or for programs.

A line of a run says whose it is, whatever room it comes from: `about` is called where the run begins. structlog brings
rich with it, so it is loaded with the first line that is logged, or by `warm_up`, not at start.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from select import select
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal

from perdure.lazy import lazy_module

if TYPE_CHECKING:
    import structlog
else:
    structlog: ModuleType = lazy_module("structlog")


class Log:
    """A logger by name: `log.warning("what happened", key=value)`, with structlog's methods.

    A line that cannot be written at once is lost and counted, and never a fault of what was logged: neither a log on a
    full disk nor one that nobody reads may stop the server.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        if _LEVELS.get(method, logging.CRITICAL) < _level:
            return _say_nothing
        _configure()
        return getattr(structlog.get_logger(self._name), method)


_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_facts: ContextVar[Mapping[str, Any] | None] = ContextVar("facts", default=None)
_style: Literal["text", "json"] = "text"
_level = logging.INFO
_configured = False
_lost = 0
PIECE: Final = 1000
"""Characters written at a time: a pipe that takes anything takes that much without a wait (PIPE_BUF, in bytes)."""


def set_up_logs(style: Literal["text", "json"], level: str) -> None:
    """Log what is at least as grave as `level`. Libraries are heard from `warning` on."""
    global _style, _level, _configured
    _style, _level, _configured = style, logging.getLevelNamesMapping()[level.upper()], False
    logging.basicConfig(level=max(_level, logging.WARNING), stream=sys.stderr)


def about(**facts: Any) -> None:
    """Put these facts into every line that the current task, and what it starts, logs from here on."""
    _facts.set({**(_facts.get() or {}), **facts})


def take_lost() -> int:
    """How many lines could not be written since this was last asked."""
    global _lost
    lost, _lost = _lost, 0
    return lost


class _Stderr:
    """Where lines go."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        try:
            self._file: int | None = self._stream.fileno()
        except (OSError, ValueError):
            self._file = None

    def write(self, line: str) -> None:
        global _lost
        text = f"{line}\n"
        try:
            for at in range(0, len(text), PIECE):
                if self._file is not None and not select([], [self._file], [], 0)[1]:
                    raise BlockingIOError
                self._stream.write(text[at : at + PIECE])
                self._stream.flush()
        except (OSError, ValueError):
            _lost += 1

    msg = debug = info = warning = error = critical = exception = fatal = failure = log = write


def _say_nothing(*_: object, **__: object) -> None: ...


def _with_facts(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**(_facts.get() or {}), **line}


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
            _with_facts,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        logger_factory=lambda *_: _Stderr(),
    )
