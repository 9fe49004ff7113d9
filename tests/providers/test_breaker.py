"""A provider's breaker: opens after failures in a row, lets one call try, and says what it does."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.providers import breaker
from perdure.providers.breaker import Breaker

BROKEN = ModelError("llm_timeout", "it fell silent", transient=True)


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def opened(limit: int = 3) -> Breaker:
    made = Breaker("box", limit)
    for _ in range(limit):
        made.failed(BROKEN, trying=made.enter())
    return made


def refused(made: Breaker) -> ModelError:
    with pytest.raises(ModelError) as raised:
        made.enter()
    return raised.value


def test_it_opens_after_failures_in_a_row(clock: Clock) -> None:
    made = Breaker("box", 3)
    for _ in range(2):
        made.failed(BROKEN, trying=made.enter())
    made.answered()
    for _ in range(2):
        made.failed(BROKEN, trying=made.enter())
    assert (made.is_open, made.state()) == (False, None)
    made.failed(BROKEN, trying=made.enter())
    assert made.is_open


def test_it_says_why_and_until_when(clock: Clock) -> None:
    made = opened()
    error = refused(made)
    assert error.error_type == "llm_timeout"
    assert error.retry_after == breaker.FIRST_PAUSE
    assert error.detail == (
        "box failed 3 times in a row and is left alone; it is asked again in 5 s. The last time: it fell silent"
    )
    state = made.state()
    assert state is not None
    assert (state.provider, state.failures, state.reason, state.seconds) == ("box", 3, "it fell silent", 5.0)


def test_one_call_tries_when_the_pause_is_over(clock: Clock) -> None:
    made = opened()
    clock.now += 5.0
    assert made.enter() is True
    assert "asked again in a moment" in refused(made).detail
    made.answered()
    made.tried()
    assert made.state() is None
    assert made.enter() is False


def test_a_try_that_fails_makes_the_next_pause_twice_as_long_up_to_a_minute(clock: Clock) -> None:
    made = opened()
    pauses: list[float] = []
    for _ in range(6):
        state = made.state()
        assert state is not None
        pauses.append(state.seconds)
        clock.now += state.seconds
        made.failed(BROKEN, trying=made.enter())
        made.tried()
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_calls_that_were_under_way_do_not_make_the_pause_longer(clock: Clock) -> None:
    made = Breaker("box", 3)
    under_way = [made.enter() for _ in range(20)]
    for trying in under_way:
        made.failed(BROKEN, trying=trying)
    state = made.state()
    assert state is not None
    assert (state.failures, state.seconds) == (20, 5.0)


def test_a_try_that_is_given_up_lets_the_next_one_try(clock: Clock) -> None:
    made = opened()
    clock.now += 5.0
    assert made.enter() is True
    made.tried()
    assert made.enter() is True


@pytest.mark.parametrize("kind", ["llm_bad_request", "llm_authentication", "llm_insufficient_credits"])
def test_a_provider_that_refuses_a_call_works(clock: Clock, kind: str) -> None:
    made = opened()
    clock.now += 5.0
    made.failed(ModelError(kind, "no"), trying=made.enter())
    assert made.state() is None


def test_rate_limits_neither_open_nor_close_it(clock: Clock) -> None:
    limited = ModelError("llm_rate_limit", "slow down", transient=True)
    made = Breaker("box", 2)
    for _ in range(10):
        made.failed(limited, trying=made.enter())
    assert not made.is_open
    made.failed(BROKEN, trying=made.enter())
    made.failed(limited, trying=made.enter())
    made.failed(BROKEN, trying=made.enter())
    assert made.is_open


def test_a_limit_of_nought_never_opens_it(clock: Clock) -> None:
    made = Breaker("box", 0)
    for _ in range(100):
        made.failed(BROKEN, trying=made.enter())
    assert not made.is_open


def test_one_bad_model_does_not_take_the_others_with_it(clock: Clock) -> None:
    made = Breaker("box", 3)
    for _ in range(3):
        made.failed(BROKEN, trying=made.enter("bad"), model="bad")
        made.answered("good")
    assert (made.refuses("bad"), made.refuses("good")) == (True, False)
    assert made.enter("good") is False
    made.answered("good")
    with pytest.raises(ModelError) as raised:
        made.enter("bad")
    assert raised.value.detail.startswith("box/bad failed 3 times in a row and is left alone")
    state = made.state()
    assert state is not None
    assert state.model == "bad"


def test_a_provider_whose_second_model_fails_too_is_left_alone_as_a_whole(clock: Clock) -> None:
    made = Breaker("box", 3)
    for _ in range(3):
        made.failed(BROKEN, trying=made.enter("one"), model="one")
    made.failed(BROKEN, trying=made.enter("two"), model="two")
    assert all(made.refuses(each) for each in ("one", "two", "three"))
    state = made.state()
    assert state is not None
    assert (state.model, state.failures) == (None, 4)
    clock.now += 5.0
    assert made.enter("three") is True
    made.answered("three")
    assert not made.refuses("one")


def test_it_logs_when_it_opens_and_when_it_closes(clock: Clock, logged: Callable[[], list[dict[str, Any]]]) -> None:
    made = opened()
    clock.now += 5.0
    made.enter()
    made.answered()
    first, second = logged()
    assert (first["event"], first["level"], first["provider"]) == ("provider_left_alone", "warning", "box")
    assert (first["failures"], first["seconds"], first["reason"]) == (3, 5.0, "it fell silent")
    assert (second["event"], second["provider"]) == ("provider_is_back", "box")
