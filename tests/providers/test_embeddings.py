import asyncio
import json
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perdure.domain.errors import ModelError, NotFound
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.models import EMBEDDING_BATCH, Embedding, EmbeddingModel
from perdure.providers import embeddings
from perdure.providers.catalog import Catalog
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.known_models import dimensions, input_tokens
from perdure.providers.known_providers import EmbeddingApi
from tests.providers.cataloguing import cataloguing, serving_lists
from tests.providers.scripted import Answer, Asked, lists, plain, run, says, serving

Reply = Callable[[list[str]], Any]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for that a test does not name itself."""
    monkeypatch.setattr(embeddings, "FIRST_WAIT_SECONDS", 0.001)


def vector(text: str) -> list[float]:
    """Three numbers that tell a text from others."""
    return [float(len(text)), float(ord(text[0])), 0.5]


def texts_in(asked: Asked) -> list[str]:
    """What a request wants embedded, in whatever protocol."""
    body = asked.json
    if "requests" in body:
        return [each["content"]["parts"][0]["text"] for each in body["requests"]]
    return [each["content"] for each in body["instances"]] if "instances" in body else body["input"]


def openai(texts: list[str]) -> Any:
    return {"data": [{"index": at, "embedding": vector(text)} for at, text in enumerate(texts)]}


def gives(reply: Reply = openai) -> Answer:
    """Answers with what `reply` makes of the texts; an int is a status, bytes are the whole response."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        made = reply(texts_in(asked))
        if isinstance(made, bytes):
            writer.write(made)
        elif isinstance(made, int):
            writer.write(plain(made, b'{"error": {"message": "said so"}}'))
        else:
            writer.write(plain(200, json.dumps(made).encode()))

    return answer


def embedded(
    texts: Sequence[str], answer: Answer | None = None, api: EmbeddingApi = "openai", name: str = "m", size: int = 0
) -> tuple[list[tuple[float, ...]], list[Asked]]:
    """The vectors of the texts, and every request it took."""
    model = EmbeddingModel(
        handle=f"box/{name}", name=name, provider_name="box", provider_type="openai", endpoint_type="openai",
        dimensions=size,
    )  # fmt: skip

    async def go() -> tuple[list[Sequence[float]], list[Asked]]:
        async with serving(answer or gives()) as server:
            http = HttpClient()
            try:
                endpoint = Endpoint(name="box", url=f"{server.url}/v1")
                return await embeddings.embed(http, endpoint, api, model, texts), server.asked
            finally:
                await http.close()

    found, asked = run(go())
    return [tuple(each) for each in found], asked


