"""Queries of the lists of folders, of files, and of the jobs that read them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query

from perdure.api.queries import PageQuery
from perdure.store.folders import FolderFilter
from perdure.store.jobs import JobFilter
from perdure.store.pages import MAX_LIMIT, Page
from perdure.wire.files import file_id_of


@dataclass(frozen=True)
class FolderQuery(PageQuery):
    """Which folders."""

    order_by: Literal["created_at"] | None = None
    name: str | None = None

    def filter(self) -> FolderFilter:
        return FolderFilter(name=self.name)


@dataclass(frozen=True)
class FileQuery(PageQuery):
    """Which files of a folder, and whether with their text."""

    order_by: Literal["created_at"] | None = None
    include_content: bool = False


@dataclass(frozen=True)
class AgentFileQuery(PageQuery):
    """Which of an agent's files. `cursor` is the older word for `after`."""

    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20
    order_by: Literal["created_at"] | None = None
    cursor: str | None = None
    is_open: bool | None = None

    def page_by_file(self) -> Page:
        """The page, with one file more, which tells whether there are any. Cursors name the files themselves."""
        page, after = self.page(), self.after or self.cursor
        return Page(
            limit=self.limit + 1, after=file_id_of(after), before=file_id_of(page.before), ascending=page.ascending
        )


@dataclass(frozen=True)
class JobQuery(PageQuery):
    """Which jobs."""

    source_id: str | None = None
    active: bool = False

    def filter(self) -> JobFilter:
        return JobFilter(active=self.active, folder_id=self.source_id)
