"""Nearest neighbours, the same in both databases."""

import math
import random
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Connection, select

from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.store.nearest import LOOKED_AT, nearest
from perdure.store.tables import archives, passages
from tests.memory.home import Home
from tests.rig.stores import Place

Vector = Sequence[float]


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    with Home(place) as home:
        yield home


def stored(home: Home, vectors: Sequence[Vector | None], model: str = "m/one") -> list[int]:
    """Passages with these vectors in an archive of their own; their seqs."""
    archive = new_id("archive")

    def store(conn: Connection) -> list[int]:
        row = {"tenant_id": DEFAULT_TENANT, "metadata": {}, "created_at": 1, "updated_at": 1}
        conn.execute(archives.insert().values(id=archive, name="a", **row))
        made = [
            {**row, "id": new_id("passage"), "archive_id": archive, "text": "t", "embedding": vector,
             "embedding_model": model}
            for vector in vectors
        ]  # fmt: skip
        for each in made:
            conn.execute(passages.insert().values(**each))
        return list(
            conn.execute(select(passages.c.seq).where(passages.c.archive_id == archive).order_by("seq")).scalars()
        )

    return home.write(store)


def found(home: Home, vector: Vector, limit: int = 10, model: str = "m/one") -> list[tuple[int, float]]:
    return home.read(lambda conn: nearest(conn, passages, passages.c.embedding_model == model, vector, limit))


def cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_a_vector_comes_back_as_a_direction(home: Home) -> None:
    stored(home, [(3.0, 4.0), (0.0, 0.0), None, (math.nan, 1.0), (1e-30, 0.0)])
    kept = home.read(lambda conn: conn.execute(select(passages.c.embedding).order_by(passages.c.seq)).scalars().all())
    assert [vector and list(vector) for vector in kept] == [pytest.approx([0.6, 0.8]), None, None, None, [1.0, 0.0]]


def test_the_nearest_come_first_whatever_their_length(home: Home) -> None:
    one, opposite, square, near = stored(home, [(1.0, 0.0), (-5.0, 0.0), (0.0, 0.1), (100.0, 1.0)])
    result = found(home, (2.0, 0.0))
    assert [seq for seq, _ in result] == [one, near, square, opposite]
    assert [score for _, score in result] == pytest.approx([1.0, 0.99995, 0.0, -1.0], abs=1e-5)
    assert [seq for seq, _ in found(home, (2.0, 0.0), limit=2)] == [one, near]


def test_what_cannot_be_compared_is_not_found(home: Home) -> None:
    stored(home, [(1.0, 0.0, 0.0), None, (0.0, 0.0)])
    (fits,) = stored(home, [(1.0, 0.0)])
    stored(home, [(1.0, 0.0)], model="m/other")
    assert [seq for seq, _ in found(home, (1.0, 0.0))] == [fits]
    for nowhere in ((0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)):
        assert found(home, nowhere) == []


def test_equal_ones_are_in_the_order_they_were_stored(home: Home) -> None:
    seqs = stored(home, [(1.0, 1.0)] * 5)
    assert [seq for seq, _ in found(home, (1.0, 1.0), limit=3)] == seqs[:3]


@pytest.mark.parametrize("dimensions", [3, 64, 1536])
def test_scores_are_those_of_an_exact_comparison(home: Home, dimensions: int) -> None:
    dice = random.Random(dimensions)
    vectors = [[dice.gauss(0, 1) for _ in range(dimensions)] for _ in range(40)]
    seqs = stored(home, vectors)
    asked = [dice.gauss(0, 1) for _ in range(dimensions)]
    exact = sorted(((cosine(vector, asked), seq) for seq, vector in zip(seqs, vectors, strict=True)), reverse=True)[:10]
    result = found(home, asked)
    assert [seq for seq, _ in result] == [seq for _, seq in exact]
    assert [score for _, score in result] == pytest.approx([score for score, _ in exact], abs=1e-5)


@pytest.mark.stores("sqlite")
def test_the_nearest_are_found_among_more_than_are_compared_exactly(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As texts of a few subjects lie: round a few directions, some nearer than others."""
    monkeypatch.setattr("perdure.store.nearest.LOOKED_AT", 60 * 384)
    dice = random.Random(5)
    subjects = [[dice.gauss(0, 1) for _ in range(384)] for _ in range(12)]
    vectors = [[axis + dice.gauss(0, 1) for axis in dice.choice(subjects)] for _ in range(600)]
    seqs = stored(home, vectors)
    assert LOOKED_AT // 384 > 600
    hits = 0
    for _ in range(10):
        asked = [axis + dice.gauss(0, 1) for axis in dice.choice(subjects)]
        exact = sorted(((cosine(vector, asked), seq) for seq, vector in zip(seqs, vectors, strict=True)), reverse=True)
        hits += len({seq for seq, _ in found(home, asked, limit=3)} & {seq for _, seq in exact[:3]})
    assert hits >= 27
