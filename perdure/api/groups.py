"""Groups: made, found, changed, deleted, and spoken to."""

from typing import Annotated

import msgspec
from fastapi import Depends
from sqlalchemy import Connection
from starlette.datastructures import Headers
from starlette.responses import Response

from perdure.agents import groups as edits
from perdure.api.auth import Caller, CallerDep
from perdure.api.event_stream import EventStream
from perdure.api.in_turn import in_turn
from perdure.api.messages import ModifyMessageBody, change_message, read_images, start, stream, whole
from perdure.api.paths import AgentId, GroupId, MessageId
from perdure.api.people_queries import GroupMessageQuery, GroupQuery
from perdure.api.reply import reply
from perdure.domain.errors import Unprocessable
from perdure.domain.groups import Group
from perdure.domain.messages import Message
from perdure.domain.requests import TurnRequest
from perdure.store import agents as agent_store
from perdure.store import groups as group_store
from perdure.store import messages as message_store
from perdure.wire.generations import is_npm_v0
from perdure.wire.groups import CreateGroupBody, UpdateGroupBody, group
from perdure.wire.messages import public_all
from perdure.wire.requests import SendMessageBody, refuse_stream_options, turn_request
from perdure.wire.sse import FewerFrames, Frames


async def list_groups(caller: CallerDep, query: Annotated[GroupQuery, Depends()]) -> Response:
    """A page of the groups that match."""
    wanted, page = query.filter(), query.page()
    found = await caller.server.db.read(lambda conn: group_store.list_page(conn, caller.tenant, wanted, page))
    return reply([group(each) for each in found])


async def list_agent_groups(caller: CallerDep, agent_id: AgentId, query: Annotated[GroupQuery, Depends()]) -> Response:
    """A page of the groups an agent is a member of."""
    wanted, page = query.filter(agent_id), query.page()

    def find(conn: Connection) -> list[Group]:
        agent_store.get(conn, caller.tenant, agent_id)
        return group_store.list_page(conn, caller.tenant, wanted, page)

    return reply([group(each) for each in await caller.server.db.read(find)])


async def count_groups(caller: CallerDep) -> Response:
    """How many groups there are."""
    return reply(await caller.server.db.read(lambda conn: group_store.count(conn, caller.tenant)))


async def create_group(caller: CallerDep, body: CreateGroupBody) -> Response:
    """Make a group of agents."""
    new = body.group()
    return reply(group(await caller.server.db.write(lambda conn: edits.create_group(conn, caller.tenant, new))))


async def retrieve_group(caller: CallerDep, group_id: GroupId) -> Response:
    """One group."""
    return reply(group(await _found(caller, group_id)))


async def update_group(caller: CallerDep, group_id: GroupId, body: UpdateGroupBody) -> Response:
    """Change a group."""

    def change(conn: Connection) -> Group:
        before = group_store.get(conn, caller.tenant, group_id)
        return edits.update_group(conn, caller.tenant, before, body.changes(before))

    return reply(group(await caller.server.db.write(change)))


async def delete_group(caller: CallerDep, group_id: GroupId) -> Response:
    """Delete a group; its agents stay. Its runs under way are cancelled first."""
    await _found(caller, group_id)
    await caller.server.runner.cancel(caller.tenant, conversation_id=group_id)
    await caller.server.db.write(lambda conn: edits.delete_group(conn, caller.tenant, group_id))
    return reply({"message": f"Group {group_id} deleted"})


async def send_group_message(caller: CallerDep, group_id: GroupId, body: SendMessageBody) -> Response:
    """Have the members take turns to answer; what they said is JSON, or a stream if `streaming` is set."""
    if not body.streaming:
        refuse_stream_options(body)
    request = await _request(caller, group_id, body, "send_message")
    if body.streaming:
        return await stream(caller, request, pings=body.include_pings)
    return await whole(caller, request)


async def stream_group_message(caller: CallerDep, group_id: GroupId, body: SendMessageBody) -> Response:
    """Have the members take turns to answer, and stream what they say: one stream with one end."""
    request = await _request(caller, group_id, body, "send_message_streaming")
    follower = await start(caller, request)
    kind = FewerFrames if is_npm_v0(Headers(scope=caller.scope)) else Frames
    return EventStream(follower, kind(follower.run_id, caller.generation, pings=body.include_pings))


async def list_group_messages(
    caller: CallerDep, group_id: GroupId, query: Annotated[GroupMessageQuery, Depends()]
) -> Response:
    """What was said to a group and by its members, each message named after its agent."""
    page = query.page(ascending=True)
    older, newer = (page.before, page.after) if page.ascending else (page.after, page.before)

    def find(conn: Connection) -> list[Message]:
        group_store.get(conn, caller.tenant, group_id)
        found = message_store.history(
            conn, caller.tenant, group_id=group_id, before=older, after=newer, newest_first=not page.ascending,
            limit=page.limit,
        )  # fmt: skip
        names = agent_store.names(conn, {message.agent_id for message in found})
        return [
            message
            if message.step_id is None
            else msgspec.structs.replace(message, name=names.get(message.agent_id), sender_id=message.agent_id)
            for message in found
        ]

    return reply(public_all(await caller.server.db.read(find), caller.generation, voice=query.voice()))


async def modify_group_message(
    caller: CallerDep, group_id: GroupId, message_id: MessageId, body: ModifyMessageBody
) -> Response:
    """Change what a message of a group says, once its agent is idle."""
    await _found(caller, group_id)
    return await change_message(caller, message_id, body, lambda message: message.group_id == group_id)


async def reset_group(caller: CallerDep, group_id: GroupId) -> Response:
    """Have the members forget what was said in a group. A busy group is waited for."""
    await in_turn(caller, lambda conn: edits.reset_group(conn, caller.tenant, group_id))
    return reply({"message": f"Group {group_id} reset"})


async def _found(caller: Caller, group_id: str) -> Group:
    return await caller.server.db.read(lambda conn: group_store.get(conn, caller.tenant, group_id))


async def _request(caller: Caller, group_id: str, body: SendMessageBody, run_type: str) -> TurnRequest:
    """A request to a group, recorded under its manager or its first member."""
    found = await _found(caller, group_id)
    if found.lacking is not None:
        raise Unprocessable(found.lacking, ("path", "group_id"))
    owner = found.manager_agent_id or found.agent_ids[0]
    await read_images(caller, body.contents())
    request = turn_request(body, owner, caller.generation, run_type=run_type, project=caller.project)
    if request.decisions or request.client_tools:
        raise Unprocessable(
            "Approvals and tools of your own go to the agent they concern, not to its group.", ("body", "messages")
        )
    return msgspec.structs.replace(request, group_id=group_id)
