"""Leaving a provider alone that fails again and again, so that callers wait for nothing and it can recover."""

import time
from typing import Final

import msgspec

from perdure.domain.errors import ModelError
from perdure.logs import Log

FIRST_PAUSE: Final = 5.0
LAST_PAUSE: Final = 60.0
"""Seconds it is left alone: at first, and at most; each pause is twice the one before."""

_log = Log(__name__)


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a provider that is left alone. `seconds` are left until it is asked again; 0 while it is.

    `model` is named where nothing but that one failed: the others are asked as before.
    """

    provider: str
    model: str | None = None
    failures: int
    reason: str
    seconds: float


class Breaker:
    """Counts what fails in a row with one provider. After `limit` (0: never) nobody asks it until the pause is over.

    Then one caller tries, while others are still refused: an answer ends it, a failure begins a longer pause. A
    provider may serve many models, of which one may be broken: as long as no other has failed, only that one is left
    alone.
    """

    def __init__(self, provider: str, limit: int) -> None:
        self._provider = provider
        self._limit = limit
        self._failing: dict[str, int] = {}
        """Failures in a row of each model."""
        self._last: ModelError | None = None
        self._pause = 0.0
        self._until = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the provider, or a model of it, is being left alone, or tried after that."""
        return self._pause > 0

    def refuses(self, model: str = "") -> bool:
        """Whether that model is among what is being left alone."""
        return self.is_open and not self._spares(model)

    def state(self) -> Pause | None:
        """How things stand; None while all is well."""
        if not self.is_open or self._last is None:
            return None
        left = max(0.0, self._until - time.monotonic())
        return Pause(
            provider=self._provider, model=self._model, failures=sum(self._failing.values()), reason=self._last.detail,
            seconds=left,
        )  # fmt: skip

    def enter(self, model: str = "") -> bool:
        """A call begins; whether it is the one that tries. Raises ModelError while the provider is left alone."""
        state = self.state()
        if state is None or self._spares(model):
            return False
        if state.seconds > 0 or self._trying:
            who = f"{self._provider}/{state.model}" if state.model else self._provider
            when = f"in {state.seconds:.0f} s" if state.seconds >= 1 else "in a moment"
            assert self._last is not None
            raise ModelError(
                self._last.error_type,
                f"{who} failed {state.failures} times in a row and is left alone; it is asked again {when}. "
                f"The last time: {state.reason}",
                retry_after=state.seconds,
                transient=True,
            )
        self._trying = True
        return True

    def answered(self, model: str = "") -> None:
        """The provider does its work, if only by refusing a call."""
        if not self.is_open:
            self._failing.pop(model, None)
        elif not self._spares(model):
            _log.info("provider_is_back", provider=self._provider, model=self._model)
            self._failing, self._last, self._pause, self._trying = {}, None, 0.0, False

    def failed(self, error: ModelError, *, trying: bool, model: str = "") -> None:
        """A call ended with an error. Being asked too often says nothing of whether the provider works."""
        if not error.transient:
            self.answered(model)
        if not error.transient or error.error_type == "llm_rate_limit" or not self._limit:
            return
        self._failing[model] = self._failing.get(model, 0) + 1
        self._last = error
        # Calls that were under way when the pause began do not make it longer.
        failures = sum(self._failing.values())
        if trying or (not self.is_open and failures >= self._limit):
            self._pause = min(self._pause * 2, LAST_PAUSE) if self._pause else FIRST_PAUSE
            self._until = time.monotonic() + self._pause
            _log.warning(
                "provider_left_alone",
                provider=self._provider, model=self._model, failures=failures, seconds=self._pause, reason=error.detail,
            )  # fmt: skip

    def tried(self) -> None:
        """The call that tries is over, however it went."""
        self._trying = False

    @property
    def _model(self) -> str | None:
        """The one model that fails, if it is one, and has a name."""
        return next(iter(self._failing)) or None if len(self._failing) == 1 else None

    def _spares(self, model: str) -> bool:
        """Whether nothing failed but one other model."""
        return len(self._failing) == 1 and model not in self._failing
