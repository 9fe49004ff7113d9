"""llama.cpp works on several prompts in one window. Where that is too small for them together, they take turns."""

import asyncio
import json

from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers.base import ModelRequest, TextDelta
from tests.providers.cataloguing import cataloguing
from tests.providers.chat import STOP, chunk, message
from tests.providers.scripted import Asked, events, lists, plain, run, serving, streams

FULL = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}


def test_calls_that_are_too_much_together_take_turns_and_all_are_answered() -> None:
    under_way, failed = 0, 0

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, failed
        if asked.method == "GET":
            return await lists({"/v1/models": {"data": [{"id": "m"}]}})(asked, writer)
        under_way += 1
        for _ in range(200):
            await asyncio.sleep(0)
        crowded = under_way > 1
        # All of them fail, as there.
        for _ in range(200):
            await asyncio.sleep(0)
        under_way -= 1
        if crowded:
            failed += 1
            writer.write(plain(500, json.dumps(FULL).encode()))
            return None
        return await streams(*events(chunk({"content": "here"}), STOP, "[DONE]"))(asked, writer)

    async def go() -> list[str]:
        async with (
            serving(answer) as server,
            cataloguing({"LLAMACPP_BASE_URL": server.url, "PERDURE_RETRY_SECONDS": "30"}) as catalog,
        ):
            model = await catalog.resolve(TENANT, "llamacpp/m")

            async def said() -> str:
                request = ModelRequest(model=model, messages=[message("user", "hi")])
                stream = catalog.stream(TENANT, request)
                return "".join([each.text async for batch in stream for each in batch if isinstance(each, TextDelta)])

            return list(await asyncio.gather(*(said() for _ in range(6))))

    assert run(go()) == ["here"] * 6
    assert 2 <= failed <= 6, "each was in the way once"
