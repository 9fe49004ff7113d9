"""Files as the API says them: in their folder, as an agent has them, and in pieces."""

from collections.abc import Sequence
from typing import Any

from perdure.domain.files import AgentFile, Chunk, File
from perdure.wire.times import precise

Wire = dict[str, Any]


def file(shown: File, content: str | None = None) -> Wire:
    """A file of a folder; `content` is its text, where it was asked for."""
    return {
        "id": shown.id,
        "source_id": shown.folder_id,
        "folder_id": shown.folder_id,
        "file_name": shown.file_name,
        "original_file_name": shown.original_file_name,
        "file_path": None,
        "file_type": shown.file_type,
        "file_size": shown.file_size,
        "file_creation_date": None,
        "file_last_modified_date": None,
        "processing_status": shown.status,
        "error_message": shown.error_message,
        "total_chunks": shown.total_chunks,
        "chunks_embedded": shown.chunks_embedded,
        "content": content,
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def agent_files(found: Sequence[AgentFile], *, more: bool) -> Wire:
    """A page of an agent's files. Its cursor is the id of the last file, which both generations send back."""
    return {
        "files": [_agent_file(each) for each in found],
        "next_cursor": _attachment_id(found[-1]) if found and more else None,
        "has_more": more,
    }


def file_id_of(cursor: str | None) -> str | None:
    """The file that a cursor of such a page names."""
    return None if cursor is None else cursor.replace("file_agent-", "file-", 1)


def chunk(shown: Chunk) -> Wire:
    """A piece of a file as a passage."""
    return {
        "id": shown.id,
        "text": shown.text,
        "source_id": shown.folder_id,
        "folder_id": shown.folder_id,
        "file_id": shown.file_id,
        "file_name": shown.file_name,
        "archive_id": None,
        "embedding": None,
        "embedding_config": None,
        "tags": [],
        "metadata": {"position": shown.position},
        "is_deleted": False,
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.created_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def _agent_file(shown: AgentFile) -> Wire:
    return {
        "id": _attachment_id(shown),
        "file_id": shown.file_id,
        "file_name": shown.name,
        "folder_id": shown.folder_id,
        "folder_name": shown.folder_name,
        "source_id": shown.folder_id,
        "is_open": shown.is_open,
        "last_accessed_at": precise(shown.opened_at),
        "visible_content": shown.view,
        "start_line": shown.start_line,
        "end_line": shown.end_line,
    }


def _attachment_id(shown: AgentFile) -> str:
    # An agent has a file once, so the file's own number tells it.
    return shown.file_id.replace("file-", "file_agent-", 1)
