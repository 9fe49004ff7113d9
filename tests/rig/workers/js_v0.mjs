// Drives @letta-ai/letta-client 0.1.x for the tests; see loop.mjs. Commands say snake_case, this SDK camelCase.
import { answered, method, sdk, serve } from "./loop.mjs";

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

function camelized(value) {
  if (Array.isArray(value)) return value.map(camelized);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [camel(name), camelized(each)]));
}

const OPERATIONS = {
  method,
  health: async (client) => [await client.health.check()],
  models: (client, query) => client.models.list(query),
  create_agent: async (client, fields) => [await client.agents.create(fields)],
  retrieve_agent: async (client, { agentId }) => [await client.agents.retrieve(agentId)],
  update_agent: async (client, { agentId, ...fields }) => [await client.agents.modify(agentId, fields)],
  delete_agent: async (client, { agentId }) => [await client.agents.delete(agentId)],
  export_agent: async (client, { agentId, ...query }) => [await client.agents.exportFile(agentId, query)],
  import_agents: async (client, { file, ...fields }) => [await client.agents.importFile(new Blob([file]), fields)],
  list_agents: (client, query) => client.agents.list(query),
  list_messages: (client, { agentId, ...query }) => client.agents.messages.list(agentId, query),
  create: async (client, { agentId, ...fields }) =>
    answered(await client.agents.messages.create(agentId, fields), "stopReason"),
  stream: (client, { agentId, ...fields }) => client.agents.messages.createStream(agentId, fields),
  list_agent_blocks: (client, { agentId }) => client.agents.blocks.list(agentId),
  retrieve_agent_block: async (client, { agentId, label }) => [await client.agents.blocks.retrieve(agentId, label)],
  update_agent_block: async (client, { agentId, label, ...fields }) => [
    await client.agents.blocks.modify(agentId, label, fields),
  ],
  attach_block: async (client, { agentId, blockId }) => [await client.agents.blocks.attach(agentId, blockId)],
  detach_block: async (client, { agentId, blockId }) => [await client.agents.blocks.detach(agentId, blockId)],
  create_block: async (client, fields) => [await client.blocks.create(fields)],
  retrieve_block: async (client, { blockId }) => [await client.blocks.retrieve(blockId)],
  update_block: async (client, { blockId, ...fields }) => [await client.blocks.modify(blockId, fields)],
  delete_block: async (client, { blockId }) => [await client.blocks.delete(blockId)],
  list_blocks: (client, query) => client.blocks.list(query),
  summarize: async (client, { agentId, ...query }) => [await client.agents.summarizeAgentConversation(agentId, query)],
  retrieve_context: async (client, { agentId }) => [await client.agents.context.retrieve(agentId)],
  retrieve_run: async (client, { runId }) => [await client.runs.retrieve(runId)],
  stream_run: (client, { runId, ...fields }) => client.runs.stream(runId, fields),
  create_async: async (client, { agentId, ...fields }) => [await client.agents.messages.createAsync(agentId, fields)],
  cancel: async (client, { agentId, ...fields }) => [await client.agents.messages.cancel(agentId, fields)],
  list_runs: (client, query) => client.runs.list(query),
  list_active_runs: (client, query) => client.runs.listActive(query),
  delete_run: async (client, { runId }) => [await client.runs.delete(runId)],
  list_run_messages: (client, { runId, ...query }) => client.runs.messages.list(runId, query),
  list_run_steps: (client, { runId, ...query }) => client.runs.steps.list(runId, query),
  retrieve_run_usage: async (client, { runId }) => [await client.runs.usage.retrieve(runId)],
  list_steps: (client, query) => client.steps.list(query),
  retrieve_step: async (client, { stepId }) => [await client.steps.retrieve(stepId)],
  rate_step: async (client, { stepId, ...fields }) => [await client.steps.feedback.create(stepId, fields)],
  create_provider: async (client, fields) => [await client.providers.create(fields)],
  update_provider: async (client, { providerId, ...fields }) => [await client.providers.modify(providerId, fields)],
  delete_provider: async (client, { providerId }) => [await client.providers.delete(providerId)],
  list_providers: (client, query) => client.providers.list(query),
  check_provider: async (client, fields) => [await client.providers.checkProvider(fields)],
  upload: async (client, { folderId, name, content, ...query }) => [
    await client.folders.files.upload(new File([Buffer.from(content, "latin1")], name), folderId, query),
  ],
  create_group: async (client, fields) => [await client.groups.create(fields)],
  update_group: async (client, { groupId, ...fields }) => [await client.groups.modify(groupId, fields)],
  delete_group: async (client, { groupId }) => [await client.groups.delete(groupId)],
  list_groups: (client, query) => client.groups.list(query),
  list_agent_groups: (client, { agentId }) => client.agents.groups.list(agentId),
  ask_group: async (client, { groupId, ...fields }) =>
    answered(await client.groups.messages.create(groupId, fields), "stopReason"),
  stream_group: (client, { groupId, ...fields }) => client.groups.messages.createStream(groupId, fields),
  list_group_messages: (client, { groupId, ...query }) => client.groups.messages.list(groupId, query),
  reset_group: async (client, { groupId }) => [await client.groups.messages.reset(groupId)],
  create_identity: async (client, fields) => [await client.identities.create(fields)],
  upsert_identity: async (client, fields) => [await client.identities.upsert(fields)],
  update_identity: async (client, { identityId, ...fields }) => [await client.identities.modify(identityId, fields)],
  set_properties: async (client, { identityId, properties }) => [
    await client.identities.properties.upsert(identityId, properties),
  ],
  delete_identity: async (client, { identityId }) => [await client.identities.delete(identityId)],
  list_identities: (client, query) => client.identities.list(query),
  retrieve_step_metrics: async (client, { stepId }) => [await client.steps.retrieveStepMetrics(stepId)],
};

const operations = Object.fromEntries(
  Object.entries(OPERATIONS).map(([op, run]) => [op, (client, args) => run(client, camelized(args))]),
);

await serve((url) => new sdk.LettaClient({ baseUrl: url, token: "test" }), operations);
