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
    """What is said of a provider that is left alone. `seconds` are left until it is asked again; 0 while it is."""

    provider: str
    failures: int
    reason: str
    seconds: float


class Breaker:
    """Counts what fails in a row with one provider. After `limit` (0: never) nobody asks it until the pause is over.

    Then one caller tries, while others are still refused: an answer ends it, a failure begins a longer pause.
    """

    def __init__(self, provider: str, limit: int) -> None:
        self._provider = provider
        self._limit = limit
        self._failures = 0
        self._last: ModelError | None = None
        self._pause = 0.0
        self._until = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the provider is being left alone, or tried after that."""
        return self._pause > 0

    def state(self) -> Pause | None:
        """How things stand; None while all is well."""
        if not self.is_open or self._last is None:
            return None
        left = max(0.0, self._until - time.monotonic())
        return Pause(provider=self._provider, failures=self._failures, reason=self._last.detail, seconds=left)

    def enter(self) -> bool:
        """A call begins; whether it is the one that tries. Raises ModelError while the provider is left alone."""
        state = self.state()
        if state is None:
            return False
        if state.seconds > 0 or self._trying:
            when = f"in {state.seconds:.0f} s" if state.seconds >= 1 else "in a moment"
            assert self._last is not None
            raise ModelError(
                self._last.error_type,
                f"{self._provider} failed {state.failures} times in a row and is left alone; it is asked again {when}. "
                f"The last time: {state.reason}",
                retry_after=state.seconds,
                transient=True,
            )
        self._trying = True
        return True

    def answered(self) -> None:
        """The provider does its work, if only by refusing a call."""
        if self.is_open:
            _log.info("provider_is_back", provider=self._provider)
        self._failures, self._last, self._pause, self._trying = 0, None, 0.0, False

    def failed(self, error: ModelError, *, trying: bool) -> None:
        """A call ended with an error. Being asked too often says nothing of whether the provider works."""
        if not error.transient:
            self.answered()
        if not error.transient or error.error_type == "llm_rate_limit":
            return
        self._failures += 1
        self._last = error
        # Calls that were under way when the pause began do not make it longer.
        if trying or (self._limit and not self.is_open and self._failures >= self._limit):
            self._pause = min(self._pause * 2, LAST_PAUSE) if self._pause else FIRST_PAUSE
            self._until = time.monotonic() + self._pause
            _log.warning(
                "provider_left_alone",
                provider=self._provider, failures=self._failures, seconds=self._pause, reason=error.detail,
            )  # fmt: skip

    def tried(self) -> None:
        """The call that tries is over, however it went."""
        self._trying = False
