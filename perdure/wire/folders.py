"""Folders as the API says them. The older generation calls them sources, and reads the same fields."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from perdure.domain.agents import ModelChoice
from perdure.domain.files import File, FolderStats
from perdure.domain.folders import CHUNK_TOKENS, Folder
from perdure.domain.ids import new_id, now
from perdure.wire.model_settings import NO_EMBEDDING, EmbeddingConfigBody, Tokens
from perdure.wire.models import embedding_config
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

Wire = dict[str, Any]

MIN_CHUNK_TOKENS: Final = 32
MAX_CHUNK_TOKENS: Final = 8_192


def _name(name: str) -> str:
    # It stands in the system message as an attribute, before a slash and the name of a file.
    if not name.strip() or any(not char.isprintable() or char in '<>"' for char in name):
        raise ValueError('A name needs at least one character, and none of < > ", line breaks or control characters.')
    return name


Name = Annotated[Text, AfterValidator(_name), Field(max_length=255)]


class FolderBody(Body):
    """What both bodies share."""

    description: Text | None = None
    instructions: Text | None = None
    metadata: dict[str, Any] | None = None
    embedding: Text | None = None
    embedding_config: EmbeddingConfigBody | None = None

    def choice(self) -> ModelChoice:
        """The embedding model that was chosen, in one way or the other."""
        config = self.embedding_config
        if config is not None and config.embedding_model == NO_EMBEDDING:
            config = None
        return ModelChoice(embedding=self.embedding, embedding_config=config and config.sent())


class CreateFolderBody(FolderBody):
    """A folder to be made. Without an embedding model its files are found by their words."""

    name: Name
    embedding_chunk_size: Tokens | None = None

    def folder(self) -> Folder:
        """The folder, with an id of its own, and no model yet."""
        config, at = self.embedding_config, now()
        tokens = self.embedding_chunk_size or (config and config.embedding_chunk_size) or CHUNK_TOKENS
        return Folder(
            id=new_id("source"), name=self.name, description=self.description, instructions=self.instructions,
            chunk_tokens=min(max(tokens, MIN_CHUNK_TOKENS), MAX_CHUNK_TOKENS), metadata=self.metadata or {},
            created_at=at, updated_at=at,
        )  # fmt: skip


class UpdateFolderBody(FolderBody):
    """Changes of a folder; null leaves a field as it is. By another model its files are embedded anew."""

    name: Name | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of `Folder` to replace, its model apart."""
        return self.model_dump(exclude_none=True, exclude={"embedding", "embedding_config"})


def folder(shown: Folder) -> Wire:
    """A folder for both SDK generations."""
    return {
        "id": shown.id,
        "name": shown.name,
        "description": shown.description,
        "instructions": shown.instructions,
        "metadata": shown.metadata,
        "embedding_config": embedding_config(shown.embedding, shown.chunk_tokens),
        "vector_db_provider": "native",
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def folder_stats(found: Sequence[FolderStats], *, detailed: bool) -> Wire:
    """What all folders hold together; `detailed`, with what each of them does."""
    files = [file for stats in found for file in stats.files]
    return {
        "total_sources": len(found),
        "total_files": len(files),
        "total_size": sum(file.file_size or 0 for file in files),
        "sources": [_stats(stats) for stats in found] if detailed else [],
    }


def _stats(stats: FolderStats) -> Wire:
    return {
        "source_id": stats.folder.id,
        "source_name": stats.folder.name,
        "file_count": len(stats.files),
        "total_size": sum(file.file_size or 0 for file in stats.files),
        "files": [_file(file) for file in stats.files],
    }


def _file(file: File) -> Wire:
    return {"file_id": file.id, "file_name": file.file_name, "file_size": file.file_size}
