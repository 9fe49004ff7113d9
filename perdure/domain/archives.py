"""An archive is a collection of texts that agents search when they need them; a passage is one of them."""

from typing import Any

import msgspec

from perdure.domain.models import EmbeddingModel


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of passages, which several agents may share. `embedding` is the model that turns them to vectors."""

    id: str
    name: str
    created_at: int
    updated_at: int
    description: str | None = None
    embedding: EmbeddingModel | None = None
    metadata: dict[str, Any] = {}
