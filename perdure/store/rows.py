"""From a row of a table to the noun it stands for, and from ids to rows that are there."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, Table, select

from perdure.domain.errors import not_found

S = TypeVar("S", bound=msgspec.Struct)


def to_struct(row: RowMapping, kind: type[S], **others: Any) -> S:
    """A Struct from the columns named like its fields; `others` are fields that the row does not have."""
    # SQLAlchemy's keys are a subclass of str, which msgspec refuses.
    fields = {name: row[name] for name in kind.__struct_fields__ if name not in others}
    return msgspec.convert({**fields, **others}, kind)


def known_ids(conn: Connection, tenant: str, table: Table, noun: str, ids: Iterable[str]) -> list[str]:
    """These ids, each once. Raises NotFound, with `noun`, for the first that a tenant does not have in a table."""
    wanted = list(dict.fromkeys(ids))
    found = set(conn.execute(select(table.c.id).where(table.c.id.in_(wanted), table.c.tenant_id == tenant)).scalars())
    for each in wanted:
        if each not in found:
            raise not_found(noun, each)
    return wanted
