"""Every value a block has had lately, with who wrote it."""

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from perdure.domain.blocks import Block, BlockVersion
from perdure.domain.errors import NotFound
from perdure.store.rows import to_struct
from perdure.store.tables import block_history

KEPT: Final = 200
"""Versions of a block that are kept, the one it has included; the oldest go first."""

_row = block_history.c
_COLUMNS: Final = tuple(_row[name] for name in BlockVersion.__struct_fields__)


def remember(conn: Connection, block: Block, actor: str, run_id: str | None) -> None:
    """Note the value that a block has now, and who wrote it. The oldest version past their keeping goes."""
    row = {"block_id": block.id, "version": block.version, "value": block.value}
    conn.execute(insert(block_history).values(**row, actor=actor, run_id=run_id, created_at=block.updated_at))
    if block.version > KEPT:
        conn.execute(delete(block_history).where(_row.block_id == block.id, _row.version <= block.version - KEPT))


def versions(conn: Connection, block_id: str, *, before: int | None = None, limit: int) -> list[BlockVersion]:
    """The newest versions of a block, newest first; with `before` those older than that one."""
    found = select(*_COLUMNS).where(_row.block_id == block_id).order_by(_row.version.desc()).limit(limit)
    if before is not None:
        found = found.where(_row.version < before)
    return [to_struct(row, BlockVersion) for row in conn.execute(found).mappings()]


def get(conn: Connection, block_id: str, version: int) -> BlockVersion:
    """One version of a block. Raises NotFound where there is none such, or none any more."""
    found = select(*_COLUMNS).where(_row.block_id == block_id, _row.version == version)
    row = conn.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound(
            f"Block {block_id} has no version {version}, or no longer: the newest {KEPT} are kept. "
            f"GET /v1/blocks/{block_id}/history lists them."
        )
    return to_struct(row, BlockVersion)
