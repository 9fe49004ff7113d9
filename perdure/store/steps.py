"""Steps: listed, looked at, rated. Runs record them as they end, in `store/runs.py`."""

from collections.abc import Collection
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Select, String, or_, select, type_coerce, update

from perdure.domain.errors import not_found
from perdure.domain.runs import Step
from perdure.store.pages import Page, select_page
from perdure.store.rows import to_struct
from perdure.store.tables import runs, steps

Feedback = Literal["positive", "negative"]

_COLUMNS: Final = tuple(steps.c[name] for name in Step.__struct_fields__)


class StepFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which steps of a tenant are meant; None means any. Times are microseconds UTC; of `tags` one is enough."""

    run_id: str | None = None
    agent_id: str | None = None
    model: str | None = None
    project_id: str | None = None
    feedback: Feedback | None = None
    has_feedback: bool | None = None
    tags: Collection[str] = ()
    created_after: int | None = None
    created_before: int | None = None


def get(conn: Connection, tenant: str, step_id: str) -> Step:
    """One step. Raises NotFound."""
    row = conn.execute(_of_tenant(tenant).where(steps.c.id == step_id)).mappings().one_or_none()
    if row is None:
        raise not_found("Step", step_id)
    return to_struct(row, Step)


def list_page(conn: Connection, tenant: str, wanted: StepFilter, page: Page) -> list[Step]:
    """A page of the steps that match, by when they began. Raises NotFound for an unknown cursor."""
    rows = select_page(
        conn, _matching(_of_tenant(tenant), wanted), page,
        noun="Step", sort=steps.c.created_at, key=steps.c.id, known=steps.c.tenant_id == tenant,
    )  # fmt: skip
    return [to_struct(row, Step) for row in rows]


def of_run(conn: Connection, tenant: str, run_id: str) -> list[Step]:
    """All steps of a run, oldest first."""
    found = _of_tenant(tenant).where(steps.c.run_id == run_id).order_by(steps.c.created_at, steps.c.id)
    return [to_struct(row, Step) for row in conn.execute(found).mappings()]


def rate(conn: Connection, tenant: str, step_id: str, changed: dict[str, Any]) -> Step:
    """Set the `feedback` or the `tags` of a step, whichever is given. Raises NotFound."""
    step = get(conn, tenant, step_id)
    if changed:
        conn.execute(update(steps).where(steps.c.id == step_id).values(changed))
    return msgspec.structs.replace(step, **changed)


def _of_tenant(tenant: str) -> Select[Any]:
    return select(*_COLUMNS).where(steps.c.tenant_id == tenant)


def _matching(found: Select[Any], wanted: StepFilter) -> Select[Any]:
    for column, value in (
        (steps.c.run_id, wanted.run_id),
        (steps.c.agent_id, wanted.agent_id),
        (steps.c.model, wanted.model),
        (steps.c.feedback, wanted.feedback),
    ):
        if value is not None:
            found = found.where(column == value)
    if wanted.has_feedback is not None:
        found = found.where(steps.c.feedback.is_not(None) if wanted.has_feedback else steps.c.feedback.is_(None))
    if wanted.project_id is not None:
        found = found.where(steps.c.run_id.in_(select(runs.c.id).where(runs.c.project_id == wanted.project_id)))
    if wanted.created_after is not None:
        found = found.where(steps.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        found = found.where(steps.c.created_at < wanted.created_before)
    if wanted.tags:
        text = type_coerce(steps.c.tags, String)
        found = found.where(or_(*(text.contains(_quoted(tag), autoescape=True) for tag in wanted.tags)))
    return found


def _quoted(tag: str) -> str:
    """A tag as it stands in the stored list."""
    return msgspec.json.encode(tag).decode()
