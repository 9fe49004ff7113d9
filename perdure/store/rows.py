"""From a row of a table to the noun it stands for."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import RowMapping

S = TypeVar("S", bound=msgspec.Struct)


def to_struct(row: RowMapping, kind: type[S], **others: Any) -> S:
    """A Struct from the columns named like its fields; `others` are fields that the row does not have."""
    # SQLAlchemy's keys are a subclass of str, which msgspec refuses.
    fields = {name: row[name] for name in kind.__struct_fields__ if name not in others}
    return msgspec.convert({**fields, **others}, kind)
