"""Statements of the hot path: written in Core like all others, compiled once, then run through the driver.

On SQLite this costs a fifth of executing the Core statement; on PostgreSQL two fifths (design.md, section 4).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import CompilerElement

Row = Sequence[Any]


class Hot:
    """One statement. Parameters are plain driver values: JSON columns take text that is already encoded."""

    def __init__(self, statement: CompilerElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, list[str], Mapping[str, Any]]] = {}

    def rows(self, conn: Connection, **params: Any) -> Sequence[Row]:
        """Execute once and fetch all rows (none for a statement that returns none)."""
        sql, keys, defaults = self._for(conn)
        values = tuple(params[key] if key in params else defaults[key] for key in keys)
        driver = conn.info.get("driver")
        if driver is not None:
            try:
                return driver.execute(sql, values).fetchall()
            except conn.dialect.loaded_dbapi.IntegrityError as error:
                raise IntegrityError(sql, None, error) from error
        result = conn.exec_driver_sql(sql, values)
        return result.fetchall() if result.returns_rows else ()

    def row(self, conn: Connection, **params: Any) -> Row | None:
        """The first row, or None."""
        rows = self.rows(conn, **params)
        return rows[0] if rows else None

    def many(self, conn: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute once for each mapping of parameters."""
        sql, keys, defaults = self._for(conn)
        values = [tuple(row[key] if key in row else defaults[key] for key in keys) for row in rows]
        driver = conn.info.get("driver")
        if driver is not None:
            try:
                driver.executemany(sql, values)
            except conn.dialect.loaded_dbapi.IntegrityError as error:
                raise IntegrityError(sql, None, error) from error
        elif values:
            conn.exec_driver_sql(sql, values)

    def _for(self, conn: Connection) -> tuple[str, list[str], Mapping[str, Any]]:
        name = conn.dialect.name
        found = self._compiled.get(name)
        if found is None:
            compiled: Any = self._statement.compile(dialect=conn.dialect)
            found = self._compiled[name] = (compiled.string, list(compiled.positiontup), dict(compiled.params))
        return found


def insert_into(table: Table, *columns: str) -> Any:
    """An INSERT of the named columns, one bind parameter each."""
    return insert(table).values({name: bindparam(name) for name in columns})
