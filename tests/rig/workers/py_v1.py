"""Drives letta-client 1.x for the tests; see loop.py."""

from collections.abc import Iterator
from typing import Any

from letta_client import Letta
from loop import Operation, method, serve


def answered(response: Any) -> list[Any]:
    """A complete answer in the order a stream would bring it."""
    return [*response.messages, response.stop_reason, response.usage]


def example(client: Letta, source: str) -> Iterator[Any]:
    """Runs documentation as it stands and yields what its `response` yields."""
    names: dict[str, Any] = {}
    exec(source, names)
    yield from names["response"]


OPERATIONS: dict[str, Operation] = {
    "example": example,
    "method": method,
    "get": lambda client, path: client.get(path, cast_to=object),
    "health": lambda client: [client.health()],
    "models": lambda client, **query: client.models.list(**query),
    "create_agent": lambda client, **fields: [client.agents.create(**fields)],
    "retrieve_agent": lambda client, agent_id: [client.agents.retrieve(agent_id)],
    "update_agent": lambda client, agent_id, **fields: [client.agents.update(agent_id, **fields)],
    "delete_agent": lambda client, agent_id: [client.agents.delete(agent_id)],
    "recompile_agent": lambda client, agent_id, **query: [client.agents.recompile(agent_id, **query)],
    "export_agent": lambda client, agent_id, **query: [client.agents.export_file(agent_id, **query)],
    "import_agents": lambda client, file, **fields: [client.agents.import_file(file=file.encode(), **fields)],
    "set_tool_approval": lambda client, agent_id, tool_name, required: [
        client.agents.tools.update_approval(tool_name, agent_id=agent_id, body_requires_approval=required)
    ],
    "list_agents": lambda client, **query: client.agents.list(**query),
    "list_messages": lambda client, agent_id, **query: client.agents.messages.list(agent_id, **query),
    "create": lambda client, agent_id, **fields: answered(client.agents.messages.create(agent_id, **fields)),
    "create_whole": lambda client, agent_id, **fields: [client.agents.messages.create(agent_id, **fields)],
    "create_impatiently": lambda client, agent_id, seconds, **fields: answered(
        client.with_options(timeout=seconds).agents.messages.create(agent_id, **fields)
    ),
    "stream": lambda client, agent_id, **fields: client.agents.messages.stream(agent_id, **fields),
    "create_streaming": lambda client, agent_id, **fields: client.agents.messages.create(
        agent_id, streaming=True, **fields
    ),
    "list_agent_blocks": lambda client, agent_id: client.agents.blocks.list(agent_id),
    "retrieve_agent_block": lambda client, agent_id, label: [client.agents.blocks.retrieve(label, agent_id=agent_id)],
    "update_agent_block": lambda client, agent_id, label, **fields: [
        client.agents.blocks.update(label, agent_id=agent_id, **fields)
    ],
    "attach_identity": lambda client, agent_id, identity_id: [
        client.agents.identities.attach(identity_id, agent_id=agent_id)
    ],
    "detach_identity": lambda client, agent_id, identity_id: [
        client.agents.identities.detach(identity_id, agent_id=agent_id)
    ],
    "create_archive": lambda client, **fields: [client.archives.create(**fields)],
    "retrieve_archive": lambda client, archive_id: [client.archives.retrieve(archive_id)],
    "update_archive": lambda client, archive_id, **fields: [client.archives.update(archive_id, **fields)],
    "list_archives": lambda client, **query: client.archives.list(**query),
    "delete_archive": lambda client, archive_id: [client.archives.delete(archive_id)],
    "add_passage": lambda client, archive_id, **fields: [client.archives.passages.create(archive_id, **fields)],
    "add_passages": lambda client, archive_id, passages: client.archives.passages.create_many(
        archive_id, passages=passages
    ),
    "drop_passage": lambda client, archive_id, passage_id: [
        client.archives.passages.delete(passage_id, archive_id=archive_id)
    ],
    "attach_archive": lambda client, agent_id, archive_id: [
        client.agents.archives.attach(archive_id, agent_id=agent_id)
    ],
    "detach_archive": lambda client, agent_id, archive_id: [
        client.agents.archives.detach(archive_id, agent_id=agent_id)
    ],
    "create_passage": lambda client, agent_id, **fields: client.agents.passages.create(agent_id, **fields),
    "list_agent_passages": lambda client, agent_id, **query: client.agents.passages.list(agent_id, **query),
    "find_passages": lambda client, agent_id, **query: [client.agents.passages.search(agent_id, **query)],
    "delete_passage": lambda client, agent_id, memory_id: [client.agents.passages.delete(memory_id, agent_id=agent_id)],
    "search_passages": lambda client, **fields: client.passages.search(**fields),
    "search_messages": lambda client, **fields: client.messages.search(**fields),
    "attach_block": lambda client, agent_id, block_id: [client.agents.blocks.attach(block_id, agent_id=agent_id)],
    "detach_block": lambda client, agent_id, block_id: [client.agents.blocks.detach(block_id, agent_id=agent_id)],
    "create_block": lambda client, **fields: [client.blocks.create(**fields)],
    "retrieve_block": lambda client, block_id: [client.blocks.retrieve(block_id)],
    "update_block": lambda client, block_id, **fields: [client.blocks.update(block_id, **fields)],
    "delete_block": lambda client, block_id: [client.blocks.delete(block_id)],
    "list_blocks": lambda client, **query: client.blocks.list(**query),
    "create_tool": lambda client, **fields: [client.tools.create(**fields)],
    "upsert_tool": lambda client, **fields: [client.tools.upsert(**fields)],
    "update_tool": lambda client, tool_id, **fields: [client.tools.update(tool_id, **fields)],
    "delete_tool": lambda client, tool_id: [client.tools.delete(tool_id)],
    "search_tools": lambda client, **fields: client.tools.search(**fields),
    "run_agent_tool": lambda client, agent_id, tool_name, args: [
        client.agents.tools.run(tool_name, agent_id=agent_id, args=args)
    ],
    "create_conversation": lambda client, **fields: [client.conversations.create(**fields)],
    "retrieve_conversation": lambda client, conversation_id: [client.conversations.retrieve(conversation_id)],
    "update_conversation": lambda client, conversation_id, **fields: [
        client.conversations.update(conversation_id, **fields)
    ],
    "delete_conversation": lambda client, conversation_id: [client.conversations.delete(conversation_id)],
    "list_conversations": lambda client, **query: client.conversations.list(**query),
    "fork_conversation": lambda client, conversation_id, **query: [client.conversations.fork(conversation_id, **query)],
    "recompile_conversation": lambda client, conversation_id, **fields: [
        client.conversations.recompile(conversation_id, **fields)
    ],
    "cancel_conversation": lambda client, conversation_id, **query: [
        client.conversations.cancel(conversation_id, **query)
    ],
    "list_conversation_messages": lambda client, conversation_id, **query: client.conversations.messages.list(
        conversation_id, **query
    ),
    "send_to_conversation": lambda client, conversation_id, **fields: client.conversations.messages.create(
        conversation_id, **fields
    ),
    "stream_conversation": lambda client, conversation_id, **fields: client.conversations.messages.stream(
        conversation_id, **fields
    ),
    "compact": lambda client, agent_id, **fields: [client.agents.messages.compact(agent_id, **fields)],
    "compact_conversation": lambda client, conversation_id, **fields: [
        client.conversations.messages.compact(conversation_id, **fields)
    ],
    "create_folder": lambda client, **fields: [client.folders.create(**fields)],
    "update_folder": lambda client, folder_id, **fields: [client.folders.update(folder_id, **fields)],
    "list_folders": lambda client, **query: client.folders.list(**query),
    "delete_folder": lambda client, folder_id: [client.folders.delete(folder_id)],
    "list_folder_agents": lambda client, folder_id: client.folders.agents.list(folder_id),
    "upload": lambda client, folder_id, name, content, **query: [
        client.folders.files.upload(folder_id, file=(name, content.encode("latin-1")), **query)
    ],
    "list_files": lambda client, folder_id, **query: client.folders.files.list(folder_id, **query),
    "delete_file": lambda client, folder_id, file_id: [client.folders.files.delete(file_id, folder_id=folder_id)],
    "attach_folder": lambda client, agent_id, folder_id: [client.agents.folders.attach(folder_id, agent_id=agent_id)],
    "detach_folder": lambda client, agent_id, folder_id: [client.agents.folders.detach(folder_id, agent_id=agent_id)],
    "list_agent_folders": lambda client, agent_id: client.agents.folders.list(agent_id),
    "list_agent_files": lambda client, agent_id, **query: client.agents.files.list(agent_id, **query),
    "open_file": lambda client, agent_id, file_id: client.agents.files.open(file_id, agent_id=agent_id),
    "close_file": lambda client, agent_id, file_id: [client.agents.files.close(file_id, agent_id=agent_id)],
    "close_all_files": lambda client, agent_id: client.agents.files.close_all(agent_id),
    "retrieve_run": lambda client, run_id: [client.runs.retrieve(run_id)],
    "stream_run": lambda client, run_id, **fields: client.runs.messages.stream(run_id, **fields),
    "create_async": lambda client, agent_id, **fields: [client.agents.messages.create_async(agent_id, **fields)],
    "cancel": lambda client, agent_id, **fields: [client.agents.messages.cancel(agent_id, **fields)],
    "list_runs": lambda client, **query: client.runs.list(**query),
    "list_run_messages": lambda client, run_id, **query: client.runs.messages.list(run_id, **query),
    "list_run_steps": lambda client, run_id, **query: client.runs.steps.list(run_id, **query),
    "retrieve_run_usage": lambda client, run_id: [client.runs.usage.retrieve(run_id)],
    "list_steps": lambda client, **query: client.steps.list(**query),
    "retrieve_step": lambda client, step_id: [client.steps.retrieve(step_id)],
    "rate_step": lambda client, step_id, **fields: [client.steps.feedback.create(step_id, **fields)],
    "list_step_messages": lambda client, step_id, **query: client.steps.messages.list(step_id, **query),
    "retrieve_step_metrics": lambda client, step_id: [client.steps.metrics.retrieve(step_id)],
}

serve(lambda url: Letta(base_url=url, api_key="test"), OPERATIONS)
