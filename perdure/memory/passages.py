"""An agent's long-term memory: what is put into its archives, and what is found there."""

from asyncio import timeout
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.archives import Archive
from perdure.domain.errors import Invalid, ModelError
from perdure.domain.ids import new_id, now
from perdure.domain.models import Embedding, EmbeddingModel
from perdure.domain.passages import MAX_BYTES, MAX_TOKENS, Passage
from perdure.logs import Log
from perdure.memory import embedding
from perdure.memory.fusion import fused
from perdure.memory.recall import recall
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import passages as passage_store
from perdure.store.database import Database
from perdure.store.nearest import Found, nearest
from perdure.store.passage_search import PASSAGES, among
from perdure.store.tables import passages

DEFAULT_FOUND: Final = 5
"""Passages an agent finds where nobody says how many."""
MOST_COUNTED: Final = 10_000
"""Passages that are counted to know what chance would find among them."""
NEAR: Final = 30
"""Passages that are nearest to a query, at least, of which some may be shown."""
EMBED_SECONDS: Final = 10.0
"""How long a search waits for the vector of its query, before it goes by words alone."""

log: Final = Log(__name__)

Embed = Callable[[str, EmbeddingModel, Sequence[str]], Awaitable[Sequence[Embedding]]]
"""Turns a tenant's texts into vectors by a model. Raises ModelError."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. `start` (included) and `end` (not) are microseconds UTC; a passage has any of the tags."""

    query: str
    limit: int
    tags: tuple[str, ...] = ()
    every_tag: bool = False
    start: int | None = None
    end: int | None = None


def new_passage(
    text: str, *, tags: Sequence[str] = (), created_at: int | None = None, metadata: dict[str, Any] | None = None
) -> Passage:
    """A passage for an archive that is not known yet. Raises Invalid for a text that is empty or too long."""
    _check(text)
    at = now()
    return Passage(
        id=new_id("passage"), archive_id="", text=text, tags=tuple(sorted(set(tags))), metadata=metadata or {},
        created_at=at if created_at is None else created_at, updated_at=at,
    )  # fmt: skip


def insert(conn: Connection, tenant: str, archive: Archive, new: Sequence[Passage]) -> list[Passage]:
    """Put passages into an archive. Their vectors are made later, so that nobody waits for them."""
    if new and archive.embedding is not None:
        # As `ask` is about to hold it: two units that both had stored passages first would wait for each other.
        archive_store.get(conn, tenant, archive.id, held=True)
    own = [msgspec.structs.replace(each, archive_id=archive.id) for each in new]
    stored = passage_store.add(conn, tenant, archive.id, own)
    if stored:
        embedding.ask(conn, tenant, embedding.ARCHIVES, archive.id)
    return stored


def edit(conn: Connection, tenant: str, passage: Passage, changes: dict[str, Any]) -> Passage:
    """Change fields of a passage and return it as it then is. Raises Invalid like `new_passage`."""
    changed = msgspec.structs.replace(passage, **changes, updated_at=max(now(), passage.updated_at + 1))
    _check(changed.text)
    passage_store.update(conn, passage, changed)
    if changed.text != passage.text:
        embedding.ask(conn, tenant, embedding.ARCHIVES, passage.archive_id)
    return changed


def edit_archive(
    conn: Connection, tenant: str, archive_id: str, changes: dict[str, Any], model: EmbeddingModel | None = None
) -> Archive:
    """Change fields of an archive, and with `model` what embeds its passages, which are then embedded anew.

    Raises NotFound.
    """
    archive = archive_store.get(conn, tenant, archive_id, held=True)
    edited = msgspec.structs.replace(
        archive, **changes, embedding=model or archive.embedding, updated_at=now()
    )  # fmt: skip
    archive_store.update(conn, edited)
    if model is not None:
        embedding.ask(conn, tenant, embedding.ARCHIVES, edited.id)
    return edited


def archive_of(conn: Connection, tenant: str, agent: Agent) -> Archive:
    """The archive an agent writes to: its own, else the first it shares, else one that is made for it now."""
    found = archive_store.of_agent(conn, agent.id)
    if not found:
        agent_store.hold(conn, tenant, agent.id)
        found = archive_store.of_agent(conn, agent.id)
    if found:
        return found[0]
    at = now()
    made = Archive(
        id=new_id("archive"), name=f"{agent.name}'s Archive", embedding=agent.embedding, created_at=at, updated_at=at
    )
    archive_store.create(conn, tenant, made)
    archive_store.attach(conn, agent.id, made.id, is_owner=True)
    return made


async def search_passages(
    db: Database, embed: Embed, tenant: str, archives: Sequence[Archive], wanted: Wanted
) -> list[tuple[Passage, float]]:
    """Passages that answer, best first, each with a score of at most 1 that says how well it does beside the first.

    Words find them and, where archives have an embedding model, vectors add to that. A query without a word gives the
    newest, with 0.
    """
    vectors = await query_vectors(embed, tenant, [each.embedding for each in archives], wanted.query)
    return await db.read(lambda conn: _found(conn, tenant, archives, vectors, wanted))


async def query_vectors(
    embed: Embed, tenant: str, wanted: Sequence[EmbeddingModel | None], query: str
) -> dict[str, Embedding]:
    """The query as these models see it, by their handles. A model that cannot be asked has no say."""
    models = {each.handle: each for each in wanted if each is not None}
    made: dict[str, Embedding] = {}
    for handle, model in models.items() if query.strip() else ():
        try:
            async with timeout(EMBED_SECONDS):
                [made[handle]] = await embed(tenant, model, [query])
        except (ModelError, TimeoutError) as error:
            log.warning(
                "searching_by_words_alone",
                model=handle,
                reason=getattr(error, "detail", str(error) or "no answer in time"),
            )
    return made


def _found(
    conn: Connection, tenant: str, archives: Sequence[Archive], vectors: dict[str, Embedding], wanted: Wanted
) -> list[tuple[Passage, float]]:
    ids = [each.id for each in archives]
    where = among(
        tenant, ids, tags=wanted.tags, every_tag=wanted.every_tag, start=wanted.start, end=wanted.end
    )  # fmt: skip
    narrow = bool(wanted.tags) or wanted.start is not None or wanted.end is not None
    by_words = recall(conn, PASSAGES, ids, wanted.query, where, max(wanted.limit, NEAR), narrow=narrow)
    near: Found = []
    for handle, made in vectors.items():
        same = where & (passages.c.embedding_model == handle)
        near += nearest(conn, passages, same, made.vector, max(wanted.limit, NEAR))
    if by_words is None and not near:
        return [(each, 0.0) for each in passage_store.newest(conn, where, wanted.limit)]
    near.sort(key=lambda hit: (-hit[1], -hit[0]))
    best = fused(by_words or [], near, wanted.limit, passage_store.count(conn, ids, MOST_COUNTED) if near else 0)
    shown = passage_store.by_seqs(conn, [seq for seq, _ in best])
    return [(each, score) for each, (_, score) in zip(shown, best, strict=True)]


def _check(text: str) -> None:
    if not text.strip():
        raise Invalid("The text is empty. Give the passage some words.")
    size = len(text.encode())
    if size > MAX_BYTES:
        raise Invalid(
            f"The text has {size} bytes, and a passage holds about {MAX_TOKENS} tokens, which is {MAX_BYTES} bytes. "
            "Divide it into several passages."
        )
