"""Model providers and MCP servers."""

from sqlalchemy import Column, LargeBinary, Table, UniqueConstraint

from perdure.store.tables.columns import Json, String, id_column, link_table, metadata, tenant_column, times

providers = Table(
    "providers", metadata, id_column(), tenant_column(),
    Column("name", String, nullable=False),
    Column("provider_type", String, nullable=False),
    Column("base_url", String),
    Column("region", String),
    Column("api_version", String),
    Column("api_key", LargeBinary),
    Column("access_key", LargeBinary),
    *times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

mcp_servers = Table(
    "mcp_servers", metadata, id_column(), tenant_column(),
    Column("name", String, nullable=False),
    Column("server_type", String, nullable=False),
    Column("server_url", String),
    Column("token", LargeBinary),
    Column("headers", LargeBinary),
    Column("metadata", Json, nullable=False),
    *times(),
    UniqueConstraint("tenant_id", "name"),
)  # fmt: skip

mcp_tools = link_table("mcp_tools", "mcp_servers", "tools")
