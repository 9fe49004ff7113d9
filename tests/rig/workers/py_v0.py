"""Drives letta-client 0.1.x for the tests; see loop.py."""

from collections.abc import Iterator
from datetime import datetime
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


def moments(query: dict[str, Any]) -> dict[str, Any]:
    """The query with datetimes where this SDK wants them."""
    return {
        name: datetime.fromisoformat(value) if name.endswith("_datetime") else value for name, value in query.items()
    }


OPERATIONS: dict[str, Operation] = {
    "example": example,
    "method": method,
    "health": lambda client: [client.health.check()],
    "models": lambda client, **query: client.models.list(**query),
    "create_agent": lambda client, **fields: [client.agents.create(**fields)],
    "retrieve_agent": lambda client, agent_id: [client.agents.retrieve(agent_id)],
    "update_agent": lambda client, agent_id, **fields: [client.agents.modify(agent_id, **fields)],
    "delete_agent": lambda client, agent_id: [client.agents.delete(agent_id)],
    "export_agent": lambda client, agent_id, **query: [client.agents.export_file(agent_id, **query)],
    "import_agents": lambda client, file, **fields: [client.agents.import_file(file=file.encode(), **fields)],
    "set_tool_approval": lambda client, agent_id, tool_name, required: [
        client.agents.tools.modify_approval(agent_id, tool_name, requires_approval=required)
    ],
    "list_memory_variables": lambda client, agent_id: [client.agents.memory_variables.list(agent_id)],
    "list_agents": lambda client, **query: client.agents.list(**query),
    "list_messages": lambda client, agent_id, **query: client.agents.messages.list(agent_id, **query),
    "create": lambda client, agent_id, **fields: answered(client.agents.messages.create(agent_id, **fields)),
    "stream": lambda client, agent_id, **fields: client.agents.messages.create_stream(agent_id, **fields),
    "list_agent_blocks": lambda client, agent_id: client.agents.blocks.list(agent_id),
    "retrieve_agent_block": lambda client, agent_id, label: [client.agents.blocks.retrieve(agent_id, label)],
    "update_agent_block": lambda client, agent_id, label, **fields: [
        client.agents.blocks.modify(agent_id, label, **fields)
    ],
    "attach_block": lambda client, agent_id, block_id: [client.agents.blocks.attach(agent_id, block_id)],
    "detach_block": lambda client, agent_id, block_id: [client.agents.blocks.detach(agent_id, block_id)],
    "create_block": lambda client, **fields: [client.blocks.create(**fields)],
    "retrieve_block": lambda client, block_id: [client.blocks.retrieve(block_id)],
    "update_block": lambda client, block_id, **fields: [client.blocks.modify(block_id, **fields)],
    "delete_block": lambda client, block_id: [client.blocks.delete(block_id)],
    "list_blocks": lambda client, **query: client.blocks.list(**query),
    "summarize": lambda client, agent_id, **query: [client.agents.messages.summarize(agent_id, **query)],
    "retrieve_context": lambda client, agent_id: [client.agents.context.retrieve(agent_id)],
    "create_folder": lambda client, **fields: [client.folders.create(**fields)],
    "update_folder": lambda client, folder_id, **fields: [client.folders.modify(folder_id, **fields)],
    "list_folders": lambda client, **query: client.folders.list(**query),
    "delete_folder": lambda client, folder_id: [client.folders.delete(folder_id)],
    "list_folder_agents": lambda client, folder_id: client.folders.agents.list(folder_id),
    "upload": lambda client, folder_id, name, content, **query: [
        client.folders.files.upload(folder_id, file=(name, content.encode("latin-1")), **query)
    ],
    "list_files": lambda client, folder_id, **query: client.folders.files.list(folder_id, **query),
    "delete_file": lambda client, folder_id, file_id: [client.folders.files.delete(folder_id, file_id)],
    "attach_folder": lambda client, agent_id, folder_id: [client.agents.folders.attach(agent_id, folder_id)],
    "detach_folder": lambda client, agent_id, folder_id: [client.agents.folders.detach(agent_id, folder_id)],
    "list_agent_folders": lambda client, agent_id: client.agents.folders.list(agent_id),
    "list_agent_files": lambda client, agent_id, **query: client.agents.files.list(agent_id, **query).files,
    "open_file": lambda client, agent_id, file_id: client.agents.files.open(agent_id, file_id),
    "close_file": lambda client, agent_id, file_id: [client.agents.files.close(agent_id, file_id)],
    "close_all_files": lambda client, agent_id: client.agents.files.close_all(agent_id),
    "create_source": lambda client, **fields: [client.sources.create(**fields)],
    "count_sources": lambda client: [client.sources.count()],
    "find_source": lambda client, name: [client.sources.retrieve_by_name(name)],
    "sum_up_sources": lambda client: [client.sources.get_sources_metadata(include_detailed_per_source_metadata=True)],
    "upload_to_source": lambda client, source_id, name, content: [
        client.sources.files.upload(source_id, file=(name, content.encode("latin-1")))
    ],
    "retrieve_file": lambda client, source_id, file_id: [
        client.sources.get_file_metadata(source_id, file_id, include_content=True)
    ],
    "list_passages": lambda client, source_id: client.sources.passages.list(source_id),
    "attach_source": lambda client, agent_id, source_id: [client.agents.sources.attach(agent_id, source_id)],
    "list_jobs": lambda client, **query: client.jobs.list(**query),
    "list_active_jobs": lambda client: client.jobs.list_active(),
    "retrieve_job": lambda client, job_id: [client.jobs.retrieve(job_id)],
    "cancel_job": lambda client, job_id: [client.jobs.cancel_job(job_id)],
    "delete_job": lambda client, job_id: [client.jobs.delete(job_id)],
    "retrieve_run": lambda client, run_id: [client.runs.retrieve(run_id)],
    "stream_run": lambda client, run_id, **fields: client.runs.stream(run_id, **fields),
    "create_async": lambda client, agent_id, **fields: [client.agents.messages.create_async(agent_id, **fields)],
    "cancel": lambda client, agent_id, **fields: [client.agents.messages.cancel(agent_id, **fields)],
    "list_runs": lambda client, **query: client.runs.list(**query),
    "list_active_runs": lambda client, **query: client.runs.list_active(**query),
    "delete_run": lambda client, run_id: [client.runs.delete(run_id)],
    "list_run_messages": lambda client, run_id, **query: client.runs.messages.list(run_id, **query),
    "list_run_steps": lambda client, run_id, **query: client.runs.steps.list(run_id, **query),
    "retrieve_run_usage": lambda client, run_id: [client.runs.usage.retrieve(run_id)],
    "list_steps": lambda client, **query: client.steps.list(**query),
    "retrieve_step": lambda client, step_id: [client.steps.retrieve(step_id)],
    "rate_step": lambda client, step_id, **fields: [client.steps.feedback.create(step_id, **fields)],
    "list_step_messages": lambda client, step_id, **query: client.steps.messages.list(step_id, **query),
    "create_tool": lambda client, **fields: [client.tools.create(**fields)],
    "upsert_tool": lambda client, **fields: [client.tools.upsert(**fields)],
    "update_tool": lambda client, tool_id, **fields: [client.tools.modify(tool_id, **fields)],
    "delete_tool": lambda client, tool_id: [client.tools.delete(tool_id)],
    "run_source": lambda client, **fields: [client.tools.run_tool_from_source(**fields)],
    "create_provider": lambda client, **fields: [client.providers.create(**fields)],
    "retrieve_provider": lambda client, provider_id: [client.providers.retrieve_provider(provider_id)],
    "update_provider": lambda client, provider_id, **fields: [client.providers.modify(provider_id, **fields)],
    "delete_provider": lambda client, provider_id: [client.providers.delete(provider_id)],
    "list_providers": lambda client, **query: client.providers.list(**query),
    "check_provider": lambda client, **fields: [client.providers.check(**fields)],
    "create_group": lambda client, **fields: [client.groups.create(**fields)],
    "update_group": lambda client, group_id, **fields: [client.groups.modify(group_id, **fields)],
    "delete_group": lambda client, group_id: [client.groups.delete(group_id)],
    "list_groups": lambda client, **query: client.groups.list(**query),
    "list_agent_groups": lambda client, agent_id: client.agents.groups.list(agent_id),
    "ask_group": lambda client, group_id, **fields: answered(client.groups.messages.create(group_id, **fields)),
    "stream_group": lambda client, group_id, **fields: client.groups.messages.create_stream(group_id, **fields),
    "list_group_messages": lambda client, group_id, **query: client.groups.messages.list(group_id, **query),
    "reset_group": lambda client, group_id: [client.groups.messages.reset(group_id)],
    "create_archive": lambda client, **fields: [client.archives.create_archive(**fields)],
    "update_archive": lambda client, archive_id, **fields: [client.archives.modify_archive(archive_id, **fields)],
    "list_archives": lambda client, **query: client.archives.list_archives(**query),
    "create_passage": lambda client, agent_id, **fields: client.agents.passages.create(agent_id, **fields),
    "list_agent_passages": lambda client, agent_id, **query: client.agents.passages.list(agent_id, **query),
    "find_passages": lambda client, agent_id, **query: [client.agents.passages.search(agent_id, **moments(query))],
    "delete_passage": lambda client, agent_id, memory_id: [client.agents.passages.delete(agent_id, memory_id)],
    "search_messages": lambda client, **fields: client.agents.messages.search(**fields),
    "create_identity": lambda client, **fields: [client.identities.create(**fields)],
    "upsert_identity": lambda client, **fields: [client.identities.upsert(**fields)],
    "update_identity": lambda client, identity_id, **fields: [client.identities.modify(identity_id, **fields)],
    "set_properties": lambda client, identity_id, properties: [
        client.identities.properties.upsert(identity_id, request=properties)
    ],
    "delete_identity": lambda client, identity_id: [client.identities.delete(identity_id)],
    "list_identities": lambda client, **query: client.identities.list(**query),
    "list_identity_agents": lambda client, identity_id: client.identities.agents.list(identity_id),
    "list_identity_blocks": lambda client, identity_id: client.identities.blocks.list(identity_id),
    "retrieve_step_metrics": lambda client, step_id: [client.steps.metrics.retrieve(step_id)],
}

serve(lambda url: Letta(base_url=url, token="test"), OPERATIONS)
