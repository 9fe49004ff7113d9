"""Token estimates: too high before anything is known, close to what the server reports afterwards."""

import pytest

from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.messages import ImagePart, ToolCallPart, ToolReturnPart
from perdure.domain.models import Model
from perdure.providers.base import ModelRequest
from perdure.providers.estimate import BYTES_PER_TOKEN, MESSAGE_BYTES, TokenEstimate, size_of
from tests.providers.cataloguing import cataloguing
from tests.providers.chat import ADD, STOP, chunk, message
from tests.providers.scripted import events, run, serving, streams

ENGLISH = "The quick brown fox jumps over the lazy dog. " * 200


def model(name: str = "one", endpoint: str = "http://box/v1") -> Model:
    return Model(
        handle=f"box/{name}", name=name, provider_name="box", provider_type="openai", endpoint_type="openai",
        context_window=8_000, endpoint=endpoint,
    )  # fmt: skip


def prompt(text: str = ENGLISH, of: Model | None = None) -> ModelRequest:
    return ModelRequest(model=of or model(), messages=[message("user", text)])


def test_an_unknown_model_is_believed_to_need_more_tokens_than_english_does() -> None:
    assert TokenEstimate().tokens(model(), 9_000) == 9_000 / BYTES_PER_TOKEN
    assert TokenEstimate().tokens(model(), 1) == 1
    assert TokenEstimate().tokens(model(), 0) == 0


@pytest.mark.parametrize("per_token", [1.0, 2.2, 4.5, 7.0])
def test_a_few_reports_bring_the_estimate_within_a_tenth_of_the_truth(per_token: float) -> None:
    estimate = TokenEstimate()
    size = size_of(prompt().messages)
    for _ in range(4):
        estimate.learn(prompt(), round(size / per_token))
    assert estimate.tokens(model(), size) == pytest.approx(size / per_token, rel=0.1)


def test_one_short_prompt_does_not_mislead() -> None:
    estimate = TokenEstimate()
    estimate.learn(prompt("Hello, you there, hello"), 60)
    assert estimate.tokens(model(), 9_000) < 4_000


@pytest.mark.parametrize("reported", [1, 1_000_000])
def test_a_report_that_cannot_be_true_teaches_nothing(reported: int) -> None:
    estimate = TokenEstimate()
    estimate.learn(prompt(), reported)
    assert estimate.tokens(model(), 9_000) == TokenEstimate().tokens(model(), 9_000)


def test_a_prompt_with_an_image_teaches_nothing_of_text() -> None:
    estimate = TokenEstimate()
    shown = message("user", ENGLISH, ImagePart(media_type="image/png", data="aGk="))
    estimate.learn(ModelRequest(model=model(), messages=[shown]), 9_000)
    assert estimate.tokens(model(), 9_000) == 3_000


def test_each_model_of_each_server_has_a_factor_of_its_own() -> None:
    estimate = TokenEstimate()
    for _ in range(5):
        estimate.learn(prompt(), 9_000)
    untaught = estimate.tokens(model("two"), 9_000)
    assert estimate.tokens(model(), 9_000) > 2 * untaught
    assert estimate.tokens(model(endpoint="http://other/v1"), 9_000) == untaught


def test_sizes_count_what_the_model_reads() -> None:
    call = ToolCallPart(call_id="1", name="add", arguments='{"a": 1}')
    back = ToolReturnPart(call_id="1", name="add", status="success", text="né")
    assert size_of([message("user", "né")]) == MESSAGE_BYTES + 3
    assert size_of([message("assistant", call)]) == 2 * MESSAGE_BYTES + len("add") + len('{"a": 1}')
    assert size_of([message("tool", back)]) == 2 * MESSAGE_BYTES + 3
    assert size_of([message("user", "\ud800")]) == MESSAGE_BYTES + 3
    assert size_of([], [ADD]) > len(ADD["description"])


def test_the_catalog_learns_from_the_answers_it_passes_on() -> None:
    usage = chunk(usage={"prompt_tokens": 9_000, "completion_tokens": 1, "total_tokens": 9_001})
    answer = streams(*events(chunk({"content": "Hi"}), STOP, usage, "[DONE]"))

    async def go() -> tuple[int, int]:
        async with serving(answer) as server, cataloguing({"OPENAI_BASE_URL": f"{server.url}/v1"}) as catalog:
            asked = await catalog.resolve(TENANT, "openai/gpt-4o")
            before = catalog.estimate(asked, 9_000)
            for _ in range(3):
                assert [batch async for batch in catalog.stream(TENANT, prompt(of=asked))]
            return before, catalog.estimate(asked, 9_000)

    before, after = run(go())
    assert before == 3_000
    assert after == pytest.approx(9_000, rel=0.15)
