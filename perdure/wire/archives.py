"""Archives as the API says them."""

from typing import Annotated, Any

from pydantic import Field

from perdure.domain.archives import Archive
from perdure.domain.ids import new_id, now
from perdure.domain.models import EmbeddingModel
from perdure.wire.models import DEFAULT_CHUNK_SIZE, embedding_config
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

Wire = dict[str, Any]
Name = Annotated[Text, Field(min_length=1, max_length=255)]


class CreateArchiveBody(Body):
    """An archive to be made. `embedding` is a handle; the older `embedding_config` counts by its own."""

    name: Name
    description: Text | None = None
    embedding: Text | None = None
    embedding_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    def archive(self, embedding: EmbeddingModel | None) -> Archive:
        """The archive, with an id of its own."""
        at = now()
        return Archive(
            id=new_id("archive"), name=self.name, description=self.description, embedding=embedding,
            metadata=self.metadata or {}, created_at=at, updated_at=at,
        )  # fmt: skip


class UpdateArchiveBody(Body):
    """Changes of an archive; null leaves a field as it is. Another `embedding` has its passages embedded anew."""

    name: Name | None = None
    description: Text | None = None
    embedding: Text | None = None
    metadata: dict[str, Any] | None = None

    def changes(self) -> dict[str, Any]:
        """The plain fields of `Archive` to replace."""
        return self.model_dump(exclude_none=True, exclude={"embedding"})


def archive(shown: Archive) -> Wire:
    """An archive for both SDK generations."""
    config = None if shown.embedding is None else embedding_config(shown.embedding, DEFAULT_CHUNK_SIZE)
    return {
        "id": shown.id,
        "name": shown.name,
        "description": shown.description,
        "embedding": None if shown.embedding is None else shown.embedding.handle,
        "embedding_config": config,
        "metadata": shown.metadata,
        "vector_db_provider": "native",
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }
