// Drives @letta-ai/letta-client 1.x for the tests; see loop.mjs.
import { answered, method, sdk, serve } from "./loop.mjs";

const OPERATIONS = {
  method,
  get: (client, { path }) => client.get(path),
  health: async (client) => [await client.health()],
  models: (client, query) => client.models.list(query),
  create_agent: async (client, fields) => [await client.agents.create(fields)],
  retrieve_agent: async (client, { agent_id }) => [await client.agents.retrieve(agent_id)],
  update_agent: async (client, { agent_id, ...fields }) => [await client.agents.update(agent_id, fields)],
  delete_agent: async (client, { agent_id }) => [await client.agents.delete(agent_id)],
  export_agent: async (client, { agent_id, ...query }) => [await client.agents.exportFile(agent_id, query)],
  import_agents: async (client, { file, ...fields }) => [await client.agents.importFile({ file: new File([file], "a.af"), ...fields })],
  list_agents: (client, query) => client.agents.list(query),
  list_messages: (client, { agent_id, ...query }) => client.agents.messages.list(agent_id, query),
  create: async (client, { agent_id, ...fields }) =>
    answered(await client.agents.messages.create(agent_id, fields), "stop_reason"),
  create_whole: async (client, { agent_id, ...fields }) => [await client.agents.messages.create(agent_id, fields)],
  create_impatiently: async (client, { agent_id, seconds, ...fields }) =>
    answered(await client.agents.messages.create(agent_id, fields, { timeout: seconds * 1000 }), "stop_reason"),
  stream: (client, { agent_id, ...fields }) => client.agents.messages.stream(agent_id, fields),
  create_streaming: (client, { agent_id, ...fields }) =>
    client.agents.messages.create(agent_id, { streaming: true, ...fields }),
  list_agent_blocks: (client, { agent_id }) => client.agents.blocks.list(agent_id),
  retrieve_agent_block: async (client, { label, ...fields }) => [await client.agents.blocks.retrieve(label, fields)],
  update_agent_block: async (client, { label, ...fields }) => [await client.agents.blocks.update(label, fields)],
  attach_block: async (client, { block_id, ...fields }) => [await client.agents.blocks.attach(block_id, fields)],
  detach_block: async (client, { block_id, ...fields }) => [await client.agents.blocks.detach(block_id, fields)],
  create_block: async (client, fields) => [await client.blocks.create(fields)],
  retrieve_block: async (client, { block_id }) => [await client.blocks.retrieve(block_id)],
  update_block: async (client, { block_id, ...fields }) => [await client.blocks.update(block_id, fields)],
  delete_block: async (client, { block_id }) => [await client.blocks.delete(block_id)],
  list_blocks: (client, query) => client.blocks.list(query),
  create_conversation: async (client, fields) => [await client.conversations.create(fields)],
  retrieve_conversation: async (client, { conversation_id }) => [await client.conversations.retrieve(conversation_id)],
  update_conversation: async (client, { conversation_id, ...fields }) => [
    await client.conversations.update(conversation_id, fields),
  ],
  delete_conversation: async (client, { conversation_id }) => [await client.conversations.delete(conversation_id)],
  list_conversations: (client, query) => client.conversations.list(query),
  fork_conversation: async (client, { conversation_id, ...query }) => [
    await client.conversations.fork(conversation_id, query),
  ],
  recompile_conversation: async (client, { conversation_id, ...fields }) => [
    await client.conversations.recompile(conversation_id, fields),
  ],
  cancel_conversation: async (client, { conversation_id, ...query }) => [
    await client.conversations.cancel(conversation_id, query),
  ],
  list_conversation_messages: (client, { conversation_id, ...query }) =>
    client.conversations.messages.list(conversation_id, query),
  send_to_conversation: (client, { conversation_id, ...fields }) =>
    client.conversations.messages.create(conversation_id, fields),
  stream_conversation: (client, { conversation_id, ...fields }) =>
    client.conversations.messages.stream(conversation_id, fields),
  compact: async (client, { agent_id, ...fields }) => [await client.agents.messages.compact(agent_id, fields)],
  compact_conversation: async (client, { conversation_id, ...fields }) => [
    await client.conversations.messages.compact(conversation_id, fields),
  ],
  create_archive: async (client, fields) => [await client.archives.create(fields)],
  list_archives: (client, query) => client.archives.list(query),
  add_passages: async (client, { archive_id, passages }) =>
    client.archives.passages.createMany(archive_id, { passages }),
  attach_archive: async (client, { agent_id, archive_id }) => [
    await client.agents.archives.attach(archive_id, { agent_id }),
  ],
  create_passage: (client, { agent_id, ...fields }) => client.agents.passages.create(agent_id, fields),
  list_agent_passages: (client, { agent_id, ...query }) => client.agents.passages.list(agent_id, query),
  find_passages: async (client, { agent_id, ...query }) => [await client.agents.passages.search(agent_id, query)],
  delete_passage: async (client, { agent_id, memory_id }) => [
    await client.agents.passages.delete(memory_id, { agent_id }),
  ],
  upload: async (client, { folder_id, name, content, ...query }) => [
    await client.folders.files.upload(folder_id, { file: new File([Buffer.from(content, "latin1")], name), ...query }),
  ],
  search_messages: (client, fields) => client.messages.search(fields),
  retrieve_run: async (client, { run_id }) => [await client.runs.retrieve(run_id)],
  stream_run: (client, { run_id, ...fields }) => client.runs.messages.stream(run_id, fields),
  create_async: async (client, { agent_id, ...fields }) => [await client.agents.messages.createAsync(agent_id, fields)],
  cancel: async (client, { agent_id, ...fields }) => [await client.agents.messages.cancel(agent_id, fields)],
  list_runs: (client, query) => client.runs.list(query),
  list_run_messages: (client, { run_id, ...query }) => client.runs.messages.list(run_id, query),
  list_run_steps: (client, { run_id, ...query }) => client.runs.steps.list(run_id, query),
  retrieve_run_usage: async (client, { run_id }) => [await client.runs.usage.retrieve(run_id)],
  list_steps: (client, query) => client.steps.list(query),
  retrieve_step: async (client, { step_id }) => [await client.steps.retrieve(step_id)],
  rate_step: async (client, { step_id, ...fields }) => [await client.steps.feedback.create(step_id, fields)],
  list_step_messages: (client, { step_id, ...query }) => client.steps.messages.list(step_id, query),
  retrieve_step_metrics: async (client, { step_id }) => [await client.steps.metrics.retrieve(step_id)],
};

await serve((url) => new sdk.Letta({ baseURL: url, apiKey: "test" }), OPERATIONS);
