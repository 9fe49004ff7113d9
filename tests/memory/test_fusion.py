"""Vectors add to what words find, and never take the best of it away."""

import random
import zlib
from typing import Any

import pytest

from bench.recall.conversations import SECOND_HALF, Conversation, read
from perdure.domain.archives import Archive
from perdure.domain.ids import DEFAULT_TENANT, new_id, now
from perdure.domain.models import Embedding, EmbeddingModel
from perdure.memory import passages
from perdure.memory.fusion import fused, trusted
from perdure.memory.passages import Wanted
from perdure.store import archives
from perdure.store import embedding as embedding_store
from perdure.store.embedding import Unembedded
from perdure.store.passage_search import PASSAGES
from tests.memory.home import Home
from tests.rig.stores import SQLITE, Place

MODEL = EmbeddingModel(
    handle="some/model",
    name="model",
    provider_name="some",
    provider_type="openai",
    endpoint_type="openai",
    dimensions=8,
)


def random_vector(text: str) -> list[float]:
    dice = random.Random(text)
    return [dice.gauss(0, 1) for _ in range(32)]


MEANINGS = (("cat", "kitten", "feline"), ("car", "automobile", "vehicle"), ("doctor", "physician"), ("sea", "ocean"))


def meaning(text: str) -> list[float]:
    """A vector in which words of one meaning are one."""
    words = text.lower().strip("?.").split()
    return [float(any(word in words for word in group)) for group in MEANINGS] + [0.05]


class Shelf:
    """An archive with an embedding model that is a function."""

    def __init__(self, home: Home, vector: Any) -> None:
        self.home = home
        self.vector = vector
        self.archive = Archive(id=new_id("archive"), name="a", embedding=MODEL, created_at=1, updated_at=1)
        home.write(lambda conn: archives.create(conn, DEFAULT_TENANT, self.archive))

    def put(self, *texts: str) -> dict[str, int]:
        new = [passages.new_passage(text, created_at=now()) for text in texts]
        stored = self.home.write(lambda conn: passages.insert(conn, DEFAULT_TENANT, self.archive, new))
        made = [(Unembedded(each.seq, each.text), Embedding(MODEL.handle, self.vector(each.text))) for each in stored]
        self.home.write(lambda conn: embedding_store.embed(conn, PASSAGES, made))
        return {each.id: number for number, each in enumerate(stored)}

    def find(self, query: str, limit: int = 10) -> list[str]:
        async def embed(tenant: str, model: EmbeddingModel, texts: Any) -> list[Embedding]:
            return [Embedding(model.handle, self.vector(text)) for text in texts]

        wanted = Wanted(query=query, limit=limit)
        found = self.home.run(passages.search_passages(self.home.db, embed, DEFAULT_TENANT, [self.archive], wanted))
        return [each.id if limit == 10 else each.text for each, _ in found]


def hashed(text: str) -> list[float]:
    """What is often taken for an embedding model: each word adds to one of a few numbers."""
    found = [0.0] * 64
    for word in text.lower().split():
        found[zlib.crc32(word.encode()) % len(found)] += 1
    return found


def evidence(shelf: Shelf, conversation: Conversation) -> list[set[int]]:
    """The turns that are found of those that answer, for each question."""
    numbers = shelf.put(*(text for text, _ in conversation.turns))
    return [
        {numbers[each] for each in shelf.find(question.text)}.intersection(question.evidence)
        for question in conversation.questions
    ]


@pytest.mark.stores(SQLITE)
@pytest.mark.parametrize(("vector", "name"), [(random_vector, SECOND_HALF[1]), (hashed, SECOND_HALF[0])])
def test_vectors_that_mean_little_take_no_evidence_away(place: Place, vector: Any, name: str) -> None:
    conversation = read(name)
    with Home(place) as home:
        words = evidence(Shelf(home, lambda text: [0.0] * 8), conversation)
        both = evidence(Shelf(home, vector), conversation)
    assert all(one <= other for one, other in zip(words, both, strict=True))


def test_vectors_find_what_is_said_in_other_words(place: Place) -> None:
    with Home(place) as home:
        shelf = Shelf(home, meaning)
        shelf.put(
            "My kitten sleeps all day", "The automobile needs new tyres", "She swam across the ocean", "Good morning"
        )
        assert shelf.find("cat", limit=1) == ["My kitten sleeps all day"]
        assert shelf.find("Which vehicle?", limit=1) == ["The automobile needs new tyres"]


def test_words_keep_their_order_and_trusted_vectors_take_the_places_of_what_hardly_fits() -> None:
    words = [(seq, 20.0 - seq if seq < 7 else 5.0) for seq in range(10)]
    near = [(0, 0.9), (1, 0.8), (2, 0.8), (50, 0.7), (51, 0.6), (52, 0.5), (53, 0.4)]
    assert trusted(words, near, 1000)
    assert [seq for seq, _ in fused(words, near, 10, 1000)] == [0, 1, 2, 3, 4, 5, 6, 50, 51, 52]
    strangers = [(seq, 0.9) for seq in range(60, 70)]
    assert [seq for seq, _ in fused(words, strangers, 10, 1000)] == list(range(10))
    fitting = [(seq, 20.0 - seq) for seq in range(10)]
    assert [seq for seq, _ in fused(fitting, near, 10, 1000)] == list(range(10))
    assert [seq for seq, _ in fused(words[:2], strangers, 4, 1000)] == [0, 1, 60, 61]
    scores = [score for _, score in fused(words[:2], strangers, 4, 1000)]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) == 1