def failed(texts: Sequence[str], answer: Answer, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as raised:
        embedded(texts, answer, **options)
    return raised.value


def test_each_protocol_is_asked_in_its_own_words() -> None:
    want = [tuple(vector("one")), tuple(vector("two!"))]

    def gemini(texts: list[str]) -> Any:
        return {"embeddings": [{"values": vector(text)} for text in texts]}

    def predict(texts: list[str]) -> Any:
        return {"predictions": [{"embeddings": {"values": vector(text), "statistics": {}}} for text in texts]}

    found, [asked] = embedded(["one", "two!"], name="a/b")
    assert (found, asked.path, asked.json) == (want, "/v1/embeddings", {"model": "a/b", "input": ["one", "two!"]})
    found, [asked] = embedded(["one", "two!"], gives(lambda t: {"embeddings": [*map(vector, t)]}), "ollama")
    assert (found, asked.path) == (want, "/api/embed")
    assert asked.json == {"model": "m", "input": ["one", "two!"], "truncate": True}
    found, [asked] = embedded(["one", "two!"], gives(gemini), "gemini", "gemini-embedding-001")
    assert (found, asked.path) == (want, "/v1/models/gemini-embedding-001:batchEmbedContents")
    assert asked.json["requests"][0] == {
        "model": "models/gemini-embedding-001", "content": {"parts": [{"text": "one"}]}
    }  # fmt: skip
    found, [asked] = embedded(["one", "two!"], gives(gemini), "vertex", "gemini-embedding-2")
    assert (found, asked.path) == (want, "/v1/models/gemini-embedding-2:batchEmbedContents")
    found, [asked] = embedded(["one", "two!"], gives(predict), "vertex", "text-embedding-005")
    assert (found, asked.path) == (want, "/v1/models/text-embedding-005:predict")


def test_nothing_to_embed_asks_nobody() -> None:
    assert embedded([]) == ([], [])


def test_order_is_kept_whatever_order_a_server_answers_in() -> None:
    def shuffled(texts: list[str]) -> Any:
        return {"data": openai(texts)["data"][::-1]}

    texts = [f"text {n}" * (n % 7 + 1) for n in range(300)]
    found, asked = embedded(texts, gives(shuffled))
    assert found == [tuple(vector(text)) for text in texts]
    assert [len(texts_in(each)) for each in asked].count(EMBEDDING_BATCH) == 300 // EMBEDDING_BATCH
    found, _ = embedded(texts[:3], gives(lambda t: {"data": [{"embedding": vector(text)} for text in t]}))
    assert found == [tuple(vector(text)) for text in texts[:3]]


def test_requests_are_bounded_in_bytes_and_in_number() -> None:
    under_way = most = 0

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        await gives()(asked, writer)

    found, asked = embedded(["é" * 8_000] * 40, answer)
    assert len(found) == 40
    sizes = {sum(len(text.encode()) for text in texts_in(each)) for each in asked}
    assert embeddings.BATCH_BYTES * 0.9 < max(sizes) <= embeddings.BATCH_BYTES
    assert 1 < most <= embeddings.AT_ONCE


def test_long_texts_are_cut_between_words_where_there_are_any() -> None:
    most = input_tokens("all-minilm") * embeddings.BYTES_PER_TOKEN
    texts = ["word " * 5000, "é" * 5000, "short"]
    _, [asked] = embedded(texts, name="all-minilm")
    words, letters, short = texts_in(asked)
    assert words == ("word " * (most // 5)).strip()
    assert letters == "é" * (most // 2)
    assert short == "short"


def test_text_no_server_takes_is_made_fit() -> None:
    _, [asked] = embedded(["", " \n", "a\0b\ud83d"])
    assert texts_in(asked) == ["(empty)", "(empty)", "a\ufffdb\ufffd"]


def too_long(limit: int, status: int = 400, words: str = "maximum context length is exceeded") -> Reply:
    def reply(texts: list[str]) -> Any:
        if max(map(len, texts)) <= limit:
            return openai(texts)
        return plain(status, json.dumps({"error": {"message": words}}).encode())

    return reply


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "This model's maximum context length is 512 tokens"),
        (413, "batch size 32 > maximum allowed batch size 8"),
        (500, "input is too large to process. increase the physical batch size"),
        (422, "inputs must have less than 512 tokens; too many tokens given"),
    ],
)
def test_what_a_server_finds_too_much_is_halved_until_it_fits(status: int, words: str) -> None:
    texts = ["a", "bb", "long " * 200, "dddd"]
    found, _ = embedded(texts, gives(too_long(300, status, words)))
    assert [found[0], found[1], found[3]] == [tuple(vector(text)) for text in ("a", "bb", "dddd")]
    assert 100 < found[2][0] <= 300, "cut in half until it fitted"


def test_a_batch_that_is_too_large_for_a_server_is_halved_without_loss() -> None:
    def reply(texts: list[str]) -> Any:
        words = b'{"error": {"message": "at most 5 inputs"}}'
        return openai(texts) if len(texts) <= 5 else plain(400, words)

    texts = [f"text {n}" for n in range(40)]
    found, _ = embedded(texts, gives(reply))
    assert found == [tuple(vector(text)) for text in texts]


def test_a_refusal_for_another_reason_is_not_asked_again() -> None:
    error = failed(["a", "b"], gives(lambda _: 400))
    assert (error.error_type, error.detail) == ("llm_bad_request", "said so")
    error = failed(["short"], gives(too_long(1)))
    assert "maximum context length" in error.detail
    assert failed(["a"], gives(lambda _: 401)).error_type == "llm_authentication"


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_passing_faults_are_waited_out(status: int) -> None:
    left = [status] * embeddings.RETRIES

    def reply(texts: list[str]) -> Any:
        return left.pop() if left else openai(texts)

    found, asked = embedded(["a"], gives(reply))
    assert (found, len(asked)) == ([tuple(vector("a"))], embeddings.RETRIES + 1)


def test_faults_that_stay_are_raised() -> None:
    counted: list[int] = []

    def reply(texts: list[str]) -> Any:
        counted.append(len(texts))
        return 503

    assert failed(["a"], gives(reply)).error_type == "llm_error"
    assert len(counted) == embeddings.RETRIES + 1


def test_nobody_is_waited_for_longer_than_the_budget() -> None:
    asked: list[int] = []

    def reply(texts: list[str]) -> Any:
        asked.append(len(texts))
        return plain(429, b'{"error": "later"}', Retry_After="61")

    assert failed(["a"], gives(reply)).retry_after == 61.0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"data": []}, "gave 0 vectors for 1 texts"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}, "gave 2 vectors for 1 texts"),
        ({"data": [{"embedding": None}]}, "no list of numbers"),
        ({"data": [{"embedding": "AAAA"}]}, "no list of numbers"),
        ({"data": [{"embedding": ["x"]}]}, "no list of numbers"),
        ({"data": [{"embedding": []}]}, "a vector of 0 floats"),
        ({"data": [{"embedding": [1e300]}]}, "too large"),
        ({"data": [{"embedding": [1.0, 2.0]}]}, "2 floats where 3 are expected"),
        ([], "gave 0 vectors"),
        ({"data": {"a": 1}}, "gave 0 vectors"),
    ],
)
def test_vectors_that_are_none_are_refused(reply: Any, words: str) -> None:
    size = 3 if "where 3" in words else 0
    error = failed(["a"], gives(lambda _: reply), size=size)
    assert error.error_type == "llm_error"
    assert words in error.detail


def test_all_vectors_must_be_of_one_length() -> None:
    error = failed(["a", "b"], gives(lambda t: {"data": [{"embedding": [1.0] * (at + 1)} for at in range(len(t))]}))
    assert "2 floats where 1 are expected" in error.detail


