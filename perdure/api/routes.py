"""Every operation this version has, on one page. What the contract has beyond these is in `not_built.py`."""

from typing import Final

from perdure.api import (
    agents,
    approvals,
    blocks,
    compaction,
    conversations,
    files,
    folders,
    health,
    jobs,
    messages,
    models,
    openai,
    providers,
    runs,
    steps,
    tools,
)
from perdure.api.operations import Operation
from perdure.wire.requests import SendMessageBody

# fmt: off
_FOLDERS: Final = (
    Operation("GET", "/v1/folders/", folders.list_folders, "List folders", "[Folder]"),
    Operation("POST", "/v1/folders/", folders.create_folder, "Create a folder", "Folder"),
    Operation("GET", "/v1/folders/count", folders.count_folders, "Count folders", "integer"),
    Operation("GET", "/v1/folders/metadata", folders.sum_up_folders, "Sum up the files of all folders", "object"),
    Operation("GET", "/v1/folders/name/{folder_name}", folders.find_folder, "Find a folder's id by its name", "string"),
    Operation("GET", "/v1/folders/{folder_id}", folders.retrieve_folder, "Get a folder", "Folder"),
    Operation("PATCH", "/v1/folders/{folder_id}", folders.update_folder, "Change a folder", "Folder"),
    Operation("DELETE", "/v1/folders/{folder_id}", folders.delete_folder, "Delete a folder", "Done"),
    Operation("GET", "/v1/folders/{folder_id}/agents", folders.list_folder_agents,
              "List the agents a folder is attached to", "[string]"),
    Operation("GET", "/v1/folders/{folder_id}/passages", folders.list_folder_passages,
              "List the pieces of a folder's files", "[Passage]"),
    Operation("GET", "/v1/folders/{folder_id}/files", files.list_files, "List a folder's files", "[File]"),
    Operation("GET", "/v1/folders/{folder_id}/files/{file_id}", files.retrieve_file, "Get a file of a folder", "File"),
    Operation("POST", "/v1/folders/{folder_id}/upload", files.upload_file, "Put a file into a folder", "File"),
    Operation("DELETE", "/v1/folders/{folder_id}/{file_id}", files.delete_file, "Delete a file of a folder"),
    Operation("GET", "/v1/agents/{agent_id}/folders", folders.list_agent_folders, "List an agent's folders",
              "[Folder]"),
    Operation("PATCH", "/v1/agents/{agent_id}/folders/attach/{folder_id}", folders.attach_folder,
              "Attach a folder to an agent", "Agent"),
    Operation("PATCH", "/v1/agents/{agent_id}/folders/detach/{folder_id}", folders.detach_folder,
              "Detach a folder from an agent", "Agent"),
)


def _as_source(row: Operation) -> Operation:
    """The same under the name that folders had before."""
    assert row.handler is not None
    name = row.handler.__name__.replace("folder", "source")
    return row._replace(
        path=row.path.replace("/folders", "/sources"), summary=f"{row.summary}, under the old name",
        name=name if name != row.handler.__name__ else f"{name}_of_source",
    )


