"""What a run that has ended comes to as JSON: for the caller who waited, and for its callback."""

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from perdure.api.auth import Caller
from perdure.api.queries import MessagePageQuery
from perdure.api.reply import ENCODER
from perdure.domain.messages import VOICE, Message, Role, Voice
from perdure.domain.runs import Run, is_group_run
from perdure.runs.accept import REQUEST_DECODER
from perdure.runs.callback import Letter
from perdure.store import errands as errand_store
from perdure.store import messages as message_store
from perdure.store import runs as run_store
from perdure.wire import runs as wire
from perdure.wire.generations import Generation
from perdure.wire.messages import Public, public_all, voice_of

MOST_MESSAGES: Final = 100_000
"""More than a run can hold."""

_SAID: Final[tuple[Role, ...]] = ("assistant", "tool", "approval", "summary")


class Result(NamedTuple):
    """A run that has ended, and what it came to."""

    run: Run
    response: dict[str, Any]


def result(conn: Connection, tenant: str, run_id: str, generation: Generation) -> Result:
    """Everything an ended run said, as its stream would, why it stopped and what it cost. Raises NotFound."""
    run = run_store.get(conn, tenant, run_id)
    said = message_store.history(
        conn, tenant, run_ids=_with_turns(conn, run), roles=_SAID, newest_first=False, limit=MOST_MESSAGES,
        keep=lambda message: _is_said(message, generation),
    )  # fmt: skip
    kinds = shown_types(run)
    # As in streams, who asks to be told of compactions is told whatever else is filtered.
    shown = public_all(said, generation, kinds and kinds | {"summary_message"}, voice_of(run.request_config))
    logprobs = run_store.logprobs(conn, run_id) if run.request_config.get("return_logprobs") else None
    return Result(run, wire.letta_response(shown, run.stop_reason, run.usage, logprobs))


def _with_turns(conn: Connection, run: Run) -> tuple[str, ...]:
    """A run, or with it the turns that the members of a group took in it."""
    if not is_group_run(run):
        return (run.id,)
    return (run.id, *(turn.id for turn in errand_store.turns(conn, run.id)))


def _is_said(message: Message, generation: Generation) -> bool:
    """Whether this came of the run: a caller's own assistant messages and decisions are among its messages as well.

    A summary did to a caller who asked for it and can read it.
    """
    if message.role == "summary":
        return message.summary is not None and message.summary.announced and generation is Generation.V1
    return message.step_id is not None and (message.role != "approval" or bool(message.tool_calls))


def letter(conn: Connection, run_id: str) -> Letter | None:
    """What the callback of an ended run is told; None where there is no such run any more."""
    found = run_store.find_stored(conn, run_id)
    if found is None:
        return None
    tenant, run, request = found
    generation = Generation.V0 if REQUEST_DECODER.decode(request).single_calls else Generation.V1
    body = wire.callback(run, result(conn, tenant, run_id, generation).response)
    return Letter(run.callback_url or "", ENCODER.encode(body))


def messages_page(
    conn: Connection,
    caller: Caller,
    query: MessagePageQuery,
    kinds: frozenset[str] | None,
    *,
    run: Run | None = None,
    step_id: str | None = None,
    conversation_id: str | None = None,
    group_id: str | None = None,
    voice: Voice | None = VOICE,
) -> list[Public]:
    """A page of the messages of a run, a step or a conversation; the cursors go on in the order asked for.

    Raises NotFound for an unknown cursor.
    """
    page = query.page(ascending=True)
    older, newer = (page.before, page.after) if page.ascending else (page.after, page.before)
    found = message_store.history(
        conn, caller.tenant, run_ids=None if run is None else _with_turns(conn, run), step_id=step_id,
        conversation_id=conversation_id, group_id=group_id,
        before=older, after=newer, newest_first=not page.ascending, limit=page.limit,
        keep=lambda message: bool(public_all([message], caller.generation, kinds, voice)),
    )  # fmt: skip
    return public_all(found, caller.generation, kinds, voice)


def shown_types(run: Run) -> frozenset[str] | None:
    """The kinds of message that whoever started the run wants to see; None for all, which an empty list means too."""
    kinds: list[str] | None = run.request_config.get("include_return_message_types")
    return frozenset(kinds) if kinds else None
