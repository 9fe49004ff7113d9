"""Tenants: whom rows belong to."""

from sqlalchemy import BigInteger, Connection, String, exists, insert, literal, select

from perdure.domain.ids import DEFAULT_TENANT, now
from perdure.store.tables import tenants


def ensure_default(conn: Connection) -> None:
    """Make the tenant that a server without named users works for, unless it is there."""
    at = literal(now(), BigInteger)
    row = select(literal(DEFAULT_TENANT, String), literal("default", String), at, at)
    missing = ~exists(select(tenants.c.id).where(tenants.c.id == DEFAULT_TENANT))
    conn.execute(insert(tenants).from_select(["id", "name", "created_at", "updated_at"], row.where(missing)))
