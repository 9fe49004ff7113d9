"""What the columns of all tables have in common."""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, the same on both databases."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _ENCODER.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else _DECODER.decode(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


def id_column() -> Column[str]:
    return Column("id", String, primary_key=True)


def tenant_column() -> Column[str]:
    return Column("tenant_id", String, ForeignKey("tenants.id"), nullable=False)


def times() -> tuple[Column[int], Column[int]]:
    return Column("created_at", BigInteger, nullable=False), Column("updated_at", BigInteger, nullable=False)


def cloud_columns() -> tuple[Column[str], ...]:
    """Fields of the contract that only the hosted service gave a meaning; kept as sent."""
    names = ("project_id", "template_id", "base_template_id", "deployment_id", "entity_id")
    return tuple(Column(name, String) for name in names)


def owner_column(table: str, *, primary: bool = False) -> Column[str]:
    singular = {"archives": "archive", "identities": "identity"}.get(table, table.removesuffix("s"))
    target = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(f"{singular}_id", String, target, primary_key=primary, nullable=False)


def link_table(name: str, left: str, right: str, *extra: Column[Any]) -> Table:
    """A many-to-many table; `position` keeps the order in which things were attached."""
    second = owner_column(right, primary=True)
    return Table(
        name, metadata, owner_column(left, primary=True), second,
        Column("position", Integer, nullable=False, server_default=text("0")), *extra,
        Index(f"ix_{name}_{second.name}", second.name), sqlite_with_rowid=False,
    )  # fmt: skip


def flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def partial(where: str) -> dict[str, Any]:
    """What makes an index partial.

    Naming a dialect here loads it, so the store of any other database adds its own from `info`.
    """
    return {"sqlite_where": text(where), "info": {"where": where}}
