"""A folder holds files that the agents it is attached to can read and search. 0.1.x calls it a source."""

from typing import Any, Final

import msgspec

from perdure.domain.models import EmbeddingModel

CHUNK_TOKENS: Final = 512
"""About how long a chunk of a file is, unless its folder says otherwise."""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder without its files. With an `embedding` model its chunks are found by meaning, too.

    `chunk_tokens` is about how long the pieces are that its files are cut into, to be searched.
    """

    id: str
    name: str
    created_at: int
    updated_at: int
    description: str | None = None
    instructions: str | None = None
    embedding: EmbeddingModel | None = None
    chunk_tokens: int = CHUNK_TOKENS
    metadata: dict[str, Any] = {}