def test_a_failure_ends_the_requests_that_are_under_way() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if "bad" in texts_in(asked)[0]:
            await gives(lambda _: 400)(asked, writer)

    async def go() -> None:
        async with serving(answer) as server:
            http = HttpClient()
            model = EmbeddingModel(
                handle="b/m", name="m", provider_name="b", provider_type="o", endpoint_type="o", dimensions=0
            )
            texts = ["silence"] * EMBEDDING_BATCH + ["bad"]
            with pytest.raises(ModelError):
                await embeddings.embed(http, Endpoint(name="b", url=server.url), "openai", model, texts)
            await server.hung_up.wait()
            await http.close()

    run(go())


def test_what_is_known_of_models_by_name() -> None:
    assert (dimensions("text-embedding-3-large"), input_tokens("text-embedding-3-large")) == (3072, 8191)
    assert (dimensions("BAAI/bge-m3"), input_tokens("BAAI/bge-m3")) == (1024, 8192)
    assert (dimensions("never-heard-of"), input_tokens("never-heard-of")) == (0, 8192)


def catalogued(replies: dict[str, Any], use: Callable[[Catalog], Any], **environment: str) -> tuple[Any, list[Asked]]:
    async def go() -> tuple[Any, list[Asked]]:
        async with serving_lists(replies, **environment) as (catalog, server):
            return await use(catalog), server.asked

    return run(go())


BOX = {
    "/v1/models": {"data": [{"id": "embed-strange"}, {"id": "gpt-4o"}]},
    "/v1/embeddings": lambda asked: openai(asked.json["input"]),
}


def test_every_vector_carries_its_model_and_length() -> None:
    found, _ = catalogued(BOX, lambda catalog: catalog.embed(TENANT, "openai/embed-strange", ["one", "two"]))
    assert [(each.model, each.dimensions) for each in found] == [("openai/embed-strange", 3)] * 2
    assert found[0] == Embedding("openai/embed-strange", array("f", vector("one")))


def test_a_model_nobody_knows_is_measured_once() -> None:
    async def use(catalog: Catalog) -> list[int]:
        models = [await catalog.resolve_embedding(TENANT, "openai/embed-strange") for _ in range(3)]
        return [model.dimensions for model in models]

    sizes, asked = catalogued(BOX, use)
    assert sizes == [3, 3, 3]
    assert [each.path for each in asked].count("/v1/embeddings") == 1


def test_a_model_that_cannot_be_measured_now_is_believed_and_measured_later() -> None:
    replies = {**BOX, "/v1/embeddings": 400}

    async def use(catalog: Catalog) -> list[int]:
        before = await catalog.resolve_embedding(TENANT, "openai/embed-strange")
        replies["/v1/embeddings"] = BOX["/v1/embeddings"]
        after = await catalog.resolve_embedding(TENANT, "openai/embed-strange")
        return [before.dimensions, after.dimensions, (await catalog.embed(TENANT, before, ["a"]))[0].dimensions]

    assert catalogued(replies, use)[0] == [0, 3, 3]


def test_who_is_not_there_is_named() -> None:
    async def go() -> tuple[NotFound, ModelError]:
        async with cataloguing({}) as catalog:
            with pytest.raises(NotFound) as unknown:
                await catalog.embed(TENANT, "openai/text-embedding-3-small", ["a"])
            gone = EmbeddingModel(
                handle="groq/e", name="e", provider_name="groq", provider_type="g", endpoint_type="g", dimensions=3
            )
            with pytest.raises(ModelError) as missing:
                await catalog.embed(TENANT, gone, ["a"])
            return unknown.value, missing.value

    unknown, missing = run(go())
    assert "OPENAI_API_KEY" in unknown.message
    assert "set GROQ_API_KEY" in missing.detail


def test_a_server_that_cannot_be_reached_is_named() -> None:
    async def go() -> ModelError:
        async with serving(says()) as server:
            url = server.url
        async with cataloguing({"OPENAI_BASE_URL": f"{url}/v1"}) as catalog:
            with pytest.raises(ModelError) as raised:
                await catalog.embed(TENANT, "openai/text-embedding-3-small", ["a"])
            return raised.value

    assert "cannot be reached" in run(go()).detail


def test_ollama_is_embedded_with_through_the_catalogue() -> None:
    replies = {
        "/api/tags": {"models": [{"name": "nomic-embed-text:latest"}]},
        "/api/show": {
            "capabilities": ["embedding"],
            "model_info": {"general.architecture": "bert", "bert.embedding_length": 3},
        },
        "/api/embed": lambda asked: {"embeddings": [*map(vector, asked.json["input"])]},
    }

    async def go() -> list[Embedding]:
        async with serving(lists(replies)) as server, cataloguing({"OLLAMA_BASE_URL": server.url}) as catalog:
            return await catalog.embed(TENANT, "ollama/nomic-embed-text:latest", ["one"])

    [found] = run(go())
    assert (found.model, found.dimensions) == ("ollama/nomic-embed-text:latest", 3)