ROUTES: Final = (
    Operation("GET", "/v1/health/", health.check_health, "Whether the server is up", "Health", is_open=True),
    Operation("GET", "/v1/health/ready", health.check_ready, "Whether the server takes work", "Health", is_open=True),

    # agents
    Operation("GET", "/v1/agents/", agents.list_agents, "List agents", "[Agent]"),
    Operation("POST", "/v1/agents/", agents.create_agent, "Create an agent", "Agent"),
    Operation("GET", "/v1/agents/count", agents.count_agents, "Count agents", "integer"),
    Operation("GET", "/v1/agents/{agent_id}", agents.retrieve_agent, "Get an agent", "Agent"),
    Operation("PATCH", "/v1/agents/{agent_id}", agents.update_agent, "Change an agent", "Agent"),
    Operation("DELETE", "/v1/agents/{agent_id}", agents.delete_agent, "Delete an agent", "Done"),
    Operation("PATCH", "/v1/agents/{agent_id}/reset-messages", agents.reset_messages,
              "Empty an agent's context", "Agent"),
    Operation("GET", "/v1/agents/{agent_id}/context", compaction.retrieve_context,
              "Show what fills an agent's context", "ContextOverview"),
    Operation("POST", "/v1/agents/{agent_id}/summarize", compaction.compact_agent,
              "Compact an agent's history", "Compaction", sends_messages=True),
    Operation("GET", "/v1/tags/", agents.list_tags, "List the tags of agents", "[string]"),

    # messages
    Operation("GET", "/v1/agents/{agent_id}/messages", messages.list_messages, "List an agent's messages", "[Message]"),
    Operation("POST", "/v1/agents/{agent_id}/messages", messages.send_message, "Send messages to an agent",
              "Reply|stream", sends_messages=True, body=SendMessageBody),
    Operation("POST", "/v1/agents/{agent_id}/messages/stream", messages.stream_message,
              "Send messages to an agent and stream the answer", "stream", sends_messages=True,
              body=SendMessageBody),
    Operation("POST", "/v1/agents/{agent_id}/messages/async", messages.send_message_async,
              "Send messages to an agent and look later", "Run", sends_messages=True),
    Operation("POST", "/v1/agents/{agent_id}/messages/cancel", messages.cancel_messages,
              "Cancel an agent's runs", "object"),
    Operation("PATCH", "/v1/agents/{agent_id}/messages/{message_id}", messages.modify_message,
              "Change a message", "Message"),
    Operation("GET", "/v1/messages/", messages.list_all_messages, "List the messages of all agents", "[Message]"),
    Operation("GET", "/v1/messages/{message_id}", messages.retrieve_message, "Get a message", "[Message]"),

    Operation("GET", "/v1/approvals/", approvals.list_approvals, "List what waits for approval", "[Approval]"),

    # runs and their steps
    Operation("GET", "/v1/runs/", runs.list_runs, "List runs", "[Run]"),
    Operation("GET", "/v1/runs/active", runs.list_active_runs, "List the runs that are under way", "[Run]"),
    Operation("GET", "/v1/runs/{run_id}", runs.retrieve_run, "Get a run", "Run"),
    Operation("DELETE", "/v1/runs/{run_id}", runs.delete_run, "Delete a run", "Run"),
    Operation("GET", "/v1/runs/{run_id}/messages", runs.list_run_messages, "List a run's messages", "[Message]"),
    Operation("GET", "/v1/runs/{run_id}/steps", runs.list_run_steps, "List a run's steps", "[Step]"),
    Operation("GET", "/v1/runs/{run_id}/usage", runs.retrieve_run_usage, "Count a run's tokens", "TokenCounts"),
    Operation("GET", "/v1/runs/{run_id}/metrics", runs.retrieve_run_metrics, "Show how long a run took", "RunMetrics"),
    Operation("POST", "/v1/runs/{run_id}/stream", runs.stream_run, "Follow a run", "stream"),
    Operation("GET", "/v1/runs/{run_id}/stream", runs.read_run_stream, "Follow a run without posting", "stream"),
    Operation("GET", "/v1/steps/", steps.list_steps, "List steps", "[Step]"),
    Operation("GET", "/v1/steps/{step_id}", steps.retrieve_step, "Get a step", "Step"),
    Operation("PATCH", "/v1/steps/{step_id}/feedback", steps.rate_step, "Rate a step", "Step"),
    Operation("GET", "/v1/steps/{step_id}/messages", steps.list_step_messages, "List a step's messages", "[Message]"),
    Operation("GET", "/v1/steps/{step_id}/metrics", steps.retrieve_step_metrics, "Show how long a step took",
              "StepMetrics"),

    # conversations
    Operation("GET", "/v1/conversations/", conversations.list_conversations, "List conversations", "[Conversation]"),
    Operation("POST", "/v1/conversations/", conversations.create_conversation, "Open a conversation", "Conversation"),
    Operation("GET", "/v1/conversations/{conversation_id}", conversations.retrieve_conversation,
              "Get a conversation", "Conversation"),
    Operation("PATCH", "/v1/conversations/{conversation_id}", conversations.update_conversation,
              "Change a conversation", "Conversation"),
    Operation("DELETE", "/v1/conversations/{conversation_id}", conversations.delete_conversation,
              "Delete a conversation", "Done"),
    Operation("POST", "/v1/conversations/{conversation_id}/fork", conversations.fork_conversation,
              "Branch off a conversation", "Conversation"),
    Operation("POST", "/v1/conversations/{conversation_id}/recompile", conversations.recompile_conversation,
              "Rebuild a conversation's system message", "string"),
    Operation("POST", "/v1/conversations/{conversation_id}/compact", compaction.compact_conversation,
              "Compact a conversation's history", "Compaction", sends_messages=True),
    Operation("GET", "/v1/conversations/{conversation_id}/messages", conversations.list_conversation_messages,
              "List a conversation's messages", "[Message]"),
    Operation("POST", "/v1/conversations/{conversation_id}/messages", conversations.send_conversation_message,
              "Send messages to a conversation", "Reply|stream", sends_messages=True),
    Operation("POST", "/v1/conversations/{conversation_id}/stream", conversations.stream_conversation,
              "Follow a conversation's run", "stream"),
    Operation("GET", "/v1/conversations/{conversation_id}/stream", conversations.read_conversation_stream,
              "Follow a conversation's run without posting", "stream"),
    Operation("POST", "/v1/conversations/{conversation_id}/cancel", conversations.cancel_conversation,
              "Cancel a conversation's runs", "object"),

    # an agent's memory, and blocks by themselves
    Operation("GET", "/v1/agents/{agent_id}/core-memory", blocks.retrieve_core_memory,
              "Get an agent's memory as one object", "Memory"),
    Operation("GET", "/v1/agents/{agent_id}/core-memory/blocks", blocks.list_agent_blocks,
              "List an agent's blocks", "[Block]"),
    Operation("GET", "/v1/agents/{agent_id}/core-memory/blocks/{block_label}", blocks.retrieve_agent_block,
              "Get an agent's block by its label", "Block"),
    Operation("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/{block_label}", blocks.update_agent_block,
              "Change an agent's block by its label", "Block"),
    Operation("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}", blocks.attach_block,
              "Attach a block to an agent", "Agent"),
    Operation("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}", blocks.detach_block,
              "Detach a block from an agent", "Agent"),
    Operation("GET", "/v1/blocks/", blocks.list_blocks, "List blocks", "[Block]"),
    Operation("POST", "/v1/blocks/", blocks.create_block, "Create a block", "Block"),
    Operation("GET", "/v1/blocks/count", blocks.count_blocks, "Count blocks", "integer"),
    Operation("GET", "/v1/blocks/{block_id}", blocks.retrieve_block, "Get a block", "Block"),
    Operation("PATCH", "/v1/blocks/{block_id}", blocks.update_block, "Change a block", "Block"),
    Operation("DELETE", "/v1/blocks/{block_id}", blocks.delete_block, "Delete a block", "Done"),
    Operation("GET", "/v1/blocks/{block_id}/agents", blocks.list_block_agents,
              "List the agents a block is attached to", "[Agent]"),

    # tools
    Operation("GET", "/v1/tools/", tools.list_tools, "List tools", "[Tool]"),
    Operation("GET", "/v1/tools/count", tools.count_tools, "Count tools", "integer"),
    Operation("POST", "/v1/tools/add-base-tools", tools.add_base_tools, "Restore the built-in tools", "[Tool]"),
    Operation("GET", "/v1/tools/{tool_id}", tools.retrieve_tool, "Get a tool", "Tool"),
    Operation("GET", "/v1/agents/{agent_id}/tools", tools.list_agent_tools, "List an agent's tools", "[Tool]"),
    Operation("PATCH", "/v1/agents/{agent_id}/tools/attach/{tool_id}", tools.attach_tool,
              "Attach a tool to an agent", "Agent"),
    Operation("PATCH", "/v1/agents/{agent_id}/tools/detach/{tool_id}", tools.detach_tool,
              "Detach a tool from an agent", "Agent"),

    # files, and the folders they lie in
    *_FOLDERS,
    *(_as_source(row) for row in _FOLDERS),
    Operation("GET", "/v1/agents/{agent_id}/files", files.list_agent_files,
              "List an agent's files and which are open", "AgentFiles"),
    Operation("PATCH", "/v1/agents/{agent_id}/files", files.list_agent_files,
              "List an agent's files, as npm 0.1.x asks for it", "AgentFiles", name="list_agent_files_by_patch"),
    Operation("PATCH", "/v1/agents/{agent_id}/files/close-all", files.close_all_files,
              "Close all files of an agent", "[string]"),
    Operation("PATCH", "/v1/agents/{agent_id}/files/{file_id}/open", files.open_file,
              "Open a file for an agent", "[string]"),
    Operation("PATCH", "/v1/agents/{agent_id}/files/{file_id}/close", files.close_file,
              "Close a file for an agent", "Done"),
    Operation("GET", "/v1/jobs/", jobs.list_jobs, "List jobs", "[Job]"),
    Operation("GET", "/v1/jobs/active", jobs.list_active_jobs, "List jobs that are under way", "[Job]"),
    Operation("GET", "/v1/jobs/{job_id}", jobs.retrieve_job, "Get a job", "Job"),
    Operation("DELETE", "/v1/jobs/{job_id}", jobs.delete_job, "Delete a job", "Job"),
    Operation("PATCH", "/v1/jobs/{job_id}/cancel", jobs.cancel_job, "Cancel a job", "Job"),

    # agents as models of OpenAI's clients
    Operation("POST", "/v1/chat/completions", openai.create_chat_completion, "Chat with an agent like OpenAI's clients",
              "ChatCompletion|stream", sends_messages=True, like_openai=True),
    Operation("POST", "/v1/responses", openai.create_response, "Get an agent's response like OpenAI's clients",
              "ModelResponse|stream", sends_messages=True, like_openai=True),

    # models
    Operation("GET", "/v1/models/", models.list_models, "List models", "[Model]"),
    Operation("GET", "/v1/models/embedding", models.list_embedding_models, "List embedding models", "[EmbeddingModel]"),

    # providers
    Operation("GET", "/v1/providers/", providers.list_providers, "List the providers added here", "[Provider]"),
    Operation("POST", "/v1/providers/", providers.create_provider, "Add a provider", "Provider"),
    Operation("POST", "/v1/providers/check", providers.check_provider, "Check a provider's key", "Done"),
    Operation("GET", "/v1/providers/{provider_id}", providers.retrieve_provider, "Get a provider", "Provider"),
    Operation("PATCH", "/v1/providers/{provider_id}", providers.update_provider, "Change a provider", "Provider"),
    Operation("DELETE", "/v1/providers/{provider_id}", providers.delete_provider, "Remove a provider", "Done"),
)
# fmt: on
