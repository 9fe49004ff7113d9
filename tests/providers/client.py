"""Asking a scripted provider through the HTTP client."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from perdure.domain.errors import ModelError
from perdure.providers.http import Endpoint, HttpClient, Limits
from tests.providers.scripted import (
    Answer,
    Scripted,
    run,
    serving,
)

KEY = "sk-a-secret-of-some-length"
QUICK = Limits(connect=5.0, first_byte=0.4, gap=0.2)


@contextlib.asynccontextmanager
async def asking(answer: Answer, limits: Limits | None = None) -> AsyncIterator[tuple[HttpClient, Endpoint, Scripted]]:
    async with serving(answer) as server:
        client = HttpClient(limits)
        endpoint = Endpoint(name="box", url=server.url, headers={"Authorization": f"Bearer {KEY}"}, key=KEY)
        try:
            yield client, endpoint, server
        finally:
            await client.close()


async def read(client: HttpClient, endpoint: Endpoint, last: bytes = b"[DONE]") -> list[bytes]:
    reads = client.sse(endpoint, f"{endpoint.url}/ask", b"{}", last.__eq__)
    return [payload async for payloads in reads for payload in payloads]


def refused(answer: Answer, limits: Limits | None = None) -> ModelError:
    """The error that asking for a stream ends with."""

    async def go() -> ModelError:
        async with asking(answer, limits) as (client, endpoint, _):
            with pytest.raises(ModelError) as raised:
                await read(client, endpoint)
            return raised.value

    return run(go())
