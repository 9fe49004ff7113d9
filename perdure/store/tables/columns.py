"""What the columns of all tables have in common."""

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    cast,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


String: Final = sqlalchemy.String().with_variant(sqlalchemy.String(collation="C"), "postgresql")
Text: Final = sqlalchemy.Text().with_variant(sqlalchemy.Text(collation="C"), "postgresql")
"""Text in the order of its bytes, as SQLite has it, so that an update of the machine's locales breaks no index."""


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, the same on both databases."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _ENCODER.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else _DECODER.decode(value)


class _PgVector(UserDefinedType[Any]):
    """pgvector's type, of any number of dimensions, spoken to in arrays: the driver knows no other form of it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "vector"

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[Any]:
        return cast(cast(bindvalue, ARRAY(REAL)), _PgVector())

    def column_expression(self, colexpr: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(colexpr, ARRAY(REAL))


class Vector(TypeDecorator[Sequence[float]]):
    """A direction: the numbers it is given, brought to length 1. On SQLite 32-bit floats, one after the other.

    The zero vector, and one with numbers that are none, has no direction: it is stored as no vector at all.
    """

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(_PgVector() if dialect.name == "postgresql" else LargeBinary())

    def process_bind_param(self, value: Sequence[float] | None, dialect: Dialect) -> Any:
        direction = None if value is None else unit(value)
        if direction is None or dialect.name == "postgresql":
            return direction
        return struct.pack(f"<{len(direction)}f", *direction)

    def process_result_value(self, value: Any, dialect: Dialect) -> Sequence[float] | None:
        if value is None or dialect.name == "postgresql":
            return value
        return struct.unpack(f"<{len(value) // 4}f", value)


def unit(vector: Sequence[float]) -> list[float] | None:
    """The vector of length 1 in the same direction; None where there is none."""
    length = math.hypot(*vector)
    return [number / length for number in vector] if 0.0 < length < math.inf else None


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
