"""Log probabilities: who is asked for them, and what is made of whatever comes."""

from typing import Any

import pytest

from perdure.domain.models import ModelSettings
from perdure.providers.base import LogprobsDelta
from perdure.providers.logprobs import LEAST, entries
from tests.providers.chat import ADD, KINDS, STOP, body, chunk, deltas

ASKING = ModelSettings(return_logprobs=True, top_logprobs=3)


@pytest.mark.parametrize(
    ("provider", "model", "tools", "asked"),
    [
        ("openai", "gpt-4o", (ADD,), True),
        ("openai", "gpt-5-mini", (), False),
        ("vllm", "any", (ADD,), True),
        ("groq", "any", (), False),
        ("together", "any", (), False),
        ("deepseek", "deepseek-reasoner", (), False),
        ("llamacpp", "any", (), True),
        ("llamacpp", "any", (ADD,), False),
    ],
)
def test_only_who_can_give_them_is_asked(provider: str, model: str, tools: Any, asked: bool) -> None:
    made = body(kind=KINDS[provider], model=model, tools=tools, settings=ASKING)
    wanted = {"logprobs": True, "top_logprobs": 3} if asked else {}
    assert {name: value for name, value in made.items() if "logprobs" in name} == wanted


def test_nobody_is_asked_without_need() -> None:
    assert not [name for name in body(settings=ModelSettings(top_logprobs=3)) if "logprobs" in name]
    assert body(settings=ModelSettings(return_logprobs=True)).get("top_logprobs") is None


def test_they_come_with_the_text_they_belong_to() -> None:
    given = [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}]
    text = chunk({"content": "Hi"})
    text["choices"][0]["logprobs"] = {"content": given, "refusal": None}
    refusal = chunk({"refusal": "No"})
    refusal["choices"][0]["logprobs"] = {"content": None, "refusal": given}
    found = [delta for delta in deltas(text, refusal, STOP, settings=ASKING) if isinstance(delta, LogprobsDelta)]
    assert found == [LogprobsDelta(given, []), LogprobsDelta([], given)]


@pytest.mark.parametrize("given", [{}, {"content": None}, {"content": {}}, {"content": ["x"]}, [], "no", 1, True])
def test_what_is_none_is_left_out(given: Any) -> None:
    text = chunk({"content": "Hi"})
    text["choices"][0]["logprobs"] = given
    assert not [delta for delta in deltas(text, STOP, settings=ASKING) if isinstance(delta, LogprobsDelta)]


def test_entries_can_be_stored_and_shown() -> None:
    odd = {"token": "\ud83d\0", "logprob": float("-inf"), "bytes": "no", "top_logprobs": [{"token": 1}, None], "x": 1}
    assert entries([odd, None, {"token": "a"}]) == [
        {"token": "\ufffd\ufffd", "logprob": LEAST, "bytes": None, "top_logprobs": []}
    ]
    assert entries([{"token": "a", "logprob": -1}])[0]["logprob"] == -1.0
