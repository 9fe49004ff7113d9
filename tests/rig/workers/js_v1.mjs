// Drives @letta-ai/letta-client 1.x for the tests; see loop.mjs.
import { answered, sdk, serve } from "./loop.mjs";

const OPERATIONS = {
  health: async (client) => [await client.health()],
  models: (client) => client.models.list(),
  create_agent: async (client, fields) => [await client.agents.create(fields)],
  retrieve_agent: async (client, { agent_id }) => [await client.agents.retrieve(agent_id)],
  update_agent: async (client, { agent_id, ...fields }) => [await client.agents.update(agent_id, fields)],
  delete_agent: async (client, { agent_id }) => [await client.agents.delete(agent_id)],
  list_agents: (client, query) => client.agents.list(query),
  list_messages: (client, { agent_id, ...query }) => client.agents.messages.list(agent_id, query),
  create: async (client, { agent_id, ...fields }) =>
    answered(await client.agents.messages.create(agent_id, fields), "stop_reason"),
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
  retrieve_run: async (client, { run_id }) => [await client.runs.retrieve(run_id)],
  stream_run: (client, { run_id, ...fields }) => client.runs.messages.stream(run_id, fields),
};

await serve((url) => new sdk.Letta({ baseURL: url, apiKey: "test" }), OPERATIONS);
