"""Whom a run is worked as: the agent, as its conversation wants it."""

import msgspec
import pytest

from perdure.domain.conversations import Conversation
from perdure.domain.errors import NotFound
from perdure.domain.ids import DEFAULT_TENANT, new_id
from perdure.runs.accept import Snapshots
from perdure.store import agents, conversations
from tests.memory.home import MODEL, Home
from tests.rig.stores import Place


def test_an_agent_is_worked_with_what_its_conversation_overrides(place: Place) -> None:
    with Home(place) as home:
        agent, other = home.agent(), home.agent()
        small = msgspec.structs.replace(MODEL, handle="offline/small", context_window=4_000)
        thread = Conversation(
            id=new_id("conv"), agent_id=agent.id, created_at=1, updated_at=1, model=small,
            settings={"temperature": 0.5},
        )  # fmt: skip
        home.write(lambda conn: conversations.create(conn, DEFAULT_TENANT, thread))
        snapshots = Snapshots()

        def worked(agent_id: str, conversation_id: str | None):
            return home.write(lambda conn: snapshots.get(conn, DEFAULT_TENANT, agent_id, conversation_id))[0]

        assert worked(agent.id, None) == worked(agent.id, agent.conversation_id) == agent
        own = worked(agent.id, thread.id)
        assert (own.model, own.context_window, own.settings.temperature) == (small, 4_000, 0.5)
        with pytest.raises(NotFound):
            worked(other.id, thread.id)

        renamed = msgspec.structs.replace(agent, system="New.")
        home.write(lambda conn: agents.update(conn, DEFAULT_TENANT, agent, renamed))
        assert worked(agent.id, thread.id).system == "New."
        home.write(lambda conn: conversations.delete(conn, DEFAULT_TENANT, thread))
        with pytest.raises(NotFound):
            worked(agent.id, thread.id)
