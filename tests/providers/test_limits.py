"""The limit on a whole answer: a model that never stops is hung up on, however fast or slowly it talks."""

import asyncio
import time

import pytest

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.configured import limits, patience
from perdure.providers.http import Limits
from tests.providers.client import asking, read
from tests.providers.scripted import SSE, Asked, chunked, run


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_an_endless_answer_is_ended(pause: float) -> None:
    async def talk(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        while True:
            writer.write(chunked(b"data: on and on\n\n"))
            await writer.drain()
            await asyncio.sleep(pause)

    async def go() -> ModelError:
        async with asking(talk, Limits(whole=0.3)) as (client, endpoint, server):
            begun = time.monotonic()
            with pytest.raises(ModelError) as raised:
                await read(client, endpoint)
            assert time.monotonic() - begun >= 0.3
            await server.hung_up.wait()
            return raised.value

    error = run(go())
    assert (error.error_type, error.transient) == ("llm_timeout", True)
    assert "took longer than 0.3 seconds before its answer was complete" in error.detail


def test_the_limits_are_settings() -> None:
    assert limits({"PERDURE_LLM_CALL_SECONDS": "90"}).whole == 90.0
    assert limits({}).whole == 3600.0
    chosen = patience({"PERDURE_RETRY_SECONDS": "0", "PERDURE_BREAKER_FAILURES": "3"})
    assert (chosen.seconds, chosen.failures) == (0.0, 3)
    assert (patience({}).seconds, patience({}).failures) == (30.0, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PERDURE_LLM_CALL_SECONDS", "0"),
        ("PERDURE_RETRY_SECONDS", "-1"),
        ("PERDURE_RETRY_SECONDS", "soon"),
        ("PERDURE_RETRY_SECONDS", "nan"),
        ("PERDURE_BREAKER_FAILURES", "-1"),
        ("PERDURE_BREAKER_FAILURES", "many"),
    ],
)
def test_a_limit_that_is_no_number_is_named(name: str, value: str) -> None:
    reads = patience if name in ("PERDURE_RETRY_SECONDS", "PERDURE_BREAKER_FAILURES") else limits
    with pytest.raises(Invalid, match=name):
        reads({name: value})
