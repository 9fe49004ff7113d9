"""Tenants: whom rows belong to."""

from sqlalchemy import BigInteger, Connection, String, exists, insert, literal, select

from perdure.domain.ids import DEFAULT_TENANT, now
from perdure.store.tables import tenants


def ensure_default(conn: Connection) -> None:
    """Make the tenant that a server without named users works for, unless it is there."""
    ensure(conn, DEFAULT_TENANT, "default")


def ensure(conn: Connection, tenant_id: str, name: str) -> None:
    """Make a tenant, unless it is there."""
    at = literal(now(), BigInteger)
    row = select(literal(tenant_id, String), literal(name, String), at, at)
    missing = ~exists(select(tenants.c.id).where(tenants.c.id == tenant_id))
    conn.execute(insert(tenants).from_select(["id", "name", "created_at", "updated_at"], row.where(missing)))
